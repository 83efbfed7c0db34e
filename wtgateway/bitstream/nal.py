"""NAL units: cut out of and put into byte streams, and what both H.264 and HEVC say about a picture.

Two framings exist: Annex B (a start code before each unit; MPEG-TS, RTSP, and WebCodecs without a
description) and length-prefixed (AVCC, HVCC; MP4, RTMP, and WebCodecs with one). Cutting is linear in
the data. Units never include start codes or lengths; they keep their emulation prevention bytes.
Sources: ITU-T H.264 clause 7.4.1 and Annex B, ITU-T H.265 the same; ISO/IEC 14496-15 clause 4.3.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wtgateway.bitstream.bits import BitstreamError

START_CODE = b"\0\0\0\1"
LENGTH_SIZES = (1, 2, 4)
_SHORT_START = b"\0\0\1"
_EMULATED = re.compile(rb"\0\0(?=[\0-\3])")


class SliceType(enum.StrEnum):
    """How the blocks of a slice may be predicted. SP and SI of H.264 count as P and I."""

    P = "P"
    B = "B"
    I = "I"  # noqa: E741  (the standard's name)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessUnitFacts:
    """What the NAL units of one access unit say about it."""

    has_picture: bool  # False: parameter sets or SEI alone
    keyframe: bool  # a decoder can start here: IDR, in HEVC any IRAP picture
    closed: bool  # and nothing after it refers to anything before it: IDR
    has_parameter_sets: bool  # all kinds that the codec needs: SPS and PPS, in HEVC VPS too
    slice_types: frozenset[SliceType]  # empty where the parameter sets to read them are missing
    disposable: bool  # no other picture refers to it
    recovery_point: bool = False  # H.264: an SEI message says that decoding may begin here without an IDR
    skipped_leading: bool = False  # HEVC RASL: undecodable where decoding began at the IRAP before it


def split_annexb(data: bytes) -> tuple[bytes, ...]:
    """The NAL units of a byte stream (B.1), without start codes and the zeros around them.

    :exc:`BitstreamError` when it does not begin with a start code (leading zeros are allowed).
    """
    first = data.find(_SHORT_START)
    if first < 0 or data[:first].strip(b"\0"):
        raise BitstreamError("the data does not begin with a start code: is it length-prefixed?")
    # A unit cannot end in a zero byte, so zeros before a start code belong to the framing.
    units = (unit.rstrip(b"\0") for unit in data[first:].split(_SHORT_START))
    return tuple(unit for unit in units if unit)


def split_length_prefixed(data: bytes, length_size: int) -> tuple[bytes, ...]:
    """The NAL units of an AVCC or HVCC sample whose lengths take ``length_size`` bytes (1, 2 or 4)."""
    if length_size not in LENGTH_SIZES:
        raise BitstreamError(f"a NAL unit length of {length_size} bytes is not one of {LENGTH_SIZES}")
    units, at = [], 0
    while at < len(data):
        start = at + length_size
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise BitstreamError(f"a NAL unit ends at byte {at}, the sample has {len(data)}")
        if at > start:
            units.append(data[start:at])
    return tuple(units)


def join_annexb(units: Iterable[bytes]) -> bytes:
    """A byte stream with a start code of four bytes before each unit."""
    return b"".join(part for unit in units for part in (START_CODE, unit))


def join_length_prefixed(units: Iterable[bytes], length_size: int = 4) -> bytes:
    """A sample with a length of ``length_size`` bytes before each unit."""
    if length_size not in LENGTH_SIZES:
        raise BitstreamError(f"a NAL unit length of {length_size} bytes is not one of {LENGTH_SIZES}")
    parts = []
    for unit in units:
        if len(unit) >= 1 << (8 * length_size):
            raise BitstreamError(f"a NAL unit of {len(unit)} bytes does not fit a length of {length_size}")
        parts += [len(unit).to_bytes(length_size, "big"), unit]
    return b"".join(parts)


def annexb_to_length_prefixed(data: bytes, length_size: int = 4) -> bytes:
    """Annex B in, AVCC or HVCC out."""
    return join_length_prefixed(split_annexb(data), length_size)


def length_prefixed_to_annexb(data: bytes, length_size: int = 4) -> bytes:
    """AVCC or HVCC in, Annex B out."""
    return join_annexb(split_length_prefixed(data, length_size))


def remove_emulation_prevention(unit: bytes) -> bytes:
    """The unit without its emulation_prevention_three_bytes (7.3.1.1)."""
    # bytes.replace goes from left to right and never looks at a byte twice, as the syntax table does.
    return unit.replace(b"\0\0\3", b"\0\0")


def add_emulation_prevention(data: bytes) -> bytes:
    """The counterpart (7.4.1.1): no start code can appear in the result.

    ``data`` ends in a non-zero byte, as anything with rbsp_trailing_bits does, or in cabac_zero_words.
    """
    escaped = _EMULATED.sub(b"\0\0\3", data)
    return escaped + b"\3" if escaped.endswith(b"\0\0") else escaped


def insert_parameter_sets(
    units: Sequence[bytes],
    parameter_sets: Iterable[bytes],
    *,
    key: Callable[[bytes], tuple[int, int] | None],
    delimiter: Callable[[bytes], bool],
) -> tuple[bytes, ...]:
    """``units`` with those ``parameter_sets`` put in front that are not among them.

    ``key`` gives (NAL unit type, parameter set id), None for other units: a set of the same kind and id
    in the access unit itself is newer and wins. The access unit ``delimiter`` stays first.
    """
    present = {key(unit) for unit in units}
    missing = tuple(unit for unit in parameter_sets if key(unit) not in present)
    at = 1 if units and delimiter(units[0]) else 0
    return (*units[:at], *missing, *units[at:])
