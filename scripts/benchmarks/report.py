"""What a benchmark yields: figures with goals and peers, as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a bench is run with."""

    quick: bool = False  # fewer and shorter runs: shows that it works, measures nothing
    peers: bool = True
    soak_minutes: float = 0.0  # `fanout` alone: nothing but joins and leaves for so long
    # `delivery` alone:
    scenarios: Sequence[str] = ()  # none: all
    systems: Sequence[str] = ()  # none: all
    seconds: float = 0.0  # of each run; 0: as usual
    both_ways: bool = False
    results: Path | None = None  # where each run is kept, and not made again
    plots: Path | None = None
    markdown: Path | None = None
    # `roaming` alone:
    events: Sequence[str] = ()  # none: all
    directory: Path = Path()  # for certificates, logs and the like; removed afterwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number. ``goal`` is the most it may be (``at_least``: the least); None: only reported."""

    name: str
    value: float | None  # None: could not be measured, which never meets a goal
    unit: str
    goal: float | None = None
    at_least: bool = False
    peers: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        if self.value is None:
            return False
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """The figure as later benches and machines read it."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "peers": dict(self.peers),
        }


def quantile(samples: Sequence[float], share: float) -> float | None:
    """Nearest-rank quantile, rounded to 0.1; None of nothing."""
    if not samples:
        return None
    ordered = sorted(samples)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "chromium": _version("chromium"),
        "load": round(os.getloadavg()[0], 2),
    }


def _version(program: str) -> str:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def as_json(bench: str, figures: Iterable[Figure], on: Mapping[str, Any]) -> str:
    """The whole report."""
    report = {
        "bench": bench,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": dict(on),
        "figures": [figure.as_json() for figure in figures],
    }
    return json.dumps(report, indent=2) + "\n"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def table(figures: Sequence[Figure]) -> str:
    """Columns: figure, value, unit, goal, met, one for each peer."""
    peers = list(dict.fromkeys(peer for figure in figures for peer in figure.peers))
    rows = [["figure", "value", "unit", "goal", "met", *peers]]
    for figure in figures:
        goal = "-" if figure.goal is None else ("≥ " if figure.at_least else "≤ ") + f"{figure.goal:g}"
        met = {None: "", True: "yes", False: "NO"}[figure.met]
        rows.append(
            [
                *(figure.name, _cell(figure.value), figure.unit, goal, met),
                *(_cell(figure.peers[peer]) if peer in figure.peers else "" for peer in peers),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_row(row, widths) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column in (0, 2, 4) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
