"""AV1 as containers hold it and as WebCodecs wants it: OBUs, temporal units, sequence headers, av1C.

Sources: "AV1 Bitstream & Decoding Process Specification" 1.0.0 with errata 1 (sections named below as AV1),
"AV1 Codec ISO Media File Format Binding" (ISOBMFF), the AV1 registration of WebCodecs. AV1 5.5 and 5.9.2 are
followed bit by bit, as far as a gateway needs them: a frame header is read up to the frame's size.

The room is pure. Whatever bytes come in, a function here returns a value or raises
:exc:`~wtgateway.bitstream.bits.BitstreamError`, in time that is linear in their number.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from wtgateway.bitstream.bits import BitReader, BitstreamError
from wtgateway.bitstream.vui import Colour

TEMPORAL_DELIMITER = b"\x12\x00"
MAX_OBUS = 4096  # in a temporal unit or a record; the highest levels allow 128 tiles a frame (AV1 A.3)
_HEADER_BYTES = 256  # no frame header is longer than this up to the fields that are read here
_SELECT = 2  # SELECT_SCREEN_CONTENT_TOOLS, SELECT_INTEGER_MV
_UNSPECIFIED = 2
_BT709, _SRGB, _IDENTITY = 1, 13, 0


class ObuType(enum.IntEnum):
    """AV1 6.2.2. Other values are reserved and pass through untouched."""

    SEQUENCE_HEADER = 1
    TEMPORAL_DELIMITER = 2
    FRAME_HEADER = 3
    TILE_GROUP = 4
    METADATA = 5
    FRAME = 6
    REDUNDANT_FRAME_HEADER = 7
    TILE_LIST = 8
    PADDING = 15


class FrameType(enum.IntEnum):
    """AV1 6.8.2."""

    KEY = 0
    INTER = 1
    INTRA_ONLY = 2
    SWITCH = 3


_NOT_IN_SAMPLES = (
    ObuType.TEMPORAL_DELIMITER, ObuType.REDUNDANT_FRAME_HEADER, ObuType.TILE_LIST, ObuType.PADDING,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Obu:
    """One OBU. ``raw`` is all of it with a size field, ``payload`` what follows header and size."""

    type: int
    temporal_id: int
    spatial_id: int
    raw: bytes
    payload: bytes


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


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The start of a frame header (AV1 5.9.2).

    ``type`` is None for show_existing_frame, whose frame was coded before. ``size`` is the width and height
    after super-resolution, known for intra frames only. ``refresh`` has a bit per reference slot that the
    frame overwrites.
    """

    type: FrameType | None
    show_frame: bool
    showable: bool
    error_resilient: bool
    order_hint: int
    refresh: int
    size: tuple[int, int] | None
    temporal_id: int = 0
    spatial_id: int = 0

    @property
    def show_existing(self) -> bool:
        """It codes nothing; it shows a frame that came hidden."""
        return self.type is None

    @property
    def keyframe(self) -> bool:
        """A random access point (AV1 7.6.2): a key frame that is shown at once."""
        return self.type is FrameType.KEY and self.show_frame

    @property
    def droppable(self) -> bool:
        """Nothing later refers to it. A reference slot holds all that a frame hands on, so this is proof."""
        return self.type is not None and self.refresh == 0


@dataclass(frozen=True, slots=True)
class TemporalUnit:
    """All OBUs of one time; ``sequence`` is the sequence header found before the first frame, if any."""

    obus: tuple[Obu, ...]
    sequence: SequenceHeader | None
    frames: tuple[FrameHeader, ...]

    @property
    def keyframe(self) -> bool:
        """Decoding can start here, given a sequence header."""
        return bool(self.frames) and self.frames[0].keyframe

    @property
    def hidden_frames(self) -> int:
        """Frames that are coded now and shown later: the encoder looked ahead by at least that much."""
        return sum(not frame.show_frame for frame in self.frames)

    @property
    def reordered(self) -> bool:
        """The unit holds a hidden frame or shows one of before: coding order is not display order."""
        return any(frame.show_existing or not frame.show_frame for frame in self.frames)

    @property
    def droppable(self) -> bool:
        """No later unit refers to this one."""
        return bool(self.frames) and all(frame.droppable for frame in self.frames)


@dataclass(frozen=True, slots=True)
class Av1Config:
    """AV1CodecConfigurationRecord (ISOBMFF 2.3). ``sequence`` is None when the record holds none.

    ``initial_presentation_delay`` counts samples; None when the record does not say.
    """

    profile: int
    level: int
    tier: int
    bit_depth: int
    monochrome: bool
    subsampling_x: int
    subsampling_y: int
    chroma_sample_position: int
    initial_presentation_delay: int | None
    sequence: SequenceHeader | None
    obus: tuple[Obu, ...]


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and the offset behind it (AV1 4.10.5: at most 8 bytes, below 2**32)."""
    value = 0
    for i in range(8):
        if at + i >= len(data):
            raise BitstreamError("AV1: data ends inside a leb128 number")
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if not byte & 0x80:
            if value >= 1 << 32:
                break
            return value, at + i + 1
    raise BitstreamError("AV1: a leb128 number is longer than the specification allows")


def write_leb128(value: int) -> bytes:
    """``value`` (0..2**32-1) in as few bytes as it takes."""
    if not 0 <= value < 1 << 32:
        raise ValueError(f"{value} does not fit a leb128 number")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def obus(data: bytes) -> Iterator[Obu]:
    """The OBUs of low-overhead data (AV1 5.2, 5.3).

    An OBU without a size field fills the rest, as ISOBMFF 2.4 allows for the last of a sample; it comes out
    with one. Raises :exc:`BitstreamError` where a header or size is wrong.
    """
    at = 0
    while at < len(data):
        header = data[at]
        if header & 0x80:
            raise BitstreamError("AV1: the forbidden bit of an OBU header is set; this is not AV1 with sizes")
        body = at + 1 + (header >> 2 & 1)
        if body > len(data):
            raise BitstreamError("AV1: data ends inside an OBU header")
        extension = data[at + 1] if header & 4 else 0
        size, start = read_leb128(data, body) if header & 2 else (len(data) - body, body)
        end = start + size
        if end > len(data):
            raise BitstreamError(f"AV1: an OBU of {size} bytes is cut after {len(data) - start}")
        payload = data[start:end]
        raw = data[at:end]
        if not header & 2:
            raw = bytes((header | 2,)) + data[at + 1 : body] + write_leb128(size) + payload
        yield Obu(header >> 3 & 15, extension >> 5, extension >> 3 & 3, raw, payload)
        at = end


def temporal_units(stream: bytes) -> Iterator[bytes]:
    """Cuts a stream before each temporal delimiter (AV1 7.5), which stays at the start of its unit.

    Raises :exc:`BitstreamError` as :func:`obus` does.
    """
    unit: list[bytes] = []
    for obu in obus(stream):
        if obu.type == ObuType.TEMPORAL_DELIMITER and unit:
            yield b"".join(unit)
            unit = []
        unit.append(obu.raw)
    if unit:
        yield b"".join(unit)


def parse_temporal_unit(data: bytes, sequence: SequenceHeader | None) -> TemporalUnit:
    """Reads one temporal unit, with or without its delimiter.

    ``sequence`` is the newest sequence header so far; one in the unit takes its place. Raises
    :exc:`BitstreamError` for broken OBUs, for two units in one, for a frame before any sequence header
    (wait for the next keyframe) and for more than ``MAX_OBUS`` OBUs.
    """
    found = _bounded_obus(data)
    frames: list[FrameHeader] = []
    in_band: SequenceHeader | None = None
    for i, obu in enumerate(found):
        if obu.type == ObuType.TEMPORAL_DELIMITER and i:
            raise BitstreamError("AV1: a temporal delimiter inside a temporal unit; split the stream first")
        if obu.type == ObuType.SEQUENCE_HEADER:
            sequence = parse_sequence_header(obu)
            in_band = sequence if not frames else in_band
        elif obu.type in (ObuType.FRAME_HEADER, ObuType.FRAME):
            if sequence is None:
                raise BitstreamError("AV1: a frame before any sequence header; wait for the next keyframe")
            frames.append(parse_frame_header(obu, sequence))
    return TemporalUnit(found, in_band, tuple(frames))


def _bounded_obus(data: bytes) -> tuple[Obu, ...]:
    found = tuple(itertools.islice(obus(data), MAX_OBUS + 1))
    if len(found) > MAX_OBUS:
        raise BitstreamError(f"AV1: more than {MAX_OBUS} OBUs in one unit")
    return found


def problems(unit: TemporalUnit, sequence: SequenceHeader | None) -> tuple[str, ...]:
    """What a decoder or a viewer who joins may stumble over, in words (AV1 7.5, 7.6; ISOBMFF 2.4).

    ``sequence`` is the sequence header in force before this unit.
    """
    shown = [frame.spatial_id for frame in unit.frames if frame.show_frame]
    found = (
        (not unit.frames, "no frame in the temporal unit"),
        (bool(unit.frames) and not shown, "no frame of the temporal unit is shown"),
        (len(set(shown)) < len(shown), "more than one shown frame in a layer: several units in one"),
        (unit.keyframe and unit.sequence is None, "a keyframe without its sequence header"),
        (
            unit.sequence is not None and sequence not in (None, unit.sequence) and not unit.keyframe,
            "the sequence header changes without a keyframe",
        ),
        (
            any(frame.type is FrameType.KEY and not frame.show_frame for frame in unit.frames),
            "a hidden keyframe: viewers cannot join there",
        ),
    )
    return tuple(words for bad, words in found if bad)


def low_overhead(unit: TemporalUnit, sequence: SequenceHeader | None, *, delimiter: bool = False) -> bytes:
    """The unit as an EncodedVideoChunk or an ISOBMFF sample: all OBUs with sizes, no delimiter or just one.

    ``sequence`` is put before a keyframe that has no sequence header of its own, so that the unit is a random
    access point. Padding, tile lists and copies of frame headers go. ISOBMFF 2.4 asks for all of this.
    """
    parts = [TEMPORAL_DELIMITER] if delimiter else []
    if unit.keyframe and unit.sequence is None and sequence is not None:
        parts.append(sequence.obu)
    parts.extend(obu.raw for obu in unit.obus if obu.type not in _NOT_IN_SAMPLES)
    return b"".join(parts)


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
    tools, integer_mv, order_hint_bits = (_SELECT, _SELECT, 0) if reduced else _inter_tools(r)
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
    tools = _SELECT if r.flag() else r.u(1)
    integer_mv = _SELECT
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


def parse_frame_header(obu: Obu, sequence: SequenceHeader) -> FrameHeader:
    """Reads the start of a frame header or frame OBU (AV1 5.9.2) that follows ``sequence``."""
    layer = (obu.temporal_id, obu.spatial_id)
    r = BitReader(obu.payload[:_HEADER_BYTES])
    kind, shown, showable, resilient = FrameType.KEY, True, False, True
    if not sequence.reduced_still_picture:
        if r.flag():
            return FrameHeader(None, True, False, False, 0, 0, None, *layer)
        kind, shown = FrameType(r.u(2)), r.flag()
        if shown:
            _skip_presentation_time(r, sequence)
        showable = kind is not FrameType.KEY if shown else r.flag()
        resilient = kind is FrameType.SWITCH or (kind is FrameType.KEY and shown) or r.flag()
    override = _override_flag(r, sequence, kind)
    order_hint = r.u(sequence.order_hint_bits)
    intra = kind in (FrameType.KEY, FrameType.INTRA_ONLY)
    if not intra and not resilient:
        r.u(3)  # primary_ref_frame
    _skip_buffer_removal_times(r, sequence, *layer)
    refresh = 0xFF if kind is FrameType.SWITCH or (kind is FrameType.KEY and shown) else r.u(8)
    if kind is FrameType.INTRA_ONLY and refresh == 0xFF:
        raise BitstreamError("AV1: an intra-only frame that takes all reference slots")
    if resilient and sequence.order_hint_bits and (not intra or refresh != 0xFF):
        r.u(8 * sequence.order_hint_bits)  # ref_order_hint
    size = None
    if intra:
        size = (sequence.max_width, sequence.max_height)
        if override:
            size = (r.u(sequence.frame_width_bits) + 1, r.u(sequence.frame_height_bits) + 1)
    return FrameHeader(kind, shown, showable, resilient, order_hint, refresh, size, *layer)


def _skip_presentation_time(r: BitReader, sequence: SequenceHeader) -> None:
    if sequence.decoder_model and sequence.timing and not sequence.timing.ticks_per_picture:
        r.u(sequence.decoder_model.frame_presentation_time_length)


def _override_flag(r: BitReader, sequence: SequenceHeader, kind: FrameType) -> bool:
    """Reads from disable_cdf_update to frame_size_override_flag, which it returns."""
    r.flag()  # disable_cdf_update
    tools = sequence.force_screen_content_tools
    if tools == _SELECT:
        tools = r.u(1)
    if tools and sequence.force_integer_mv == _SELECT:
        r.flag()  # force_integer_mv
    r.u(sequence.frame_id_bits)
    if kind is FrameType.SWITCH:
        return True
    return not sequence.reduced_still_picture and r.flag()


def _skip_buffer_removal_times(r: BitReader, sequence: SequenceHeader, temporal: int, spatial: int) -> None:
    if sequence.decoder_model is None or not r.flag():
        return
    for point in sequence.operating_points:
        in_point = point.idc >> temporal & 1 and point.idc >> (spatial + 8) & 1
        if point.has_decoder_model and (point.idc == 0 or in_point):
            r.u(sequence.decoder_model.buffer_removal_time_length)


def parse_av1c(data: bytes) -> Av1Config:
    """Reads an AV1CodecConfigurationRecord (ISOBMFF 2.3), as MP4 and Matroska carry it."""
    r = BitReader(data)
    if r.u(8) != 0x81:
        raise BitstreamError("AV1: not an av1C record of version 1")
    profile, level, tier = r.u(3), r.u(5), r.u(1)
    high, twelve, mono = r.flag(), r.flag(), r.flag()
    x, y, position = r.u(1), r.u(1), r.u(2)
    r.u(3)
    has_delay, delay = r.flag(), r.u(4) + 1
    depth = (12 if twelve else 10) if high else 8
    found = _bounded_obus(data[4:])
    sequence = _first_sequence(found)
    return Av1Config(
        profile, level, tier, depth, mono, x, y, position, delay if has_delay else None, sequence, found
    )  # fmt: skip


def build_av1c(sequence: SequenceHeader) -> bytes:
    """The record for a stream that starts with ``sequence`` (ISOBMFF 2.3).

    It promises no initial presentation delay: that counts samples, which a sequence header knows nothing of.
    """
    point, color = sequence.operating_points[0], sequence.color
    flags = (
        point.tier << 7
        | (color.bit_depth > 8) << 6
        | (color.bit_depth == 12) << 5
        | color.monochrome << 4
        | color.subsampling_x << 3
        | color.subsampling_y << 2
        | color.chroma_sample_position
    )
    return bytes((0x81, sequence.profile << 5 | point.level, flags, 0)) + sequence.obu


def sequence_of_extradata(extradata: bytes) -> SequenceHeader | None:
    """The sequence header in what a demuxer or encoder hands out, an av1C record or OBUs; None if absent."""
    if extradata[:1] == b"\x81":  # as an OBU header it would have the forbidden bit set
        return parse_av1c(extradata).sequence
    return _first_sequence(_bounded_obus(extradata))


def _first_sequence(found: tuple[Obu, ...]) -> SequenceHeader | None:
    return next((parse_sequence_header(obu) for obu in found if obu.type == ObuType.SEQUENCE_HEADER), None)


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
