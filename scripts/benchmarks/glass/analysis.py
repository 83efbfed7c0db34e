"""From sightings and painted times to figures. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.benchmarks.glass.reader import Sighting

FREEZE_MS = 100.0
_SETTLE_MS = 1000.0  # painted that long before the end: it had time to arrive


@dataclass(slots=True)
class Run:
    """What one run showed; several runs are pooled by :meth:`add`."""

    ages_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    painted: int = 0
    missing: int = 0
    unreadable: int = 0
    backwards: int = 0

    def add(self, other: Run) -> None:
        """Pool another run into this one."""
        self.ages_ms += other.ages_ms
        self.gaps_ms += other.gaps_ms
        self.seconds += other.seconds
        self.painted += other.painted
        self.missing += other.missing
        self.unreadable += other.unreadable
        self.backwards += other.backwards

    @property
    def fps(self) -> float:
        """Distinct source frames shown a second."""
        return len(self.ages_ms) / self.seconds if self.seconds else 0.0

    @property
    def missing_percent(self) -> float:
        """Source frames never shown."""
        return 100 * self.missing / self.painted if self.painted else 0.0

    @property
    def freezes(self) -> int:
        """Pauses of more than 100 ms between new frames."""
        return sum(gap > FREEZE_MS for gap in self.gaps_ms)


def analyse(sightings: Sequence[Sighting], painted: Sequence[float], start_ms: float, end_ms: float) -> Run:
    """Figures of the time from ``start_ms`` to ``end_ms``; ``painted`` is the painter's log."""
    first: dict[int, float] = {}
    newest = 0
    run = Run(seconds=(end_ms - start_ms) / 1000)
    for sighting in sightings:
        if sighting.painted_ms is None:
            run.unreadable += 1
            continue
        run.backwards += sighting.painted_ms < newest
        newest = max(newest, sighting.painted_ms)
        first.setdefault(sighting.painted_ms, sighting.at_ms)
    run.ages_ms = [at - painted_ms for painted_ms, at in first.items()]
    times = [*sorted(first.values()), end_ms]
    run.gaps_ms = [max(0.0, b - a) for a, b in itertools.pairwise(times)]
    wanted = [round(ms) for ms in painted if start_ms <= ms < end_ms - _SETTLE_MS]
    run.painted = len(wanted)
    run.missing = sum(ms not in first for ms in wanted)
    return run
