"""What a viewer asks for again: the NACK datagram (docs/protocol.md, "NACK, type 0x20").

Imports the wire layouts only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.wire import ObjectType

MAX_ENTRIES = 64
WHOLE_FRAME = (0, 0xFFFF)  # first and last of an entry for a frame of which nothing has come

_HEADER = struct.Struct(">BB")
_ENTRY = struct.Struct(">BBIIHH")


class NackEntry(NamedTuple):
    """Data fragments ``first`` to ``last`` (both included) of one frame are missing."""

    track: int
    rendition: int
    group: int
    index: int  # type: ignore[assignment]  # the frame's, which hides what tuples have by that name
    first: int
    last: int


def encode_nacks(entries: Sequence[NackEntry]) -> bytes:
    """One datagram.

    Raises ValueError for none or more than 64 entries, or a range that ends before it begins.
    """
    if not 1 <= len(entries) <= MAX_ENTRIES or any(entry.first > entry.last for entry in entries):
        raise ValueError(f"a NACK of {len(entries)} entries, or of a range that is none")
    out = bytearray(_HEADER.pack(ObjectType.NACK, len(entries)))
    for e in entries:
        out += _ENTRY.pack(e.track, e.rendition, e.group, e.index, e.first, e.last)
    return bytes(out)


def count_entries(data: bytes) -> int:
    """How many entries a NACK says that it has; 1 at least, whatever the bytes are."""
    return max(1, data[1]) if len(data) > 1 else 1


def decode_nacks(data: bytes | memoryview) -> tuple[NackEntry, ...]:
    """The entries of a datagram.

    Raises ProtocolError (MALFORMED) for another type, a length that does not fit or a range that is none.
    """
    if len(data) < _HEADER.size or data[0] != ObjectType.NACK:
        raise ProtocolError(CloseCode.MALFORMED, "a datagram is not a NACK")
    count = data[1]
    if not 1 <= count <= MAX_ENTRIES or len(data) != _HEADER.size + count * _ENTRY.size:
        raise ProtocolError(CloseCode.MALFORMED, f"a NACK of {count} entries has {len(data)} bytes")
    entries = tuple(map(NackEntry._make, _ENTRY.iter_unpack(data[_HEADER.size :])))
    for entry in entries:
        if entry.first > entry.last:
            raise ProtocolError(
                CloseCode.MALFORMED, f"a NACK asks for fragments {entry.first} to {entry.last}"
            )
    return entries
