"""What became of the packets: a line a second for people, everything as JSON for machines. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from scripts.netsimulator.path import Direction, Totals

MOST_ROWS = 100_000  # the oldest half goes when there are more


@dataclass(frozen=True, slots=True)
class Row:
    """One direction in one interval that ended at ``at`` (epoch seconds)."""

    at: float
    direction: str
    seconds: float
    totals: Totals
    queue_ms: float  # what a packet would wait at the end of the interval
    wait_mean_ms: float  # what packets of the interval had to wait
    wait_max_ms: float

    def as_json(self) -> dict[str, Any]:
        """The row as written to a file."""
        return {
            "at": round(self.at, 3),
            "direction": self.direction,
            "seconds": round(self.seconds, 4),
            **_camel(dataclasses.asdict(self.totals)),
            "queueMs": round(self.queue_ms, 2),
            "waitMeanMs": round(self.wait_mean_ms, 2),
            "waitMaxMs": round(self.wait_max_ms, 2),
        }

    def __str__(self) -> str:
        t = self.totals
        rate = t.delivered_bytes * 8 / self.seconds / 1e6 if self.seconds else 0.0
        parts = [
            f"{self.direction:4}  {rate:7.3f} Mbit/s  {t.packets:6} packets  {t.delivered:6} passed",
            f"{t.lost:5} lost  {t.overflowed:5} overflowed  {t.duplicated:4} doubled",
            f"queue {self.queue_ms:6.1f} ms (up to {self.wait_max_ms:.1f})",
        ]
        if t.competing_bytes:
            parts.append(f"competing {t.competing_bytes * 8 / self.seconds / 1e6:.3f} Mbit/s")
        return "  ".join(parts)


def _camel(names: dict[str, Any]) -> dict[str, Any]:
    def one(name: str) -> str:
        head, *rest = name.split("_")
        return head + "".join(word.capitalize() for word in rest)

    return {one(name): value for name, value in names.items()}


class Recorder:
    """Takes the figures of both directions at intervals; bounded."""

    def __init__(self, up: Direction, down: Direction, *, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._directions = {"up": up, "down": down}
        self._before = {"up": up.totals(), "down": down.totals()}
        self._last = 0.0
        self.rows: list[Row] = []

    def begin(self, now: float) -> None:
        """The first interval begins now (monotonic seconds)."""
        self._last = now

    def take(self, now: float, epoch: float) -> tuple[Row, Row]:
        """The interval that ends now: up, down."""
        seconds, self._last = now - self._last, now
        rows = tuple(self._row(name, seconds, epoch) for name in ("up", "down"))
        self.rows += rows
        if len(self.rows) > self._most_rows:
            del self.rows[: self._most_rows // 2]
        return rows[0], rows[1]

    def _row(self, name: str, seconds: float, epoch: float) -> Row:
        direction = self._directions[name]
        totals = direction.totals()
        waits, before = direction.take_waits(), self._before[name]
        self._before[name] = totals
        mean = waits.total / waits.count if waits.count else 0.0
        return Row(
            at=epoch,
            direction=name,
            seconds=seconds,
            totals=totals.since(before),
            queue_ms=1000 * direction.queue_s,
            wait_mean_ms=1000 * mean,
            wait_max_ms=1000 * waits.longest,
        )

    def as_json(self, seed: int, late_s: float, late_share: float, refused: int) -> dict[str, Any]:
        """The whole report."""
        return {
            "seed": seed,
            "refused": refused,
            "latestMs": round(1000 * late_s, 3),
            "lateShare": round(late_share, 5),
            "totals": {
                name: _camel(dataclasses.asdict(direction.totals()))
                for name, direction in self._directions.items()
            },
            "intervals": [row.as_json() for row in self.rows],
        }
