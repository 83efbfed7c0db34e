"""Decoder configuration records: avcC and hvcC, as MP4, RTMP and a WebCodecs description carry them.

Source: ISO/IEC 14496-15 clauses 5.3.3.1 (AVCDecoderConfigurationRecord) and 8.3.3.1 (HEVC...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wtgateway.bitstream import h264, hevc
from wtgateway.bitstream.bits import BitstreamError, BitWriter
from wtgateway.bitstream.nal import LENGTH_SIZES

# Profiles whose avcC ends with chroma format, bit depths and SPS extensions.
_AVC_EXTENDED_PROFILES = frozenset({100, 110, 122, 144, 244})
_HEVC_HEADER_BYTES = 23


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfiguration:
    """What a record says that a stream needs: its parameter sets and how wide NAL unit lengths are."""

    parameter_sets: tuple[bytes, ...]  # NAL units in the order VPS, SPS, PPS
    length_size: int = 4  # bytes: 1, 2 or 4


class _Cursor:
    """Big-endian fields of a record, bounded by it."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise BitstreamError(f"a configuration record of {len(self._data)} bytes is cut off")
        self._at += size
        return part


def parse_avcc(record: bytes) -> DecoderConfiguration:
    """The SPS and PPS of an avcC record."""
    if record[:1] != b"\1":
        raise BitstreamError("not an avcC record: its version is not 1")
    cursor = _Cursor(record, 4)
    length_size = _length_size(cursor.number(1))
    sps = [cursor.take(cursor.number(2)) for _ in range(cursor.number(1) & 31)]
    pps = [cursor.take(cursor.number(2)) for _ in range(cursor.number(1))]
    return DecoderConfiguration(
        parameter_sets=tuple(unit for unit in sps + pps if unit), length_size=length_size
    )


def build_avcc(configuration: DecoderConfiguration) -> bytes:
    """The avcC record; :exc:`BitstreamError` when there is no SPS or no PPS among the parameter sets."""
    kinds = _by_kind(configuration.parameter_sets, h264.nal_type)
    sps, pps = kinds.get(h264.SPS, []), kinds.get(h264.PPS, [])
    if not sps or not pps or len(sps) > 31 or len(pps) > 255:
        raise BitstreamError(f"an avcC record cannot have {len(sps)} SPS and {len(pps)} PPS")
    first = h264.parse_sps(sps[0])
    length = 0xFC | configuration.length_size - 1
    parts = [bytes((1, first.profile_idc, first.constraint_flags, first.level_idc, length, 0xE0 | len(sps)))]
    parts += [_with_length(unit) for unit in sps]
    parts += [bytes((len(pps),)), *(_with_length(unit) for unit in pps)]
    if first.profile_idc in _AVC_EXTENDED_PROFILES:
        depths = 0xF8 | first.bit_depth_luma - 8, 0xF8 | first.bit_depth_chroma - 8
        parts.append(bytes((0xFC | first.chroma_format_idc, *depths, 0)))
    return b"".join(parts)


def parse_hvcc(record: bytes) -> DecoderConfiguration:
    """The VPS, SPS and PPS of an hvcC record; SEI and unknown arrays are left out."""
    if record[:1] != b"\1":  # drafts wrote 0
        raise BitstreamError("not an hvcC record: its version is not 1")
    cursor = _Cursor(record, _HEVC_HEADER_BYTES - 2)
    length_size = _length_size(cursor.number(1))
    units: list[bytes] = []
    for _ in range(cursor.number(1)):
        cursor.take(1)  # array_completeness and NAL_unit_type, which each unit says too
        units += [cursor.take(cursor.number(2)) for _ in range(cursor.number(2))]
    kinds = _by_kind(units, hevc.nal_type)
    sets = [unit for kind in (hevc.VPS, hevc.SPS, hevc.PPS) for unit in kinds.get(kind, [])]
    return DecoderConfiguration(parameter_sets=tuple(sets), length_size=length_size)


def build_hvcc(configuration: DecoderConfiguration, *, in_band: bool = False) -> bytes:
    """The hvcC record; ``in_band``: more sets may come in the stream (hev1), else these are all (hvc1).

    :exc:`BitstreamError` when VPS, SPS or PPS is missing.
    """
    kinds = _by_kind(configuration.parameter_sets, hevc.nal_type)
    wanted = (hevc.VPS, hevc.SPS, hevc.PPS)
    missing = [kind for kind in wanted if not kinds.get(kind)]
    if missing:
        raise BitstreamError(f"an hvcC record needs NAL units of the types {missing}")
    parts = [_hevc_header(hevc.parse_sps(kinds[hevc.SPS][0]), configuration.length_size), bytes((3,))]
    for kind in wanted:
        parts.append(bytes((kind | (0 if in_band else 0x80),)) + len(kinds[kind]).to_bytes(2, "big"))
        parts += [_with_length(unit) for unit in kinds[kind]]
    return b"".join(parts)


def _hevc_header(sps: hevc.Sps, length_size: int) -> bytes:
    profile, w = sps.profile, BitWriter()
    w.u(8, 1)
    w.u(2, profile.space)
    w.flag(profile.high_tier)
    w.u(5, profile.idc)
    w.u(32, profile.compatibility)
    w.u(48, int.from_bytes(profile.constraints, "big"))
    w.u(8, profile.level_idc)
    w.u(16, 0xF000 | sps.min_spatial_segmentation)
    w.u(8, 0xFC)  # parallelismType 0: unknown
    w.u(8, 0xFC | sps.chroma_format_idc)
    w.u(8, 0xF8 | sps.bit_depth_luma - 8)
    w.u(8, 0xF8 | sps.bit_depth_chroma - 8)
    w.u(16, 0)  # avgFrameRate: unspecified
    w.u(2, 0)  # constantFrameRate: unknown
    w.u(3, len(sps.sub_layers))
    w.flag(sps.temporal_id_nesting)
    w.u(2, length_size - 1)
    return w.aligned()


def _length_size(field: int) -> int:
    size = (field & 3) + 1
    if size not in LENGTH_SIZES:
        raise BitstreamError(f"a NAL unit length of {size} bytes is not one of {LENGTH_SIZES}")
    return size


def _by_kind(units: Iterable[bytes], nal_type: Callable[[bytes], int]) -> dict[int, list[bytes]]:
    kinds: dict[int, list[bytes]] = {}
    for unit in units:
        kinds.setdefault(nal_type(unit), []).append(unit)
    return kinds


def _with_length(unit: bytes) -> bytes:
    if len(unit) > 65535:
        raise BitstreamError(f"a parameter set of {len(unit)} bytes does not fit a configuration record")
    return len(unit).to_bytes(2, "big") + unit
