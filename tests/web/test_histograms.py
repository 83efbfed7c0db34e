"""Stage times: every value falls into its bucket, and what is told apart adds up to the whole."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tests.web.conftest import FakeView
from wtgateway.protocol.traces import MAX_STAGE_US, STAGES, TracedFrame
from wtgateway.web import metrics
from wtgateway.web.histograms import BOUNDS_US, TOTAL, StageTimes
from wtgateway.web.view import WorkerSummary

frames = st.lists(
    st.builds(
        TracedFrame, st.just(0), st.just(1), st.just(2),
        st.tuples(*[st.integers(0, MAX_STAGE_US) | st.sampled_from(BOUNDS_US)] * len(STAGES)),
    ),
    max_size=20,
)  # fmt: skip


@given(frames)
def test_cumulative_counts_say_how_many_are_at_most_the_bound(told: list[TracedFrame]) -> None:
    times = StageTimes()
    times.observe(told)
    for row, histogram in enumerate(times.histograms):
        values = [frame.latency_us if row == TOTAL else frame.stages[row] for frame in told]
        *counts, total = histogram.cumulative()
        assert counts == [sum(value <= bound for value in values) for bound in BOUNDS_US]
        assert (total, histogram.sum_us) == (len(values), sum(values))


@given(frames)
def test_they_travel_unchanged(told: list[TracedFrame]) -> None:
    times = StageTimes()
    times.observe(told)
    again = StageTimes(times.rows())
    assert again.histograms == times.histograms


def worker(number: int, *latencies_ms: int) -> WorkerSummary:
    times = StageTimes()
    times.observe(TracedFrame(0, 0, 0, (0, 0, ms * 1000, *[0] * 6)) for ms in latencies_ms)
    return WorkerSummary(worker=number, stage_times={"cam/1": times.rows()})


def test_metrics_show_them_as_prometheus_reads_histograms() -> None:
    view = FakeView(summaries=[], workers=[worker(0, 8, 8, 40, 3000), worker(1, 1)])
    text = metrics.exposition(metrics.families(view))
    assert text.count("# TYPE wtgateway_frame_stage_seconds histogram\n") == 1
    assert text.count("# TYPE wtgateway_frame_latency_seconds histogram\n") == 1

    def sample(name: str, labels: str) -> float:
        found = re.search(rf"^wtgateway_{name}\{{{re.escape(labels)}\}} (\S+)$", text, re.MULTILINE)
        assert found, (name, labels)
        return float(found[1])

    encode = 'broadcast="cam/1",stage="encode",worker="0"'
    buckets = {
        le: sample("frame_stage_seconds_bucket", f'{encode},le="{le}"') for le in ("0.005", "0.01", "0.05")
    }
    assert buckets == {"0.005": 0, "0.01": 2, "0.05": 3}
    assert sample("frame_stage_seconds_bucket", f'{encode},le="+Inf"') == 4
    assert sample("frame_stage_seconds_count", encode) == 4
    assert sample("frame_stage_seconds_sum", encode) == 3.056
    assert sample("frame_latency_seconds_count", 'broadcast="cam/1",worker="1"') == 1
    assert sample("frame_stage_seconds_bucket", 'broadcast="cam/1",stage="paint",worker="1",le="0.0005"') == 1
    bounds = [le for le in re.findall(r'stage="paint",worker="1",le="([^"]+)"', text) if le != "+Inf"]
    assert bounds == sorted(bounds, key=float)
    assert len(bounds) == len(BOUNDS_US)


def test_without_traces_there_are_none() -> None:
    text = metrics.exposition(metrics.families(FakeView(summaries=[], workers=[WorkerSummary()])))
    assert "seconds" not in text
