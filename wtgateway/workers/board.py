"""What each worker says of itself to all others: how many connections it has, and whether it is up.

A page of shared memory without a name, a slot for each worker in a cache line of its own, written by one
and read by all: what is read may be a moment old, which is good enough for choosing the least loaded.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct

_SLOT = struct.Struct("=II")  # up, connections
_SLOT_BYTES = 64


class Board:
    """``fd`` None makes a new one; a given one is taken over."""

    def __init__(self, workers: int, fd: int | None = None) -> None:
        self.workers = workers
        size = workers * _SLOT_BYTES
        if fd is None:
            fd = os.memfd_create("wtgateway-workers")
            os.ftruncate(fd, size)
        self.fd = fd
        self._memory = mmap.mmap(fd, size)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def tell(self, worker: int, connections: int) -> None:
        """The worker is up and has so many connections."""
        _SLOT.pack_into(self._memory, worker * _SLOT_BYTES, 1, connections)

    def expect(self, worker: int) -> None:
        """The worker is about to have one more, which it has not said yet."""
        connections = self.connections(worker)
        if connections is not None:
            self.tell(worker, connections + 1)

    def down(self, worker: int) -> None:
        """The worker is gone, or not there yet."""
        _SLOT.pack_into(self._memory, worker * _SLOT_BYTES, 0, 0)

    def connections(self, worker: int) -> int | None:
        """How many connections a worker has; None: it is not up."""
        up, connections = _SLOT.unpack_from(self._memory, worker * _SLOT_BYTES)
        return connections if up else None

    def least_loaded(self, worker: int) -> int:
        """Who should take the next connection: ``worker`` itself unless another has fewer."""
        own = self.connections(worker)
        best, least = worker, own if own is not None else 1 << 32
        for other in range(self.workers):
            connections = self.connections(other)
            if connections is not None and connections < least:
                best, least = other, connections
        return best
