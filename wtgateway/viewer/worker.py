"""A thread with a bounded queue before it: what the event loop hands over without ever waiting.

Imports nothing of the project.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BoundedWorker(Generic[Item]):
    """Calls ``handle`` with each item in a thread of its own, and ``finish`` at the end.

    An exception of ``handle`` ends the work and is kept in ``error``; later items are refused.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[Item], None],
        *,
        finish: Callable[[], None] = lambda: None,
        max_items: int,
        max_bytes: int,
    ) -> None:
        self.max_items, self.max_bytes = max_items, max_bytes
        self.refused = 0
        self.error: Exception | None = None
        self._handle, self._finish = handle, finish
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._items)

    def submit(self, item: Item, size_bytes: int) -> bool:
        """Queue an item; False (and counted) when there is no room or the work has ended."""
        with self._changed:
            full = len(self._items) >= self.max_items or self._bytes + size_bytes > self.max_bytes
            if full or self._closing or self.error is not None:
                self.refused += 1
                return False
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
            self._changed.notify()
        return True

    def close(self) -> None:
        """Handle what is queued, then finish; blocks until that is done. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._handle(item[0])
        except Exception as error:
            self.error = error
        try:
            self._finish()
        except Exception as error:
            self.error = self.error or error

    def _next(self) -> tuple[Item, int] | None:
        with self._changed:
            while not self._items and not self._closing:
                self._changed.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= item[1]
            return item
