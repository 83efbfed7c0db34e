"""What a load measured, whether that is worth anything, and the figures that follow. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.benchmarks.fanout.content import FPS, MBIT_PER_FRAME

FULL_CORE = 0.9  # of the load's own core: beyond, it is the limit
# Of packet numbers: beyond, bytes that came twice are counted as media. Some senders (quinn) skip a number
# now and then, to catch receivers that acknowledge what they did not get (RFC 9000 section 21.4).
LOST_SHARE = 0.005
DELIVERED_SHARE = 0.97  # of the media that the viewers should have got: below, the server did another job
LATE_MS = 1000 / FPS  # a frame that is whole when the next one is due


@dataclass(slots=True, kw_only=True)
class Report:
    """One window. Counts are those of the window; times in s, latencies in ms."""

    viewers: int
    seconds: float
    media_mbit: float
    server_cpu_s: float
    own_cpu_s: float
    packets: int = 0
    opened: int = 0
    acks: int = 0
    greedy_mbit: float = 0.0
    processes_cpu_s: list[float] = field(default_factory=list)
    largest_packet_bytes: int = 0
    lost: int = 0
    drops: int = 0
    send_dropped: int = 0
    forged: int = 0
    malformed: int = 0
    wrong: int = 0
    first_wrong: str = ""
    frames: int = 0
    opens_all: bool = False
    latency: dict[str, float] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)
    resident: list[tuple[float, int]] = field(default_factory=list)
    joined: int = 0
    failed: int = 0

    def as_json(self) -> dict[str, Any]:
        """For the line that the load prints."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Report:
        """What :meth:`as_json` gave."""
        return cls(**values)

    @property
    def cpu_ms_per_mbit(self) -> float | None:
        """The server's processor time for a Mbit of media, ms."""
        return 1000 * self.server_cpu_s / self.media_mbit if self.media_mbit else None

    @property
    def delivered(self) -> float:
        """Share of the media that its viewers should have got."""
        expected = self.viewers * self.seconds * FPS * MBIT_PER_FRAME
        return self.media_mbit / expected if expected else 0.0

    @property
    def packets_per_ack(self) -> float | None:
        """How it acknowledged in truth, timers and all."""
        return self.packets / self.acks if self.acks else None

    @property
    def late_frames(self) -> int:
        """Frames whole after the next one was due, and those that never were. Needs ``opens_all``."""
        expected = round(self.viewers * self.seconds * FPS)
        missing = max(0, expected - self.frames - self.viewers)  # one may be on its way at either end
        return int(self.latency.get("late", 0)) + missing

    def problems(self, *, full_rate: bool = True) -> list[str]:
        """Why the window is no measurement of the server; empty when it is one.

        ``full_rate``: the viewers should have got every frame.
        """
        share = self.own_cpu_s / self.seconds if self.seconds else 1.0
        found = []
        if share > FULL_CORE:
            found.append(f"the load was the limit: {100 * share:.0f} % of its core")
        if self.drops:
            found.append(f"the load was the limit: {self.drops} datagrams dropped at its sockets")
        if self.send_dropped:
            found.append(f"{self.send_dropped} of the load's own datagrams did not leave")
        if self.wrong or self.forged or self.malformed:
            found.append(
                f"{self.wrong} wrong contents, {self.forged} unsealed packets, {self.malformed} malformed"
                + (f" (first: {self.first_wrong})" if self.first_wrong else "")
            )
        if self.packets and self.lost > LOST_SHARE * self.packets:
            found.append(f"{self.lost} of {self.packets} packets were lost on the way")
        at_the_ends = 1 / (self.seconds * FPS) if self.seconds else 0.0  # a frame each may be on its way
        if full_rate and self.delivered + at_the_ends < DELIVERED_SHARE:
            found.append(f"only {100 * self.delivered:.0f} % of the media was delivered")
        return found


def latency_summary(latencies_ms: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the greatest, rounded to µs, and how many were late; empty of nothing."""
    if not latencies_ms:
        return {}
    ordered = sorted(latencies_ms)
    last = len(ordered) - 1

    def at(share: float) -> float:
        return round(ordered[min(last, int(share * len(ordered)))], 3)

    late = sum(value > LATE_MS for value in ordered)
    return {"p50": at(0.5), "p99": at(0.99), "max": at(1.0), "late": late}


def bytes_per_viewer(steps: Sequence[tuple[int, int]]) -> float | None:
    """Memory of one viewer more, between the first and the last step."""
    if len(steps) < 2 or steps[-1][0] == steps[0][0]:
        return None
    (few, less), (many, more) = steps[0], steps[-1]
    return (more - less) / (many - few)


def growth_bytes_per_minute(resident: Sequence[tuple[float, int]]) -> float | None:
    """Slope, by least squares, of memory over the later two thirds of (s, bytes)."""
    later = resident[len(resident) // 3 :]
    if len(later) < 3:
        return None
    mean_at = sum(at for at, _ in later) / len(later)
    mean = sum(size for _, size in later) / len(later)
    spread = sum((at - mean_at) ** 2 for at, _ in later)
    return 60 * sum((at - mean_at) * (size - mean) for at, size in later) / spread if spread else None
