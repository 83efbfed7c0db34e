"""Renditions that are encoded: each runs while it is wanted, and their groups begin together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av
import pytest

from tests.encoders.pictures import pictures
from wtgateway.encoders import GroupBorders, VideoEncoder, VideoSettings
from wtgateway.media import Frame, Rendition
from wtgateway.pipeline.ladder import Ladder
from wtgateway.pipeline.queues import PipelineStats
from wtgateway.sources.barcode import decode_barcode
from wtgateway.sources.base import RawVideo

HEIGHTS = {0: 180, 1: 90, 2: 180}
PATIENCE_S = 30.0


class Collected:
    """Frames of all renditions, as they come from their threads."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._changed = threading.Condition()

    def take(self, rendition: Rendition, frames: list[Frame]) -> None:
        assert rendition.height == HEIGHTS[rendition.id]
        with self._changed:
            self.frames += frames
            self._changed.notify_all()

    def of(self, rendition: int) -> list[Frame]:
        return [frame for frame in self.frames if frame.rendition == rendition]

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S)


@contextmanager
def ladder() -> Iterator[tuple[Ladder, Collected, GroupBorders]]:
    groups, collected, shared = GroupBorders(), Collected(), threading.Lock()

    def make(number: int) -> VideoEncoder:
        settings = VideoSettings(height=HEIGHTS[number], bitrate_bps=1_000_000)
        return VideoEncoder(settings, track=0, rendition=number, groups=groups, shared=shared)

    def start(name: str, body: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=body, name=name, daemon=True)
        thread.start()
        return thread

    made = Ladder(groups, make, collected.take, start, PipelineStats())
    try:
        yield made, collected, groups
    finally:
        for thread in made.close():
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def put_each(made: Ladder, collected: Collected, shown: list[RawVideo]) -> None:
    """A picture at a time, so that no rendition skips one."""
    for raw in shown:
        made.put(raw)
        collected.wait(
            lambda raw=raw: all(
                collected.of(r) and collected.of(r)[-1].pts_us == raw.pts_us for r in made.running
            )
        )


def test_all_that_are_wanted_get_each_picture_and_begin_their_groups_together() -> None:
    with ladder() as (made, collected, _):
        made.want({0, 1, 2})
        shown = pictures(12)
        put_each(made, collected, shown[:6])
        made.want_keyframe()
        put_each(made, collected, shown[6:])
        for rendition in HEIGHTS:
            frames = collected.of(rendition)
            assert [(f.group, f.index) for f in frames] == [(i // 6, i % 6) for i in range(12)]
            assert [f.pts_us for f in frames] == [raw.pts_us for raw in shown]


def test_two_of_one_size_do_not_write_into_each_others_pictures() -> None:
    """Encoding writes time and type into a picture; two encoders at once may not have the same one."""
    with ladder() as (made, collected, _):
        made.want({0, 2})
        plain = [
            RawVideo(raw.frame.reformat(format="yuv420p"), raw.pts_us, raw.capture_us, raw.grabbed_us, 33_333)
            for raw in pictures(30)
        ]
        put_each(made, collected, plain)
        for rendition in (0, 2):
            context = av.CodecContext.create("h264", "r")
            context.thread_count = 1
            shown = [context.decode(av.Packet(frame.payload)) for frame in collected.of(rendition)]
            assert [decode_barcode(picture.to_ndarray()[:180]) for (picture,) in shown] == list(range(1, 31))


def test_one_that_starts_later_begins_a_group_in_all() -> None:
    with ladder() as (made, collected, _):
        shown = pictures(9)
        made.want({0})
        put_each(made, collected, shown[:4])
        made.want({0, 1})
        for raw in shown[4:]:  # the new one may leave out what the old one has shown already
            made.put(raw)
            collected.wait(lambda raw=raw: collected.of(0)[-1].pts_us == raw.pts_us)
        collected.wait(lambda: bool(collected.of(1)))
        late = collected.of(1)
        assert late[0].keyframe
        follows = {f.group: f.pts_us for f in collected.of(0) if f.index == 0}
        assert late[0].group not in follows or follows[late[0].group] >= late[0].pts_us
        shown_before = [f.pts_us for f in collected.of(0) if f.group < late[0].group]
        assert max(shown_before) < late[0].pts_us, "nothing is shown twice"
        assert late[0].group > collected.of(0)[3].group


def test_a_still_picture_is_shown_to_who_comes_late() -> None:
    with ladder() as (made, collected, _):
        made.want({0})
        put_each(made, collected, pictures(1))
        made.want({0, 1})  # nothing moves any more
        collected.wait(lambda: bool(collected.of(1)))
        first = collected.of(1)[0]
        assert first.keyframe
        assert first.pts_us > collected.of(0)[0].pts_us


def test_what_nobody_wants_any_more_is_not_encoded() -> None:
    with ladder() as (made, collected, _):
        made.want({0, 1})
        shown = pictures(8)
        put_each(made, collected, shown[:4])
        made.want({0})
        assert made.running == {0}
        put_each(made, collected, shown[4:])
        assert len(collected.of(1)) == 4
        made.want({0, 1})
        collected.wait(lambda: len(collected.of(1)) > 4)
        again = collected.of(1)[4]
        assert again.keyframe
        assert again.group > collected.of(1)[3].group


def test_after_its_end_nothing_starts() -> None:
    with ladder() as (made, _, _groups):
        made.close()
        made.want({0})
        assert made.running == frozenset()


def test_an_encoder_that_fails_fails_its_own_thread() -> None:
    failed: list[BaseException] = []

    def start(name: str, body: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                body()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    groups = GroupBorders()
    settings = VideoSettings(preset="nonsense")
    made = Ladder(
        groups,
        lambda number: VideoEncoder(settings, track=0, rendition=number, groups=groups),
        lambda _, __: None,
        start,
        PipelineStats(),
    )
    made.want({0})
    made.put(pictures(1)[0])
    for thread in made._threads:
        thread.join(PATIENCE_S)
    with pytest.raises(Exception, match="libx264 failed"):
        raise failed[0]
