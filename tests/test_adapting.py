"""From viewers' wishes to what encoders do: through hub, timers, and an encoder's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping

import pytest

from tests.encoders.pictures import START_US, STEP_US, pictures
from tests.test_hub import FakeProducer, FakeViewer, live_broadcast, video
from tests.test_pipeline import ScriptedSource, running
from wtgateway.config import BroadcastConfig, VideoConfig
from wtgateway.encoders import GroupBorders, VideoEncoder, VideoSettings
from wtgateway.hub import Audience, Broadcast
from wtgateway.media import Frame, Rendition
from wtgateway.pipeline.adapting import Adapting, nominals_of
from wtgateway.pipeline.ladder import Rung
from wtgateway.pipeline.plan import plan_video
from wtgateway.pipeline.queues import LatestSlot, PipelineStats
from wtgateway.pipeline.recipe import policy_of
from wtgateway.protocol.targets import EncoderTarget, Nominal, Policy, Wish
from wtgateway.sources.base import RawVideo, SourceInfo

INFO = SourceInfo(description="x", has_video=True, has_audio=False, width=1280, height=720, fps=30.0)


class Wishing(FakeProducer):
    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    def wishes_changed(self) -> None:
        self.told += 1


def wished() -> tuple[Broadcast, Wishing, FakeViewer]:
    broadcast, _ = live_broadcast()
    producer, viewer = Wishing(), FakeViewer()
    broadcast.bind(producer)
    broadcast.attach(viewer)
    return broadcast, producer, viewer


def test_a_viewers_wish_is_told_once_and_goes_with_it() -> None:
    broadcast, producer, viewer = wished()
    broadcast.wish(viewer, Wish(0, 0, 1_000_000))
    broadcast.wish(viewer, Wish(0, 0, 1_000_000))
    assert producer.told == 1
    assert [count for _, count in broadcast.wishes] == [1]
    broadcast.detach(viewer)
    assert (producer.told, broadcast.wishes) == (2, ())
    broadcast.wish(viewer, Wish(0, 0, 1_000_000))
    assert broadcast.wishes == (), "it is gone"


def test_viewers_elsewhere_have_wishes_too() -> None:
    broadcast, producer, viewer = wished()
    broadcast.wish(viewer, Wish(0, 0, 1_000_000))
    ((mine, _),) = broadcast.wishes
    audience = Audience(3, frozenset({(0, 0)}), ((mine, 3),))
    broadcast.serve_elsewhere("w1", audience)
    broadcast.serve_elsewhere("w1", audience)
    assert producer.told == 2
    assert broadcast.wishes == ((mine, 4),)
    broadcast.serve_elsewhere("w1", Audience())
    assert broadcast.wishes == ((mine, 1),)


def test_encoders_are_shared_by_more_than_one_viewer() -> None:
    broadcast, _, _ = wished()
    assert not broadcast.shared
    broadcast.serve_elsewhere("w1", Audience(1))
    assert broadcast.shared


def test_the_hub_measures_what_renditions_take() -> None:
    broadcast, _, _ = wished()
    for index in range(70):
        broadcast.publish(video(0, index, size=952))  # and a header of 48
    assert broadcast.rate_bps(0, 0) == pytest.approx(1_000 * 8 * 30, rel=0.02)
    assert broadcast.rate_bps(0, 1) == 0


def test_the_policy_is_the_configurations() -> None:
    config = BroadcastConfig(
        name="b", source="test:", video=VideoConfig(adapt="fit-all", min_bitrate_bps=70_000)
    )
    assert policy_of(config) == Policy("fit-all", 70_000)
    assert not policy_of(BroadcastConfig(name="b", source="test:", video=None)).adapts


def test_what_was_configured_is_what_the_plan_says() -> None:
    config = VideoConfig(codec="vp9", bitrate_bps=2_000_000, height=360, droppable="auto")
    plan = plan_video(config, INFO, lambda codecs: ())
    assert nominals_of(plan, INFO) == {
        0: Nominal(bitrate_bps=2_000_000, fps=30.0, width=640, height=360, codec="vp9", cheap=False)
    }
    assert plan[0].settings is not None and plan[0].settings.droppable
    assert nominals_of(plan_video(VideoConfig(), INFO, lambda codecs: ()), INFO)[0].cheap


# --- the pace --------------------------------------------------------------------------------------


class Clocked:
    """An event loop's clock and timers, by hand."""

    def __init__(self) -> None:
        self.now, self.timers = 100.0, []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: object) -> Timer:
        timer = Timer(when, call)
        self.timers.append(timer)
        return timer

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((t for t in self.timers if t.at <= end), key=lambda t: t.at):
            self.now = max(self.now, due[0].at)
            self.timers.remove(due[0])
            if not due[0].cancelled:
                due[0].call()
        self.now = end


class Timer:
    def __init__(self, at: float, call: object) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.cancelled = True


class Pace:
    def __init__(self) -> None:
        self.loop, self.wishes = Clocked(), ()
        self.followed: list[tuple[float, Mapping[int, EncoderTarget]]] = []
        nominal = Nominal(bitrate_bps=4_000_000, fps=30.0, width=1280, height=720, cheap=True)
        self.adapting = Adapting(
            self.loop,  # type: ignore[arg-type]
            "b",
            Policy("fit-all"),
            lambda: self.wishes,
            lambda targets: self.followed.append((self.loop.now, targets)),
        )
        self.adapting.begin({0: nominal})

    def wish(self, bps: int) -> None:
        self.wishes = ((Wish(0, 0, bps), 1),)
        self.adapting.changed()


def test_a_burst_of_wishes_is_one_change_and_what_is_put_off_comes_by_itself() -> None:
    pace = Pace()
    pace.loop.run(10)
    pace.followed.clear()
    for bps in (3_000_000, 2_500_000, 2_000_000):
        pace.wish(bps)
    pace.loop.run(0.1)
    assert [targets[0].bitrate_bps for _, targets in pace.followed] == [2_000_000]
    pace.wish(3_000_000)
    pace.loop.run(5)
    assert [targets[0].bitrate_bps for _, targets in pace.followed] == [2_000_000, 3_000_000]
    assert pace.loop.timers == [], "at rest"


def test_nothing_is_followed_once_the_run_is_over() -> None:
    pace = Pace()
    pace.loop.run(1)
    pace.followed.clear()
    pace.wish(1_000_000)
    pace.adapting.close()
    pace.loop.run(10)
    assert pace.followed == []


# --- the encoder's thread --------------------------------------------------------------------------


def test_a_postponed_picture_comes_again_when_no_other_does() -> None:
    """Else a screen that changes once, and then stands still, would show the state before."""
    slot = LatestSlot(PipelineStats())
    first, second, third = pictures(3)
    slot.put(first)
    assert slot.take() is first
    slot.postpone(1)
    again = slot.take()
    assert again is not None and again.frame is first.frame
    assert again.pts_us > first.pts_us
    slot.put(second)
    assert slot.take() is second
    slot.postpone(10**12)
    slot.put(third)
    assert slot.take() is third, "a newer one goes before it"


def test_who_wants_a_keyframe_does_not_wait_for_a_postponed_picture() -> None:
    slot = LatestSlot(PipelineStats())
    slot.put(pictures(1)[0])
    assert slot.take() is not None
    slot.postpone(10**12)
    slot.want_keyframe()
    taken: list[RawVideo | None] = []
    waiting = threading.Thread(target=lambda: taken.append(slot.take()), daemon=True)
    waiting.start()
    waiting.join(30)
    slot.close()
    assert taken and taken[0] is not None


def test_targets_are_followed_from_the_next_picture_on_by_those_that_begin_later_too() -> None:
    groups = GroupBorders()
    frames: list[Frame] = []
    settings = VideoSettings(bitrate_bps=2_000_000)
    encoder = VideoEncoder(settings, track=0, rendition=0, groups=groups)

    def encoded(rendition: Rendition, made: list[Frame]) -> None:
        assert (rendition.width, rendition.height, rendition.bitrate_bps) == (320, 180, 2_000_000)
        frames.extend(made)
        shown = pictures(8)
        if len(frames) == 2:
            rung.target = EncoderTarget(bitrate_bps=300_000, scale=0.5, every=2)
        following = len(frames) if len(frames) <= 2 else len(frames) * 2 - 2
        if following < 8:
            rung.slot.put(shown[following])
        else:
            rung.stop()

    rung = Rung(encoder, PipelineStats(), encoded, EncoderTarget(bitrate_bps=1_500_000))
    rung.slot.put(pictures(1)[0])
    rung.run()
    assert [(f.group, f.index) for f in frames] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert [f.duration_us for f in frames] == [33_333] * 2 + [66_666] * 3


class ScriptedSlot:
    """Gives the pictures in their order, and what it is told in between."""

    def __init__(self, shown: list[RawVideo], between: Mapping[int, Callable[[], None]]) -> None:
        self._shown, self._between, self._taken = shown, between, 0
        self.postponed: list[tuple[int, int]] = []  # index of the picture, patience

    def take(self) -> RawVideo | None:
        self._between.get(self._taken, lambda: None)()
        self._taken += 1
        return self._shown[self._taken - 1] if self._taken <= len(self._shown) else None

    def postpone(self, patience_us: int) -> None:
        self.postponed.append((self._taken - 1, patience_us))


def test_a_rung_leaves_out_what_comes_too_soon() -> None:
    groups, frames = GroupBorders(), []
    encoder = VideoEncoder(VideoSettings(bitrate_bps=2_000_000), track=0, rendition=0, groups=groups)
    half = EncoderTarget(bitrate_bps=2_000_000, every=2)
    rung = Rung(encoder, PipelineStats(), lambda rendition, made: frames.extend(made), half)
    slot = ScriptedSlot(
        pictures(10),
        {3: groups.want, 6: lambda: setattr(rung, "target", EncoderTarget(bitrate_bps=2_000_000))},
    )
    rung.slot = slot  # type: ignore[assignment]
    rung.run()
    numbers = [(frame.pts_us - START_US) // STEP_US for frame in frames]
    assert numbers == [0, 2, 3, 5, 6, 7, 8, 9], "3 begins a group, from 6 on all are wanted"
    assert [number for number, f in zip(numbers, frames, strict=True) if f.keyframe] == [0, 3, 6]
    assert slot.postponed == [(1, 66_666), (4, 66_666)]


async def test_a_wish_reaches_the_encoder() -> None:
    source = ScriptedSource()
    async with running(iter([source]), video=VideoConfig(bitrate_bps=2_000_000), audio=None) as (
        pipeline,
        broadcast,
        watcher,
    ):
        shown = pictures(40)
        broadcast.want(watcher, frozenset({(0, 0)}))
        source.items.put(shown[0])
        await watcher.until(lambda: bool(watcher.frames))
        followed, follow = asyncio.Event(), pipeline.adapting._follow

        def seen(targets: Mapping[int, EncoderTarget]) -> None:
            follow(targets)
            if targets[0].bitrate_bps <= 150_000:
                followed.set()

        pipeline.adapting._follow = seen
        broadcast.wish(watcher, Wish(0, 0, 150_000))
        async with asyncio.timeout(10):
            await followed.wait()
        source.items.put(shown[1])
        await watcher.until(lambda: len(watcher.frames) > 1)
        assert watcher.frames[1].keyframe, "so far down that it begins anew"
        assert len(watcher.catalogs) == 1, "it is the same rendition"
