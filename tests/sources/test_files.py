"""Files: display order, pace, seamless loops with sound and picture together, errors in words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wtgateway import clock
from wtgateway.errors import SourceEnded, SourceError
from wtgateway.media import Kind
from wtgateway.sources import RawAudio, RawVideo, SourceOptions, probe

Media = Callable[..., Any]
FRAME_US = 33_333


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_every_frame_once_in_display_order_and_then_the_end(media: Media, tools: Any, suffix: str) -> None:
    file = media(suffix, 24)
    source = tools.make(str(file.path), loop=False)
    info = source.open()
    assert (info.width, info.height, round(info.fps), info.live) == (*tools.SIZE, tools.FPS, False)
    assert (info.sample_rate, info.channels) == (48_000, 2)

    video: list[RawVideo] = []
    audio: list[RawAudio] = []
    with pytest.raises(SourceEnded):
        while True:
            raw = source.read()
            assert clock.now_us() >= raw.pts_us - 1_000, "never before its time"
            video.append(raw) if isinstance(raw, RawVideo) else audio.append(raw)

    assert tools.numbers(video) == list(range(1, 25))
    assert all(abs(b.pts_us - a.pts_us - FRAME_US) <= 1_000 for a, b in pairwise(video))
    assert abs(audio[0].pts_us - video[0].pts_us) <= 25_000
    heard_us = sum(raw.duration_us for raw in audio)
    assert abs(heard_us - 24 * FRAME_US) <= 50_000
    assert all(raw.capture_us == raw.pts_us for raw in (*video, *audio))


def test_loops_are_seamless_and_in_sync(media: Media, tools: Any) -> None:
    file = media("mp4", 15, audio_s=0.6)  # the sound is 0.1 s longer than the picture
    source = tools.open(str(file.path))
    video, audio = tools.both(source, 50)
    assert tools.numbers(video) == [i % 15 + 1 for i in range(50)]
    passes = [raw.pts_us for raw, number in zip(video, tools.numbers(video), strict=True) if number == 1]
    lengths = [b - a for a, b in pairwise(passes)]
    assert max(lengths) - min(lengths) <= 1_000
    assert 600_000 <= lengths[0] <= 650_000, "as long as its longest track"
    assert all(b.pts_us > a.pts_us for a, b in pairwise(audio))
    # Each pass's sound begins where its picture does.
    for start in passes[1:]:
        assert min(abs(raw.pts_us - start) for raw in audio) <= 25_000


def test_pictures_and_sound_come_merged_by_time(media: Media, tools: Any) -> None:
    source = tools.open(str(media("webm", 24).path))
    raws = [source.read() for _ in range(60)]
    assert all(b.pts_us >= a.pts_us for a, b in pairwise(raws))


def test_sound_is_the_tone(media: Media, tools: Any) -> None:
    source = tools.open(str(media("mkv", 24).path), loop=False)
    _, audio = tools.both(source, 20)
    wave = np.concatenate([np.atleast_2d(raw.frame.to_ndarray())[0] for raw in audio])[4_800:24_000]
    assert np.argmax(np.abs(np.fft.rfft(wave))) * 48_000 / wave.size == pytest.approx(tools.TONE_HZ, abs=3)


def test_a_silent_file(media: Media, tools: Any) -> None:
    source = tools.make(str(media("mp4", 10, audio_s=0).path))
    assert not source.open().has_audio
    assert tools.numbers(tools.pictures(source, 21))[10] == 1


def test_generated_by_a_filter_graph(tools: Any) -> None:
    source = tools.make("lavfi:testsrc=size=64x48:rate=50:duration=0.2[out0];sine=duration=0.2[out1]")
    info = source.open()
    assert (info.width, info.height, info.has_audio, info.live) == (64, 48, True, True)
    video: list[RawVideo] = []
    with pytest.raises(SourceEnded):
        while True:
            raw = source.read()
            if isinstance(raw, RawVideo):
                video.append(raw)
    assert len(video) == 10
    assert {b.pts_us - a.pts_us for a, b in pairwise(video)} == {20_000}


def test_close_from_another_thread_wakes_a_waiting_read(tools: Any) -> None:
    source = tools.open("lavfi:testsrc=size=64x48:rate=1/30")
    source.read()
    closer = threading.Thread(target=source.close)
    closer.start()
    with pytest.raises(SourceError, match="closed"):
        source.read()  # the next picture is due in half a minute
    closer.join()


@pytest.mark.parametrize("content", [b"", b"this is no media file\n" * 500])
def test_what_is_not_media_is_told_in_words(tmp_path: Path, tools: Any, content: bytes) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="cannot be opened"):
        tools.open(str(path))


def test_a_file_cut_off_plays_what_is_there(media: Media, tools: Any, tmp_path: Path) -> None:
    whole = media("mkv", 24).path.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    source = tools.open(str(path), loop=False)
    error = tools.read_until_error(source)
    assert isinstance(error, SourceError)


def test_a_source_can_be_opened_after_it_failed(media: Media, tools: Any, tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    with pytest.raises(SourceError, match="no such file"):
        tools.open(str(path))
    path.write_bytes(media("mp4", 24).path.read_bytes())
    assert tools.numbers(tools.pictures(tools.open(str(path)), 1)) == [1]


def test_probe(media: Media) -> None:
    result = probe(str(media("mp4", 24).path), SourceOptions())
    assert result.duration_s == pytest.approx(0.8, abs=0.1)
    video, audio = result.tracks
    assert (video.kind, video.codec, video.width, video.height, video.fps) == (
        Kind.VIDEO,
        "h264",
        192,
        160,
        30,
    )
    assert (audio.kind, audio.codec, audio.sample_rate, audio.channels) == (Kind.AUDIO, "aac", 48_000, 2)
    assert [track.kind for track in probe("test:", SourceOptions()).tracks] == [Kind.VIDEO, Kind.AUDIO]
    with pytest.raises(SourceError, match="no such file"):
        probe("none.mp4", SourceOptions())
