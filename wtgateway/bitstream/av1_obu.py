"""AV1's outermost layer: OBUs and the leb128 numbers in them, temporal units cut out of a stream.

Source: "AV1 Bitstream & Decoding Process Specification" 1.0.0 with errata 1 (sections named below as AV1),
"AV1 Codec ISO Media File Format Binding" (ISOBMFF).
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from wtgateway.bitstream.bits import BitstreamError

MAX_OBUS = 4096  # in a temporal unit or a record; the highest levels allow 128 tiles a frame (AV1 A.3)


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


@dataclass(frozen=True, slots=True)
class Obu:
    """One OBU. ``raw`` is all of it with a size field, ``payload`` what follows header and size."""

    type: int
    temporal_id: int
    spatial_id: int
    raw: bytes
    payload: bytes


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


def bounded_obus(data: bytes) -> tuple[Obu, ...]:
    """All OBUs of a unit or record; :exc:`BitstreamError` for more than ``MAX_OBUS``."""
    found = tuple(itertools.islice(obus(data), MAX_OBUS + 1))
    if len(found) > MAX_OBUS:
        raise BitstreamError(f"AV1: more than {MAX_OBUS} OBUs in one unit")
    return found
