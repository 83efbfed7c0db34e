"""Program: native viewers in one process that verify every frame; controls while a storm rages elsewhere.

    python -m scripts.storms.watchers [--stay] [--deadline MS] URL COUNT

As scripts.benchmarks.roaming.crowd, whose viewers these are, with more in each viewer's report:
``"latencies_ms"`` (from capture to the last byte here, since the line before), ``"skipped"`` (how often the
next picture was not the one behind the last) and in the first one's ``"ledger"`` (:mod:`.ledger`, over
all of them since the beginning).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from scripts.benchmarks.roaming import crowd
from scripts.storms.ledger import Ledger
from wtgateway.media import Frame

_MOST_LATENCIES = 20_000  # between two reports; what is more is left out


class Watcher(crowd.Watcher):
    """One that enters what it gets into the ledger of all."""

    def __init__(self, url: str, number: int, *, stay: bool, ledger: Ledger, deadline_ms: int) -> None:
        # On streams: what a datagram lost would be no fault. No other transport: it would hide one.
        options = {"delivery": "stream", "transport": "webtransport", "deadline_ms": deadline_ms}
        super().__init__(url, number, stay=stay, audio=True, **options)
        self._ledger = ledger
        self._latencies: list[float] = []
        self._skipped = 0
        self._newest: tuple[int, int] | None = None

    def _on_frame(self, frame: Frame) -> None:
        self._ledger.add(self._number, frame)
        if frame.track != 0:
            return  # pictures are what is timed: sound would hide that they are away
        super()._on_frame(frame)
        self._note_order(frame.group, frame.index)
        core = self.viewer.core
        if core is not None and core.clock.ready and len(self._latencies) < _MOST_LATENCIES:
            now_us = core.clock.to_gateway(round(time.monotonic() * 1e6))
            self._latencies.append(round((now_us - frame.capture_us) / 1000, 2))

    def _note_order(self, group: int, index: int) -> None:
        newest, self._newest = self._newest, (group, index)
        if newest is not None and (group, index) not in ((newest[0], newest[1] + 1), (newest[0] + 1, 0)):
            self._skipped += 1

    def report(self) -> dict[str, Any]:
        """As the module says."""
        latencies, self._latencies = self._latencies, []
        ledger = self._ledger
        told = {
            name: getattr(ledger, name) for name in ("frames", "settled", "missing", "disordered", "changed")
        }
        report = super().report()
        return (
            report
            | {"latencies_ms": latencies, "skipped": self._skipped}
            | ({"ledger": told} if self._number == 0 else {})
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stay", action="store_true")
    parser.add_argument("--deadline", type=int, default=0, metavar="MS")
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    ledger = Ledger(chosen.count)

    def make(number: int) -> Watcher:
        return Watcher(chosen.url, number, stay=chosen.stay, ledger=ledger, deadline_ms=chosen.deadline)

    asyncio.run(crowd.watch(chosen.count, make))


if __name__ == "__main__":
    main()
