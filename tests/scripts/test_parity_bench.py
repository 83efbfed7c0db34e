"""The benchmark of parity shows what it is for: it pays where there is no time to ask, and nowhere else."""

from __future__ import annotations

import pytest

from scripts.benchmarks.parity import POLICIES, Case, Outcome, figures, simulate
from tests.netsim import Conditions


def case(loss: float, rtt: float, deadline: float) -> Case:
    return Case("a case", rtt, deadline, Conditions(delay=rtt / 2, loss=loss), loss)


def outcome(loss: float, rtt: float, deadline: float, policy: str) -> Outcome:
    return simulate(case(loss, rtt, deadline), POLICIES[policy], seconds=5.0, seed=3)


def test_without_loss_nothing_is_added() -> None:
    clean = outcome(0.0, 0.04, 0.15, "planned")
    assert (clean.on_time, clean.parity) == (1.0, 0.0)
    assert clean.added < 0.03, "headers"


def test_where_a_round_trip_is_too_long_parity_is_what_brings_frames_in_time() -> None:
    assert outcome(0.05, 0.2, 0.3, "none").on_time < 0.7
    assert outcome(0.05, 0.2, 0.3, "planned").on_time >= 0.99


def test_where_there_is_time_answers_do_for_less() -> None:
    planned = outcome(0.02, 0.01, 0.15, "planned")
    assert (planned.on_time, planned.parity) == (1.0, 0.0)
    assert planned.added < outcome(0.02, 0.01, 0.15, "a fifth").added


def test_figures_stand_beside_those_of_the_other_policies() -> None:
    on_time, added = figures([case(0.0, 0.02, 0.15)], seconds=0.5)
    assert (on_time.value, on_time.peers) == (100.0, {"none": 100.0, "a fifth": 100.0})
    assert added.value == pytest.approx(2.5, abs=1)
    assert added.peers["a fifth"] == pytest.approx(21, abs=2)
