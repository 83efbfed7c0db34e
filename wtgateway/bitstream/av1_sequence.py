"""AV1's sequence header, and the codec string that it amounts to.

Source: "AV1 Bitstream & Decoding Process Specification" 1.0.0 with errata 1, section 5.5, followed bit by
bit; "AV1 Codec ISO Media File Format Binding" (ISOBMFF), section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.bitstream.av1_obu import Obu
from wtgateway.bitstream.bits import BitReader, BitstreamError
from wtgateway.bitstream.vui import Colour

SELECT = 2  # SELECT_SCREEN_CONTENT_TOOLS, SELECT_INTEGER_MV
_UNSPECIFIED = 2
_BT709, _SRGB, _IDENTITY = 1, 13, 0


@dataclass(frozen=True, slots=True)
class TimingInfo:
    """AV1 5.5.3. ``ticks_per_picture`` is 0 when pictures are not equally spaced."""

    units_in_display_tick: int
    time_scale: int
    ticks_per_picture: int


@dataclass(frozen=True, slots=True)
class DecoderModelInfo:
    """AV1 5.5.4; the lengths are in bits."""

    buffer_delay_length: int
    units_in_decoding_tick: int
    buffer_removal_time_length: int
    frame_presentation_time_length: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A choice of layers (AV1 5.5.1). ``level`` is seq_level_idx (8 is 4.0), ``tier`` 0 Main or 1 High.

    ``initial_display_delay`` counts the frames a decoder should hold before it shows the first; None when
    the stream does not say.
    """

    idc: int
    level: int
    tier: int
    has_decoder_model: bool = False
    low_delay: bool = False
    initial_display_delay: int | None = None


@dataclass(frozen=True, slots=True)
class ColorConfig:
    """AV1 5.5.2, color_config. Subsampling is 1 where chroma has half the samples of luma.

    ``described`` is color_description_present_flag: without it, the code points of ``colour`` are inferred.
    """

    bit_depth: int
    monochrome: bool
    subsampling_x: int
    subsampling_y: int
    chroma_sample_position: int
    described: bool
    colour: Colour


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    """AV1 5.5.1. Sizes in samples; ``obu`` is the whole OBU, to be put in band where it is absent."""

    profile: int
    still_picture: bool
    reduced_still_picture: bool
    timing: TimingInfo | None
    decoder_model: DecoderModelInfo | None
    operating_points: tuple[OperatingPoint, ...]
    frame_width_bits: int
    frame_height_bits: int
    max_width: int
    max_height: int
    frame_id_bits: int  # 0: frames carry no ids
    force_screen_content_tools: int
    force_integer_mv: int
    order_hint_bits: int
    enable_superres: bool
    color: ColorConfig
    film_grain: bool
    obu: bytes


def parse_sequence_header(obu: Obu) -> SequenceHeader:
    """Reads a sequence header OBU (AV1 5.5)."""
    r = BitReader(obu.payload)
    profile, still, reduced = r.u(3), r.flag(), r.flag()
    if profile > 2:
        raise BitstreamError(f"AV1: profile {profile} is reserved")
    if reduced and not still:
        raise BitstreamError("AV1: a reduced still picture header in a stream that moves")
    timing: TimingInfo | None = None
    model: DecoderModelInfo | None = None
    if reduced:
        points: tuple[OperatingPoint, ...] = (OperatingPoint(0, r.u(5), 0),)
    else:
        if r.flag():
            timing = _timing_info(r)
            model = _decoder_model_info(r) if r.flag() else None
        points = _operating_points(r, model)
    width_bits, height_bits = r.u(4) + 1, r.u(4) + 1
    max_width, max_height = r.u(width_bits) + 1, r.u(height_bits) + 1
    frame_id_bits = 0
    if not reduced and r.flag():
        delta = r.u(4) + 2
        frame_id_bits = delta + r.u(3) + 1
    r.u(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    tools, integer_mv, order_hint_bits = (SELECT, SELECT, 0) if reduced else _inter_tools(r)
    superres = r.flag()
    r.u(2)  # enable_cdef, enable_restoration
    color = _color_config(r, profile)
    return SequenceHeader(
        profile, still, reduced, timing, model, points, width_bits, height_bits, max_width, max_height,
        frame_id_bits, tools, integer_mv, order_hint_bits, superres, color, r.flag(), obu.raw,
    )  # fmt: skip


def _timing_info(r: BitReader) -> TimingInfo:
    units, scale = r.u(32), r.u(32)
    if not units or not scale:
        raise BitstreamError("AV1: a timing info of zero")
    return TimingInfo(units, scale, r.ue() + 1 if r.flag() else 0)


def _decoder_model_info(r: BitReader) -> DecoderModelInfo:
    return DecoderModelInfo(r.u(5) + 1, r.u(32), r.u(5) + 1, r.u(5) + 1)


def _operating_points(r: BitReader, model: DecoderModelInfo | None) -> tuple[OperatingPoint, ...]:
    has_display_delay = r.flag()
    points = []
    for _ in range(r.u(5) + 1):
        idc, level = r.u(12), r.u(5)
        tier = r.u(1) if level > 7 else 0
        has_model = model is not None and r.flag()
        low_delay = False
        if model is not None and has_model:
            r.u(model.buffer_delay_length)  # decoder_buffer_delay
            r.u(model.buffer_delay_length)  # encoder_buffer_delay
            low_delay = r.flag()
        delay = r.u(4) + 1 if has_display_delay and r.flag() else None
        points.append(OperatingPoint(idc, level, tier, has_model, low_delay, delay))
    return tuple(points)


def _inter_tools(r: BitReader) -> tuple[int, int, int]:
    """seq_force_screen_content_tools, seq_force_integer_mv and OrderHintBits."""
    r.u(4)  # interintra, masked compound, warped motion, dual filter
    order_hint = r.flag()
    if order_hint:
        r.u(2)  # enable_jnt_comp, enable_ref_frame_mvs
    tools = SELECT if r.flag() else r.u(1)
    integer_mv = SELECT
    if tools > 0 and not r.flag():
        integer_mv = r.u(1)
    return tools, integer_mv, r.u(3) + 1 if order_hint else 0


def _color_config(r: BitReader, profile: int) -> ColorConfig:
    high = r.flag()
    depth = (12 if r.flag() else 10) if high and profile == 2 else 10 if high else 8
    mono = profile != 1 and r.flag()
    described = r.flag()
    cp, tc, mc = (r.u(8), r.u(8), r.u(8)) if described else (_UNSPECIFIED,) * 3
    if mono:
        colour = Colour(full_range=r.flag(), primaries=cp, transfer=tc, matrix=mc)
        return ColorConfig(depth, True, 1, 1, 0, described, colour)
    position = 0
    if (cp, tc, mc) == (_BT709, _SRGB, _IDENTITY):
        full, x, y = True, 0, 0
        if profile == 0:
            raise BitstreamError("AV1: RGB in profile 0, which has 4:2:0 only")
    else:
        full = r.flag()
        if profile < 2:
            x = y = 1 - profile
        elif depth == 12:
            x = r.u(1)
            y = r.u(1) if x else 0
        else:
            x, y = 1, 0
        position = r.u(2) if x and y else 0
    r.flag()  # separate_uv_delta_q
    colour = Colour(full_range=full, primaries=cp, transfer=tc, matrix=mc)
    return ColorConfig(depth, False, x, y, position, described, colour)


def codec_string(sequence: SequenceHeader, container: Colour | None = None) -> str:
    """``av01.P.LLT.DD`` and, unless all have their default, ``.M.CCC.cp.tc.mc.F`` (ISOBMFF 5).

    ``container`` is the colour that the container states; it fills in what the stream leaves unspecified.
    Where the stream has no colour description and the container none either, the string says BT.709.
    """
    point, color, colour = sequence.operating_points[0], sequence.color, sequence.color.colour
    short = f"av01.{sequence.profile}.{point.level:02d}{'MH'[point.tier]}.{color.bit_depth:02d}"
    other = container or Colour()
    pairs = (
        (colour.primaries, other.primaries),
        (colour.transfer, other.transfer),
        (colour.matrix, other.matrix),
    )
    stated = tuple(theirs if ours == _UNSPECIFIED else ours for ours, theirs in pairs)
    if not color.described:
        stated = tuple(_BT709 if value == _UNSPECIFIED else value for value in stated)
    chroma = f"{color.subsampling_x}{color.subsampling_y}{color.chroma_sample_position}"
    plain = not color.monochrome and chroma == "110" and not colour.full_range
    if plain and stated == (_BT709,) * 3:
        return short
    code_points = ".".join(f"{value:02d}" for value in stated)
    return f"{short}.{color.monochrome:d}.{chroma}.{code_points}.{colour.full_range:d}"
