"""One metric of ``/metrics`` with its samples. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wtgateway.web.histograms import BOUNDS_US, Histogram

PREFIX = "wtgateway_"


@dataclass(slots=True)
class Family:
    """One metric: its samples have a value and labels each."""

    name: str
    kind: str  # counter, gauge or histogram
    help: str
    samples: list[tuple[str, Mapping[str, object], float]] = field(default_factory=list)

    def add(self, value: float, **labels: object) -> None:
        """One sample."""
        self.samples.append((self.name, labels, value))

    def add_histogram(self, histogram: Histogram, **labels: object) -> None:
        """All samples of a histogram, in seconds."""
        *counts, total = histogram.cumulative()
        for bound_us, count in zip(BOUNDS_US, counts, strict=True):
            self.samples.append((f"{self.name}_bucket", {**labels, "le": f"{bound_us / 1e6:g}"}, count))
        self.samples.append((f"{self.name}_bucket", {**labels, "le": "+Inf"}, total))
        self.samples.append((f"{self.name}_sum", labels, histogram.sum_us / 1e6))
        self.samples.append((f"{self.name}_count", labels, total))
