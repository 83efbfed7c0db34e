"""Figures of gaps: each of our browsers by itself, peers beside Chromium. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.benchmarks.report import Figure, quantile
from scripts.benchmarks.roaming.events import PATH_EVENTS, SERVICE_EVENTS
from scripts.benchmarks.roaming.gaps import Gap

Gaps = dict[tuple[str, str], list[Gap]]  # by event and system
OURS = {"Chromium": "wtgateway, Chromium", "Firefox": "wtgateway, Firefox"}
QUANTILES = {"p50": 0.5, "max": 1.0}


def _values(found: Sequence[Gap], kind: str) -> list[float]:
    """Of picture or sound, without those that have none."""
    return [value for one in found if (value := getattr(one, kind)) is not None]


def figures_of(gaps: Mapping[tuple[str, str], Sequence[Gap]]) -> list[Figure]:
    """A row for each event, browser, medium and quantile that was measured; goals: of the worst picture."""
    systems = list(dict.fromkeys(system for _, system in gaps))
    peers = [system for system in systems if system not in OURS.values()]
    figures = []
    for event in (*PATH_EVENTS, *SERVICE_EVENTS):
        for browser, ours in OURS.items():
            for kind in ("picture", "sound", "late"):
                for quantile_name, share in (QUANTILES if kind != "late" else {"max": 1.0}).items():
                    beside = {
                        peer: quantile(_values(gaps.get((event.name, peer), ()), kind), share)
                        for peer in (peers if browser == "Chromium" else ())
                        if (event.name, peer) in gaps and kind != "late"
                    }
                    if (event.name, ours) not in gaps and not beside:
                        continue
                    goals = {("picture", "max"): event.goal_ms, ("late", "max"): event.goal_late}
                    goal = goals.get((kind, quantile_name)) if (event.name, ours) in gaps else None
                    what = "frames lost or late" if kind == "late" else kind
                    figures.append(
                        Figure(
                            name=f"{event.title}, {browser}: {what} {quantile_name}",
                            value=quantile(_values(gaps.get((event.name, ours), ()), kind), share),
                            unit="" if kind == "late" else "ms",
                            goal=goal,
                            peers=beside,
                        )
                    )
    return figures
