"""Bit rate: held over each second, bounded in each frame, followed while the broadcast runs.

What holds differs by encoder. libx264, libx265 and libvpx-vp9 stay within a tenth of the target over any
second; libsvtav1 within an eighth, and 15 percent where it begins anew for another. No frame of any of them
is larger than the cap, scene cuts included: libx264 and libx265 see to that themselves, and what the others
make too large is made once more. Only libx264 takes another rate without a keyframe, if it is not far less.
One thread: with more, the rate control of libx265 sees the rows of a picture in an order that differs from
run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.encoders.pictures import (
    FPS,
    START_US,
    STEP_US,
    decode,
    encoder,
    noise,
    panning,
    pictures,
)
from wtgateway.encoders import VideoEncoder
from wtgateway.encoders.profiles import PROFILES, VIDEO_CODECS, OpenRequest, Options
from wtgateway.errors import EncoderError
from wtgateway.media import Frame
from wtgateway.sources import RawVideo
from wtgateway.sources.barcode import decode_barcode

TARGET_BPS = 2_000_000
OFF_TARGET = {"h264": 0.10, "hevc": 0.10, "vp9": 0.10, "av1": 0.125}
OFF_LOW_TARGET = {"hevc": 0.15, "vp9": 0.15, "av1": 0.15}


def cutting(number: int) -> RawVideo:
    """Twenty pictures of one place, then of another."""
    return replace(panning(number + number // 20 * 137), pts_us=START_US + number * STEP_US)


def run(
    video: VideoEncoder,
    content: Callable[[int], RawVideo],
    pictures: range,
    *,
    keyframe_at: int = -1,
) -> list[Frame]:
    return [f for i in pictures for f in video.encode(content(i), keyframe=i == keyframe_at)]


def seconds(frames: list[Frame]) -> list[float]:
    """Bit rates of all windows of a second."""
    sizes = [len(frame.payload) * 8 for frame in frames]
    return [float(sum(sizes[k : k + FPS])) for k in range(len(sizes) - FPS + 1)]


@pytest.mark.parametrize("content", [panning, noise])
@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_the_rate_is_held_over_every_second(codec: str, content: Callable[[int], RawVideo]) -> None:
    video = encoder(codec=codec, threads=1, bitrate_bps=TARGET_BPS, keyframe_interval_s=0)
    run(video, content, range(FPS))
    rates = seconds(run(video, content, range(FPS, 4 * FPS), keyframe_at=75))
    video.close()
    assert min(rates) > TARGET_BPS * (1 - OFF_TARGET[codec])
    assert max(rates) < TARGET_BPS * (1 + OFF_TARGET[codec])


@pytest.mark.parametrize("content", [panning, noise, cutting])
@pytest.mark.parametrize("buffer_s", [0.1, 0.2])
@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_no_frame_is_larger_than_the_cap(
    codec: str, buffer_s: float, content: Callable[[int], RawVideo]
) -> None:
    video = encoder(codec=codec, threads=1, bitrate_bps=1_000_000, buffer_s=buffer_s)
    assert video.frame_cap_bytes == 1_000_000 * buffer_s / 8
    frames = run(video, content, range(60), keyframe_at=30)
    video.close()
    assert max(len(f.payload) for f in frames) <= video.frame_cap_bytes
    assert [(f.group, f.index) for f in frames] == [(7 + i // 30, i % 30) for i in range(60)]
    assert [f.pts_us for f in frames] == [content(i).pts_us for i in range(60)]
    assert len(decode(frames, codec)) == 60


def test_libx264_follows_down_and_up_again_without_a_keyframe() -> None:
    video = encoder(bitrate_bps=TARGET_BPS, keyframe_interval_s=0)
    frames, renditions = [], []
    for first, bps in ((0, TARGET_BPS), (60, 1_100_000), (150, 1_700_000)):
        video.set_bitrate(bps)
        frames += run(video, panning, range(first, first + 90 if first else 60))
        renditions.append(video.rendition)
    assert [i for i, frame in enumerate(frames) if frame.keyframe] == [0]
    assert renditions[0] is renditions[2]
    rates = seconds(frames)
    for at, bps in ((30, TARGET_BPS), (115, 1_100_000), (205, 1_700_000)):
        assert rates[at] == pytest.approx(bps, rel=0.12)


def test_libx264_begins_a_group_for_far_less_so_that_no_frame_is_too_large_for_that() -> None:
    """Its buffer is fixed when it is opened: what was a tenth of a second would be half of one."""
    video = encoder(bitrate_bps=TARGET_BPS, keyframe_interval_s=0)
    frames, renditions = [], []
    for first, bps in ((0, TARGET_BPS), (30, 400_000), (60, 550_000)):
        video.set_bitrate(bps)
        frames += run(video, cutting, range(first, first + 30))
        renditions.append(video.rendition)
    assert [i for i, frame in enumerate(frames) if frame.keyframe] == [0, 30], "and follows up from there"
    assert max(len(frame.payload) for frame in frames[30:]) * 8 <= 400_000 * 1.5 * 0.1
    assert renditions[0] is not None
    assert renditions == [renditions[0]] * 3, "what was configured"
    assert renditions[0].bitrate_bps == TARGET_BPS


@pytest.mark.parametrize("bps", [600_000, 3_000_000])
@pytest.mark.parametrize("codec", ["hevc", "av1", "vp9"])
def test_the_others_begin_a_group_for_another_rate(codec: str, bps: int) -> None:
    video = encoder(codec=codec, threads=1, bitrate_bps=1_500_000, keyframe_interval_s=0)
    frames = run(video, panning, range(45))
    video.set_bitrate(bps)
    frames += run(video, panning, range(45, 120))
    video.close()
    assert [(f.group, f.index) for f in frames] == [
        *((7, i) for i in range(45)),
        *((8, i) for i in range(75)),
    ]
    assert [f.pts_us for f in frames] == [START_US + i * STEP_US for i in range(120)], "no gap"
    assert len(decode(frames, codec)) == 120
    assert video.rendition is not None
    assert video.rendition.bitrate_bps == max(bps, 1_500_000), "less for a while is no other rendition"
    assert seconds(frames)[85] == pytest.approx(bps, rel=OFF_LOW_TARGET[codec]), "it finds its way"


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_the_same_rate_again_changes_nothing(codec: str) -> None:
    video = encoder(codec=codec)
    frames = run(video, noise, range(2))
    video.set_bitrate(4_000_000)
    frames += run(video, noise, range(2, 4))
    assert [(f.group, f.index) for f in frames] == [(7, 0), (7, 1), (7, 2), (7, 3)]


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_twice_the_frame_rate_is_the_same_bit_rate(codec: str) -> None:
    video = encoder(codec=codec, threads=1, bitrate_bps=TARGET_BPS, keyframe_interval_s=0)
    run(video, panning, range(10))
    video.reconfigure(fps=60)
    frames = []
    for i in range(150):
        picture = panning(10 + i)
        at_us = START_US + 10 * STEP_US + i * STEP_US // 2
        frames += video.encode(replace(picture, pts_us=at_us, duration_us=STEP_US // 2))
    video.close()
    spent = sum(len(f.payload) for f in frames[30:]) * 8 / (120 * STEP_US / 2e6)
    assert spent == pytest.approx(TARGET_BPS, rel=OFF_TARGET[codec])


def delayed(request: OpenRequest) -> Options:
    """libx264 as nobody should open it: three pictures are looked at before one comes out."""
    return {"preset": "ultrafast", "rc-lookahead": "0", "thread_type": "frame", "threads": "4"}


def test_frames_of_an_encoder_with_a_delay_keep_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a hardware encoder may be: what comes out late belongs to the picture that went in."""
    monkeypatch.setattr("wtgateway.encoders.video.find_profile", lambda *_: slow)
    slow = replace(PROFILES["libx264"], options=delayed, live_bitrate=False)
    video = encoder(threads=4)
    made = [video.encode(picture) for picture in pictures(10)]
    assert made[:3] == [[], [], []]
    video.set_bitrate(2_000_000)
    made.append(video.encode(pictures(11)[10]))
    frames = [frame for each in made for frame in each]
    assert [f.pts_us for f in frames] == [START_US + i * STEP_US for i in range(10)], "none is lost"
    assert [decode_barcode(s.to_ndarray()[:180]) for s in decode(frames)] == list(
        range(1, len(decode(frames)) + 1)
    )


def test_an_encoder_that_swallows_pictures_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wtgateway.encoders.video.find_profile", lambda *_: swallowing)
    swallowing = replace(
        PROFILES["libx264"],
        options=lambda _: {"preset": "veryfast", "rc-lookahead": "100", "bf": "0", "g": "500"},
    )
    video = encoder()
    with pytest.raises(EncoderError, match="libx264 holds back 64 pictures; choose another"):
        run(video, lambda _: pictures(1)[0], range(70))
