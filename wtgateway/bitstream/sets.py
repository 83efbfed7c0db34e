"""The parameter sets of one H.264 or HEVC stream, kept as the NAL units they came in, newest of each id.

Source: ITU-T H.264 clauses 7.3.2.2, 7.3.3 and 7.4.1.2.1, ITU-T H.265 clauses 7.3.2.3, 7.3.6.1 and 7.4.2.4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wtgateway.bitstream import h264, hevc
from wtgateway.bitstream.bits import BitReader, BitstreamError
from wtgateway.bitstream.nal import remove_emulation_prevention

MAX_SET_BYTES = 8192  # real ones have some hundred bytes at most


@dataclass(frozen=True, slots=True)
class _Family:
    """How the two standards differ here. ``most`` is the greatest id of each NAL unit type."""

    header_bytes: int
    most: dict[int, int]
    sps: int
    pps: int
    key: Callable[[bytes], tuple[int, int] | None]
    check: Callable[[bytes], object]


_FAMILIES = {
    "h264": _Family(
        1, {h264.SPS: 31, h264.PPS: 255}, h264.SPS, h264.PPS, h264.set_key, h264.parse_sps
    ),
    "hevc": _Family(
        2, {hevc.VPS: 15, hevc.SPS: 15, hevc.PPS: 63}, hevc.SPS, hevc.PPS, hevc.set_key, hevc.parse_sps
    ),
}  # fmt: skip


class SetStore:
    """What a stream has said so far. Bounded: ids are, and so is the size of a set."""

    def __init__(self, codec: str) -> None:
        """``codec`` is "h264" or "hevc"."""
        self._codec, self._family = codec, _FAMILIES[codec]
        self._units: dict[tuple[int, int], bytes] = {}
        self._sps_of_pps: dict[int, int] = {}

    def add(self, units: Iterable[bytes]) -> None:
        """Takes the parameter sets among ``units`` in; :exc:`BitstreamError` for the first broken one."""
        for unit in units:
            key = self._family.key(unit)
            if key is not None and self._units.get(key) != unit:
                self._add(key, unit)

    def sps_of(self, coded_slice: bytes) -> bytes:
        """The SPS that a slice refers to; :exc:`BitstreamError` when it or the PPS has not come yet."""
        r = BitReader(remove_emulation_prevention(coded_slice[self._family.header_bytes :][:32]))
        if self._codec == "h264":
            r.ue()  # first_mb_in_slice
            r.ue(9)  # slice_type
        else:
            r.skip(2 if hevc.is_irap(coded_slice) else 1)
        pps_id = r.ue(self._family.most[self._family.pps])
        sps = self._units.get((self._family.sps, self._sps_of_pps.get(pps_id, -1)))
        if sps is None:
            raise BitstreamError(f"the parameter sets of a slice with PPS {pps_id} have not come yet")
        return sps

    @property
    def units(self) -> tuple[bytes, ...]:
        """All of them in the order in which one needs another: VPS, SPS, PPS."""
        return tuple(self._units[key] for key in sorted(self._units))

    def is_set(self, unit: bytes) -> bool:
        """Whether a NAL unit is a parameter set; :exc:`BitstreamError` for a broken one."""
        return self._family.key(unit) is not None

    def _add(self, key: tuple[int, int], unit: bytes) -> None:
        kind, number = key
        if number > self._family.most[kind] or len(unit) > MAX_SET_BYTES:
            raise BitstreamError(f"a parameter set of {len(unit)} bytes with id {number}")
        if kind == self._family.sps:
            self._family.check(unit)
            self._forget_pps_of(number)
        elif kind == self._family.pps:
            r = BitReader(remove_emulation_prevention(unit[self._family.header_bytes :][:32]))
            r.ue()
            self._sps_of_pps[number] = r.ue(self._family.most[self._family.sps])
        self._units[key] = unit

    def _forget_pps_of(self, sps_id: int) -> None:
        """A PPS was written for the SPS that it came with, and a decoder may refuse it with another."""
        for pps_id in [pps for pps, sps in self._sps_of_pps.items() if sps == sps_id]:
            del self._sps_of_pps[pps_id], self._units[(self._family.pps, pps_id)]
