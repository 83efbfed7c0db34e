"""The tables of docs/benchmarks.md. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.benchmarks.delivery.figures import figures_of, value_of
from scripts.benchmarks.delivery.result import Result
from scripts.benchmarks.delivery.scenarios import AUTO, SCENARIOS, Scenario
from scripts.benchmarks.report import Figure

_ABOUT_GLASS = ("on_time", "freezes_100", "freezes_200", "latency_p50", "latency_p95")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _by_scenario(results: Sequence[Result]) -> Iterator[tuple[Scenario, list[Result]]]:
    for scenario in SCENARIOS:
        if row := [result for result in results if result.scenario == scenario.name]:
            yield scenario, row


def _glass(results: Sequence[Result]) -> Iterator[str]:
    """On time, freezes over 100 and 200 ms, latency: a row for each scenario, a column for each system."""
    names = list(dict.fromkeys(result.system for result in results))
    yield _row(["scenario", *names])
    yield _row(["---"] * (len(names) + 1))
    for scenario, row in _by_scenario(results):
        if scenario.sound:
            continue
        by_name = {result.system: result for result in row}
        yield _row([scenario.title, *(_glass_cell(by_name.get(name), scenario) for name in names)])


def _glass_cell(result: Result | None, scenario: Scenario) -> str:
    if result is None:
        return ""
    if result.error:
        return "failed"
    on_time, over_100, over_200, p50, p95 = (
        _number(value_of(name, result, scenario)) for name in _ABOUT_GLASS
    )
    return f"{on_time} % · {over_100} / {over_200} · {p50} / {p95}"


def _goals(results: Sequence[Result]) -> Iterator[str]:
    """Each figure with a goal, `auto` beside all others."""
    others = list(dict.fromkeys(r.system for r in results if r.system != AUTO))
    yield _row(["scenario", "figure", "goal", AUTO, "reached", *others])
    yield _row(["---"] * (5 + len(others)))
    for scenario, row in _by_scenario(results):
        for figure in figures_of(scenario, row):
            if figure.goal is not None:
                yield _row(_goal_cells(scenario, figure, others))


def _goal_cells(scenario: Scenario, figure: Figure, others: Sequence[str]) -> list[str]:
    name = figure.name.removeprefix(f"{scenario.name}_").replace("_", " ")
    goal = f"{'≥' if figure.at_least else '≤'} {figure.goal:g}"
    reached = "yes" if figure.met else "**no**"
    peers = [_number(figure.peers[other]) if other in figure.peers else "" for other in others]
    return [
        scenario.title,
        f"{name}, {figure.unit}".rstrip(", "),
        goal,
        _number(figure.value),
        reached,
        *peers,
    ]


def _failures(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if result.error:
            yield f"- {result.scenario}, {result.system}: {result.error.splitlines()[0]}"


def document(results: Sequence[Result]) -> str:
    """Goals first, then what was seen on the glass, then what failed."""
    parts = []
    if any(result.system == AUTO for result in results):
        parts.append("Goals:\n\n" + "\n".join(_goals(results)))
    about = "On the glass: on time · pauses over 100 / over 200 ms · latency p50 / p95 in ms"
    parts.append(about + "\n\n" + "\n".join(_glass(results)))
    if failed := list(_failures(results)):
        parts.append("Failed:\n\n" + "\n".join(failed))
    return "\n\n".join(parts) + "\n"
