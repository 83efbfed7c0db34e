"""Frames in datagrams: fragments and parity (docs/protocol.md, "Fragment, type 0x10, and parity, type 0x11").

A fragment is 28 bytes of header and a piece of the *frame object* of :mod:`wtgateway.protocol.wire`, so that
the same shared bytes serve streams and datagrams. :func:`cut` and :func:`parity` make whole datagrams, once
for all viewers whose paths take the same size. Imports the wire layouts and the code.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from wtgateway.errors import ProtocolError
from wtgateway.protocol import fec
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES, FrameFlag, ObjectType

HEADER_BYTES = 28
MAX_PIECES = 0xFFFF
MAX_OBJECT_BYTES = FRAME_HEADER_BYTES + MAX_PAYLOAD_BYTES
CACHE_BYTES = 16 * 1024 * 1024  # each of two: what was cut of the last frames of all broadcasts

_HEADER = struct.Struct(">BBBBIIIHHQ")
assert _HEADER.size == HEADER_BYTES
_SHAPE = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class Fragment:
    """One fragment, or one row of parity, of a frame object."""

    parity: bool
    keyframe: bool
    discardable: bool
    track: int
    rendition: int
    group: int
    index: int
    object_bytes: int  # of the whole frame object
    number: int  # of the piece, or of the parity row
    count: int  # of pieces
    capture_us: int
    data: bytes

    @property
    def piece_bytes(self) -> int:
        """Length of all pieces but the last."""
        if self.parity or self.number < self.count - 1 or self.count == 1:
            return len(self.data)
        return (self.object_bytes - len(self.data)) // (self.count - 1)


def decode_fragment(data: bytes | memoryview) -> Fragment:
    """The fragment or parity in a datagram.

    Raises ProtocolError (MALFORMED) for another type, or bytes that contradict themselves.
    """
    if len(data) <= HEADER_BYTES:
        raise ProtocolError(CloseCode.MALFORMED, f"a fragment of {len(data)} bytes is cut short")
    kind, flags, track, rendition, group, index, size, number, count, capture = _HEADER.unpack_from(data)
    if kind not in (ObjectType.FRAGMENT, ObjectType.PARITY):
        raise ProtocolError(CloseCode.MALFORMED, f"datagram type 0x{kind:02x} is not a fragment")
    fragment = Fragment(
        parity=kind == ObjectType.PARITY,
        keyframe=bool(flags & FrameFlag.KEYFRAME),
        discardable=bool(flags & FrameFlag.DISCARDABLE),
        track=track,
        rendition=rendition,
        group=group,
        index=index,
        object_bytes=size,
        number=number,
        count=count,
        capture_us=capture,
        data=bytes(data[HEADER_BYTES:]),
    )
    if not _consistent(fragment):
        raise ProtocolError(
            CloseCode.MALFORMED,
            f"fragment {number} of {count} with {len(fragment.data)} bytes cannot be of a frame of {size}",
        )
    return fragment


def _consistent(fragment: Fragment) -> bool:
    """Whether number, count, size and length can be together."""
    size, number, count, length = fragment.object_bytes, fragment.number, fragment.count, len(fragment.data)
    if not FRAME_HEADER_BYTES <= size <= MAX_OBJECT_BYTES or count < 1:
        return False
    if fragment.parity:
        if count > fec.MAX_DATA_PIECES or number >= fec.MAX_ROWS:
            return False
    elif number >= count:
        return False
    elif number == count - 1:
        if count == 1:
            return length == size
        piece, odd = divmod(size - length, count - 1)
        return odd == 0 and 1 <= length <= piece
    return (count - 1) * length < size <= count * length


class _PieceCache:
    """The last results of a function of shared bytes; the oldest go when they are over ``max_bytes``.

    Bytes are compared by identity first and keep their hash, so looking up costs nothing per byte.
    """

    def __init__(self, make: Callable[[bytes, int, int], tuple[bytes, ...]], max_bytes: int) -> None:
        self._make, self._max_bytes, self._bytes = make, max_bytes, 0
        self._kept: OrderedDict[tuple[bytes, int, int], tuple[bytes, ...]] = OrderedDict()

    def get(self, frame_object: bytes, piece_bytes: int, rows: int) -> tuple[bytes, ...]:
        key = (frame_object, piece_bytes, rows)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = self._kept[key] = self._make(*key)
        self._bytes += self._cost(key, made)
        while self._bytes > self._max_bytes and self._kept:
            self._bytes -= self._cost(*self._kept.popitem(last=False))
        return made

    @property
    def held_bytes(self) -> int:
        return self._bytes

    @staticmethod
    def _cost(key: tuple[bytes, int, int], made: tuple[bytes, ...]) -> int:
        return len(key[0]) + sum(map(len, made))


def cut(frame_object: bytes, piece_bytes: int) -> tuple[bytes, ...]:
    """All fragments of a frame object as datagrams of at most ``HEADER_BYTES + piece_bytes``.

    As few as that allows, of even length. What was cut last is kept (16 MiB), so viewers share it. Raises
    ValueError when it takes more than 65535, or for a size that is none.
    """
    return _CUT.get(frame_object, piece_bytes, 0)


def parity(frame_object: bytes, piece_bytes: int, rows: int) -> tuple[bytes, ...]:
    """Parity rows 0 to ``rows - 1`` over what :func:`cut` makes, as datagrams; kept likewise.

    At most 64 rows; none for a frame of more than 192 pieces.
    """
    return _PARITY.get(frame_object, piece_bytes, min(rows, fec.MAX_ROWS))


def _cut(frame_object: bytes, piece_bytes: int, rows: int) -> tuple[bytes, ...]:
    pieces = _pieces(frame_object, piece_bytes)
    prefix, suffix = _around(ObjectType.FRAGMENT, frame_object)
    return tuple(
        b"".join((prefix, _SHAPE.pack(number, len(pieces)), suffix, piece))
        for number, piece in enumerate(pieces)
    )


def _parity(frame_object: bytes, piece_bytes: int, rows: int) -> tuple[bytes, ...]:
    pieces = _pieces(frame_object, piece_bytes)
    if rows <= 0 or len(pieces) > fec.MAX_DATA_PIECES:
        return ()
    prefix, suffix = _around(ObjectType.PARITY, frame_object)
    return tuple(
        b"".join((prefix, _SHAPE.pack(row, len(pieces)), suffix, data))
        for row, data in enumerate(fec.encode(pieces, rows))
    )


def _pieces(frame_object: bytes, piece_bytes: int) -> list[memoryview]:
    size = len(frame_object)
    if piece_bytes < 1 or not FRAME_HEADER_BYTES <= size <= MAX_OBJECT_BYTES:
        raise ValueError(f"a frame object of {size} bytes in pieces of {piece_bytes}")
    count = -(-size // piece_bytes)
    if count > MAX_PIECES:
        raise ValueError(f"a frame object of {size} bytes is more than {MAX_PIECES} pieces of {piece_bytes}")
    even, view = -(-size // count), memoryview(frame_object)
    return [view[start : start + even] for start in range(0, size, even)]


def _around(kind: ObjectType, frame_object: bytes) -> tuple[bytes, bytes]:
    """What stands in a fragment's header before its number and count, and behind them.

    Flags, track, rendition, group, index and capture timestamp stand in the frame object's header as well.
    """
    prefix = bytes([kind]) + frame_object[1:12] + len(frame_object).to_bytes(4, "big")
    return prefix, frame_object[24:32]


_CUT = _PieceCache(_cut, CACHE_BYTES)
_PARITY = _PieceCache(_parity, CACHE_BYTES)
