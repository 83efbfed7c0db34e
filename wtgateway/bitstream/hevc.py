"""HEVC: the sequence parameter set as a value, its rewrite, codec strings, facts of access units.

Source: ITU-T H.265 clauses 7.3 and 7.4, Annex E (read by :mod:`wtgateway.bitstream.hevc_syntax`);
ISO/IEC 14496-15 Annex E for codec strings. NAL units come without start code, with emulation prevention.
Layers other than the base layer (nuh_layer_id above 0) are passed over.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wtgateway.bitstream import hevc_syntax as syntax
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

RADL_N, RASL_N, RASL_R, BLA_W_LP, BLA_N_LP, IDR_W_RADL, IDR_N_LP, CRA = 6, 8, 9, 16, 18, 19, 20, 21
VPS, SPS, PPS, DELIMITER, END_OF_SEQUENCE, END_OF_BITSTREAM = 32, 33, 34, 35, 36, 37
LAST_SUB_LAYER_NON_REFERENCE = 14  # even types up to it are sub-layer non-reference pictures
MAX_SPS_BYTES = 65535  # what hvcC can carry
_SUBSAMPLING = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}  # SubWidthC, SubHeightC by chroma_format_idc
_SLICE_TYPES = (SliceType.B, SliceType.P, SliceType.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubLayer:
    """What a decoder of the sub-layer must hold: sps_max_dec_pic_buffering and its companions."""

    max_dec_pic_buffering: int  # pictures, the current one included
    max_num_reorder: int  # pictures that may precede one in decoding order and follow it in output order
    max_latency_increase_plus1: int  # 0: no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Sps(Cropped):
    """A sequence parameter set. Sizes are in luma samples; the crop is (left, right, top, bottom)."""

    sps_id: int
    vps_id: int
    temporal_id_nesting: bool
    profile: syntax.Profile
    chroma_format_idc: int
    separate_colour_planes: bool
    bit_depth_luma: int
    bit_depth_chroma: int
    log2_max_poc_lsb: int
    coded_width: int
    coded_height: int
    crop: tuple[int, int, int, int]
    sub_layers: tuple[SubLayer, ...]  # the last one is what a decoder of the whole stream obeys
    sample_aspect_ratio: tuple[int, int] | None
    colour: vui.Colour
    timing: vui.Timing | None
    field_seq: bool  # every picture is a field
    min_spatial_segmentation: int

    @property
    def reorder_frames(self) -> int:
        """sps_max_num_reorder_pics of the highest sub-layer."""
        return self.sub_layers[-1].max_num_reorder

    @property
    def dpb_frames(self) -> int:
        """Pictures that a decoder of the highest sub-layer holds besides the current one."""
        return self.sub_layers[-1].max_dec_pic_buffering - 1

    @property
    def codec(self) -> str:
        """The codec string with parameter sets out of band only: ``hvc1...``."""
        return f"hvc1.{self.profile.codec_suffix}"

    @property
    def codec_in_band(self) -> str:
        """The codec string when parameter sets (also) come in band: ``hev1...``."""
        return f"hev1.{self.profile.codec_suffix}"


@dataclass(frozen=True, slots=True)
class _Places:
    """Bit ranges of the sps_max_num_reorder_pics values in the RBSP."""

    reorder: tuple[tuple[int, int], ...]


def nal_type(unit: bytes) -> int:
    """nal_unit_type of a base layer unit; 63 (unspecified) for what is too short or in another layer."""
    base = len(unit) >= 2 and not unit[0] & 1 and not unit[1] & 0xF8
    return unit[0] >> 1 & 0x3F if base else 63


def is_slice(unit: bytes) -> bool:
    """Whether the unit is a slice segment of the base layer that the standard defines today."""
    kind = nal_type(unit)
    return kind <= RASL_R or BLA_W_LP <= kind <= CRA


def is_irap(unit: bytes) -> bool:
    """Whether the unit is a slice of an IRAP picture: BLA, IDR or CRA."""
    return BLA_W_LP <= nal_type(unit) <= CRA


@functools.lru_cache(maxsize=64)  # the same one comes with every keyframe
def parse_sps(unit: bytes) -> Sps:
    """The SPS in a NAL unit; :exc:`BitstreamError` when it is not one or is broken."""
    return _parse(_reader(unit))[0]


def declare_no_reordering(unit: bytes) -> bytes:
    """The SPS with sps_max_num_reorder_pics 0 for all sub-layers, all else bit for bit.

    A decoder then outputs each picture at once (C.5.2.2), whatever latency and buffer size say. The
    VPS may go on to promise more: the SPS must not exceed it, and decoders obey the SPS. True of a
    stream whose output order is its decoding order, see :func:`wtgateway.bitstream.linter.safe_to_rewrite`.
    """
    r = _reader(unit)
    places = _parse(r)[1]
    w, copied = BitWriter(), 0
    for start, stop in places.reorder:
        w.copy(r, copied, start)
        w.ue(0)
        copied = stop
    if (end := r.rbsp_end()) < copied:
        raise BitstreamError("the SPS is cut off: its last syntax element runs into the stop bit")
    w.copy(r, copied, end)
    return unit[:2] + add_emulation_prevention(w.rbsp())


@dataclass(frozen=True, slots=True)
class _Pps:
    sps_id: int
    output_flag_present: bool
    extra_slice_header_bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceHead:
    """The beginning of the first slice segment of a picture."""

    slice_type: SliceType
    poc_lsb: int  # slice_pic_order_cnt_lsb, 0 for IDR pictures
    log2_max_poc_lsb: int
    shown: bool  # pic_output_flag


class ParameterSets:
    """The SPS and PPS that a stream has brought so far; needed to read its slices. At most 16 and 64."""

    def __init__(self) -> None:
        self.sps: dict[int, Sps] = {}
        self._pps: dict[int, _Pps] = {}

    def add(self, unit: bytes) -> None:
        """Takes a parameter set in; other units are passed over. :exc:`BitstreamError` when broken."""
        kind = nal_type(unit)
        if kind == SPS:
            sps = parse_sps(unit)
            self.sps[sps.sps_id] = sps
        elif kind == PPS:
            r = BitReader(remove_emulation_prevention(unit[2:32]))
            pps_id, sps_id = r.ue(63), r.ue(15)
            r.skip(1)  # dependent_slice_segments_enabled_flag
            self._pps[pps_id] = _Pps(sps_id, r.flag(), r.u(3))

    def slice_head(self, unit: bytes) -> SliceHead | None:
        """The head of a slice NAL unit; None when it is not the picture's first or its sets are missing.

        :exc:`BitstreamError` when it is broken or not a slice.
        """
        if not is_slice(unit):
            raise BitstreamError(f"NAL unit type {nal_type(unit)} is not a slice")
        r = BitReader(remove_emulation_prevention(unit[2:32]))
        if not r.flag():  # first_slice_segment_in_pic_flag; the address of others needs more of the SPS
            return None
        if is_irap(unit):
            r.skip(1)  # no_output_of_prior_pics_flag
        pps = self._pps.get(r.ue(63))
        sps = self.sps.get(pps.sps_id) if pps else None
        if pps is None or sps is None:
            return None
        r.skip(pps.extra_slice_header_bits)
        kind = _SLICE_TYPES[r.ue(2)]
        shown = r.flag() if pps.output_flag_present else True
        r.skip(2 if sps.separate_colour_planes else 0)
        lsb = 0 if nal_type(unit) in (IDR_W_RADL, IDR_N_LP) else r.u(sps.log2_max_poc_lsb)
        return SliceHead(slice_type=kind, poc_lsb=lsb, log2_max_poc_lsb=sps.log2_max_poc_lsb, shown=shown)


def is_disposable(unit: bytes, sub_layers: int) -> bool:
    """Whether a slice belongs to a picture to which no other refers, in a stream of that many sub-layers.

    A sub-layer non-reference picture may still be referred to from higher sub-layers.
    """
    kind, temporal_id = nal_type(unit), (unit[1] & 7) - 1 if len(unit) > 1 else 0
    return kind <= LAST_SUB_LAYER_NON_REFERENCE and kind % 2 == 0 and temporal_id >= sub_layers - 1


def facts(units: Iterable[bytes], sets: ParameterSets) -> AccessUnitFacts:
    """What the NAL units of an access unit say, read with the parameter ``sets`` of its stream.

    Sets in the access unit itself must have been added. :exc:`BitstreamError` when a slice is broken.
    """
    units = tuple(units)
    slices = [unit for unit in units if is_slice(unit)]
    heads = [head for unit in slices if (head := sets.slice_head(unit))]
    types = {nal_type(unit) for unit in units}
    highest = max((len(sps.sub_layers) for sps in sets.sps.values()), default=7)
    return AccessUnitFacts(
        has_picture=bool(slices),
        keyframe=any(is_irap(unit) for unit in slices),
        closed=bool(types & {IDR_W_RADL, IDR_N_LP}),
        has_parameter_sets={VPS, SPS, PPS} <= types,
        slice_types=frozenset(head.slice_type for head in heads),
        disposable=bool(slices) and all(is_disposable(unit, highest) for unit in slices),
        skipped_leading=bool(types & {RASL_N, RASL_R}),
    )


def with_parameter_sets(units: Sequence[bytes], parameter_sets: Iterable[bytes]) -> tuple[bytes, ...]:
    """The access unit with those VPS, SPS and PPS in front that it does not bring itself."""
    return insert_parameter_sets(
        units, parameter_sets, key=set_key, delimiter=lambda unit: nal_type(unit) == DELIMITER
    )


def set_key(unit: bytes) -> tuple[int, int] | None:
    """NAL unit type and id of VPS, SPS and PPS, None for other units; :exc:`BitstreamError` when broken."""
    kind = nal_type(unit)
    if kind not in (VPS, SPS, PPS):
        return None
    r = BitReader(remove_emulation_prevention(unit[2:160]))
    if kind == VPS:
        return kind, r.u(4)
    if kind == SPS:
        r.skip(4)
        sub_layers = 1 + r.u(3)
        r.skip(1)
        syntax.read_profile(r, sub_layers)
    return kind, r.ue()


def _reader(unit: bytes) -> BitReader:
    if nal_type(unit) != SPS or len(unit) > MAX_SPS_BYTES:
        raise BitstreamError(f"a NAL unit of type {nal_type(unit)}, {len(unit)} bytes, is not an HEVC SPS")
    return BitReader(remove_emulation_prevention(unit[2:]))


def _parse(r: BitReader) -> tuple[Sps, _Places]:
    """seq_parameter_set_rbsp (7.3.2.2) up to the VUI; its extensions are of no concern here."""
    vps_id, count, nesting = r.u(4), 1 + r.u(3), r.flag()
    profile = syntax.read_profile(r, count)
    sps_id, chroma_format_idc = r.ue(15), r.ue(3)
    separate = chroma_format_idc == 3 and r.flag()
    width, height = r.ue(65535), r.ue(65535)
    crop = _read_crop(r, (1, 1) if separate else _SUBSAMPLING[chroma_format_idc])
    if crop[0] + crop[1] >= width or crop[2] + crop[3] >= height:
        raise BitstreamError(f"a crop of {crop} leaves nothing of {width}×{height}")
    depth_luma, depth_chroma, log2_max_poc_lsb = 8 + r.ue(8), 8 + r.ue(8), 4 + r.ue(12)
    sub_layers, places = _read_sub_layers(r, count)
    syntax.skip_coding_tools(r, log2_max_poc_lsb)
    usability = syntax.read_vui(r, count) if r.flag() else syntax.Usability()
    sps = Sps(
        sps_id=sps_id, vps_id=vps_id, temporal_id_nesting=nesting, profile=profile,
        chroma_format_idc=chroma_format_idc, separate_colour_planes=separate,
        bit_depth_luma=depth_luma, bit_depth_chroma=depth_chroma, log2_max_poc_lsb=log2_max_poc_lsb,
        coded_width=width, coded_height=height, crop=crop, sub_layers=sub_layers,
        sample_aspect_ratio=usability.sample_aspect_ratio, colour=usability.colour,
        timing=usability.timing, field_seq=usability.field_seq,
        min_spatial_segmentation=usability.min_spatial_segmentation,
    )  # fmt: skip
    return sps, _Places(places)


def _read_crop(r: BitReader, subsampling: tuple[int, int]) -> tuple[int, int, int, int]:
    if not r.flag():
        return (0, 0, 0, 0)
    x, y = subsampling
    left, right, top, bottom = (r.ue() for _ in range(4))
    return (left * x, right * x, top * y, bottom * y)


def _read_sub_layers(r: BitReader, count: int) -> tuple[tuple[SubLayer, ...], tuple[tuple[int, int], ...]]:
    """The ordering information and the bit ranges of its sps_max_num_reorder_pics values."""
    given = count if r.flag() else 1  # sps_sub_layer_ordering_info_present_flag: else one set for all
    layers, places = [], []
    for _ in range(given):
        buffering, start = 1 + r.ue(15), r.position
        reorder = r.ue(15)
        places.append((start, r.position))
        layers.append(
            SubLayer(
                max_dec_pic_buffering=buffering, max_num_reorder=reorder, max_latency_increase_plus1=r.ue()
            )
        )
    return tuple(layers * (count if given == 1 else 1)), tuple(places)
