"""When frames came in at a viewer: the Arrivals datagram (docs/protocol.md, "Arrivals, type 0x21").

From them the gateway sees one-way delay grow before anything is lost. Imports the wire layouts only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.wire import ObjectType

MAX_ENTRIES = 64
UNIT_BYTES = 64
_COMPLETE, _STREAM = 0x01, 0x02
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF

_HEADER = struct.Struct(">BBHQ")
_ENTRY = struct.Struct(">BBHIIII")


@dataclass(frozen=True, slots=True)
class Arrival:
    """What has come of one frame. Times are µs of the viewer's own monotonic clock.

    ``received_bytes`` counts what came of the frame, parity and duplicates not; on the wire it is in units
    of 64 bytes, rounded up, and ends at 65535 of them.
    """

    track: int
    group: int
    index: int
    complete: bool
    stream: bool  # it came as a stream
    received_bytes: int
    first_us: int  # of its first byte
    last_us: int  # of the last one so far


def encode_arrivals(arrivals: Sequence[Arrival]) -> bytes:
    """One datagram; its base is the earliest time in it.

    Raises ValueError for none or more than 64 entries, or times that are negative, not in order or more than
    71 minutes apart.
    """
    base_us = min((arrival.first_us for arrival in arrivals), default=-1)
    if not 1 <= len(arrivals) <= MAX_ENTRIES or base_us < 0:
        raise ValueError(f"arrivals of {len(arrivals)} frames, or before the clock began")
    out = bytearray(_HEADER.pack(ObjectType.ARRIVALS, len(arrivals), 0, base_us))
    for arrival in arrivals:
        first, last = arrival.first_us - base_us, arrival.last_us - base_us
        if not first <= last <= _U32:
            raise ValueError(f"a frame arrived from {arrival.first_us} to {arrival.last_us}")
        flags = arrival.complete * _COMPLETE | arrival.stream * _STREAM
        units = min(-(-arrival.received_bytes // UNIT_BYTES), _U16)
        out += _ENTRY.pack(arrival.track, flags, units, arrival.group, arrival.index, first, last)
    return bytes(out)


def decode_arrivals(data: bytes | memoryview) -> tuple[Arrival, ...]:
    """The entries of a datagram.

    Raises ProtocolError (MALFORMED) for another type, a length that does not fit or a frame whose last byte
    came before its first.
    """
    if len(data) < _HEADER.size or data[0] != ObjectType.ARRIVALS:
        raise ProtocolError(CloseCode.MALFORMED, "a datagram does not hold arrivals")
    _, count, _, base_us = _HEADER.unpack_from(data)
    if not 1 <= count <= MAX_ENTRIES or len(data) != _HEADER.size + count * _ENTRY.size:
        raise ProtocolError(CloseCode.MALFORMED, f"arrivals of {count} frames have {len(data)} bytes")
    out = []
    for track, flags, units, group, index, first, last in _ENTRY.iter_unpack(data[_HEADER.size :]):
        if first > last:
            raise ProtocolError(CloseCode.MALFORMED, f"a frame arrived from {first} to {last}")
        out.append(
            Arrival(
                track=track,
                group=group,
                index=index,
                complete=bool(flags & _COMPLETE),
                stream=bool(flags & _STREAM),
                received_bytes=units * UNIT_BYTES,
                first_us=base_us + first,
                last_us=base_us + last,
            )
        )
    return tuple(out)
