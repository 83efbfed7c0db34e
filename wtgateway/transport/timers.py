"""One timer structure for all connections: a heap in which deadlines that move later cost nothing.

Pure: ``now`` is an argument. A deadline that moves later (an idle timeout, with every packet) only
changes a number; its old heap entry is put back at the new time when it comes up. An entry that an
earlier one has replaced lets go of its key at once, and leaves the heap before such entries are more
than the others. Imports nothing.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")

_FEW = 64  # entries without a key that are not worth a sweep


class _Entry(Generic[K]):
    """A place in the heap; without a key it means nothing any more."""

    __slots__ = ("key", "when")

    def __init__(self, when: float, key: K) -> None:
        self.when = when
        self.key: K | None = key


class Timers(Generic[K]):
    """At most one deadline per key."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Entry[K]]] = []
        self._deadlines: dict[K, float] = {}
        self._queued: dict[K, _Entry[K]] = {}  # each key's one entry in the heap
        self._void = 0  # entries without a key
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def set(self, key: K, when: float | None) -> None:
        """Set, move or (None) remove the deadline of ``key``."""
        if when is None:
            self._deadlines.pop(key, None)
            return
        self._deadlines[key] = when
        queued = self._queued.get(key)
        if queued is None or when < queued.when:
            self._void_entry(key)
            self._push(key, when)

    def sooner(self, key: K, when: float) -> None:
        """Set the deadline of ``key`` unless it has an earlier one."""
        deadline = self._deadlines.get(key)
        if deadline is None or when < deadline:
            self.set(key, when)

    def remove(self, key: K) -> None:
        """Forget ``key``, which is held no longer."""
        self._deadlines.pop(key, None)
        self._void_entry(key)

    def next_wakeup(self) -> float | None:
        """When to call :meth:`due`; at or before the earliest deadline."""
        heap = self._heap
        while heap and heap[0][2].key is None:
            heapq.heappop(heap)
            self._void -= 1
        return heap[0][0] if heap else None

    def due(self, now: float) -> list[K]:
        """The keys whose deadline has come, removed; earliest first."""
        keys: list[K] = []
        while self._heap and self._heap[0][0] <= now:
            key = heapq.heappop(self._heap)[2].key
            if key is None:
                self._void -= 1
                continue
            del self._queued[key]
            deadline = self._deadlines.get(key)
            if deadline is None:
                continue
            if deadline <= now:
                del self._deadlines[key]
                keys.append(key)
            else:
                self._push(key, deadline)
        return keys

    def _push(self, key: K, when: float) -> None:
        self._sequence += 1
        entry = self._queued[key] = _Entry(when, key)
        heapq.heappush(self._heap, (when, self._sequence, entry))

    def _void_entry(self, key: K) -> None:
        entry = self._queued.pop(key, None)
        if entry is None:
            return
        entry.key = None
        self._void += 1
        if self._void > _FEW and 2 * self._void > len(self._heap):
            self._heap = [place for place in self._heap if place[2].key is not None]
            heapq.heapify(self._heap)
            self._void = 0
