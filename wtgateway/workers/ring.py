"""A ring of bytes in shared memory: one process writes records, others read them, nobody waits.

Positions count all bytes that were ever written; position modulo capacity is the place in the buffer.
The writer never looks at its readers, so a slow one is overtaken: it finds that out by itself, loses what
it had not read, and is told how much. The protocol between the two, without a lock:

1. Before it writes, the writer announces up to which position it is going to overwrite, well ahead
   (``GUARD_BYTES``): where processors reorder memory accesses (ARM) an announcement of just now might be
   seen after the bytes that it warns of; one that was made some records, and system calls, ago is not.
2. It writes the record.
3. It tells the readers the number of bytes written, by a system call (see bus.py), which orders all that
   was written before it.
4. A reader copies a record out, and only then looks at the announcement: if what it copied may have been
   overwritten meanwhile, it throws the copy away.

Pure: bytes and positions, no clock, no sockets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEAD_BYTES = 64  # before the ring: the announcement, alone in its cache line
GUARD_BYTES = 1 << 20
_ANNOUNCED = struct.Struct("=Q")
_RECORD = struct.Struct("=QII")  # the record's number, its tag, the length of its body

Buffer = memoryview


class Overtaken(Exception):
    """The writer has overwritten what was to be read."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record: where it begins, its writer's 32 bits for what it is, and its body."""

    position: int
    tag: int
    body: bytes


def buffer_bytes(capacity: int) -> int:
    """The size of the buffer for a ring of that capacity."""
    return HEAD_BYTES + capacity


class _Ring:
    """What writer and reader have in common: the buffer, and reading and writing around its end."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self.capacity = len(buffer) - HEAD_BYTES
        if self.capacity <= _RECORD.size:
            raise ValueError("the buffer is too small for a ring")
        self._guard = min(GUARD_BYTES, self.capacity // 4)

    @property
    def announced(self) -> int:
        """The position up to which the writer may have written already."""
        return int(_ANNOUNCED.unpack_from(self._buffer)[0])


class RingWriter(_Ring):
    """The one writer. A new one begins at position 0 of an empty (zeroed) buffer."""

    def __init__(self, buffer: Buffer) -> None:
        super().__init__(buffer)
        self.position = 0
        self.records = 0
        self._announce(self._guard)

    @property
    def max_body(self) -> int:
        """The longest body that one record can have: it must not overwrite itself, guard included."""
        return self.capacity - self._guard - _RECORD.size

    def write(self, tag: int, body: bytes) -> int:
        """Append a record; its position. Raises ValueError for a body over ``max_body``."""
        if len(body) > self.max_body:
            raise ValueError(f"a record of {len(body)} bytes is over the ring's {self.max_body}")
        begin = self.position
        end = begin + _RECORD.size + len(body)
        self._announce(end + self._guard)
        self._put(begin, _RECORD.pack(self.records, tag, len(body)))
        self._put(begin + _RECORD.size, body)
        self.position, self.records = end, self.records + 1
        return begin

    def still_there(self, position: int, margin: int = 0) -> bool:
        """Whether what was written at ``position`` is there, and will be for ``margin`` bytes more."""
        return position >= self.announced - self.capacity + margin

    def _announce(self, position: int) -> None:
        _ANNOUNCED.pack_into(self._buffer, 0, position)

    def _put(self, position: int, data: bytes) -> None:
        begin = HEAD_BYTES + position % self.capacity
        first = min(len(data), len(self._buffer) - begin)
        self._buffer[begin : begin + first] = data[:first]
        if first < len(data):
            self._buffer[HEAD_BYTES : HEAD_BYTES + len(data) - first] = data[first:]


class RingReader(_Ring):
    """One reader. It begins at ``position``, where record number ``record`` begins, or will."""

    def __init__(self, buffer: Buffer, position: int = 0, record: int = 0) -> None:
        super().__init__(buffer)
        self.position = position
        self.published = position
        self.lost = 0
        self._next_record = record

    @property
    def pending(self) -> int:
        """Bytes that are there to be read."""
        return self.published - self.position

    def release(self) -> None:
        """Let go of the buffer: nothing can be read any more."""
        self._buffer.release()

    def publish(self, size: int) -> None:
        """The writer has written ``size`` more bytes."""
        self.published += size

    def read(self) -> Record | None:
        """The next record, or None if there is no more.

        Raises :exc:`Overtaken` if it is not there any more; reading goes on behind what was published.
        The records skipped are counted in ``lost`` as soon as the next one is read. Raises ValueError for
        what no writer of ours has written.
        """
        if self.position >= self.published:
            return None
        begin = self.position
        number, tag, length = _RECORD.unpack(self._get(begin, _RECORD.size))
        self._check(begin)
        if begin + _RECORD.size + length > self.published:
            raise ValueError("a record reaches beyond what was written")
        body = self._get(begin + _RECORD.size, length)
        self._check(begin)
        self.lost += number - self._next_record
        self._next_record = number + 1
        self.position = begin + _RECORD.size + length
        return Record(begin, tag, body)

    def _check(self, begin: int) -> None:
        if begin < self.announced - self.capacity:
            self.position = self.published
            raise Overtaken

    def _get(self, position: int, size: int) -> bytes:
        begin = HEAD_BYTES + position % self.capacity
        first = min(size, len(self._buffer) - begin)
        data = bytes(self._buffer[begin : begin + first])
        if first < size:
            data += bytes(self._buffer[HEAD_BYTES : HEAD_BYTES + size - first])
        return data
