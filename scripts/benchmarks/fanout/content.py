"""What every server of the bench sends: frames that the receiver can check and date.

A frame is ``FRAME_BYTES`` bytes: 8 bytes of CLOCK_MONOTONIC in ns, big-endian (when it was due, so that a
server that is late for it does not hide that), then bytes that both ends know. As datagrams it is cut into
fragments with a head of 8 bytes: frame number, index and count. Standard library only: the peers'
environments import it.
"""

from __future__ import annotations

import hashlib
import struct
import time

FRAME_BYTES = 16 * 1024
FPS = 30
MBIT_PER_FRAME = FRAME_BYTES * 8 / 1e6
STAMP_BYTES = 8
FRAGMENT_HEAD_BYTES = 8

PATTERN = hashlib.shake_128(b"fan-out").digest(FRAME_BYTES)
_STAMP = struct.Struct(">Q")
_HEAD = struct.Struct(">IHH")


class ContentError(ValueError):
    """A byte that no server of the bench can have meant."""


def make_frame(due_ns: int) -> bytes:
    """The frame that was due then."""
    return _STAMP.pack(due_ns) + PATTERN[STAMP_BYTES:]


class Ticks:
    """When frames are due: ``FPS`` times a second from its making, like a live source's.

    Ask :meth:`wait_s`, sleep so long, take :meth:`next_frame`. Ticks that a slow server missed are gone.
    """

    def __init__(self) -> None:
        self._started_ns = time.monotonic_ns()
        self.number = 0
        self.missed = 0

    def _due_ns(self, number: int) -> int:
        return self._started_ns + number * 1_000_000_000 // FPS

    def wait_s(self) -> float:
        """Until the next frame is due; 0 when it is already."""
        return max(0.0, (self._due_ns(self.number + 1) - time.monotonic_ns()) / 1e9)

    def next_frame(self) -> bytes:
        """The newest frame that is due."""
        newest = max(self.number + 1, (time.monotonic_ns() - self._started_ns) * FPS // 1_000_000_000)
        self.missed += newest - self.number - 1
        self.number = newest
        return make_frame(self._due_ns(newest))


def stamp_of(head: bytes) -> int:
    """When the frame that begins with ``head`` was made, ns."""
    stamp: int = _STAMP.unpack_from(head)[0]
    return stamp


def fragments(number: int, frame: bytes, payload_bytes: int) -> list[bytes]:
    """The frame as datagram payloads of at most ``payload_bytes`` each.

    Raises ValueError when not even one byte fits behind the head.
    """
    size = payload_bytes - FRAGMENT_HEAD_BYTES
    if size < STAMP_BYTES:
        raise ValueError(f"{payload_bytes} bytes are too few for a fragment")
    pieces = [frame[start : start + size] for start in range(0, len(frame), size)]
    return [_HEAD.pack(number & 0xFFFFFFFF, index, len(pieces)) + piece for index, piece in enumerate(pieces)]


def parse_fragment(payload: bytes) -> tuple[int, int, int, int]:
    """Frame number, index, count, and where in the frame the bytes behind the head belong.

    Raises ContentError unless it is a fragment whose bytes are those of a frame.
    """
    if len(payload) <= FRAGMENT_HEAD_BYTES:
        raise ContentError(f"a fragment of {len(payload)} bytes")
    number, index, count = _HEAD.unpack_from(payload)
    size = len(payload) - FRAGMENT_HEAD_BYTES
    offset = index * size if index + 1 < count else FRAME_BYTES - size
    if index >= count:
        raise ContentError(f"fragment {index} of {count}")
    check(offset, payload[FRAGMENT_HEAD_BYTES:])
    return number, index, count, offset


def check(offset: int, data: bytes) -> None:
    """Raises ContentError unless ``data`` is what a frame holds at ``offset``; the stamp is not checked."""
    if offset < 0 or offset + len(data) > FRAME_BYTES:
        raise ContentError(f"{len(data)} bytes at {offset} are beyond a frame")
    skipped = min(len(data), max(0, STAMP_BYTES - offset))
    if data[skipped:] != PATTERN[offset + skipped : offset + len(data)]:
        raise ContentError(f"{len(data)} bytes at {offset} are not a frame's")
