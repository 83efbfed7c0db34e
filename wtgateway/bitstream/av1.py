"""AV1 as containers hold it and as WebCodecs wants it: temporal units, frame headers, av1C.

Sources: "AV1 Bitstream & Decoding Process Specification" 1.0.0 with errata 1 (sections named below as AV1),
"AV1 Codec ISO Media File Format Binding" (ISOBMFF), the AV1 registration of WebCodecs. AV1 5.9.2 is
followed bit by bit, as far as a gateway needs it: a frame header is read up to the frame's size.

The room is pure. Whatever bytes come in, a function here returns a value or raises
:exc:`~wtgateway.bitstream.bits.BitstreamError`, in time that is linear in their number.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from wtgateway.bitstream.av1_obu import (
    MAX_OBUS,
    Obu,
    ObuType,
    bounded_obus,
    obus,
    read_leb128,
    temporal_units,
    write_leb128,
)
from wtgateway.bitstream.av1_sequence import (
    SELECT,
    ColorConfig,
    DecoderModelInfo,
    OperatingPoint,
    SequenceHeader,
    TimingInfo,
    codec_string,
    parse_sequence_header,
)
from wtgateway.bitstream.bits import BitReader, BitstreamError
from wtgateway.bitstream.pictures import Frames

__all__ = [
    "MAX_OBUS",
    "TEMPORAL_DELIMITER",
    "Av1Config",
    "ColorConfig",
    "DecoderModelInfo",
    "FrameHeader",
    "FrameType",
    "Obu",
    "ObuType",
    "OperatingPoint",
    "SequenceHeader",
    "TemporalUnit",
    "TimingInfo",
    "build_av1c",
    "codec_string",
    "low_overhead",
    "obus",
    "parse_av1c",
    "parse_frame_header",
    "parse_sequence_header",
    "parse_temporal_unit",
    "problems",
    "read_leb128",
    "sequence_of_extradata",
    "temporal_units",
    "write_leb128",
]

TEMPORAL_DELIMITER = b"\x12\x00"
_HEADER_BYTES = 256  # no frame header is longer than this up to the fields that are read here


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
class TemporalUnit(Frames[FrameHeader]):
    """All OBUs of one time; ``sequence`` is the sequence header found before the first frame, if any."""

    obus: tuple[Obu, ...]
    sequence: SequenceHeader | None
    frames: tuple[FrameHeader, ...]


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


def parse_temporal_unit(data: bytes, sequence: SequenceHeader | None) -> TemporalUnit:
    """Reads one temporal unit, with or without its delimiter.

    ``sequence`` is the newest sequence header so far; one in the unit takes its place. Raises
    :exc:`BitstreamError` for broken OBUs, for two units in one, for a frame before any sequence header
    (wait for the next keyframe) and for more than ``MAX_OBUS`` OBUs.
    """
    found = bounded_obus(data)
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
    if tools == SELECT:
        tools = r.u(1)
    if tools and sequence.force_integer_mv == SELECT:
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
    found = bounded_obus(data[4:])
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
    return _first_sequence(bounded_obus(extradata))


def _first_sequence(found: tuple[Obu, ...]) -> SequenceHeader | None:
    return next((parse_sequence_header(obu) for obu in found if obu.type == ObuType.SEQUENCE_HEADER), None)
