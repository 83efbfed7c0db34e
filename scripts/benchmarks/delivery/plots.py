"""Program: pictures of the results in a folder, as PNG. In an environment with matplotlib of its own.

python -m scripts.benchmarks.delivery.plots RESULTS TARGET
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot  # type: ignore[import-not-found]

from scripts.benchmarks.delivery.figures import ages, down, value_of
from scripts.benchmarks.delivery.result import Result
from scripts.benchmarks.delivery.scenarios import AUTO, BY_NAME, SCENARIOS, Scenario

_SIZE, _DPI = (9.0, 4.5), 110
_OVER_TIME = ("steps", "thin", "blackout", "bloat")


def _systems(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.system for result in results))


def _save(figure: Any, target: Path, name: str) -> None:
    figure.tight_layout()
    figure.savefig(target / f"{name}.png", dpi=_DPI)
    pyplot.close(figure)


def on_time(results: Sequence[Result], target: Path) -> None:
    """Bars: share on time, by scenario and system."""
    scenarios = [s for s in SCENARIOS if not s.sound and any(r.scenario == s.name for r in results)]
    systems = _systems(results)
    if not scenarios:
        return
    figure, axes = pyplot.subplots(figsize=_SIZE)
    width = 0.8 / len(systems)
    for column, system in enumerate(systems):
        found = {r.scenario: r for r in results if r.system == system}
        heights = [value_of("on_time", found.get(s.name), s) or 0.0 for s in scenarios]
        places = [row + column * width for row in range(len(scenarios))]
        axes.bar(places, heights, width, label=system)
    axes.set_xticks([row + 0.4 - width / 2 for row in range(len(scenarios))], [s.name for s in scenarios])
    axes.set_ylabel("frames on time, %")
    axes.set_ylim(0, 102)
    axes.legend(fontsize=8, ncols=6, loc="upper center", bbox_to_anchor=(0.5, 1.12))
    _save(figure, target, "on_time")


def latencies(scenario: Scenario, results: Sequence[Result], target: Path) -> None:
    """Share of all source frames that were seen within so much time."""
    figure, axes = pyplot.subplots(figsize=_SIZE)
    for result in results:
        wanted = sum(result.start_ms <= ms < result.end_ms - 1000 for ms in result.painted)
        times = sorted(ages(result))
        axes.step(times, [100 * (n + 1) / max(1, wanted) for n in range(len(times))], label=result.system)
    axes.axvline(scenario.deadline_ms, color="black", linestyle=":", label="deadline")
    axes.set_xlim(0, 3 * scenario.deadline_ms)
    axes.set_ylim(0, 102)
    axes.set_xlabel("from paint to paint, ms")
    axes.set_ylabel("of all source frames, %")
    axes.set_title(scenario.title)
    axes.legend(fontsize=8)
    _save(figure, target, f"latency_{scenario.name}")


def over_time(scenario: Scenario, results: Sequence[Result], target: Path) -> None:
    """What was delivered, how long the queue was and what the gateway believed, by time."""
    figure, (rate, queue) = pyplot.subplots(2, 1, figsize=(_SIZE[0], 1.4 * _SIZE[1]), sharex=True)
    for result in results:
        rows = down(result, since_ms=result.began_ms)
        at = [row["at"] - result.began_ms / 1000 for row in rows]
        seconds = [row["seconds"] for row in rows]
        mbit = [8e-6 * row["deliveredBytes"] / s for row, s in zip(rows, seconds, strict=True)]
        (line,) = rate.plot(at, _smoothed(mbit), label=result.system)
        queue.plot(at, [row["queueMs"] for row in rows], color=line.get_color())
        samples = [s for s in result.samples if s.get("estimateBps")]
        rate.plot(
            [(s["atMs"] - result.began_ms) / 1000 for s in samples],
            [s["estimateBps"] / 1e6 for s in samples],
            linestyle=":",
            color=line.get_color(),
        )
    rate.set_ylabel("Mbit/s (dotted: estimate)")
    rate.set_title(scenario.title)
    rate.legend(fontsize=8)
    queue.set_ylabel("queue, ms")
    queue.set_xlabel("seconds")
    _save(figure, target, f"time_{scenario.name}")


def _smoothed(values: Sequence[float], over: int = 5) -> list[float]:
    return [sum(values[max(0, n - over + 1) : n + 1]) / min(over, n + 1) for n in range(len(values))]


def main() -> None:
    """All pictures that the results are enough for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("target", type=Path)
    chosen = parser.parse_args()
    pyplot.switch_backend("Agg")
    chosen.target.mkdir(parents=True, exist_ok=True)
    results = [Result.loads(file.read_text()) for file in chosen.results.glob("*.json")]
    results.sort(key=lambda r: (r.system != AUTO, not r.system.startswith("wtgateway"), r.system))
    good = [result for result in results if not result.error and result.scenario in BY_NAME]
    on_time(good, chosen.target)
    for scenario in SCENARIOS:
        row = [result for result in good if result.scenario == scenario.name]
        if not row:
            continue
        if not scenario.sound:
            latencies(scenario, row, chosen.target)
        if scenario.name in _OVER_TIME:
            over_time(scenario, row, chosen.target)


if __name__ == "__main__":
    main()
