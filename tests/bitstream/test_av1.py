"""AV1: what the parser says of real streams is what FFmpeg, dav1d and the encoder's settings say.

The wheel's only AV1 encoder makes 4:2:0 in profile 0. The other formats are written bit by bit here, as a
keyframe without any coefficient, and dav1d judges whether it is AV1.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bitstream.streams import FPS, decode_units, encode_squares, mutate, put
from wtgateway.bitstream import av1
from wtgateway.bitstream.bits import BitstreamError, BitWriter
from wtgateway.bitstream.vui import Colour

LOW_DELAY = {"preset": "12", "svtav1-params": "rc=2:pred-struct=1:lp=3"}
RANDOM_ACCESS = {"preset": "12", "svtav1-params": "lp=3"}
BT2020_PQ = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}


def encode(
    width: int = 160,
    height: int = 96,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] = LOW_DELAY,
    *,
    frames: int = 8,
    gop: int = 4,
    **colour: int,
) -> list[av.Packet]:
    """Temporal units of a picture in which a square moves."""
    return encode_squares(
        "libsvtav1", (width, height), pix_fmt, options, frames=frames, gop=gop, colour=colour
    )


def parse(packets: Sequence[av.Packet | bytes]) -> list[av1.TemporalUnit]:
    units, sequence = [], None
    for packet in packets:
        units.append(av1.parse_temporal_unit(bytes(packet), sequence))
        sequence = units[-1].sequence or sequence
    return units


def decode(units: Sequence[bytes]) -> list[av.VideoFrame]:
    return decode_units("libdav1d", units)


def mux(units: Sequence[bytes], container: str, size: tuple[int, int], target: str | None = None) -> bytes:
    """The units in a container, whose configuration record FFmpeg makes from the first one."""
    buffer = io.BytesIO()
    with av.open(target or buffer, "w", format=container) as output:
        stream = output.add_mux_stream("av1", FPS, width=size[0], height=size[1])
        stream.time_base = Fraction(1, FPS)
        for i, unit in enumerate(units):
            packet = av.Packet(unit)
            packet.stream, packet.time_base = stream, Fraction(1, FPS)
            packet.pts = packet.dts = i
            packet.duration, packet.is_keyframe = 1, i == 0
            output.mux(packet)
    return buffer.getvalue()


def demux(data: bytes) -> tuple[bytes, list[av.Packet]]:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return stream.codec_context.extradata or b"", packets


@pytest.fixture(scope="module")
def live() -> list[av.Packet]:
    return encode(**BT2020_PQ)


@pytest.fixture(scope="module")
def looking_ahead() -> list[av.Packet]:
    return encode(options=RANDOM_ACCESS, frames=20, gop=20)


@dataclass(frozen=True)
class Drawn:
    """A keyframe to be written by hand; what is not said is as plain as AV1 allows."""

    profile: int = 0
    bit_depth: int = 8
    monochrome: bool = False
    subsampling: tuple[int, int] = (1, 1)
    position: int = 0
    code_points: tuple[int, int, int] | None = None
    full_range: bool = False
    level: int = 0
    tier: int = 0
    reduced: bool = True
    timing: bool = False  # with a decoder model, presentation times and buffer removal times
    ticks: int = 0  # between pictures that are equally spaced
    frame_ids: bool = False
    point_model: bool = True  # the decoder model has parameters for the operating point
    tools: int = 2  # screen content tools: 0 never, 1 always, 2 as the frame says
    integer_mv: int = 2  # the same for whole motion vectors
    screen: bool = False  # the frame uses screen content tools
    idc: int = 0  # layers of the operating point
    film_grain: bool = False
    display_delay: int = 0
    size: tuple[int, int] = (24, 16)
    override: tuple[int, int] | None = None


def obu(kind: int, payload: bytes) -> bytes:
    return bytes((kind << 3 | 2,)) + av1.write_leb128(len(payload)) + payload


def drawn_sequence(d: Drawn) -> bytes:
    """AV1 5.5: a sequence header OBU."""
    w = BitWriter()
    put(w, (3, d.profile), (1, d.reduced), (1, d.reduced))
    if d.reduced:
        w.u(5, d.level)
    else:
        w.flag(d.timing)
        if d.timing:
            put(w, (32, 1), (32, FPS), (1, d.ticks > 0))
            if d.ticks:
                w.ue(d.ticks - 1)
            put(w, (1, 1), (5, 9), (32, 1), (5, 6), (5, 19))
        put(w, (1, d.display_delay > 0), (5, 0), (12, d.idc), (5, d.level))
        if d.level > 7:
            w.u(1, d.tier)
        if d.timing:
            w.flag(d.point_model)
            if d.point_model:
                put(w, (10, 700), (10, 300), (1, 1))
        if d.display_delay:
            put(w, (1, 1), (4, d.display_delay - 1))
    put(w, (4, 9), (4, 9), (10, d.size[0] - 1), (10, d.size[1] - 1))
    if not d.reduced:
        w.flag(d.frame_ids)
        if d.frame_ids:
            put(w, (4, 6), (3, 2))  # delta of 8 bits, ids of 11
    w.u(3, 0)
    if not d.reduced:
        put(w, (4, 0), (1, 1), (2, 0))  # order hints
        put(w, *([(1, 1)] if d.tools == 2 else [(1, 0), (1, d.tools)]))
        if d.tools:
            put(w, *([(1, 1)] if d.integer_mv == 2 else [(1, 0), (1, d.integer_mv)]))
        w.u(3, 6)  # order hints of 7 bits
    w.u(3, 0)
    draw_color(w, d)
    w.flag(d.film_grain)
    return obu(av1.ObuType.SEQUENCE_HEADER, w.rbsp())


def draw_color(w: BitWriter, d: Drawn) -> None:
    """AV1 5.5.2."""
    w.flag(d.bit_depth > 8)
    if d.profile == 2 and d.bit_depth > 8:
        w.flag(d.bit_depth == 12)
    if d.profile != 1:
        w.flag(d.monochrome)
    w.flag(d.code_points is not None)
    for value in d.code_points or ():
        w.u(8, value)
    if d.monochrome:
        w.flag(d.full_range)
        return
    if d.code_points != (1, 13, 0):
        w.flag(d.full_range)
        if d.profile == 2 and d.bit_depth == 12:
            w.u(1, d.subsampling[0])
            if d.subsampling[0]:
                w.u(1, d.subsampling[1])
        if d.subsampling == (1, 1):
            w.u(2, d.position)
    w.u(1, 0)


def drawn_frame(d: Drawn, *, shown: bool = True, refresh: int = 0xFF, in_point: bool = True) -> bytes:
    """AV1 5.9.2: a lossless keyframe of one tile, whose symbols are all zero bytes."""
    w = BitWriter()
    if not d.reduced:
        put(w, (1, 0), (2, av1.FrameType.KEY), (1, shown))
        if d.timing and shown and not d.ticks:
            w.u(20, 77)  # frame_presentation_time
        if not shown:
            put(w, (1, 1), (1, 1))  # showable, error resilient
    w.u(1, 1)  # disable_cdf_update
    if d.tools == 2:
        w.flag(d.screen)
    if d.screen and d.integer_mv == 2:
        w.u(1, 0)
    if d.frame_ids:
        w.u(11, 5)
    if not d.reduced:
        put(w, (1, d.override is not None), (7, 3))
    if d.timing:
        w.u(1, 1)
        if in_point and d.point_model:
            w.u(7, 9)  # buffer_removal_time
    if not shown:
        w.u(8, refresh)
        if refresh != 0xFF:
            w.u(8 * 7, 0)  # ref_order_hint
    if d.override:
        put(w, (10, d.override[0] - 1), (10, d.override[1] - 1))
    w.u(1, 0)  # no render size
    if d.screen:
        w.u(1, 0)  # allow_intrabc
    put(w, (1, 1), (8, 0))  # uniform tiles, base_q_idx
    put(w, *[(1, 0)] * (1 if d.monochrome else 3))  # no quantiser deltas
    put(w, (1, 0), (1, 0), (1, 0))  # no quantiser matrix, no segmentation, reduced_tx_set
    if d.film_grain:
        w.u(1, 0)
    w.u(-w.position & 7, 0)  # byte_alignment; the stop bit of rbsp() would be a byte of its own
    header = w.rbsp()[:-1]
    return obu(av1.ObuType.FRAME, header + bytes(256))


def drawn_unit(d: Drawn) -> bytes:
    return av1.TEMPORAL_DELIMITER + drawn_sequence(d) + drawn_frame(d)


DRAWN = {
    "gray": Drawn(monochrome=True, full_range=True),
    "gray10le": Drawn(monochrome=True, bit_depth=10, reduced=False, tools=1, screen=True, override=(16, 8)),
    "yuv420p": Drawn(position=2, code_points=(1, 1, 1)),
    "yuv420p10le": Drawn(
        bit_depth=10, code_points=(9, 16, 9), reduced=False, timing=True, level=13, tier=1, idc=0x101,
        override=(8, 16),
    ),
    "yuv444p": Drawn(profile=1, subsampling=(0, 0), code_points=(6, 6, 6), full_range=True),
    "yuv444p10le": Drawn(
        profile=1, bit_depth=10, subsampling=(0, 0), reduced=False, frame_ids=True, tools=0, override=(16, 16)
    ),
    "gbrp": Drawn(profile=1, subsampling=(0, 0), code_points=(1, 13, 0), full_range=True, film_grain=True),
    "yuv422p": Drawn(profile=2, subsampling=(1, 0), reduced=False, display_delay=3, level=7),
    "yuv422p10le": Drawn(
        profile=2, bit_depth=10, subsampling=(1, 0), reduced=False, timing=True, point_model=False,
        override=(8, 8), screen=True, integer_mv=1, ticks=300,
    ),
    "yuv420p12le": Drawn(
        profile=2, bit_depth=12, position=1, reduced=False, override=(16, 8), screen=True
    ),
    "yuv422p12le": Drawn(profile=2, bit_depth=12, subsampling=(1, 0), level=31),
    "yuv444p12le": Drawn(profile=2, bit_depth=12, subsampling=(0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("size", [(160, 96), (320, 180), (642, 362)])
@pytest.mark.parametrize(("pix_fmt", "depth"), [("yuv420p", 8), ("yuv420p10le", 10)])
def test_an_encoders_stream_is_read_as_the_decoder_reads_it(
    size: tuple[int, int], pix_fmt: str, depth: int
) -> None:
    packets = encode(*size, pix_fmt, **BT2020_PQ)
    units = parse(packets)
    picture = decode([bytes(p) for p in packets])[0]
    sequence = units[0].sequence
    assert sequence is not None
    assert (sequence.max_width, sequence.max_height) == (picture.width, picture.height) == size
    assert units[0].frames[0].size == size
    assert picture.format.name == pix_fmt
    assert (sequence.color.bit_depth, sequence.color.subsampling_x, sequence.color.subsampling_y) == (
        depth,
        1,
        1,
    )
    colour = sequence.color.colour
    assert colour.primaries == picture.color_primaries == 9
    assert colour.transfer == picture.color_trc == 16
    assert colour.matrix == picture.colorspace == 9
    assert not colour.full_range
    assert [unit.keyframe for unit in units] == [p.is_keyframe for p in packets] == [True, *[False] * 3] * 2
    assert all(av1.problems(unit, sequence) == () for unit in units)


@pytest.mark.parametrize("pix_fmt", DRAWN)
def test_every_format_is_read_as_the_decoder_reads_it(pix_fmt: str) -> None:
    d = DRAWN[pix_fmt]
    (picture,) = decode([drawn_unit(d)])
    (unit,) = parse([drawn_unit(d)])
    sequence = unit.sequence
    assert sequence is not None
    assert picture.format.name == pix_fmt
    assert unit.frames[0].size == (picture.width, picture.height) == (d.override or d.size)
    color = sequence.color
    assert (sequence.profile, color.bit_depth, color.monochrome) == (d.profile, d.bit_depth, d.monochrome)
    assert (color.subsampling_x, color.subsampling_y) == d.subsampling
    assert color.chroma_sample_position == d.position
    colour = color.colour
    assert (picture.color_primaries, picture.color_trc, picture.colorspace) == (
        colour.primaries,
        colour.transfer,
        colour.matrix,
    )
    assert (picture.color_range == 2) == colour.full_range == d.full_range
    assert sequence.film_grain == d.film_grain
    assert sequence.reduced_still_picture == d.reduced
    point = sequence.operating_points[0]
    assert (point.level, point.tier) == (d.level, d.tier)
    assert (point.initial_display_delay or 0) == d.display_delay
    assert (sequence.decoder_model is not None) == d.timing
    assert point.has_decoder_model == point.low_delay == (d.timing and d.point_model)
    if sequence.timing:
        assert sequence.timing == av1.TimingInfo(1, FPS, d.ticks)


@pytest.mark.parametrize("pix_fmt", DRAWN)
def test_the_configuration_record_is_the_one_that_ffmpeg_writes(pix_fmt: str) -> None:
    d = DRAWN[pix_fmt]
    sequence = av1.sequence_of_extradata(drawn_sequence(d))
    assert sequence is not None
    theirs, _ = demux(mux([drawn_unit(d)], "mp4", d.size))
    ours = av1.build_av1c(sequence)
    assert ours == theirs
    config = av1.parse_av1c(ours)
    assert config.sequence == sequence
    assert config.initial_presentation_delay is None
    assert (config.profile, config.level, config.tier) == (d.profile, d.level, d.tier)
    assert (config.bit_depth, config.monochrome) == (d.bit_depth, d.monochrome)
    assert (config.subsampling_x, config.subsampling_y) == d.subsampling
    assert config.chroma_sample_position == d.position


@pytest.mark.parametrize("container", ["mp4", "matroska", "obu", "ivf"])
def test_every_container_gives_the_same_units_and_sequence_header(
    container: str, live: list[av.Packet]
) -> None:
    units = [bytes(p) for p in live]
    extradata, packets = demux(mux(units, container, (160, 96)))
    sequence = av1.sequence_of_extradata(extradata)
    expected = parse(units)
    assert sequence == expected[0].sequence
    got = parse(packets)
    assert [unit.frames for unit in got] == [unit.frames for unit in expected]
    assert [av1.low_overhead(unit, None) for unit in got] == [
        av1.low_overhead(unit, None) for unit in expected
    ]


def test_low_delay_streams_have_one_shown_frame_per_unit(live: list[av.Packet]) -> None:
    for unit in parse(live):
        assert len(unit.frames) == 1
        assert (unit.hidden_frames, unit.reordered) == (0, False)
        # A shown frame can be shown once more, but not a keyframe (AV1 6.8.2).
        assert unit.frames[0].showable != unit.keyframe


def test_an_encoder_that_looks_ahead_is_seen_by_its_hidden_frames(looking_ahead: list[av.Packet]) -> None:
    units = parse(looking_ahead)
    assert units[1].hidden_frames >= 1
    assert units[1].reordered
    assert len(units[1].frames) == units[1].hidden_frames + 1
    again = [unit for unit in units if unit.frames[0].show_existing]
    assert again
    assert all(unit.reordered and not unit.keyframe for unit in again)
    # Each frame that was hidden is shown in the end, or stays a mere reference.
    assert sum(unit.hidden_frames for unit in units) >= len(again)
    assert all(av1.problems(unit, units[0].sequence) == () for unit in units)


def test_droppable_units_can_be_left_out_without_a_trace(live: list[av.Packet]) -> None:
    units = parse(live)
    kept = [i for i, unit in enumerate(units) if not unit.droppable]
    assert sum(unit.keyframe for unit in units) < len(kept) < len(units)
    whole = decode([bytes(p) for p in live])
    thin = decode([bytes(live[i]) for i in kept])
    assert len(thin) == len(kept)
    for i, picture in zip(kept, thin, strict=True):
        assert np.array_equal(picture.to_ndarray(), whole[i].to_ndarray())


def test_delimiters_come_off_and_go_on_again(live: list[av.Packet]) -> None:
    for packet, unit in zip(live, parse(live), strict=True):
        bare = av1.low_overhead(unit, None)
        assert bytes(packet) == av1.TEMPORAL_DELIMITER + bare
        assert av1.low_overhead(parse_bare(bare), None, delimiter=True) == bytes(packet)
    stream = b"".join(bytes(p) for p in live)
    assert list(av1.temporal_units(stream)) == [bytes(p) for p in live]


def parse_bare(data: bytes) -> av1.TemporalUnit:
    known = av1.sequence_of_extradata(drawn_sequence(Drawn(reduced=False)))
    return av1.parse_temporal_unit(data, known)


def test_what_has_no_place_in_a_sample_is_left_out(live: list[av.Packet]) -> None:
    unit = parse(live)[0]
    rest = obu(av1.ObuType.PADDING, b"\x80") + obu(av1.ObuType.REDUNDANT_FRAME_HEADER, b"\0\x80")
    metadata = obu(av1.ObuType.METADATA, b"\x01\0\0\0\0\x80")
    padded = av1.parse_temporal_unit(bytes(live[0]) + rest + metadata, None)
    assert padded.frames == unit.frames
    assert av1.low_overhead(padded, None) == av1.low_overhead(unit, None) + metadata


def test_a_sequence_header_goes_before_a_keyframe_that_lacks_it(live: list[av.Packet]) -> None:
    whole = parse(live)
    sequence = whole[0].sequence
    assert sequence is not None
    stripped = [b"".join(o.raw for o in unit.obus if o.type != av1.ObuType.SEQUENCE_HEADER) for unit in whole]
    bare = [av1.parse_temporal_unit(data, sequence) for data in stripped]
    assert [unit.keyframe for unit in bare] == [unit.keyframe for unit in whole]
    assert av1.problems(bare[0], sequence) == ("a keyframe without its sequence header",)
    healed = [av1.low_overhead(unit, sequence) for unit in bare]
    assert healed == [av1.low_overhead(unit, None) for unit in whole]
    assert len(decode(healed)) == len(live)


def test_an_obu_without_size_gets_one(live: list[av.Packet]) -> None:
    """ISOBMFF allows the last OBU of a sample to have none; WebCodecs does not."""
    found = list(av1.obus(bytes(live[0])))
    last = found[-1]
    unsized = bytes((last.type << 3,)) + last.payload
    unit = av1.parse_temporal_unit(b"".join(o.raw for o in found[:-1]) + unsized, None)
    assert av1.low_overhead(unit, None, delimiter=True) == bytes(live[0])


def test_what_is_wrong_with_a_unit_is_said_in_words(live: list[av.Packet]) -> None:
    still, moving = Drawn(reduced=False), Drawn(reduced=False, bit_depth=10)
    sequence = av1.sequence_of_extradata(drawn_sequence(still))
    hidden = av1.parse_temporal_unit(drawn_sequence(still) + drawn_frame(still, shown=False), None)
    assert av1.problems(hidden, None) == (
        "no frame of the temporal unit is shown",
        "a hidden keyframe: viewers cannot join there",
    )
    assert not hidden.keyframe
    changed = av1.parse_temporal_unit(drawn_sequence(moving) + bytes(live[1])[2:], None)
    assert av1.problems(changed, sequence) == ("the sequence header changes without a keyframe",)
    assert av1.problems(changed, None) == ()
    twice = av1.parse_temporal_unit(drawn_unit(still) + drawn_frame(still), None)
    assert av1.problems(twice, None) == ("more than one shown frame in a layer: several units in one",)
    empty = av1.parse_temporal_unit(av1.TEMPORAL_DELIMITER, None)
    assert av1.problems(empty, None) == ("no frame in the temporal unit",)
    assert not empty.keyframe
    assert not empty.droppable


def test_a_hidden_keyframe_is_read_as_the_decoder_shows_it_later() -> None:
    d = Drawn(reduced=False, override=(16, 8))
    shown_again = obu(av1.ObuType.FRAME_HEADER, bytes((0b1_001_1000,)))  # slot 1
    data = (
        av1.TEMPORAL_DELIMITER + drawn_sequence(d) + drawn_frame(d, shown=False, refresh=0x02) + shown_again
    )
    (picture,) = decode([data])
    unit = av1.parse_temporal_unit(data, None)
    hidden, again = unit.frames
    assert (hidden.type, hidden.show_frame, hidden.showable) == (av1.FrameType.KEY, False, True)
    assert (hidden.refresh, hidden.order_hint) == (0x02, 3)
    assert hidden.size == (picture.width, picture.height) == (16, 8)
    assert again.show_existing
    assert (unit.keyframe, unit.hidden_frames, unit.reordered, unit.droppable) == (False, 1, True, False)


def later_frame(kind: av1.FrameType, refresh: int, *, resilient: bool = False) -> bytes:
    """The start of a shown frame header of a stream without extras, then rubbish."""
    w = BitWriter()
    put(w, (1, 0), (2, kind), (1, 1))
    if kind is not av1.FrameType.SWITCH:
        w.flag(resilient)
    put(w, (2, 0))  # disable_cdf_update; no screen content tools
    if kind is not av1.FrameType.SWITCH:
        w.u(1, 1)  # frame_size_override_flag
    w.u(7, 33)
    if kind is av1.FrameType.INTER and not resilient:
        w.u(3, 2)
    if kind is not av1.FrameType.SWITCH:
        w.u(8, refresh)
    if resilient:
        w.u(8 * 7, 1)
    put(w, (10, 11), (10, 6))
    return obu(av1.ObuType.FRAME, w.rbsp() + b"\x55" * 20)


@pytest.mark.parametrize(
    ("kind", "resilient", "refresh", "size"),
    [
        (av1.FrameType.INTER, False, 0xA5, None),
        (av1.FrameType.INTER, True, 0x00, None),
        (av1.FrameType.INTRA_ONLY, False, 0x0F, (12, 7)),
        (av1.FrameType.INTRA_ONLY, True, 0xFE, (12, 7)),
        (av1.FrameType.SWITCH, False, 0xFF, None),
    ],
)
def test_later_frames_say_what_they_overwrite(
    kind: av1.FrameType, resilient: bool, refresh: int, size: tuple[int, int] | None
) -> None:
    (frame,) = parse_bare(later_frame(kind, refresh, resilient=resilient)).frames
    assert (frame.type, frame.show_frame, frame.showable, frame.order_hint) == (kind, True, True, 33)
    assert (frame.refresh, frame.size, frame.droppable) == (refresh, size, refresh == 0)
    assert frame.error_resilient == (resilient or kind is av1.FrameType.SWITCH)
    assert not frame.keyframe


def test_an_intra_only_frame_cannot_take_all_slots() -> None:
    with pytest.raises(BitstreamError, match="all reference slots"):
        parse_bare(later_frame(av1.FrameType.INTRA_ONLY, 0xFF))


def test_layers_are_told_apart() -> None:
    """A frame outside of the operating point has no buffer removal time for it (AV1 5.9.2)."""
    d = Drawn(reduced=False, timing=True, idc=0x101, override=(16, 8))
    frame = drawn_frame(d, in_point=False)
    units = []
    for temporal, spatial in ((1, 0), (0, 2)):
        layer = bytes((frame[0] | 4, temporal << 5 | spatial << 3)) + frame[1:]
        units.append(av1.parse_temporal_unit(drawn_unit(d) + layer, None))
    assert [(f.temporal_id, f.spatial_id) for f in units[0].frames] == [(0, 0), (1, 0)]
    assert [(f.temporal_id, f.spatial_id) for f in units[1].frames] == [(0, 0), (0, 2)]
    assert all(f.size == (16, 8) for unit in units for f in unit.frames)
    assert av1.problems(units[1], None) == ()


@pytest.mark.parametrize(
    ("d", "expected"),
    [
        (Drawn(level=8), "av01.0.08M.08"),
        (Drawn(level=8, code_points=(1, 1, 1)), "av01.0.08M.08"),
        (Drawn(level=8, code_points=(2, 2, 2)), "av01.0.08M.08.0.110.02.02.02.0"),
        (DRAWN["gray"], "av01.0.00M.08.1.110.01.01.01.1"),
        (DRAWN["yuv420p"], "av01.0.00M.08.0.112.01.01.01.0"),
        (DRAWN["yuv420p10le"], "av01.0.13H.10.0.110.09.16.09.0"),
        (DRAWN["yuv444p"], "av01.1.00M.08.0.000.06.06.06.1"),
        (DRAWN["gbrp"], "av01.1.00M.08.0.000.01.13.00.1"),
        (DRAWN["yuv422p12le"], "av01.2.31M.12.0.100.01.01.01.0"),
    ],
)
def test_codec_strings_follow_the_rules_of_isobmff(d: Drawn, expected: str) -> None:
    sequence = av1.sequence_of_extradata(drawn_sequence(d))
    assert sequence is not None
    assert av1.codec_string(sequence) == expected


def test_the_containers_colour_fills_in_what_the_stream_does_not_say() -> None:
    pq = Colour(primaries=9, transfer=16, matrix=9)
    silent = av1.sequence_of_extradata(drawn_sequence(Drawn()))
    assert silent is not None
    assert av1.codec_string(silent, pq) == "av01.0.00M.08.0.110.09.16.09.0"
    half = av1.sequence_of_extradata(drawn_sequence(Drawn(code_points=(1, 2, 6))))
    assert half is not None
    assert av1.codec_string(half, pq) == "av01.0.00M.08.0.110.01.16.06.0"
    assert av1.codec_string(silent, Colour()) == av1.codec_string(silent) == "av01.0.00M.08"


def test_the_codec_string_is_the_one_that_ffmpeg_writes(live: list[av.Packet], tmp_path: Path) -> None:
    manifest = tmp_path / "live.mpd"
    mux([bytes(p) for p in live], "dash", (160, 96), str(manifest))
    sequence = parse(live)[0].sequence
    assert sequence is not None
    assert re.findall('codecs="([^"]*)"', manifest.read_text()) == [av1.codec_string(sequence)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80", "not AV1 with sizes"),
        (b"\x0e", "inside an OBU header"),
        (b"\x0a", "inside a leb128"),
        (b"\x0a" + b"\xff" * 8, "longer than"),
        (b"\x0a\xff\xff\xff\xff\x7f", "longer than"),
        (b"\x0a\x05\0", "cut after 1"),
        (b"\x32\x01\0", "wait for the next keyframe"),
        (b"\x12\0\x12\0", "split the stream"),
        (b"\x7a\0" * (av1.MAX_OBUS + 1), "more than"),
        (obu(1, b"\x60\0\0\0"), "reserved"),
        (obu(1, b"\x08\0\0\0"), "moves"),
        (obu(1, b"\0"), "bits"),
    ],
)
def test_broken_data_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        av1.parse_temporal_unit(data, None)


def test_a_record_of_another_version_is_refused() -> None:
    with pytest.raises(BitstreamError, match="not an av1C"):
        av1.parse_av1c(b"\x82\0\0\0")


def test_a_record_may_hold_no_sequence_header_and_a_delay() -> None:
    config = av1.parse_av1c(b"\x81\x08\x0c\x14")
    assert (config.level, config.sequence, config.initial_presentation_delay) == (8, None, 5)
    assert av1.sequence_of_extradata(b"") is None


def test_a_record_is_as_bounded_as_a_unit() -> None:
    most = b"\x7a\0" * av1.MAX_OBUS
    assert len(av1.parse_av1c(b"\x81\0\0\0" + most).obus) == av1.MAX_OBUS
    with pytest.raises(BitstreamError, match="more than"):
        av1.sequence_of_extradata(most + b"\x7a\0")


@given(st.integers(0, (1 << 32) - 1), st.binary(max_size=4))
def test_leb128_comes_back_as_it_went(value: int, rest: bytes) -> None:
    data = av1.write_leb128(value)
    assert av1.read_leb128(data + rest, 0) == (value, len(data))


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_leb128_refuses_what_does_not_fit(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        av1.write_leb128(value)


def eat(data: bytes, sequence: av1.SequenceHeader | None) -> int:
    """Feeds bytes to all that reads bytes; returns how many calls gave a value."""
    values = 0
    with suppress(BitstreamError):
        values += sum(1 for _ in av1.temporal_units(data)) > 0
    with suppress(BitstreamError):
        unit = av1.parse_temporal_unit(data, sequence)
        again = av1.low_overhead(unit, None)
        assert av1.parse_temporal_unit(again, sequence).frames == unit.frames
        assert bool(unit.frames) != ("no frame in the temporal unit" in av1.problems(unit, sequence))
        values += 1
    for record in (data, b"\x81" + data):
        with suppress(BitstreamError):
            header = av1.sequence_of_extradata(record)
            values += header is None or av1.codec_string(header).startswith("av01.")
    return values


@given(st.binary(max_size=400))
def test_any_bytes_give_a_value_or_the_one_error(data: bytes) -> None:
    sequence = av1.sequence_of_extradata(drawn_sequence(DRAWN["yuv420p10le"]))
    eat(data, sequence)
    eat(data, None)
    eat(obu(av1.ObuType.SEQUENCE_HEADER, data), None)
    eat(obu(av1.ObuType.FRAME, data), sequence)


def test_mutated_streams_give_a_value_or_the_one_error(
    live: list[av.Packet], looking_ahead: list[av.Packet]
) -> None:
    dice = random.Random(20)
    seeds = [bytes(p) for p in (*live, *looking_ahead)] + [drawn_unit(d) for d in DRAWN.values()]
    sequences = [None, *(av1.sequence_of_extradata(drawn_sequence(d)) for d in DRAWN.values())]
    values = sum(eat(mutate(dice.choice(seeds), dice, reach=16), dice.choice(sequences)) for _ in range(4000))
    assert 100 < values < 16_000  # some live through it, some do not
