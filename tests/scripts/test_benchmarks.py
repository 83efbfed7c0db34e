"""The pure parts of the benchmarks: barcode, analysis of sightings, figures."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.benchmarks.glass.analysis import Run, analyse
from scripts.benchmarks.glass.barcode import blocks, painted_ms
from scripts.benchmarks.glass.reader import Sighting
from scripts.benchmarks.report import Figure, as_json, quantile, table


@given(st.integers(0, 1 << 41), st.integers(0, 59_000))
def test_a_barcode_tells_when_it_was_painted(at_ms: int, age_ms: int) -> None:
    assert painted_ms(blocks(at_ms), at_ms + age_ms) == at_ms


@given(st.integers(0, (1 << 24) - 1), st.integers(0, 31))
def test_one_wrong_block_is_noticed(value: int, block: int) -> None:
    bits = blocks(value)
    bits[block] ^= 1
    assert painted_ms(bits, value) is None


def test_a_frame_counts_when_it_is_first_seen() -> None:
    sightings = [Sighting(1010, 1000), Sighting(1020, None), Sighting(1030, 1000), Sighting(1045, 1030)]
    run = analyse(sightings, [1000, 1030], 1000, 3000)
    assert run.ages_ms == [10, 15]
    assert (run.unreadable, run.backwards, run.missing) == (1, 0, 0)


def test_frames_never_shown_are_missing_unless_they_had_no_time_to_come() -> None:
    run = analyse([Sighting(1010, 1000)], [1000, 1020, 1040, 2500], 1000, 3000)
    assert (run.painted, run.missing) == (3, 2)


def test_a_freeze_that_outlasts_the_run_counts() -> None:
    run = analyse([Sighting(1010, 1000)], [1000], 1000, 3000)
    assert run.freezes == 1


def test_showing_an_older_frame_is_going_backwards() -> None:
    sightings = [Sighting(1010, 1000), Sighting(1040, 1030), Sighting(1050, 1000)]
    assert analyse(sightings, [], 1000, 3000).backwards == 1


def test_runs_are_pooled() -> None:
    run = analyse([Sighting(1010, 1000)], [1000], 1000, 3000)
    run.add(analyse([Sighting(5030, 5000)], [5000, 5010], 5000, 7000))
    assert run.ages_ms == [10, 30]
    assert run.missing_percent == pytest.approx(100 / 3)
    assert Run().fps == 0


def test_quantiles_are_of_samples_that_were_seen() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([3, 1, 2], 1) == 3
    assert quantile([], 0.5) is None


def test_a_goal_is_met_at_its_border_and_never_by_nothing() -> None:
    assert Figure(name="a", value=9.0, unit="ms", goal=9.0).met is True
    assert Figure(name="a", value=9.1, unit="ms", goal=9.0).met is False
    assert Figure(name="a", value=None, unit="ms", goal=9.0).met is False
    assert Figure(name="a", value=9.0, unit="ms").met is None
    assert Figure(name="a", value=9.0, unit="%", goal=8.0, at_least=True).met is True


def test_the_json_has_the_fields_that_machines_read() -> None:
    figures = [Figure(name="join_p50", value=79.5, unit="ms", goal=80.0, peers={"aiortc": 214.0})]
    report = json.loads(as_json("join", figures, {"cores": 2}))
    assert set(report) == {"bench", "date", "machine", "figures"}
    (figure,) = report["figures"]
    wanted = {"name": "join_p50", "value": 79.5, "unit": "ms", "goal": 80.0, "met": True}
    assert figure == {**wanted, "peers": {"aiortc": 214.0}}


def test_the_table_names_goals_and_peers() -> None:
    lines = table(
        [
            Figure(name="p50", value=10.0, unit="ms", goal=9.0, peers={"selkies": 7.5}),
            Figure(name="missing", value=0.5, unit="%"),
        ]
    ).splitlines()
    assert lines[0].split() == ["figure", "value", "unit", "goal", "met", "selkies"]
    assert lines[2].split() == ["p50", "10", "ms", "≤", "9", "NO", "7.5"]
    assert lines[3].split() == ["missing", "0.5", "%", "-"]
