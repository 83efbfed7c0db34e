"""One timer structure for all connections: a heap in which deadlines that move later cost nothing.

Pure: ``now`` is an argument. A deadline that moves later (an idle timeout, with every packet) only
changes a number; its old heap entry is put back at the new time when it comes up. Imports nothing.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")


class Timers(Generic[K]):
    """At most one deadline per key."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._deadlines: dict[K, float] = {}
        self._queued: dict[K, float] = {}  # the earliest heap entry of each key
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
        if queued is None or when < queued:
            self._push(key, when)

    def sooner(self, key: K, when: float) -> None:
        """Set the deadline of ``key`` unless it has an earlier one."""
        deadline = self._deadlines.get(key)
        if deadline is None or when < deadline:
            self.set(key, when)

    def remove(self, key: K) -> None:
        """Forget ``key``; its heap entries vanish as they come up."""
        self._deadlines.pop(key, None)
        self._queued.pop(key, None)

    def next_wakeup(self) -> float | None:
        """When to call :meth:`due`; at or before the earliest deadline."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[K]:
        """The keys whose deadline has come, removed; earliest first."""
        keys: list[K] = []
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._queued.get(key) != when:
                continue  # an earlier entry took its place
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
        self._queued[key] = when
        heapq.heappush(self._heap, (when, self._sequence, key))
