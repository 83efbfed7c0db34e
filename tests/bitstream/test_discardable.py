"""Whether an access unit can be left out: real streams, drawn ones, and rubbish."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bitstream.streams import Coded, decode, x264, x265
from tests.bitstream.test_vp9 import TWO_LAYERS, drawn_inter
from tests.bitstream.test_vp9 import encode as vp9_encode
from wtgateway.bitstream import h264, hevc
from wtgateway.bitstream.discardable import Discardable

CODECS = ("h264", "hevc", "av1", "vp9")


def kept(codec: str, stream: Sequence[Coded]) -> list[Coded]:
    discardable = Discardable(codec)
    return [coded for coded in stream if not discardable(coded.data)]


@pytest.mark.parametrize(
    ("codec", "make"),
    [("h264", x264), ("h264", lambda: x264(**{"b-pyramid": "normal", "bf": "3"})), ("hevc", x265)],
    ids=["h264", "h264 pyramid", "hevc"],
)
def test_pictures_that_nobody_refers_to_leave_no_trace(
    codec: str, make: Callable[[], Sequence[Coded]]
) -> None:
    stream = make()
    rest = kept(codec, stream)
    assert 0 < len(rest) < len(stream)
    whole, part = decode(codec, stream).pictures, decode(codec, rest).pictures
    assert len(part) == len(rest)
    assert all(whole[pts] == part[pts] for pts in part)


def test_it_agrees_with_what_is_read_of_units() -> None:
    judge = Discardable("h264")
    assert [judge(c.data) for c in x264()] == [h264.facts(c.units).disposable for c in x264()]
    sets, judge = hevc.ParameterSets(), Discardable("hevc")
    for coded in x265():
        for unit in coded.units:
            sets.add(unit)
        assert judge(coded.data) == hevc.facts(coded.units, sets).disposable


def test_two_layers_of_vp9() -> None:
    judge = Discardable("vp9")
    assert [judge(packet) for packet in vp9_encode(options=TWO_LAYERS, frames=8, gop=8)] == [False, True] * 4


def test_one_frame_of_vp9_that_is_not_resilient_spoils_it_until_the_next_keyframe() -> None:
    """It takes probabilities and motion from the frame before it, whichever that is."""
    keyframe = vp9_encode(options=TWO_LAYERS, frames=1)[0]
    upper = drawn_inter(shown=True, refresh=0, resilient=True)
    plain = drawn_inter(shown=True, refresh=1)
    judge = Discardable("vp9")
    assert not judge(upper), "nothing is known of what came before"
    verdicts = [judge(unit) for unit in (keyframe, upper, plain, upper, keyframe, upper)]
    assert verdicts == [False, True, False, False, False, True]


def test_av1_before_a_sequence_header_is_kept() -> None:
    judge = Discardable("av1")
    assert not judge(b"\x32\x01\x00")


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=300))
def test_what_cannot_be_read_is_kept(codec: str, data: bytes) -> None:
    assert Discardable(codec)(data) in (True, False)
    assert Discardable(codec)(b"") is False
    assert Discardable(codec)(b"\xff" * 40) is False


@given(st.integers(0, 11), st.integers(0, 40), st.integers(0, 255))
def test_broken_bytes_of_real_units_do_no_harm(number: int, at: int, value: int) -> None:
    for codec, stream in (("h264", x264()), ("hevc", x265())):
        data = bytearray(stream[number].data)
        data[at % len(data)] = value
        assert Discardable(codec)(bytes(data)) in (True, False)
