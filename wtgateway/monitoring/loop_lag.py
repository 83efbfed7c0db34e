"""How late an event loop is: the distance between when a timer was due and when it ran.

A loop that blocks delays everything of its process by as much. Imports the histogram of the web's values.
"""

from __future__ import annotations

import asyncio
from typing import Final

from wtgateway.web.histograms import Histogram

EVERY_S: Final = 0.1


class LoopLag:
    """Of the loop that it is started in. ``histogram`` only grows."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.histogram = Histogram()
        self._loop = loop
        self._worst_us = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        due = self._loop.time() + EVERY_S
        self._timer = self._loop.call_at(due, self._look, due)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def take_worst_us(self) -> int:
        """The worst since this was asked last."""
        worst, self._worst_us = self._worst_us, 0
        return worst

    def rows(self) -> list[int]:
        """The histogram as it travels between processes: sum and counts."""
        return [self.histogram.sum_us, *self.histogram.counts]

    def _look(self, due: float) -> None:
        late_us = max(0, round((self._loop.time() - due) * 1e6))
        self.histogram.observe(late_us)
        self._worst_us = max(self._worst_us, late_us)
        self.start()


def histogram_of(row: list[int]) -> Histogram:
    """The histogram of :meth:`LoopLag.rows`."""
    sum_us, *counts = row
    return Histogram(counts, sum_us)
