"""HEVC parameter sets and slices, on streams of libx265, held against what libavcodec says."""

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
    x265,
)
from wtgateway.bitstream import hevc, nal
from wtgateway.bitstream.bits import BitReader, BitstreamError
from wtgateway.bitstream.hevc_syntax import Profile
from wtgateway.bitstream.nal import SliceType
from wtgateway.bitstream.order import HevcOrder

STREAMS: dict[str, dict[str, Any]] = {
    "with B-frames": {},
    "zero latency": {"params": "bframes=0:rc-lookahead=0"},
    "only P": {"only_p": True},
    "main10": {"pix_fmt": "yuv420p10le"},
    "4:2:2": {"pix_fmt": "yuv422p", "height": 98},
    "4:4:4": {"pix_fmt": "yuv444p", "width": 179, "height": 97},
    "grey": {"pix_fmt": "gray", "height": 100},
    "colours": {"params": "colorprim=9:transfer=16:colormatrix=9:range=full:sar=5"},
    "odd shape": {"params": "sar=7\\:5:overscan=show:chromaloc=2:display-window=0,2,4,6"},
    "HRD": {"params": "hrd=1:bitrate=500:vbv-maxrate=500:vbv-bufsize=500"},
    "scaling lists": {"params": "scaling-list=default"},
    "sub-layers": {"params": "temporal-layers=2:b-adapt=0:bframes=3"},
    "fields": {"params": "interlace=tff:bframes=0"},
    "intra": {"params": "keyint=1:min-keyint=1"},
    "open groups": {"params": "open-gop=1:b-adapt=0"},
    "many references": {"params": "ref=4:bframes=4:b-adapt=0"},
}


def stream_of(name: str) -> tuple[Coded, ...]:
    return x265(**STREAMS[name])


sps_of = functools.partial(streams.sps_of, "hevc")
rewritten = functools.partial(streams.rewritten, "hevc")


@pytest.mark.parametrize("name", STREAMS)
def test_sps_says_what_the_decoder_says(name: str) -> None:
    stream = stream_of(name)
    sps, said = hevc.parse_sps(sps_of(stream)), decode("hevc", stream).context
    check_sps(sps, said)
    assert sps.profile.level_idc == said.level
    assert said.format is not None
    chroma = {"yuv420p": 1, "yuv422p": 2, "yuv444p": 3, "gray": 0, "yuvj420p": 1}
    assert sps.chroma_format_idc == chroma[said.format.name.removesuffix("10le")]
    assert sps.timing is not None
    assert Fraction(sps.timing.time_scale, sps.timing.num_units_in_tick) == said.framerate
    assert sps.field_seq == (name == "fields")
    assert said.profile == {1: "Main", 2: "Main 10", 4: "Rext"}[sps.profile.idc]


def test_sub_layers_are_read() -> None:
    sps = hevc.parse_sps(sps_of(stream_of("sub-layers")))
    assert len(sps.sub_layers) > 1
    assert sps.sub_layers[-1].max_dec_pic_buffering > 1


@pytest.mark.parametrize(
    ("profile", "suffix"),
    [
        # The examples of ISO/IEC 14496-15 E.3.
        (Profile(space=0, high_tier=False, idc=1, compatibility=0x60000000,
                 constraints=b"\xb0\0\0\0\0\0", level_idc=93), "1.6.L93.B0"),
        (Profile(space=1, high_tier=True, idc=4, compatibility=0x08000000,
                 constraints=b"\xb0\x23\0\0\0\0", level_idc=93), "A4.10.H93.B0.23"),
        (Profile(space=0, high_tier=False, idc=2, compatibility=0x20000000,
                 constraints=bytes(6), level_idc=120), "2.4.L120"),
        (Profile(space=0, high_tier=False, idc=2, compatibility=0x20000000,
                 constraints=b"\x90\0\x08\0\0\0", level_idc=120), "2.4.L120.90.0.8"),
    ],
)  # fmt: skip
def test_codec_string(profile: Profile, suffix: str) -> None:
    assert profile.codec_suffix == suffix


def test_codec_string_of_a_stream() -> None:
    sps = hevc.parse_sps(sps_of(stream_of("with B-frames")))
    assert (sps.codec, sps.codec_in_band) == ("hvc1.1.6.L60.90", "hev1.1.6.L60.90")


@pytest.mark.parametrize("name", STREAMS)
def test_rewrite_changes_reordering_and_nothing_else(name: str) -> None:
    before = sps_of(stream_of(name))
    after = hevc.declare_no_reordering(before)
    old, new = hevc.parse_sps(before), hevc.parse_sps(after)
    assert all(layer.max_num_reorder == 0 for layer in new.sub_layers)
    assert [(a.max_dec_pic_buffering, a.max_latency_increase_plus1) for a in old.sub_layers] == [
        (b.max_dec_pic_buffering, b.max_latency_increase_plus1) for b in new.sub_layers
    ]
    for field in hevc.Sps.__dataclass_fields__:
        assert field == "sub_layers" or getattr(new, field) == getattr(old, field), field
    assert hevc.declare_no_reordering(after) == after
    assert bits_but_reorder(before) == bits_but_reorder(after)


def bits_but_reorder(unit: bytes) -> str:
    """All bits of an SPS without the values that the rewrite may change."""
    rbsp = nal.remove_emulation_prevention(unit)
    r = BitReader(rbsp[2:])
    _, places = hevc._parse(r)
    bits = f"{int.from_bytes(rbsp[2:], 'big'):0{8 * len(rbsp) - 16}b}"[: r.rbsp_end()]
    for start, stop in reversed(places.reorder):
        bits = bits[:start] + bits[stop:]
    return rbsp[:2].hex() + bits


def test_rewritten_streams_decode_the_same_at_once() -> None:
    stream = stream_of("only P")
    before, after = decode("hevc", stream), decode("hevc", map_units(stream, rewritten))
    assert before.reorder_depth > 0
    assert before.delays[0] > 1
    assert after.reorder_depth == 0
    assert after.delays == tuple(range(1, 25))
    assert after.pictures == before.pictures
    assert len(after.pictures) == 24


@pytest.mark.parametrize("name", STREAMS)
def test_picture_order_is_that_of_the_timestamps(name: str) -> None:
    got = places(stream_of(name), HevcOrder())
    in_order = [pts for pts, _ in sorted(got, key=lambda item: item[1])]
    assert in_order == sorted(in_order)
    assert len({place for _, place in got}) == len(got)


def test_order_is_unknown_without_parameter_sets() -> None:
    assert HevcOrder().next(x265()[0].units) is None


def sets_of(stream: tuple[Coded, ...]) -> hevc.ParameterSets:
    sets = hevc.ParameterSets()
    for unit in stream[0].units:
        sets.add(unit)
    return sets


@pytest.mark.parametrize("name", ["with B-frames", "sub-layers", "open groups"])
def test_facts_of_access_units(name: str) -> None:
    stream = stream_of(name)
    sets = sets_of(stream)
    facts = [hevc.facts(coded.units, sets) for coded in stream]
    assert facts[0].slice_types == {SliceType.I}
    assert facts[0].has_parameter_sets
    assert facts[0].closed
    assert sum(f.keyframe for f in facts) >= 2
    assert {kind for f in facts for kind in f.slice_types} == set(SliceType)
    assert any(f.skipped_leading for f in facts) == (name == "open groups")
    assert all(f.closed for f in facts if f.keyframe) == (name != "open groups")
    kept = [coded for coded, f in zip(stream, facts, strict=True) if not f.disposable]
    assert len(kept) < len(stream)
    whole, part = decode("hevc", stream).pictures, decode("hevc", kept).pictures
    assert len(part) == len(kept)
    assert all(whole[pts] == part[pts] for pts in part)


def test_slices_of_unknown_parameter_sets_have_no_type() -> None:
    facts = hevc.facts(x265()[0].units, hevc.ParameterSets())
    assert facts.has_picture
    assert facts.keyframe
    assert not facts.slice_types


def test_parameter_sets_are_put_in_where_they_are_missing() -> None:
    units = x265(params="aud=1")[0].units
    sets = [u for u in units if hevc.nal_type(u) in (hevc.VPS, hevc.SPS, hevc.PPS)]
    bare = [u for u in units if u not in sets]
    assert hevc.nal_type(bare[0]) == hevc.DELIMITER
    whole = hevc.with_parameter_sets(bare, sets)
    assert whole == (bare[0], *sets, *bare[1:])
    assert hevc.with_parameter_sets(whole, [sets[0], rewritten(sets[1])]) == whole


def test_other_layers_are_passed_over() -> None:
    slice_unit = x265()[0].units[-1]
    assert hevc.is_irap(slice_unit)
    assert not hevc.is_slice(bytes((slice_unit[0], slice_unit[1] | 8)) + slice_unit[2:])


@pytest.mark.parametrize("unit", [b"", b"\x42", b"\x42\x01", b"\x44\x01\xff", b"\x42\x01" + bytes(70000)])
def test_what_is_no_sps_is_refused(unit: bytes) -> None:
    with pytest.raises(BitstreamError):
        hevc.parse_sps(unit)
    with pytest.raises(BitstreamError):
        hevc.declare_no_reordering(unit)


def feed(data: bytes, order: HevcOrder) -> None:
    """All that reads bytes from outside, each may raise the one error."""
    sps, head = b"\x42\x01" + data, b"\x26\x01" + data
    value_or_error(
        lambda: hevc.parse_sps(data), lambda: hevc.parse_sps(hevc.declare_no_reordering(sps)),
        lambda: order.sets.slice_head(head), lambda: hevc.facts((data, head), order.sets),
        lambda: order.add(data), lambda: order.next((data, head)),
        lambda: hevc.with_parameter_sets((data,), (sps,)),
    )  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_give_a_value_or_one_error(data: bytes) -> None:
    order = HevcOrder()
    for unit in x265()[0].units:
        order.add(unit)
    feed(data, order)


def test_mutated_streams_give_a_value_or_one_error() -> None:
    order = HevcOrder()
    for cut in mutated_units(map(stream_of, STREAMS), seed=5):
        feed(cut, order)
        feed(cut[2:], order)
