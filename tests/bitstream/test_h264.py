"""H.264 parameter sets and slices, on streams of libx264, held against what libavcodec says."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitstream import streams
from tests.bitstream.streams import (
    Coded,
    check_sps,
    decode,
    map_units,
    mutated_units,
    places,
    value_or_error,
    without_restriction,
    without_vui,
    x264,
)
from wtgateway.bitstream import h264, h264_syntax, nal
from wtgateway.bitstream.bits import BitReader, BitstreamError
from wtgateway.bitstream.nal import SliceType
from wtgateway.bitstream.order import H264Order

ZERO_LATENCY = {"tune": "zerolatency"}
STREAMS: dict[str, dict[str, Any]] = {
    "with B-frames": {},
    "baseline": {"profile": "baseline"},
    "main": {"profile": "main"},
    "high444": {"pix_fmt": "yuv444p", "width": 179, "height": 97},
    "high422": {"pix_fmt": "yuv422p"},
    "high10": {"pix_fmt": "yuv420p10le"},
    "grey": {"pix_fmt": "gray"},
    "lossless": {"qp": "0", "pix_fmt": "yuv444p"},
    "scaling lists": {"x264-params": "cqm=jvt"},
    "interlaced": {"flags": "+ildct+ilme", "height": 100, "x264-params": "tff=1"},
    "HRD": {"b": "500k", "maxrate": "500k", "bufsize": "500k", "nal-hrd": "cbr"},
    "colours": {"x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:range=pc:sar=40/33"},
    "odd shape": {"x264-params": "sar=7/5:overscan=show:chromaloc=2"},
    "zero latency": ZERO_LATENCY,
    "intra only": {"g": "1", "pix_fmt": "yuv422p10le", "profile": "high422"},
    "only P": {"only_p": True},
}


def stream_of(name: str) -> tuple[Coded, ...]:
    return x264(**STREAMS[name])


sps_of = functools.partial(streams.sps_of, "h264")
rewritten = functools.partial(streams.rewritten, "h264")


@pytest.mark.parametrize("name", STREAMS)
def test_sps_says_what_the_decoder_says(name: str) -> None:
    stream = stream_of(name)
    sps, said = h264.parse_sps(sps_of(stream)), decode("h264", stream).context
    check_sps(sps, said)
    assert sps.level_idc == said.level
    assert said.format is not None
    chroma = {"yuv420p": 1, "yuv422p": 2, "yuv444p": 3, "yuvj420p": 1}
    # libavcodec decodes grey into 4:2:0 with empty chroma.
    assert sps.chroma_format_idc == (0 if name == "grey" else chroma[said.format.name.removesuffix("10le")])
    assert sps.timing is not None
    assert Fraction(sps.timing.time_scale, 2 * sps.timing.num_units_in_tick) == 30
    assert sps.frame_mbs_only == (name != "interlaced")
    assert said.profile.startswith({66: "Constrained Baseline", 77: "Main", 100: "High", 110: "High 10",
                                    122: "High 4:2:2", 244: "High 4:4:4"}[sps.profile_idc])  # fmt: skip


def test_codec_string() -> None:
    assert h264.parse_sps(sps_of(stream_of("baseline"))).codec == "avc1.42C00B"
    assert h264.parse_sps(sps_of(stream_of("high10"))).codec == "avc1.6E000B"


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("strip", [None, without_restriction, without_vui])
def test_rewrite_changes_two_numbers_and_nothing_else(name: str, strip: object) -> None:
    before = sps_of(stream_of(name))
    if callable(strip):
        before = strip(before)
    after = h264.declare_no_reordering(before)
    old, new = h264.parse_sps(before), h264.parse_sps(after)
    assert new.restriction == h264_syntax.Restriction(
        max_num_reorder_frames=0, max_dec_frame_buffering=old.max_num_ref_frames
    )
    for field in h264.Sps.__dataclass_fields__:
        assert field == "restriction" or getattr(new, field) == getattr(old, field), field
    # Bit for bit: what stands before the first change is the same.
    places = h264._parse(BitReader(nal.remove_emulation_prevention(before[1:])))[1]
    same = places.reorder or (places.vui_flag if strip is without_vui else places.restriction_flag)
    assert same is not None
    bits = [BitReader(nal.remove_emulation_prevention(unit[1:])).u(same) for unit in (before, after)]
    assert bits[0] == bits[1]
    assert h264.declare_no_reordering(after) == after
    assert before[:1] == after[:1]


@pytest.mark.parametrize("strip", [without_restriction, without_vui])
@pytest.mark.parametrize("name", ["zero latency", "baseline", "interlaced P", "444 P"])
def test_rewritten_streams_decode_the_same_at_once(name: str, strip: object) -> None:
    stream = {
        "zero latency": lambda: x264(tune="zerolatency"),
        "baseline": lambda: x264(profile="baseline"),
        "interlaced P": lambda: x264(height=100, bf="0", flags="+ildct+ilme"),
        "444 P": lambda: x264(bf="0", pix_fmt="yuv444p", width=179, height=97),
    }[name]()
    assert callable(strip)
    silent = map_units(stream, strip)
    held, free = (
        decode("h264", silent, strict=True),
        decode("h264", map_units(silent, rewritten), strict=True),
    )
    assert held.reorder_depth > 0
    assert held.delays[0] > 1
    assert free.reorder_depth == 0
    assert free.pictures == held.pictures == decode("h264", stream).pictures
    assert free.order == tuple(sorted(free.order))
    assert free.delays[0] == 1
    assert free.delays == tuple(range(1, 25))


def test_announced_but_unused_reordering_is_taken_back() -> None:
    stream = stream_of("only P")
    before, after = decode("h264", stream), decode("h264", map_units(stream, rewritten))
    assert before.reorder_depth == 2
    assert before.delays[0] == 3
    assert after.reorder_depth == 0
    assert after.delays == tuple(range(1, 25))
    assert after.pictures == before.pictures


@pytest.mark.parametrize("name", STREAMS)
def test_picture_order_is_that_of_the_timestamps(name: str) -> None:
    got = places(stream_of(name), H264Order())
    assert [pts for pts, _ in sorted(got, key=lambda item: item[1])] == list(range(24))


def test_order_is_unknown_without_parameter_sets() -> None:
    assert H264Order().next(x264()[0].units) is None


def test_facts_of_access_units() -> None:
    stream = x264()
    facts = [h264.facts(coded.units) for coded in stream]
    assert [f.keyframe for f in facts] == [f.closed for f in facts]
    assert sum(f.keyframe for f in facts) == 2
    assert facts[0].slice_types == {SliceType.I}
    assert not facts[0].disposable
    kinds = {next(iter(f.slice_types)) for f in facts}
    assert kinds == {SliceType.I, SliceType.P, SliceType.B}
    kept = [coded for coded, f in zip(stream, facts, strict=True) if not f.disposable]
    assert len(kept) < len(stream)
    whole, part = decode("h264", stream).pictures, decode("h264", kept).pictures
    assert all(whole[pts] == part[pts] for pts in part)
    assert not h264.facts([sps_of(stream)]).has_picture


def test_recovery_points_are_seen() -> None:
    stream = x264(**{"x264-params": "intra-refresh=1"})
    facts = [h264.facts(coded.units) for coded in stream]
    assert sum(f.keyframe for f in facts) == 1
    assert any(f.recovery_point for f in facts[1:])


def test_parameter_sets_are_put_in_where_they_are_missing() -> None:
    units = x264(**{"x264-params": "aud=1"})[0].units
    sets = [u for u in units if h264.nal_type(u) in (h264.SPS, h264.PPS)]
    bare = [u for u in units if u not in sets]
    assert h264.nal_type(bare[0]) == h264.DELIMITER
    assert not h264.facts(bare).has_parameter_sets
    whole = h264.with_parameter_sets(bare, sets)
    assert whole == (bare[0], *sets, *bare[1:])
    assert h264.facts(whole).has_parameter_sets
    assert h264.with_parameter_sets(whole, sets) == whole
    # A set of the same id in the access unit is newer.
    assert h264.with_parameter_sets(whole, [without_vui(sets[0])]) == whole


def test_levels_bound_the_buffer() -> None:
    sps = h264.parse_sps(
        without_restriction(sps_of(x264(width=1280, height=720, **ZERO_LATENCY, level="3.1")))
    )
    assert sps.max_dpb_frames == sps.reorder_frames == sps.dpb_frames == 5


@pytest.mark.parametrize("unit", [b"", b"\x67", b"\x68\x01\x02", b"\x67" + bytes(70000)])
def test_what_is_no_sps_is_refused(unit: bytes) -> None:
    with pytest.raises(BitstreamError):
        h264.parse_sps(unit)
    with pytest.raises(BitstreamError):
        h264.declare_no_reordering(unit)


def feed(data: bytes, order: H264Order) -> None:
    """All that reads bytes from outside, each may raise the one error."""
    units = (data,)
    sps, head = b"\x67" + data, b"\x65" + data
    value_or_error(
        lambda: h264.parse_sps(sps), lambda: h264.parse_sps(h264.declare_no_reordering(sps)),
        lambda: h264.slice_type(head), lambda: h264.facts((*units, head, b"\6" + data)),
        lambda: order.add(data), lambda: order.next((*units, head)),
        lambda: h264.with_parameter_sets(units, (sps,)),
    )  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_give_a_value_or_one_error(data: bytes) -> None:
    order = H264Order()
    for unit in x264()[0].units[:2]:
        order.add(unit)
    feed(data, order)


def test_mutated_streams_give_a_value_or_one_error() -> None:
    order = H264Order()
    for cut in mutated_units(map(stream_of, STREAMS), seed=5):
        feed(cut, order)
        feed(cut[1:], order)
