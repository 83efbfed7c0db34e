"""Picture order: where each access unit stands in output order, from its slice headers alone.

Source: ITU-T H.264 clause 8.2.1 (picture order count types 0 and 2), ITU-T H.265 clause 8.3.1.
What this cannot determine is None, never a guess: type 1 of H.264, which no encoder in use writes,
and slices whose parameter sets have not come yet. An H.264 memory management operation that resets the
count (MMCO 5) is not followed: the pictures behind it seem to go back, which errs on the careful side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wtgateway.bitstream import h264, hevc
from wtgateway.bitstream.bits import BitReader
from wtgateway.bitstream.nal import remove_emulation_prevention


@dataclass(frozen=True, slots=True, order=True)
class PictureOrder:
    """Output order: pictures of a later coded video sequence come later, within one the count decides."""

    sequence: int
    count: int  # PicOrderCnt


class H264Order:
    """Follows the picture order count of an H.264 stream, access unit by access unit."""

    def __init__(self) -> None:
        self.sps: dict[int, h264.Sps] = {}
        self._pps: dict[int, tuple[int, bool]] = {}  # SPS id, bottom_field_pic_order_in_frame_present_flag
        self._sequence = 0
        self._previous = (0, 0)  # prevPicOrderCntMsb, prevPicOrderCntLsb
        self._decoded = 0

    @classmethod
    def following(cls, other: H264Order) -> H264Order:
        """A new one that knows the same parameter sets: for a stream in which units are missing."""
        order = cls()
        order.sps, order._pps = other.sps, other._pps
        return order

    def add(self, unit: bytes) -> None:
        """Takes a parameter set in; other units are passed over. ``BitstreamError`` when broken."""
        kind = h264.nal_type(unit)
        if kind == h264.SPS:
            sps = h264.parse_sps(unit)
            self.sps[sps.sps_id] = sps
        elif kind == h264.PPS:
            r = BitReader(remove_emulation_prevention(unit[1:32]))
            pps_id, sps_id = r.ue(255), r.ue(31)
            r.skip(1)  # entropy_coding_mode_flag
            self._pps[pps_id] = (sps_id, r.flag())

    def next(self, units: Iterable[bytes]) -> PictureOrder | None:
        """The order of the access unit made of ``units``; the lesser one of its fields, if it has two."""
        counts: list[int] = []
        fields: set[tuple[bool, bool]] = set()
        for unit in units:
            if h264.nal_type(unit) not in h264.SLICES:
                continue
            head = self._head(unit)
            if head is None:
                return None
            if (field := (head.field, head.bottom)) in fields:
                continue  # another slice of the same field or frame
            fields.add(field)
            # The second field of an IDR picture may be a P field: nal_unit_type 5 comes once.
            if h264.nal_type(unit) == h264.IDR:
                self._begin_sequence()
            counts.append(self._count(head))
        return PictureOrder(self._sequence, min(counts)) if counts else None

    def _begin_sequence(self) -> None:
        self._sequence += 1
        self._previous = (0, 0)

    def _head(self, unit: bytes) -> _Head | None:
        r = BitReader(remove_emulation_prevention(unit[1:48]))
        r.ue()  # first_mb_in_slice
        r.ue(9)  # slice_type
        sps_id, has_bottom_delta = self._pps.get(r.ue(255), (-1, False))
        sps = self.sps.get(sps_id)
        if sps is None or sps.poc_type == 1:
            return None
        r.skip(2 if sps.separate_colour_planes else 0)
        r.skip(sps.log2_max_frame_num)
        field = not sps.frame_mbs_only and r.flag()
        bottom = field and r.flag()
        if h264.nal_type(unit) == h264.IDR:
            r.ue(65535)  # idr_pic_id
        reference = bool(unit[0] & 0x60)
        if sps.poc_type == 2:
            return _Head(field, bottom, reference, None, 0, 0)
        lsb = r.u(sps.log2_max_poc_lsb)
        delta = r.se() if has_bottom_delta and not field else 0
        return _Head(field, bottom, reference, lsb, 1 << sps.log2_max_poc_lsb, delta)

    def _count(self, head: _Head) -> int:
        if head.lsb is None:  # type 2: output order is decoding order
            self._decoded += 1
            return self._decoded
        msb = _msb(head.lsb, head.modulus, self._previous)
        if head.reference:
            self._previous = (msb, head.lsb)
        return msb + head.lsb + min(0, head.bottom_delta)


@dataclass(frozen=True, slots=True)
class _Head:
    field: bool
    bottom: bool
    reference: bool
    lsb: int | None
    modulus: int
    bottom_delta: int


class HevcOrder:
    """Follows the picture order count of an HEVC stream, access unit by access unit."""

    def __init__(self) -> None:
        self.sets = hevc.ParameterSets()
        self._sequence = 0
        self._previous = (0, 0)  # prevPicOrderCntMsb, slice_pic_order_cnt_lsb of prevTid0Pic
        self._first = True  # the next IRAP picture begins a coded video sequence

    @classmethod
    def following(cls, other: HevcOrder) -> HevcOrder:
        """A new one that knows the same parameter sets: for a stream in which units are missing."""
        order = cls()
        order.sets = other.sets
        return order

    def add(self, unit: bytes) -> None:
        """Takes a parameter set in; other units are passed over. ``BitstreamError`` when broken."""
        self.sets.add(unit)

    def next(self, units: Iterable[bytes]) -> PictureOrder | None:
        """The order of the access unit made of ``units``; None also for a picture that is never shown."""
        order = None
        for unit in units:
            kind = hevc.nal_type(unit)
            if kind in (hevc.END_OF_SEQUENCE, hevc.END_OF_BITSTREAM):
                self._first = True
            if order is None and hevc.is_slice(unit):
                head = self.sets.slice_head(unit)
                if head is not None:
                    count = self._count(unit, head)
                    order = PictureOrder(self._sequence, count) if head.shown else None
        return order

    def _count(self, unit: bytes, head: hevc.SliceHead) -> int:
        kind = hevc.nal_type(unit)
        if hevc.is_irap(unit) and (self._first or kind != hevc.CRA):
            self._sequence += 1
            self._first = False
            msb = 0
        else:
            msb = _msb(head.poc_lsb, 1 << head.log2_max_poc_lsb, self._previous)
        leading_or_unreferenced = hevc.RADL_N <= kind <= hevc.RASL_R or (
            kind <= hevc.LAST_SUB_LAYER_NON_REFERENCE and kind % 2 == 0
        )
        if unit[1] & 7 == 1 and not leading_or_unreferenced:  # TemporalId 0
            self._previous = (msb, head.poc_lsb)
        return msb + head.poc_lsb


def _msb(lsb: int, modulus: int, previous: tuple[int, int]) -> int:
    """PicOrderCntMsb: equations 8-3 of H.264 and 8-1 of H.265."""
    previous_msb, previous_lsb = previous
    if lsb < previous_lsb and previous_lsb - lsb >= modulus // 2:
        return previous_msb + modulus
    if lsb > previous_lsb and lsb - previous_lsb > modulus // 2:
        return previous_msb - modulus
    return previous_msb
