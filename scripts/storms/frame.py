"""What all storms share: how long they last, what they find, and what must hold."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import Figure


def progress(words: str) -> None:
    """A line for whoever waits."""
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {words}", file=sys.stderr, flush=True)


class StormFailed(RuntimeError):
    """The storm itself could not be made: nothing is known of the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What storms are run with. ``seconds``: each lasts so long; 0: until its whole count is reached."""

    directory: Path  # for certificates, logs and the like; removed afterwards
    seconds: float = 0.0
    seed: int = 1


class Course:
    """How far a storm has come: ``done`` of ``whole`` units of what it does, or so much time."""

    def __init__(
        self, whole: int, options: Options, unit: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.whole, self.unit, self.done = whole, unit, 0
        self._seconds, self._clock = options.seconds, clock
        self.began = self._told = clock()

    def begin(self) -> None:
        """It begins now, and not when this was made."""
        self.began = self._told = self._clock()

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self._clock() - self.began

    @property
    def over(self) -> bool:
        """Whether it is enough: time is up, or, where none was given, the count is reached."""
        return self.elapsed >= self._seconds if self._seconds else self.done >= self.whole

    @property
    def left(self) -> int:
        """Units that may still be done; no bound of its own where it goes by time."""
        return self.whole if self._seconds else max(0, self.whole - self.done)

    def tell(self, words: str = "", every_s: float = 10.0) -> None:
        """A progress line, not too often."""
        if self._clock() - self._told >= every_s:
            self._told = self._clock()
            progress(
                f"  {self.done} of {self.whole} {self.unit}, {self.elapsed:.0f} s{words and ', '}{words}"
            )


@dataclass(slots=True)
class Findings:
    """What a storm measured; ``violations`` in words are rules that did not hold."""

    figures: list[Figure] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    short: bool = False  # less was done than the whole storm is

    def course(self, course: Course) -> None:
        """Note how much was done."""
        self.short = course.done < course.whole
        self.note(course.unit, course.done, f"of {course.whole}")
        self.note("time", round(course.elapsed, 1), "s")

    def note(self, name: str, value: float | None, unit: str = "") -> None:
        """A figure without a rule."""
        self.figures.append(Figure(name=name, value=value, unit=unit))

    def holds(
        self, name: str, value: float | None, unit: str = "", goal: float = 0.0, *, at_least: bool = False
    ) -> None:
        """A figure that may be ``goal`` at most (``at_least``: at the least)."""
        figure = Figure(name=name, value=value, unit=unit, goal=goal, at_least=at_least)
        self.figures.append(figure)
        if not figure.met:
            least = "at least" if at_least else "at most"
            said = "could not be measured" if value is None else f"is {value:g} {unit}".rstrip()
            self.violations.append(f"{name} {said}, and must be {least} {goal:g}")

    def must(self, condition: bool, words: str) -> None:
        """A rule without a figure; ``words`` say what is wrong when it does not hold."""
        if not condition:
            self.violations.append(words)

    def as_json(self, name: str) -> dict[str, Any]:
        """For machines."""
        return {
            "storm": name,
            "short": self.short,
            "held": not self.violations,
            "violations": list(self.violations),
            "figures": [figure.as_json() for figure in self.figures],
        }
