"""The pipeline: newest picture wins, still screens answer keyframe requests, sources come back."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import av
import numpy as np
import pytest

from wtgateway import clock
from wtgateway.config import AudioConfig, BroadcastConfig, RenditionConfig, VideoConfig
from wtgateway.errors import SourceEnded, SourceError
from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind
from wtgateway.pipeline import Pipeline, PipelineStats, supervision
from wtgateway.pipeline.queues import OUTBOX_FRAMES, LatestSlot, Outbox, SoundQueue
from wtgateway.sources.base import RawAudio, RawVideo, SourceInfo


def picture(pts_us: int = 0, shade: int = 100) -> RawVideo:
    frame = av.VideoFrame.from_ndarray(np.full((96, 64), shade, np.uint8), format="yuv420p")
    return RawVideo(frame, pts_us, pts_us, pts_us, 33_333)


def sound(pts_us: int = 0) -> RawAudio:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="stereo")
    frame.sample_rate = 48_000
    return RawAudio(frame, pts_us, pts_us, 20_000)


class ScriptedSource:
    """A source that yields what the test puts into its queue; an exception in it is raised."""

    def __init__(self, *, audio: bool = False) -> None:
        self.items: queue.Queue[RawVideo | RawAudio | Exception] = queue.Queue()
        self.audio = audio
        self.pictures_wanted = self.sound_wanted = False
        self.opened = threading.Event()
        self.closed = threading.Event()

    def open(self) -> SourceInfo:
        self.opened.set()
        return SourceInfo(
            description="scripted", has_video=True, has_audio=self.audio, width=64, height=64, fps=30.0
        )

    def read(self) -> RawVideo | RawAudio:
        item = self.items.get()
        if isinstance(item, Exception):
            raise item
        return item

    def want_pictures(self, wanted: bool) -> None:
        self.pictures_wanted = wanted

    def want_sound(self, wanted: bool) -> None:
        self.sound_wanted = wanted

    def close(self) -> None:
        self.closed.set()
        self.items.put(SourceError("closed"))


class Watcher:
    """A viewer whose test waits for conditions."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.catalogs: list[Catalog] = []
        self.states: list[BroadcastState] = []
        self._changed = asyncio.Event()

    def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
        self.frames.append(frame)
        self._changed.set()

    def on_catalog(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)
        self._changed.set()

    def on_state(self, status: Status) -> None:
        self.states.append(status.state)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(
    sources: Iterator[ScriptedSource], **settings: object
) -> Iterator[tuple[Pipeline, Broadcast, Watcher]]:
    config = BroadcastConfig(
        name="b", source="scripted", **{"video": VideoConfig(), "audio": AudioConfig(), **settings}
    )
    broadcast, watcher = Broadcast("b"), Watcher()
    made = Pipeline(config, broadcast, lambda: next(sources))
    if not config.on_demand:
        broadcast.attach(watcher)
    task = asyncio.create_task(made.run())
    try:
        yield made, broadcast, watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_only_the_newest_picture_waits_for_the_encoder() -> None:
    stats = PipelineStats()
    slot = LatestSlot(stats)
    for pts in (1, 2, 3):
        slot.put(picture(pts))
    taken = slot.take()
    assert taken is not None
    assert (taken.pts_us, stats.pictures_skipped) == (3, 2)


def test_a_still_source_answers_a_keyframe_request_with_its_last_picture() -> None:
    slot = LatestSlot(PipelineStats())
    slot.put(picture(1000))
    slot.take()
    slot.want_keyframe()
    raw = slot.take()
    assert raw is not None
    assert raw.pts_us > 1000
    assert raw.pts_us - 1000 == raw.capture_us - 1000


def test_a_late_picture_is_shown_after_the_one_that_was_given_again_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decoders and viewers take time that goes back for pictures that come too late."""
    now_us = 0
    monkeypatch.setattr(clock, "now_us", lambda: now_us)
    slot = LatestSlot(PipelineStats())
    slot.put(picture(1_000_000))
    assert slot.take() is not None
    slot.want_keyframe()
    now_us = 40_000
    again = slot.take()
    assert again is not None and again.pts_us == 1_040_000
    stamps = []
    late = (1_033_333, 1_040_001, 1_066_667, 1_050_000, 20_000)
    for pts_us in late:
        slot.put(picture(pts_us))
        raw = slot.take()
        assert raw is not None and raw.capture_us == pts_us
        stamps.append(raw.pts_us)
    assert stamps == [1_040_001, 1_040_002, 1_066_667, 1_050_000, 20_000], "else they are the source's own"


def test_a_moving_source_answers_with_its_next_picture() -> None:
    slot = LatestSlot(PipelineStats())
    slot.put(picture(1000))
    slot.take()
    slot.put(picture(2000))
    slot.want_keyframe()
    taken = slot.take()
    assert taken is not None
    assert taken.pts_us == 2000


def test_sound_is_bounded_in_time_and_loses_its_oldest() -> None:
    stats = PipelineStats()
    sounds = SoundQueue(stats)
    for index in range(40):
        sounds.put(sound(index))
    first = sounds.take()
    assert first is not None
    assert (first[0].pts_us, first[1], stats.sound_skipped) == (15, False, 15)


def test_across_a_break_no_sound_is_joined() -> None:
    sounds = SoundQueue(PipelineStats())
    sounds.put(sound(1))
    sounds.break_off()
    sounds.put(sound(100))
    sounds.put(sound(101))
    taken = [sounds.take(), sounds.take()]
    assert [(raw.pts_us, broken) for raw, broken in filter(None, taken)] == [(100, True), (101, False)]


async def test_a_stalled_loop_costs_frames_and_then_a_keyframe() -> None:
    stats, taken = PipelineStats(), []
    outbox = Outbox(asyncio.get_running_loop(), taken.append, stats)
    frame = Frame(
        track=0, rendition=0, group=0, index=0, keyframe=True, pts_us=0, capture_us=0, duration_us=0,
        payload=b"x",
    )  # fmt: skip
    for _ in range(OUTBOX_FRAMES + 5):
        outbox.post(frame)
    outbox.post(Catalog())  # never lost
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (len(taken), stats.outbox_dropped) == (OUTBOX_FRAMES + 1, 5)


async def test_the_catalog_comes_before_the_first_frame_and_the_state_becomes_live() -> None:
    source = ScriptedSource(audio=True)
    async with running(iter([source])) as (_, broadcast, watcher):
        now = clock.now_us()
        source.items.put(picture(now))
        await watcher.until(lambda: len(watcher.frames) > 0)
        assert watcher.catalogs
        track = watcher.catalogs[0].tracks[0]
        assert (track.kind, track.renditions[0].codec[:5]) == (Kind.VIDEO, "avc1.")
        assert watcher.frames[0].keyframe
        assert watcher.frames[0].capture_us == now
        assert broadcast.status.state is BroadcastState.LIVE
        for index in range(3):
            source.items.put(sound(now + index * 20_000))
        await watcher.until(lambda: any(f.track == 1 for f in watcher.frames))
        assert {t.kind for t in broadcast.catalog.tracks} == {Kind.VIDEO, Kind.AUDIO}


async def test_a_request_makes_a_new_group() -> None:
    source = ScriptedSource()
    async with running(iter([source])) as (_, broadcast, watcher):
        source.items.put(picture(clock.now_us()))
        await watcher.until(lambda: len(watcher.frames) == 1)
        broadcast.request_keyframe(0, 0, clock.now_us())
        await watcher.until(lambda: len(watcher.frames) == 2)
        first, second = watcher.frames
        assert second.keyframe
        assert (second.group, second.index) == (first.group + 1, 0)


async def test_a_broken_source_is_opened_again_and_groups_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "BACKOFF_FIRST_S", 0.01)
    first, second = ScriptedSource(), ScriptedSource()
    async with running(iter([first, second])) as (made, broadcast, watcher):
        first.items.put(picture(clock.now_us()))
        await watcher.until(lambda: len(watcher.frames) == 1)
        first.items.put(SourceError("cable pulled"))
        await watcher.until(lambda: BroadcastState.RETRYING in watcher.states)
        second.items.put(picture(clock.now_us()))
        await watcher.until(lambda: len(watcher.frames) == 2)
        assert first.closed.is_set()
        assert watcher.frames[1].group > watcher.frames[0].group
        assert watcher.frames[1].keyframe
        assert broadcast.status.state is BroadcastState.LIVE
        assert made.stats.restarts == 1


async def test_a_source_that_is_not_looped_ends() -> None:
    source = ScriptedSource()
    async with running(iter([source]), loop=False) as (_, broadcast, watcher):
        source.items.put(picture(clock.now_us()))
        source.items.put(SourceEnded("end of file"))
        await watcher.until(lambda: BroadcastState.ENDED in watcher.states)
        assert source.closed.is_set()
        assert broadcast.status.reason == "the source came to its end"


async def test_on_demand_starts_with_the_first_viewer_and_ends_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "LINGER_S", 0.01)
    source = ScriptedSource()
    async with running(iter([source]), on_demand=True) as (_, broadcast, watcher):
        await asyncio.sleep(0)
        assert broadcast.status.state is BroadcastState.IDLE
        assert not source.opened.is_set()
        broadcast.attach(watcher)
        source.items.put(picture(clock.now_us()))
        await watcher.until(lambda: len(watcher.frames) == 1)
        broadcast.detach(watcher)
        assert await asyncio.to_thread(source.closed.wait, 30)


async def test_a_turned_source_is_turned_in_all_that_is_encoded_of_it() -> None:
    source = ScriptedSource()
    video = VideoConfig(renditions=(RenditionConfig(), RenditionConfig(height=48)))
    async with running(iter([source]), video=video) as (_, broadcast, watcher):
        source.items.put(replace(picture(clock.now_us()), rotation=90))
        await watcher.until(lambda: len(watcher.frames) == 1)
        assert [r.rotation for r in broadcast.catalog.tracks[0].renditions] == [90, 90]
        source.items.put(replace(picture(clock.now_us()), rotation=270))
        await watcher.until(lambda: len(watcher.frames) == 2)
        assert [r.rotation for r in broadcast.catalog.tracks[0].renditions] == [270, 270]
        assert watcher.frames[1].keyframe


async def test_a_medium_that_is_off_is_not_encoded() -> None:
    source = ScriptedSource(audio=True)
    async with running(iter([source]), audio=None) as (_, broadcast, watcher):
        source.items.put(sound(clock.now_us()))
        source.items.put(picture(clock.now_us()))
        await watcher.until(lambda: len(watcher.frames) == 1)
        assert [t.kind for t in broadcast.catalog.tracks] == [Kind.VIDEO]


def test_what_was_live_shortly_ago_is_tried_every_second_and_what_is_away_for_long_every_ten() -> None:
    assert [supervision.pause_s(n, None) for n in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert [supervision.pause_s(n, 5.0) for n in (0, 1, 50)] == [0.5, 0.5, 0.5]
    assert supervision.pause_s(60, 61.0) == 10.0
    assert supervision.pause_s(100_000, None) == 10.0, "a source that is away for a year"
