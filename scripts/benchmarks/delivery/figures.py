"""From the result of a run to numbers. Pure; None stands for what could not be measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from scripts.benchmarks.delivery.result import Json, Result
from scripts.benchmarks.delivery.scenarios import AUTO, Scenario
from scripts.benchmarks.report import Figure, quantile

SETTLE_MS = 1000.0  # painted that long before the end: it had time to arrive
CALM_MS = 150.0  # a queue is short again below
CALM_FOR_S = 1.0
WINDOW_S = 1.0  # over which a rate is taken
USED = 0.9


def first_seen(result: Result) -> dict[float, float]:
    """When each source frame was seen first, by the time it was painted at."""
    first: dict[float, float] = {}
    for seen, painted in result.sightings:
        first.setdefault(painted, seen)
    return first


def _wanted(result: Result) -> list[int]:
    return [round(ms) for ms in result.painted if result.start_ms <= ms < result.end_ms - SETTLE_MS]


def ages(result: Result) -> list[float]:
    """Of the frames of the window that were seen at all."""
    first = first_seen(result)
    return [first[ms] - ms for ms in _wanted(result) if ms in first]


def on_time(result: Result, scenario: Scenario) -> float | None:
    """Percent of the source's frames that were seen within the deadline."""
    wanted = _wanted(result)
    if not wanted:
        return None
    return round(100 * sum(age <= scenario.deadline_ms for age in ages(result)) / len(wanted), 2)


def pauses(result: Result) -> list[float]:
    """Times between new pictures, ms; the one before the first and the one after the last count."""
    news, newest = [], 0.0
    for seen, painted in result.sightings:
        if painted > newest:
            newest = painted
            news.append(seen)
    seen_within = [seen for seen in news if result.start_ms <= seen <= result.end_ms]
    return [b - a for a, b in itertools.pairwise([result.start_ms, *seen_within, result.end_ms])]


def _freezes(least_ms: float) -> Callable[[Result, Scenario], float | None]:
    def count(result: Result, scenario: Scenario) -> float | None:
        return sum(pause > least_ms for pause in pauses(result)) if result.painted else None

    return count


def _longest_pause(result: Result, scenario: Scenario) -> float | None:
    return round(max(pauses(result)), 1) if result.painted else None


def _latency(share: float) -> Callable[[Result, Scenario], float | None]:
    return lambda result, scenario: quantile(ages(result), share)


def _painted_fps(result: Result, scenario: Scenario) -> float | None:
    seconds = (result.end_ms - result.start_ms) / 1000
    if result.painted:
        seen = [
            painted for painted, at in first_seen(result).items() if result.start_ms <= at <= result.end_ms
        ]
        return round(len(seen) / seconds, 1)
    if (painted := _grown(result, "framesPainted")) is None or not seconds:
        return None
    return round(painted / seconds, 1)


# The network's own figures.


def down(result: Result, *, since_ms: float | None = None) -> list[dict[str, Json]]:
    """Intervals towards the viewer that ended within the run's window (or from ``since_ms`` on)."""
    start = result.start_ms if since_ms is None else since_ms
    return [
        row
        for row in result.intervals
        if row["direction"] == "down" and start <= 1000 * row["at"] <= result.end_ms + 1
    ]


def _wait_p95(result: Result, scenario: Scenario) -> float | None:
    return quantile([row["waitMeanMs"] for row in down(result) if row["packets"]], 0.95)


def _fair_share(result: Result, scenario: Scenario) -> float | None:
    rows = down(result)
    seconds: float = sum(row["seconds"] for row in rows)
    if not seconds or not scenario.rate_bps:
        return None
    own: float = sum(row["deliveredBytes"] for row in rows) * 8 / seconds
    return round(own / (scenario.rate_bps / (1 + scenario.competing)), 2)


def _queue_back(result: Result, scenario: Scenario) -> float | None:
    """Seconds from the step down until the queue is short and stays so."""
    step_ms = result.began_ms + 1000 * scenario.step_down_s
    until_ms = result.began_ms + 1000 * (scenario.step_up_s or scenario.step_down_s + 10)
    rows = [row for row in down(result, since_ms=step_ms) if 1000 * row["at"] <= until_ms]
    if not rows:
        return None
    long: list[float] = [row["at"] for row in rows if row["queueMs"] > CALM_MS]
    times = [step_ms / 1000, *long, until_ms / 1000]
    back = next((at for at, after in itertools.pairwise(times) if after - at >= CALM_FOR_S), None)
    return None if back is None else round(back - step_ms / 1000, 2)


def _used_again(result: Result, scenario: Scenario) -> float | None:
    """Seconds from the step up until the link is filled for a second."""
    step_ms = result.began_ms + 1000 * scenario.step_up_s
    rows = down(result, since_ms=step_ms)
    for end, row in enumerate(rows):
        window = [other for other in rows[: end + 1] if row["at"] - other["at"] < WINDOW_S]
        seconds = sum(other["seconds"] for other in window)
        carried = sum(other["deliveredBytes"] for other in window) * 8
        if seconds >= 0.9 * WINDOW_S and carried / seconds >= USED * scenario.rate_bps:
            return round(float(row["at"]) - step_ms / 1000, 2)
    return None


def _picture_again(result: Result, scenario: Scenario) -> float | None:
    """The longest time from the end of a blackout to the next new picture, ms; None: one never came."""
    if not result.sightings:
        return None
    longest = 0.0
    for start, length in scenario.blackouts:
        over_ms = result.began_ms + 1000 * (start + length)
        before = max((painted for seen, painted in result.sightings if seen < over_ms), default=0.0)
        after = (seen for seen, painted in result.sightings if seen >= over_ms and painted > before)
        seen = next(after, None)
        if seen is None:
            return None
        longest = max(longest, seen - over_ms)
    return round(longest, 1)


# What the player and the gateway said.


def _samples(result: Result) -> list[dict[str, Json]]:
    return [sample for sample in result.samples if result.start_ms <= sample["atMs"] <= result.end_ms + 1000]


def _grown(result: Result, name: str) -> float | None:
    values: list[float] = [sample[name] for sample in _samples(result) if sample.get(name) is not None]
    return values[-1] - values[0] if len(values) > 1 else None


def _fec(result: Result, scenario: Scenario) -> float | None:
    """Percent of all pieces sent in datagrams that were parity, since the session began."""
    values = [sample["fecSharePpm"] for sample in _samples(result) if sample.get("fecSharePpm") is not None]
    return round(values[-1] / 1e4, 2) if values else None


def _estimates(result: Result) -> list[tuple[float, float]]:
    return [(s["atMs"], s["estimateBps"]) for s in _samples(result) if s.get("estimateBps")]


def _estimate(result: Result, scenario: Scenario) -> float | None:
    """Percent of the link that the gateway believes in, median."""
    middle = quantile([bps for _, bps in _estimates(result)], 0.5)
    return None if middle is None or not scenario.rate_bps else round(100 * middle / scenario.rate_bps, 1)


def _estimate_again(result: Result, scenario: Scenario) -> float | None:
    step_ms = result.began_ms + 1000 * scenario.step_up_s
    times = (at for at, bps in _estimates(result) if at >= step_ms and bps >= USED * scenario.rate_bps)
    at = next(times, None)
    return None if at is None else round((at - step_ms) / 1000, 2)


def _concealed(result: Result, scenario: Scenario) -> float | None:
    """Percent of the frames of sound that were made up."""
    made, received = _grown(result, "audioFramesConcealed"), _grown(result, "audioFramesReceived")
    if made is None or received is None or not made + received:
        return None
    return round(100 * made / (made + received), 3)


def _underruns(result: Result, scenario: Scenario) -> float | None:
    return _grown(result, "audioUnderruns")


def _player_latency(name: str) -> Callable[[Result, Scenario], float | None]:
    def latency(result: Result, scenario: Scenario) -> float | None:
        values = [sample["latencyMs"][name] for sample in _samples(result) if sample.get("latencyMs")]
        return quantile([value for value in values if value is not None], 0.5)

    return latency


FIGURES: dict[str, tuple[str, Callable[[Result, Scenario], float | None]]] = {
    "on_time": ("%", on_time),
    "freezes_100": ("> 100 ms", _freezes(100.0)),
    "freezes_200": ("> 200 ms", _freezes(200.0)),
    "longest_pause": ("ms", _longest_pause),
    "latency_p50": ("ms", _latency(0.5)),
    "latency_p95": ("ms", _latency(0.95)),
    "painted_fps": ("/s", _painted_fps),
    "wait_p95": ("ms", _wait_p95),
    "fair_share": ("of fair", _fair_share),
    "queue_back": ("s", _queue_back),
    "used_again": ("s", _used_again),
    "picture_again": ("ms", _picture_again),
    "fec": ("%", _fec),
    "estimate": ("% of link", _estimate),
    "estimate_again": ("s", _estimate_again),
    "concealed": ("%", _concealed),
    "underruns": ("", _underruns),
    "player_latency_p50": ("ms", _player_latency("p50")),
    "player_latency_p95": ("ms", _player_latency("p95")),
}


def value_of(name: str, result: Result | None, scenario: Scenario) -> float | None:
    """One number; None when the run failed or does not tell."""
    return None if result is None or result.error else FIGURES[name][1](result, scenario)


def figures_of(scenario: Scenario, results: Sequence[Result]) -> Iterator[Figure]:
    """The row: `auto` beside all others (the first of ours when `auto` was not run)."""
    by_system = {result.system: result for result in results}
    subject = AUTO if AUTO in by_system else next(iter(by_system), "")
    others = {name: result for name, result in by_system.items() if name != subject}
    for name in scenario.shown:
        goal = scenario.goals.get(name) if subject == AUTO else None
        yield Figure(
            name=f"{scenario.name}_{name}" if subject == AUTO else f"{scenario.name}_{name} ({subject})",
            value=value_of(name, by_system.get(subject), scenario),
            unit=FIGURES[name][0],
            goal=goal.limit if goal else None,
            at_least=bool(goal and goal.at_least),
            peers={other: value_of(name, result, scenario) for other, result in others.items()},
        )
