"""Frames that no other refers to: said of those alone, and left out without a trace in the others."""

from __future__ import annotations

import numpy as np
import pytest

from tests.encoders.pictures import decode, encoder, noise, panning
from wtgateway.encoders.profiles import PROFILES, VIDEO_CODECS, OpenRequest
from wtgateway.media import Frame

OFFERED = ("vp9", "av1")  # libx264 and libx265 know no such pictures without B-frames, which wait for others


def frames_of(codec: str, *, droppable: bool = True, count: int = 24) -> list[Frame]:
    video = encoder(codec=codec, threads=1, bitrate_bps=1_000_000, droppable=droppable)
    frames = []
    for i in range(count):  # a group that begins in the upper layer, scene cuts that are made once more
        frames += video.encode(noise(i) if i in (8, 17) else panning(i), keyframe=i == 13)
    video.close()
    return frames


@pytest.mark.parametrize("codec", OFFERED)
def test_what_is_discardable_can_be_left_out_without_a_trace(codec: str) -> None:
    frames = frames_of(codec)
    kept = [i for i, frame in enumerate(frames) if not frame.discardable]
    assert len(frames) / 3 <= len(frames) - len(kept), "there is something to be won"
    assert not any(frame.discardable and frame.keyframe for frame in frames)
    whole, thin = decode(frames, codec), decode([frames[i] for i in kept], codec)
    assert len(whole) == len(frames)
    for i, shown in zip(kept, thin, strict=True):
        assert np.array_equal(shown.to_ndarray(), whole[i].to_ndarray())


@pytest.mark.parametrize("codec", OFFERED)
def test_each_discardable_frame_can_be_left_out_alone(codec: str) -> None:
    frames = frames_of(codec, count=12)
    whole = [shown.to_ndarray() for shown in decode(frames, codec)]
    for left_out, frame in enumerate(frames):
        if frame.discardable:
            rest = decode(frames[:left_out] + frames[left_out + 1 :], codec)
            expected = whole[:left_out] + whole[left_out + 1 :]
            assert all(np.array_equal(a.to_ndarray(), b) for a, b in zip(rest, expected, strict=True))


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_without_being_asked_every_frame_is_referred_to(codec: str) -> None:
    assert not any(frame.discardable for frame in frames_of(codec, droppable=False, count=6))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_what_an_encoder_does_not_offer_is_not_claimed(codec: str) -> None:
    frames = frames_of(codec, count=6)
    assert not any(frame.discardable for frame in frames)
    assert len(decode(frames, codec)) == 6


@pytest.mark.parametrize("encoder_name", ["h264_nvenc", "hevc_nvenc"])
def test_hardware_is_asked_for_them_where_its_driver_has_a_word_for_it(encoder_name: str) -> None:
    request = OpenRequest(
        width=640, height=360, fps=30, target_bps=1, bitrate_bps=1, buffer_s=0.1, preset="p1", threads=1,
        droppable=True,
    )  # fmt: skip
    assert PROFILES[encoder_name].options(request)["nonref_p"] == "1"
