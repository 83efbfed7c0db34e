"""H.264: the sequence parameter set as a value, its rewrite, codec strings, facts of access units.

Source: ITU-T H.264 clauses 7.3.2.1, 7.3.3 and 7.4, Annexes A and E (read by
:mod:`wtgateway.bitstream.h264_syntax`); ISO/IEC 14496-15 Annex E and
RFC 6381 for codec strings. NAL units come without start code, with emulation prevention.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wtgateway.bitstream import h264_syntax as syntax
from wtgateway.bitstream import vui
from wtgateway.bitstream.bits import BitReader, BitstreamError, BitWriter
from wtgateway.bitstream.nal import (
    AccessUnitFacts,
    SliceType,
    add_emulation_prevention,
    insert_parameter_sets,
    remove_emulation_prevention,
)
from wtgateway.bitstream.pictures import Cropped

SLICE, SLICE_A, IDR, SEI, SPS, PPS, DELIMITER = 1, 2, 5, 6, 7, 8, 9
SLICES = frozenset({SLICE, SLICE_A, IDR})
MAX_SPS_BYTES = 65535  # what avcC can carry
_RECOVERY_POINT = 6
# profile_idc whose SPS carries the chroma format, bit depth and scaling lists.
_WITH_CHROMA_FORMAT = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
# For these, constraint_set3_flag means intra only: no picture is ever held back (E.2.1).
_INTRA_PROFILES = frozenset({44, 86, 100, 110, 122, 244})
_SUBSAMPLING = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}  # SubWidthC, SubHeightC by chroma_format_idc
_MAX_DPB_MBS = {
    9: 396, 10: 396, 11: 900, 12: 2376, 13: 2376, 20: 2376, 21: 4752, 22: 8100, 30: 8100, 31: 18000,
    32: 20480, 40: 32768, 41: 32768, 42: 34816, 50: 110400, 51: 184320, 52: 184320,
    60: 696320, 61: 696320, 62: 696320,
}  # fmt: skip
_SLICE_TYPES = (SliceType.P, SliceType.B, SliceType.I, SliceType.P, SliceType.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sps(Cropped):
    """A sequence parameter set. Sizes are in luma samples; the crop is (left, right, top, bottom)."""

    sps_id: int
    profile_idc: int
    constraint_flags: int  # the byte: constraint_set0_flag is its highest bit
    level_idc: int
    chroma_format_idc: int
    separate_colour_planes: bool
    bit_depth_luma: int
    bit_depth_chroma: int
    log2_max_frame_num: int
    poc_type: int  # 2: output order is decoding order, whatever else is said
    log2_max_poc_lsb: int  # 0 unless poc_type is 0
    max_num_ref_frames: int
    frame_mbs_only: bool  # False: fields may occur
    coded_width: int
    coded_height: int
    crop: tuple[int, int, int, int]
    sample_aspect_ratio: tuple[int, int] | None
    colour: vui.Colour
    timing: vui.Timing | None
    restriction: syntax.Restriction | None  # None: absent, a decoder must assume the worst

    @property
    def constraint_set3(self) -> bool:
        """Intra only in the High profiles; level 1b in Baseline, Main and Extended."""
        return bool(self.constraint_flags & 0x10)

    @property
    def max_dpb_frames(self) -> int:
        """MaxDpbFrames of the level (A.3.1 h), 16 for a level that the standard does not know."""
        level_1b = self.level_idc == 11 and self.constraint_set3 and self.profile_idc in (66, 77, 88)
        most = _MAX_DPB_MBS.get(9 if level_1b else self.level_idc)
        macroblocks = self.coded_width * self.coded_height // 256
        return 16 if most is None else min(most // macroblocks, 16)

    @property
    def reorder_frames(self) -> int:
        """max_num_reorder_frames, as stated or as a decoder must infer it (E.2.1)."""
        if self.restriction is not None:
            return self.restriction.max_num_reorder_frames
        return 0 if self._intra_only else self.max_dpb_frames

    @property
    def dpb_frames(self) -> int:
        """max_dec_frame_buffering, as stated or as a decoder must infer it (E.2.1)."""
        if self.restriction is not None:
            return self.restriction.max_dec_frame_buffering
        return 0 if self._intra_only else self.max_dpb_frames

    @property
    def _intra_only(self) -> bool:
        return self.constraint_set3 and self.profile_idc in _INTRA_PROFILES

    @property
    def codec(self) -> str:
        """The codec string for WebCodecs and MIME types: ``avc1.PPCCLL``."""
        return f"avc1.{self.profile_idc:02X}{self.constraint_flags:02X}{self.level_idc:02X}"


@dataclass(frozen=True, slots=True)
class _Places:
    """Bit positions in the RBSP that the rewrite needs; None where the syntax element is absent."""

    vui_flag: int
    restriction_flag: int | None
    reorder: int | None
    end: int  # of what was parsed


def nal_type(unit: bytes) -> int:
    """nal_unit_type, 0 (unspecified) for an empty unit."""
    return unit[0] & 0x1F if unit else 0


@functools.lru_cache(maxsize=64)  # the same one comes with every keyframe
def parse_sps(unit: bytes) -> Sps:
    """The SPS in a NAL unit; :exc:`BitstreamError` when it is not one or is broken."""
    return _parse(_reader(unit))[0]


def declare_no_reordering(unit: bytes) -> bytes:
    """The SPS with max_num_reorder_frames 0, all else bit for bit; a VUI is added where there is none.

    max_dec_frame_buffering becomes max_num_ref_frames, the least that E.2.1 allows: a decoder then
    holds reference pictures only. True of a stream whose output order is its decoding order, see
    :func:`wtgateway.bitstream.linter.safe_to_rewrite`.
    """
    r = _reader(unit)
    sps, places = _parse(r)
    w = BitWriter()
    if places.reorder is not None:
        w.copy(r, 0, places.reorder)
        rest = places.end
    else:
        if places.restriction_flag is None:
            w.copy(r, 0, places.vui_flag)
            w.flag(True)
            w.u(8, 0)  # aspect, overscan, signal, chroma place, timing, two HRDs, pic_struct: all absent
            rest = places.vui_flag + 1
        else:
            w.copy(r, 0, places.restriction_flag)
            rest = places.restriction_flag + 1
        w.flag(True)
        w.flag(True)  # motion_vectors_over_pic_boundaries_flag, and on: the values inferred by absence
        for inferred in (2, 1, 15, 15):
            w.ue(inferred)
    w.ue(0)
    w.ue(sps.max_num_ref_frames)
    w.copy(r, rest, _content_end(r, rest))
    return unit[:1] + add_emulation_prevention(w.rbsp())


def slice_type(unit: bytes) -> SliceType:
    """Of a slice NAL unit (types 1, 2 and 5); :exc:`BitstreamError` for others."""
    if nal_type(unit) not in SLICES:
        raise BitstreamError(f"NAL unit type {nal_type(unit)} is not a slice")
    r = BitReader(remove_emulation_prevention(unit[1:16]))
    r.ue()  # first_mb_in_slice
    return _SLICE_TYPES[r.ue(9) % 5]


def facts(units: Iterable[bytes]) -> AccessUnitFacts:
    """What the NAL units of an access unit say; :exc:`BitstreamError` when a slice header is broken."""
    units = tuple(units)
    slices = [unit for unit in units if nal_type(unit) in SLICES]
    types = {nal_type(unit) for unit in units}
    idr = IDR in types
    return AccessUnitFacts(
        has_picture=bool(slices),
        keyframe=idr,
        closed=idr,
        has_parameter_sets={SPS, PPS} <= types,
        slice_types=frozenset(map(slice_type, slices)),
        disposable=bool(slices) and not any(unit[0] & 0x60 for unit in slices),
        recovery_point=any(_has_recovery_point(unit) for unit in units if nal_type(unit) == SEI),
    )


def with_parameter_sets(units: Sequence[bytes], parameter_sets: Iterable[bytes]) -> tuple[bytes, ...]:
    """The access unit with those SPS and PPS in front that it does not bring itself."""
    return insert_parameter_sets(
        units, parameter_sets, key=set_key, delimiter=lambda unit: nal_type(unit) == DELIMITER
    )


def set_key(unit: bytes) -> tuple[int, int] | None:
    """NAL unit type and id of SPS and PPS, None for other units; :exc:`BitstreamError` when broken."""
    kind = nal_type(unit)
    if kind not in (SPS, PPS):
        return None
    r = BitReader(remove_emulation_prevention(unit[1:16]))
    if kind == SPS:
        r.skip(24)
    return kind, r.ue()


def _has_recovery_point(unit: bytes) -> bool:
    """Whether an SEI NAL unit (7.3.2.3.1) has a recovery point message."""
    data, at = remove_emulation_prevention(unit), 1
    while at < len(data) - 2:
        header = []
        for _ in ("payloadType", "payloadSize"):
            start = at
            while at < len(data) and data[at] == 255:
                at += 1
            header.append(255 * (at - start) + (data[at] if at < len(data) else 0))
            at += 1
        if header[0] == _RECOVERY_POINT:
            return True
        at += header[1]
    return False


def _reader(unit: bytes) -> BitReader:
    if nal_type(unit) != SPS or len(unit) > MAX_SPS_BYTES:
        raise BitstreamError(f"a NAL unit of type {nal_type(unit)}, {len(unit)} bytes, is not an H.264 SPS")
    return BitReader(remove_emulation_prevention(unit[1:]))


def _parse(r: BitReader) -> tuple[Sps, _Places]:
    profile_idc, constraint_flags, level_idc = r.u(8), r.u(8), r.u(8)
    sps_id = r.ue(31)
    chroma_format_idc, separate, depth_luma, depth_chroma = 1, False, 8, 8
    if profile_idc in _WITH_CHROMA_FORMAT:
        chroma_format_idc = r.ue(3)
        separate = chroma_format_idc == 3 and r.flag()
        depth_luma, depth_chroma = 8 + r.ue(6), 8 + r.ue(6)
        r.skip(1)  # qpprime_y_zero_transform_bypass_flag
        syntax.skip_scaling_matrix(r, 12 if chroma_format_idc == 3 else 8)
    log2_max_frame_num = 4 + r.ue(12)
    poc_type = r.ue(2)
    log2_max_poc_lsb = 4 + r.ue(12) if poc_type == 0 else 0
    if poc_type == 1:
        syntax.skip_poc_cycle(r)
    max_num_ref_frames = r.ue(16)
    r.skip(1)  # gaps_in_frame_num_value_allowed_flag
    width, map_units = 16 * (1 + r.ue(4095)), 1 + r.ue(4095)
    frame_mbs_only = r.flag()
    r.skip(1 if frame_mbs_only else 2)  # mb_adaptive_frame_field_flag, direct_8x8_inference_flag
    height = 16 * map_units * (1 if frame_mbs_only else 2)
    crop = _read_crop(r, (1, 1) if separate else _SUBSAMPLING[chroma_format_idc], frame_mbs_only)
    if crop[0] + crop[1] >= width or crop[2] + crop[3] >= height:
        raise BitstreamError(f"a crop of {crop} leaves nothing of {width}×{height}")
    vui_flag = r.position
    usability = syntax.read_vui(r) if r.flag() else syntax.Usability()
    sps = Sps(
        sps_id=sps_id, profile_idc=profile_idc, constraint_flags=constraint_flags, level_idc=level_idc,
        chroma_format_idc=chroma_format_idc, separate_colour_planes=separate,
        bit_depth_luma=depth_luma, bit_depth_chroma=depth_chroma,
        log2_max_frame_num=log2_max_frame_num, poc_type=poc_type, log2_max_poc_lsb=log2_max_poc_lsb,
        max_num_ref_frames=max_num_ref_frames, frame_mbs_only=frame_mbs_only,
        coded_width=width, coded_height=height, crop=crop,
        sample_aspect_ratio=usability.sample_aspect_ratio, colour=usability.colour,
        timing=usability.timing, restriction=usability.restriction,
    )  # fmt: skip
    return sps, _Places(vui_flag, usability.restriction_flag, usability.reorder, r.position)


def _content_end(r: BitReader, least: int) -> int:
    end = r.rbsp_end()
    if end < least:
        raise BitstreamError("the SPS is cut off: its last syntax element runs into the stop bit")
    return end


def _read_crop(r: BitReader, subsampling: tuple[int, int], frame_mbs_only: bool) -> tuple[int, int, int, int]:
    if not r.flag():
        return (0, 0, 0, 0)
    x, y = subsampling[0], subsampling[1] * (1 if frame_mbs_only else 2)
    left, right, top, bottom = (r.ue() for _ in range(4))
    return (left * x, right * x, top * y, bottom * y)
