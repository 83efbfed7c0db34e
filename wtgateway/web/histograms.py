"""Where the time of frames goes: histograms of each broadcast and stage, with fixed buckets that add up.

What viewers trace is summed here by whoever serves them, and shown in ``/metrics``. Its size is bounded: a
broadcast, which only the configuration can name, has as many numbers as there are stages and buckets. Pure;
imports the protocol's traces.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from wtgateway.protocol.traces import STAGES, TracedFrame

BOUNDS_US: Final = tuple(
    round(ms * 1000) for ms in (0.5, 1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 1000, 2000)
)
"""Upper bounds of the buckets but the last, which has none."""

TOTAL: Final = len(STAGES)
"""The row of capture to paint, behind those of the stages."""


@dataclass(slots=True)
class Histogram:
    """Times in µs: how many fell into each bucket, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_US) + 1))
    sum_us: int = 0

    def observe(self, value_us: int) -> None:
        """One more."""
        self.counts[bisect.bisect_left(BOUNDS_US, value_us)] += 1
        self.sum_us += value_us

    def cumulative(self) -> list[int]:
        """How many are at most each bound, and how many there are."""
        return list(itertools.accumulate(self.counts))


class StageTimes:
    """One broadcast's: a histogram for each of STAGES, and one for capture to paint."""

    def __init__(self, rows: Iterable[Iterable[int]] | None = None) -> None:
        self.histograms = [Histogram() for _ in range(TOTAL + 1)]
        for histogram, (sum_us, *counts) in zip(self.histograms, rows or (), strict=False):
            histogram.counts, histogram.sum_us = counts, sum_us

    def observe(self, frames: Iterable[TracedFrame]) -> None:
        """What a viewer has told."""
        for frame in frames:
            for histogram, value_us in zip(self.histograms, (*frame.stages, frame.latency_us), strict=True):
                histogram.observe(value_us)

    def rows(self) -> list[list[int]]:
        """As they travel between processes, and :class:`StageTimes` takes them: sum and counts of each."""
        return [[histogram.sum_us, *histogram.counts] for histogram in self.histograms]
