"""A source that is coded already: forwarded, and encoded as soon as somebody wants that."""

from __future__ import annotations

import asyncio
import dataclasses
import queue

import pytest

from tests.encoders.pictures import pictures
from tests.test_pipeline import ScriptedSource, running, sound
from wtgateway.config import AudioConfig
from wtgateway.encoders.audio import audio_rendition
from wtgateway.media import BroadcastState, Kind
from wtgateway.pipeline import demand
from wtgateway.pipeline.plan import audio_settings
from wtgateway.pipeline.queues import OUTBOX_FRAMES
from wtgateway.sources.base import CodedAudio, CodedFormat, CodedVideo, RawVideo, SourceInfo

FORMAT = CodedFormat(codec="avc1.64001F", width=320, height=180, fps=30.0, reorder_frames=2, rotation=90)
OPUS = CodedFormat(codec="opus", sample_rate=48_000, channels=2)
AAC = CodedFormat(codec="mp4a.40.2", sample_rate=48_000, channels=2, description=b"\x11\x90")
PICTURES = pictures(40)


class CodedSource(ScriptedSource):
    """A camera: what it sends is coded, and decoded pictures come beside it when they are wanted."""

    def __init__(self, sound: str = "opus") -> None:
        super().__init__(audio=True)
        self.coded_sound = sound
        self.sound_wishes: queue.Queue[bool] = queue.Queue()
        self.items: queue.Queue[RawVideo | CodedVideo | CodedAudio | Exception] = queue.Queue()  # type: ignore[assignment]
        self.wishes: queue.Queue[bool] = queue.Queue()

    def open(self) -> SourceInfo:
        super().open()
        return SourceInfo(
            description="camera", has_video=True, has_audio=True, width=320, height=180, fps=30.0,
            channels=2, video_codec="h264", audio_codec=self.coded_sound, coded_video="h264",
            coded_audio=self.coded_sound,
        )  # fmt: skip

    def want_pictures(self, wanted: bool) -> None:
        self.wishes.put(wanted)

    def want_sound(self, wanted: bool) -> None:
        self.sound_wishes.put(wanted)

    def send(self, number: int, *, keyframe: bool = False, coded: CodedFormat = FORMAT) -> None:
        pts = PICTURES[number].pts_us
        self.items.put(CodedVideo(b"%d" % number, keyframe, pts, pts, pts, 33_333, coded))


async def test_access_units_become_frames_of_closed_groups() -> None:
    source = CodedSource()
    async with running(iter([source])) as (_, broadcast, watcher):
        source.send(0)  # before the first keyframe
        for number in range(1, 7):
            source.send(number, keyframe=number in (1, 4))
        await watcher.until(lambda: len(watcher.frames) == 6)
        assert [(f.group, f.index, f.keyframe, f.payload) for f in watcher.frames] == [
            (0, 0, True, b"1"), (0, 1, False, b"2"), (0, 2, False, b"3"),
            (1, 0, True, b"4"), (1, 1, False, b"5"), (1, 2, False, b"6"),
        ]  # fmt: skip
        assert broadcast.status.state is BroadcastState.LIVE
        (track,) = broadcast.catalog.tracks
        forwarded, encoded = track.renditions
        assert (forwarded.codec, forwarded.forwarded) == ("avc1.64001F", True)
        assert (forwarded.reorder_frames, forwarded.rotation) == (2, 90)
        assert (encoded.id, encoded.forwarded, encoded.width, encoded.height) == (1, False, 320, 180)
        assert encoded.rotation == 90, "its pictures are as they come"


async def test_opus_is_forwarded_and_stands_alone() -> None:
    source = CodedSource()
    async with running(iter([source]), video=None) as (_, broadcast, watcher):
        for number in range(60):
            source.items.put(CodedAudio(b"sound", number * 20_000, number * 20_000, 20_000, OPUS))
        await watcher.until(lambda: len(watcher.frames) == 60)
        assert [(f.group, f.index) for f in watcher.frames[48:52]] == [(0, 48), (0, 49), (1, 0), (1, 1)]
        assert all(f.keyframe and f.payload == b"sound" for f in watcher.frames)
        (track,) = broadcast.catalog.tracks
        assert (track.kind, track.renditions[0].codec) == (Kind.AUDIO, "opus")


async def test_pictures_are_wanted_while_somebody_watches_what_is_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demand, "LINGER_S", 0.01)
    source = CodedSource()
    async with running(iter([source])) as (_, broadcast, watcher):
        assert await asyncio.to_thread(source.wishes.get, True, 30) is False
        source.send(0, keyframe=True)
        await watcher.until(lambda: len(watcher.frames) == 1)
        broadcast.want(watcher, frozenset({(0, 1)}))
        assert await asyncio.to_thread(source.wishes.get, True, 30) is True
        source.items.put(PICTURES[0])
        await watcher.until(lambda: any(f.rendition == 1 for f in watcher.frames))
        encoded = next(f for f in watcher.frames if f.rendition == 1)
        assert encoded.keyframe
        runs = broadcast.catalog.tracks[0].renditions[1]
        assert (runs.codec[:9], runs.rotation) == ("avc1.42C0", 90)
        broadcast.want(watcher, frozenset({(0, 0)}))
        while await asyncio.to_thread(source.wishes.get, True, 30):
            pass  # said again, until it is not wanted any more


async def test_a_source_without_a_keyframe_to_begin_with_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """H.264 that refreshes its picture bit by bit has none."""
    monkeypatch.setattr(demand, "FORWARDING_PATIENCE_S", 0.01)
    source = CodedSource()
    async with running(iter([source])) as (_, broadcast, watcher):
        source.send(0)
        while not await asyncio.to_thread(source.wishes.get, True, 30):
            pass  # not at first
        source.items.put(PICTURES[0])
        await watcher.until(lambda: len(watcher.frames) == 1)
        assert watcher.frames[0].rendition == 1
        (only,) = broadcast.catalog.tracks[0].renditions
        assert (only.id, only.forwarded) == (1, False)


async def test_a_forwarded_keyframe_begins_a_group_in_what_is_encoded_from_it() -> None:
    source = CodedSource()
    async with running(iter([source])) as (_, broadcast, watcher):
        broadcast.want(watcher, frozenset({(0, 1)}))
        for number in range(8):
            source.send(number, keyframe=number in (0, 4))
            source.items.put(PICTURES[number])
            await watcher.until(
                lambda number=number: any(
                    f.rendition == 1 and f.pts_us == PICTURES[number].pts_us for f in watcher.frames
                )
            )
        groups = {r: [f.group for f in watcher.frames if f.rendition == r] for r in (0, 1)}
        assert groups == {0: [0] * 4 + [1] * 4, 1: [0] * 4 + [1] * 4}


async def test_after_a_loss_on_the_way_it_goes_on_at_the_next_keyframe() -> None:
    source = CodedSource()
    async with running(iter([source])) as (made, _, watcher):
        source.send(0, keyframe=True)
        await watcher.until(lambda: len(watcher.frames) == 1)
        for _ in range(OUTBOX_FRAMES + 50):
            source.send(1)
        while not source.items.empty():  # the loop stands still: this coroutine does not let it turn
            pass
        await watcher.until(lambda: len(watcher.frames) == OUTBOX_FRAMES + 1)  # room again
        assert made.stats.outbox_dropped > 0
        source.send(2)
        source.send(3, keyframe=True)
        source.send(4)
        await watcher.until(lambda: watcher.frames[-1].payload == b"4")
        assert [f.payload for f in watcher.frames[-2:]] == [b"3", b"4"]
        assert b"2" not in {f.payload for f in watcher.frames}, "it could not be decoded"


async def test_what_makes_browsers_hold_pictures_is_logged_once_and_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = CodedSource()
    held = CodedFormat(codec="avc1.64001F", width=320, height=180, findings=("B-frames: 2 pictures",))
    async with running(iter([source])) as (made, _, watcher):
        source.send(0, keyframe=True, coded=held)
        source.send(1, coded=held)
        source.send(2, keyframe=True, coded=dataclasses.replace(held, bitrate_bps=5))
        await watcher.until(lambda: len(watcher.frames) == 3)
        assert made.coded is not None
        assert made.coded.findings == ("B-frames: 2 pictures",)
    said = [r.getMessage() for r in caplog.records if "hold pictures" in r.getMessage()]
    assert len(said) == 1
    assert "B-frames: 2 pictures" in said[0]


async def test_aac_is_forwarded_and_opus_is_made_of_it_while_somebody_gets_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demand, "LINGER_S", 0.01)
    source = CodedSource("aac")

    def send(number: int) -> None:
        source.items.put(CodedAudio(b"aac", number * 20_000, number * 20_000, 20_000, AAC))

    async with running(iter([source])) as (_, broadcast, watcher):
        assert await asyncio.to_thread(source.sound_wishes.get, True, 30) is False
        send(0)
        await watcher.until(lambda: len(watcher.frames) == 1)
        (track,) = broadcast.catalog.tracks
        forwarded, encoded = track.renditions
        assert (forwarded.codec, forwarded.forwarded) == ("mp4a.40.2", True)
        assert forwarded.description == b"\x11\x90"
        assert encoded == audio_rendition(1, audio_settings(AudioConfig()), 2)
        broadcast.want(watcher, frozenset({(1, 1)}))
        while not await asyncio.to_thread(source.sound_wishes.get, True, 30):
            pass  # said again, until it is wanted
        for number in range(1, 4):
            send(number)
            source.items.put(sound(number * 20_000))
        await watcher.until(lambda: sum(f.rendition == 1 for f in watcher.frames) == 3)
        assert broadcast.catalog.tracks[0].renditions[1] == encoded, "as it was foreseen"
        broadcast.want(watcher, frozenset({(1, 0)}))
        while await asyncio.to_thread(source.sound_wishes.get, True, 30):
            pass
        broadcast.want(watcher, frozenset({(1, 1)}))
        while not await asyncio.to_thread(source.sound_wishes.get, True, 30):
            pass
        for number in range(1003, 1006):  # twenty seconds later
            source.items.put(sound(number * 20_000))
        await watcher.until(lambda: sum(f.rendition == 1 for f in watcher.frames) >= 6)
        opus = [f for f in watcher.frames if f.rendition == 1]
        delay_us = 20_000 - opus[0].pts_us  # of the codec
        assert [f.pts_us + delay_us for f in opus] == [n * 20_000 for n in (1, 2, 3, 1003, 1004, 1005)]


async def test_opus_is_made_of_aac_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand, "FORWARDING_PATIENCE_S", 0.01)
    source = CodedSource("aac")
    async with running(iter([source]), video=None) as (_, broadcast, watcher):
        while not await asyncio.to_thread(source.sound_wishes.get, True, 30):
            pass
        source.items.put(sound(20_000))
        await watcher.until(lambda: len(watcher.frames) == 1)
        assert [r.codec for r in broadcast.catalog.tracks[0].renditions] == ["opus"]


def overfill(source: CodedSource) -> None:
    """More sound than the outbox holds: the loop stands still, for who calls this does not let it turn."""
    for number in range(OUTBOX_FRAMES + 5):
        source.items.put(CodedAudio(b"sound", number * 20_000, number * 20_000, 20_000, OPUS))


async def test_what_is_encoded_begins_anew_after_a_loss_though_nothing_more_is_forwarded() -> None:
    source = CodedSource()
    async with running(iter([source])) as (made, broadcast, watcher):
        broadcast.want(watcher, frozenset({(0, 1)}))
        source.send(0, keyframe=True)
        source.items.put(PICTURES[0])
        await watcher.until(lambda: len(watcher.frames) == 2)
        overfill(source)
        source.items.put(PICTURES[1])
        while made.stats.outbox_dropped < 7:  # six of sound, for there is a catalog, too; then the picture
            pass
        source.items.put(PICTURES[2])
        await watcher.until(lambda: any(f.rendition == 1 and f.group > 0 for f in watcher.frames))
        again = next(f for f in watcher.frames if f.rendition == 1 and f.group > 0)
        assert (again.index, again.keyframe) == (0, True)


async def test_sound_that_was_lost_costs_no_picture() -> None:
    source = CodedSource()
    async with running(iter([source])) as (made, broadcast, watcher):
        broadcast.want(watcher, frozenset({(0, 1)}))
        source.send(0, keyframe=True)
        source.items.put(PICTURES[0])
        await watcher.until(lambda: len(watcher.frames) == 2)
        overfill(source)
        while made.stats.outbox_dropped < 6:
            pass
        await watcher.until(lambda: len(watcher.frames) == 2 + OUTBOX_FRAMES - 1)
        source.send(1)
        source.items.put(PICTURES[1])
        await watcher.until(lambda: sum(f.track == 0 for f in watcher.frames) == 4)
        pictures = [(f.rendition, f.group, f.index) for f in watcher.frames if f.track == 0]
        assert sorted(pictures) == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]
