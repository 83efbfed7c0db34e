"""The table of docs/metrics.md, made of the code; ``python -m tests.web.metrics_table`` renews it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.web.conftest import CATALOG, FakeControl, FakeView
from wtgateway.media import BroadcastState
from wtgateway.pipeline.queues import PipelineStats
from wtgateway.web import metrics
from wtgateway.web.histograms import StageTimes
from wtgateway.web.metric_family import Family
from wtgateway.web.metric_names import BY_OUTCOME, COUNTERS
from wtgateway.web.view import BroadcastSummary, SessionSummary, TargetSummary, WorkerSummary

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- made by tests/web/metrics_table.py -->\n", "<!-- end -->\n"


class Full(FakeControl):
    """One to which everything has happened."""

    def counters(self):
        labels = {"events": "kind", "hooks": "outcome", "webhooks": "outcome", "access": "outcome"}
        return {name: {((label, "x"),): 1} for name, label in labels.items()}


def families() -> list[Family]:
    """All that there can be, each with a sample."""
    view = FakeView()
    target = TargetSummary(rendition=0, bitrate_bps=1, nominal_bps=1)
    view.summaries = [
        BroadcastSummary(
            name="a",
            state=BroadcastState.LIVE,
            catalog=CATALOG,
            targets=(target,),
            source_counters=dict.fromkeys((f.name for f in dataclasses.fields(PipelineStats)), 1),
        )
    ]
    view.sessions = [SessionSummary(id="s", broadcast="a", rtt_us=1)]
    counters = dict.fromkeys((*COUNTERS, *(f"{prefix}x" for prefix in BY_OUTCOME)), 1)
    view.workers = [WorkerSummary(counters=counters, stage_times={"a": StageTimes().rows()})]
    return metrics.families(view, Full())


def table() -> str:
    """A row for each metric, by name."""
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for family in sorted(families(), key=lambda family: family.name):
        labels = sorted({label for _, given, _ in family.samples for label in given} - {"le"})
        named = ", ".join(f"`{label}`" for label in labels)
        rows.append(f"| `{family.name}` | {family.kind} | {named} | {family.help} |")
    return "\n".join(rows) + "\n"


def renewed(text: str) -> str:
    """The document with the table as it has to be."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    DOCS.write_text(renewed(DOCS.read_text()))
