"""Codec strings from real bitstreams, and parameter sets put where they lack."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encoders.pictures import decode, encoder, pictures
from wtgateway.bitstream.nal import join_annexb, split_annexb
from wtgateway.encoders.keyframes import ParameterSets, codec_string
from wtgateway.encoders.profiles import VIDEO_CODECS


def coded(codec: str, count: int = 2) -> list[bytes]:
    video = encoder(codec=codec)
    return [frame.payload for picture in pictures(count) for frame in video.encode(picture)]


def string_of(codec: str, payload: bytes) -> str | None:
    return codec_string(codec, payload, fps=30, bitrate_bps=1_000_000)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_what_is_no_keyframe_has_no_codec_string(codec: str) -> None:
    keyframe, other = coded(codec)
    assert string_of(codec, keyframe) is not None
    assert string_of(codec, other) is None


@pytest.mark.parametrize("codec", VIDEO_CODECS)
@given(data=st.binary(max_size=200))
def test_any_bytes_have_a_codec_string_or_none(codec: str, data: bytes) -> None:
    string = string_of(codec, data)
    assert string is None or "." in string


@pytest.mark.parametrize("codec", VIDEO_CODECS)
@given(flips=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 255)), min_size=1, max_size=5))
def test_a_damaged_keyframe_has_a_codec_string_or_none(codec: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(KEYFRAMES[codec])
    for at, mask in flips:
        data[at % len(data)] ^= mask
    string = string_of(codec, bytes(data))
    assert string is None or "." in string


KEYFRAMES = {codec: coded(codec, 1)[0] for codec in VIDEO_CODECS}


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_parameter_sets_that_came_alone_are_put_into_every_keyframe(codec: str) -> None:
    video = encoder(codec=codec)
    frames = [f for i, p in enumerate(pictures(6)) for f in video.encode(p, keyframe=i == 3)]
    sets, kinds = ParameterSets(codec), {"h264": {7, 8}, "hevc": {32, 33, 34}}[codec]

    def kind(unit: bytes) -> int:
        return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63

    def part(payload: bytes, headers: bool) -> bytes:
        return join_annexb(unit for unit in split_annexb(payload) if (kind(unit) in kinds) == headers)

    # As a V4L2 driver does: the sets in a buffer of their own, then pictures without any.
    assert sets.complete(part(frames[0].payload, True), keyframe=False) == b""
    bare = [part(frame.payload, False) for frame in frames]
    made = [sets.complete(b, keyframe=f.keyframe) for b, f in zip(bare, frames, strict=True)]
    assert [len(m) - len(b) > 0 for m, b in zip(made, bare, strict=True)] == [f.keyframe for f in frames]
    assert string_of(codec, made[3]) == string_of(codec, frames[3].payload)
    assert sets.complete(frames[3].payload, keyframe=True) == frames[3].payload, "nothing twice"
    alone = [replace(f, payload=m) for f, m in zip(frames, made, strict=True)]
    assert len(decode(alone[3:], codec)) == 3


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=6), st.sampled_from(["h264", "hevc"])
)
def test_any_bytes_pass_the_parameter_sets(payloads: list[tuple[bytes, bool]], codec: str) -> None:
    sets = ParameterSets(codec)
    for payload, keyframe in payloads:
        made = sets.complete(payload, keyframe=keyframe)
        assert made == b"" or made.endswith(payload)


def test_what_is_no_annex_b_is_left_alone() -> None:
    sets = ParameterSets("h264")
    assert sets.complete(b"\0\0\0\2\x65\1", keyframe=True) == b"\0\0\0\2\x65\1"
