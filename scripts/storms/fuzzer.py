"""Program: mutated inputs to every decoder of the gateway, in this process, at speed.

    python -m scripts.storms.fuzzer [--count N] [--seconds N] [--seed N] [--target NAME]

Prints a line of JSON each two seconds and at the end: ``{"done": {target: inputs}, "faults": [...],
"slowest_ms", "rss", "objects"}``; ``rss`` (bytes) and ``objects`` (that Python's collector tracks) are pairs:
after the warm-up, and now. A fault tells the target, the input in hex and the traceback. The same seed makes
the same inputs.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from scripts.storms.mutate import Mutator
from scripts.storms.targets import ALLOWED, Target, targets

MOST_FAULTS = 10
HANG_SECONDS = 20
_WARM_UP_SHARE = 0.1
_TELL_SECONDS = 2.0


class Hang(BaseException):
    """An input that a decoder does not come back from."""


class Fuzzer:
    """Gives every target its share of inputs, in turn."""

    def __init__(self, seed: int, chosen: list[Target]) -> None:
        self.done = {each.name: 0 for each in chosen}
        self.faults: list[dict[str, str]] = []
        self.slowest = 0.0
        self.warm: tuple[int, int] | None = None
        self._mutators = [Mutator(each.corpus, seed * 1000 + number) for number, each in enumerate(chosen)]
        self._targets = chosen

    def round(self) -> int:
        """Each target's share once; how many inputs that were."""
        inputs = 0
        signal.alarm(HANG_SECONDS)
        for target, mutator in zip(self._targets, self._mutators, strict=True):
            for _ in range(target.share):
                self.feed(target, mutator.next())
            inputs += target.share
        signal.alarm(0)
        return inputs

    def feed(self, target: Target, data: bytes) -> None:
        """One input; what it must not raise is kept."""
        began = time.perf_counter()
        try:
            target.feed(data)
        except ALLOWED:
            pass
        except (Exception, Hang):
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(
                    {"target": target.name, "input": data.hex(), "traceback": traceback.format_exc()}
                )
        self.slowest = max(self.slowest, time.perf_counter() - began)
        self.done[target.name] += 1

    def line(self) -> str:
        """For whoever started the program."""
        now = held()
        warm = self.warm or now
        report: dict[str, Any] = {
            "done": self.done,
            "faults": self.faults,
            "slowest_ms": round(1000 * self.slowest, 1),
            "rss": (warm[0], now[0]),
            "objects": (warm[1], now[1]),
        }
        return json.dumps(report)


def held() -> tuple[int, int]:
    """Resident bytes, and objects that the collector tracks, after a collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(gc.get_objects())


def fuzz(fuzzer: Fuzzer, count: int, seconds: float) -> None:
    """Until there were so many inputs, or time is up; telling all the while."""
    began = told = time.monotonic()
    inputs = 0
    for _ in itertools.count():
        inputs += fuzzer.round()
        now = time.monotonic()
        share = (now - began) / seconds if seconds else inputs / count
        if fuzzer.warm is None and share >= _WARM_UP_SHARE:
            fuzzer.warm = held()
        if share >= 1 or len(fuzzer.faults) >= MOST_FAULTS:
            return
        if now - told >= _TELL_SECONDS:
            told = now
            print(fuzzer.line(), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=0.0, help="in the place of a count")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", default=[], help="only those whose name has this in it")
    chosen = parser.parse_args()
    wanted = [
        each for each in targets() if not chosen.target or any(word in each.name for word in chosen.target)
    ]

    def hangs(*_: object) -> NoReturn:
        raise Hang(f"not back within {HANG_SECONDS} s")

    signal.signal(signal.SIGALRM, hangs)
    logging.disable(logging.CRITICAL)  # what a peer does wrong is told at length, ten million times
    fuzzer = Fuzzer(chosen.seed, wanted)
    fuzz(fuzzer, chosen.count, chosen.seconds)
    print(fuzzer.line(), flush=True)


if __name__ == "__main__":
    main()
