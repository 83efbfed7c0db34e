"""Well-behaved viewers in processes of their own, and what must hold of what they got.

Their number is small, their deadline long: what they lack was lost by a fault, not by a machine that is busy
with making the storm.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from scripts.benchmarks.report import quantile
from scripts.storms.frame import Findings
from scripts.support.crowd import Crowd, crowd

DEADLINE_MS = 10_000


class Controls:
    """The running viewers; books of theirs are kept from one report to the next."""

    def __init__(self, running: Sequence[Crowd]) -> None:
        self._running = running
        self.latencies_ms: list[float] = []
        self.longest_ms = 0
        self.reports: list[dict[str, Any]] = []
        self.ledger: dict[str, int] = {}

    async def look(self) -> list[float]:
        """Ask them; latencies since the last time (ms)."""
        told = await asyncio.gather(*(each.report() for each in self._running))
        self.reports = [report for reports in told for report in reports]
        ledger: Counter[str] = Counter()
        for first, *_ in told:
            ledger.update(first["ledger"])
        self.ledger = ledger
        self.longest_ms = max(self.longest_ms, *(report["longest_ms"] for report in self.reports))
        fresh = [value for report in self.reports for value in report["latencies_ms"]]
        self.latencies_ms += fresh
        del self.latencies_ms[:-200_000]
        return fresh

    async def more_frames(self, count: int, seconds: float = 60.0) -> None:
        """All of them get so many more pictures; TimeoutError when not."""
        await self.look()
        wanted = [report["frames"] + count for report in self.reports]
        deadline = time.monotonic() + seconds
        while any(report["frames"] < least for report, least in zip(self.reports, wanted, strict=True)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {count} more pictures in {seconds:g} s")
            await asyncio.sleep(0.1)
            await self.look()

    @property
    def sessions_lost(self) -> int:
        """How often one of them needed another session."""
        return sum(report["reconnects"] + report["roams"] for report in self.reports)

    async def judge(self, findings: Findings, *, sessions: bool = True) -> None:
        """Every frame came, once, in order, unchanged; ``sessions``: and all in their first sessions."""
        await self.look()
        findings.note("frames of control viewers", self.ledger["frames"])
        findings.holds("frames verified", self.ledger["settled"], goal=1, at_least=True)
        for name in ("missing", "disordered", "changed"):
            findings.holds(f"frames {name}", self.ledger[name])
        if sessions:
            findings.holds("sessions of control viewers lost", self.sessions_lost)
        findings.note("longest time without a picture", self.longest_ms, "ms")
        findings.note("latency p50", quantile(self.latencies_ms, 0.5), "ms")
        findings.note("latency p99", quantile(self.latencies_ms, 0.99), "ms")


@contextlib.asynccontextmanager
async def controls(
    url: str, count: int = 2, *, deadline_ms: int = DEADLINE_MS, each: int = 0
) -> AsyncIterator[Controls]:
    """``count`` viewers of the page ``url``, all playing; ``each``: so many in a process, 0: all in one.

    Where many come back at once, handshakes of some would keep the others of their process waiting.
    """
    options = ("--deadline", str(deadline_ms)) if deadline_ms else ()
    module = "scripts.storms.watchers"
    async with contextlib.AsyncExitStack() as stack:
        crowds = [
            await stack.enter_async_context(
                crowd((), url, min(each or count, count - begun), module=module, options=options)
            )
            for begun in range(0, count, each or count)
        ]
        yield Controls(crowds)
