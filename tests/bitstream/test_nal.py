"""Bits, NAL units, their two framings, emulation prevention, configuration records."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitstream.streams import decode, record_of, x264, x265
from wtgateway.bitstream import h264, hevc, nal
from wtgateway.bitstream.bits import BitReader, BitstreamError, BitWriter
from wtgateway.bitstream.records import (
    DecoderConfiguration,
    build_avcc,
    build_hvcc,
    parse_avcc,
    parse_hvcc,
)

UNITS = st.lists(st.binary(min_size=1, max_size=40).map(lambda b: nal.add_emulation_prevention(b + b"\x80")))


@given(st.lists(st.tuples(st.sampled_from("uxs"), st.integers(0, 2**32 - 2))))
def test_what_is_written_is_read(fields: list[tuple[str, int]]) -> None:
    w = BitWriter()
    for kind, value in fields:
        if kind == "u":
            w.u(32, value)
        elif kind == "x":
            w.ue(value)
        else:
            w.se(value // 2 - 2**30)
    r = BitReader(w.rbsp())
    for kind, value in fields:
        got = r.u(32) if kind == "u" else r.ue() if kind == "x" else r.se()
        assert got == (value if kind != "s" else value // 2 - 2**30)
    assert not r.more_rbsp_data()
    assert r.position == w.position == r.rbsp_end()


def test_codes_of_the_standards_table() -> None:
    r = BitReader(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000]))
    assert [r.ue() for _ in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("data", [b"", b"\0", b"\0" * 5, b"\0" * 100])
def test_codes_without_an_end_are_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        BitReader(data).ue()


def test_values_out_of_range_and_reads_past_the_end_are_refused() -> None:
    with pytest.raises(BitstreamError, match="above the 2"):
        BitReader(b"\x20").ue(2)
    with pytest.raises(BitstreamError):
        BitReader(b"\xff").u(9)
    with pytest.raises(BitstreamError):
        BitReader(b"\xff").skip(9)
    with pytest.raises(ValueError, match="does not fit"):
        BitWriter().u(2, 4)


@given(st.binary(max_size=60).map(lambda b: b + b"\1"))
def test_emulation_prevention_round_trip(data: bytes) -> None:
    escaped = nal.add_emulation_prevention(data)
    assert nal.remove_emulation_prevention(escaped) == data
    assert all(bad not in escaped for bad in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4]), max_size=40).map(lambda b: bytes([*b, 1])))
def test_emulation_prevention_where_it_is_dense(data: bytes) -> None:
    escaped = nal.add_emulation_prevention(data)
    assert nal.remove_emulation_prevention(escaped) == data
    assert nal.split_annexb(nal.START_CODE + escaped) == (escaped,)


def test_cabac_zero_words_end_in_a_three() -> None:
    assert nal.add_emulation_prevention(b"\x80\0\0") == b"\x80\0\0\3"


@given(UNITS)
def test_framings_are_converted_both_ways(units: list[bytes]) -> None:
    stream = nal.join_annexb(units)
    for size in (1, 2, 4):
        sample = nal.join_length_prefixed(units, size)
        assert nal.split_length_prefixed(sample, size) == tuple(units)
        assert nal.length_prefixed_to_annexb(sample, size) == stream
        if units:
            assert nal.annexb_to_length_prefixed(stream, size) == sample


def test_short_and_long_start_codes_and_stray_zeros() -> None:
    data = b"\0\0\0\0\1\x67\x42\0\0\1\x68\0\0\0\0\0\1\x65\x80\0\0\0"
    assert nal.split_annexb(data) == (b"\x67\x42", b"\x68", b"\x65\x80")


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\x65\0\0\1\x65", b"\0\0\0\5hello"])
def test_what_is_not_annexb_is_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError, match="start code"):
        nal.split_annexb(data)


@pytest.mark.parametrize(("data", "size"), [(b"\0\0\0\5abc", 4), (b"\0\0", 4), (b"\1a\2b", 1), (b"", 3)])
def test_cut_off_samples_are_refused(data: bytes, size: int) -> None:
    with pytest.raises(BitstreamError):
        nal.split_length_prefixed(data, size)


def test_a_unit_too_long_for_its_length_is_refused() -> None:
    with pytest.raises(BitstreamError, match="does not fit"):
        nal.join_length_prefixed([bytes(256)], 1)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_give_units_or_one_error(data: bytes, size: int) -> None:
    for parse in (
        nal.split_annexb,
        lambda d: nal.split_length_prefixed(d, size),
        parse_avcc,
        parse_hvcc,
        lambda d: parse_avcc(b"\1" + d),
        lambda d: parse_hvcc(b"\1" + d),
    ):
        try:
            parse(data)
        except BitstreamError:
            continue


def test_avcc_is_what_libavformat_writes() -> None:
    record = record_of("libx264")
    parsed = parse_avcc(record)
    assert parsed.length_size == 4
    assert [h264.nal_type(unit) for unit in parsed.parameter_sets] == [h264.SPS, h264.PPS]
    assert build_avcc(parsed) == record


def test_hvcc_is_what_libavformat_writes() -> None:
    record = record_of("libx265")
    parsed = parse_hvcc(record)
    assert [hevc.nal_type(unit) for unit in parsed.parameter_sets] == [hevc.VPS, hevc.SPS, hevc.PPS]
    built = build_hvcc(parsed)
    # libavformat adds an SEI array, and parallelism from the PPS; all else must be the same.
    assert built[:15] == record[:15]
    assert built[16:22] == record[16:22]
    assert parse_hvcc(built) == parsed
    assert built[23] == 0x80 | hevc.VPS
    assert build_hvcc(parsed, in_band=True)[23] == hevc.VPS


@pytest.mark.parametrize("size", [1, 2, 4])
def test_records_keep_the_length_size(size: int) -> None:
    avc = tuple(u for u in x264()[0].units if h264.nal_type(u) in (h264.SPS, h264.PPS))
    assert (
        parse_avcc(build_avcc(DecoderConfiguration(parameter_sets=avc, length_size=size))).length_size == size
    )
    hev = x265()[0].units
    assert (
        parse_hvcc(build_hvcc(DecoderConfiguration(parameter_sets=hev, length_size=size))).length_size == size
    )


def test_records_want_their_parameter_sets() -> None:
    with pytest.raises(BitstreamError):
        build_avcc(DecoderConfiguration(parameter_sets=()))
    with pytest.raises(BitstreamError):
        build_hvcc(DecoderConfiguration(parameter_sets=()))


def test_streams_survive_both_framings() -> None:
    stream = x264()
    there_and_back = [
        type(c)(c.pts, c.dts, nal.length_prefixed_to_annexb(nal.annexb_to_length_prefixed(c.data)))
        for c in stream
    ]
    assert decode("h264", there_and_back).pictures == decode("h264", stream).pictures
