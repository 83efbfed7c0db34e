"""The rotation policy over simulated years: one certificate is always right, and pages know it in time."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.certs.policy import (
    BACKDATE_S,
    DAY_S,
    HOUR_S,
    MAX_ROTATE_S,
    MAX_VALIDITY_S,
    Plan,
    Window,
    force,
    plan,
    window_for,
)

START = 1_800_000_000.0
PERIODS = st.one_of(
    st.sampled_from([1.0, 2.5, 10.0, 60.0, 3600.0, float(DAY_S), 6.5 * DAY_S, MAX_ROTATE_S]),
    st.floats(1.0, MAX_ROTATE_S),
)
TIMES = st.floats(START, START + 50 * 365 * DAY_S)


class Simulation:
    """A gateway, its store and the pages that fetched hashes from it, on a wall clock that may jump."""

    def __init__(self, now: float, rotate_s: float) -> None:
        self.now, self.rotate_s = now, rotate_s
        self.windows: tuple[Window, ...] = ()
        self.pages: list[tuple[float, float, tuple[Window, ...]]] = []  # fetched at, promised until, hashes
        self.rotations = 0
        self.look()

    def look(self) -> Plan:
        decided = plan(self.now, self.windows, self.rotate_s)
        self.adopt(decided)
        return decided

    def adopt(self, decided: Plan) -> None:
        before, self.windows = self.windows, decided.windows
        if not any(w.usable(self.now) for w in before):
            self.pages.clear()  # nothing that they know is valid any more: they must fetch again
        self.rotations += bool(before) and before[0] != self.windows[0]
        self.check(decided)
        self.pages = [page for page in self.pages if page[1] > self.now]
        for fetched_at, until, hashes in self.pages:
            assert self.windows[0] in hashes, f"a page of {self.now - fetched_at} s ago, promised to {until}"
        # a period, or less where the next one was made for a shorter one and cannot live so long
        until = min(self.now + self.rotate_s, self.windows[1].not_after - HOUR_S)
        self.pages.append((self.now, until, self.windows))

    def check(self, decided: Plan) -> None:
        current, following = self.windows
        assert current.not_before <= self.now < current.not_after
        assert current.not_after - HOUR_S >= following.active_from, "valid through its whole turn"
        assert current.active_from < following.active_from
        assert following.not_before <= following.active_from - HOUR_S
        assert len(decided.keep) + len(decided.make) == 2
        for window in self.windows:
            assert window.not_after - window.not_before <= MAX_VALIDITY_S
            assert window.active_from - window.not_before == BACKDATE_S
        assert decided.wake_at == following.active_from
        again = plan(self.now, self.windows, self.rotate_s)
        assert again.make == () and again.windows == self.windows, "planning twice changes nothing"

    def pass_time(self, seconds: float) -> None:
        """The gateway runs: it wakes whenever it asked to."""
        end = self.now + seconds
        while self.windows[1].active_from <= end:
            self.now = max(self.now, float(self.windows[1].active_from))
            self.look()
        self.now = end
        self.look()

    def jump(self, seconds: float) -> None:
        """The clock is set, or the gateway was down: it looks only afterwards."""
        if seconds < 0:  # promises are by the clock of before
            self.pages = [(at + seconds, until + seconds, hashes) for at, until, hashes in self.pages]
        self.now += seconds
        self.look()


@pytest.mark.parametrize(
    ("rotate_s", "span_s"),
    [
        (1.0, HOUR_S),
        (7.3, DAY_S),
        (60.0, 10 * DAY_S),
        (3600.0, 365 * DAY_S),
        (MAX_ROTATE_S, 50 * 365 * DAY_S),
    ],
)
def test_rotates_once_a_period_for_years(rotate_s: float, span_s: float) -> None:
    simulation = Simulation(START, rotate_s)
    simulation.pass_time(span_s)
    expected = span_s / math.ceil(rotate_s)
    assert expected * 0.99 - 1 <= simulation.rotations <= expected + 1


@given(TIMES, PERIODS, st.data())
@settings(max_examples=150, deadline=None)
def test_survives_jumps_restarts_and_new_periods(now: float, rotate_s: float, data: st.DataObject) -> None:
    simulation = Simulation(now, rotate_s)
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["run", "down", "forth", "back", "slightly back", "period"]))
        if step == "run":
            simulation.pass_time(data.draw(st.floats(0, 20)) * simulation.rotate_s)
        elif step == "period":
            new = data.draw(PERIODS)
            simulation.pages = [(at, min(until, at + new), h) for at, until, h in simulation.pages]
            simulation.rotate_s = new
            simulation.look()
        else:
            limits = {"down": (0, 60 * DAY_S), "forth": (0, 1000 * DAY_S)}
            limits |= {"back": (-1000 * DAY_S, 0), "slightly back": (-HOUR_S + 1, 0)}
            simulation.jump(data.draw(st.floats(*limits[step])))


@pytest.mark.parametrize("seed", range(4))
def test_many_years_of_trouble(seed: int) -> None:
    chance = random.Random(seed)
    simulation = Simulation(START, chance.choice([2.0, 90.0, 86400.0, MAX_ROTATE_S]))
    for _ in range(1500):
        simulation.pass_time(chance.expovariate(1 / (3 * simulation.rotate_s)))
        if chance.random() < 0.3:
            simulation.jump(chance.choice([-1, 1]) * 10 ** chance.uniform(-2, 7))


@given(TIMES, PERIODS, st.floats(0, 3599), st.floats(0, 1))
def test_a_clock_less_than_an_hour_back_keeps_what_pages_know(
    now: float, rotate_s: float, back: float, phase: float
) -> None:
    first = plan(now, (), rotate_s).windows
    then = now + phase * rotate_s - back
    assert plan(then, first, rotate_s).windows[0] in first


@given(TIMES, PERIODS, st.floats(0, 20 * HOUR_S))
def test_a_gateway_that_was_down_past_its_turn_goes_on_with_the_next(
    now: float, rotate_s: float, late: float
) -> None:
    first = plan(now, (), rotate_s).windows
    decided = plan(first[1].active_from + rotate_s + late, first, rotate_s)
    assert decided.windows[0] == first[1]
    assert decided.windows[1].active_from >= first[1].active_from + rotate_s


@given(TIMES, PERIODS, PERIODS)
def test_a_shortened_period_holds_from_now_on(now: float, long_s: float, short_s: float) -> None:
    long_s, short_s = max(long_s, short_s), min(long_s, short_s)
    decided = plan(now, plan(now, (), long_s).windows, short_s)
    assert now < decided.wake_at <= now + short_s + min(short_s, HOUR_S) + 2


@given(st.lists(st.builds(Window, *[st.integers(0, 2**33)] * 3), max_size=5), TIMES, PERIODS)
def test_foreign_windows_never_break_the_plan(windows: list[Window], now: float, rotate_s: float) -> None:
    simulation = Simulation(now, rotate_s)
    simulation.pages.clear()
    decided = plan(now, windows, rotate_s)
    current, following = decided.windows
    assert current.usable(now) and current.well_formed and following.well_formed
    assert set(decided.keep) <= set(windows)


@given(TIMES, PERIODS, st.one_of(st.just(0.0), st.floats(0.01, 3600)))
def test_a_forced_rotation_takes_over_after_its_overlap(
    now: float, rotate_s: float, overlap_s: float
) -> None:
    simulation = Simulation(now, rotate_s)
    before = simulation.windows
    decided = force(now, before, rotate_s, overlap_s)
    if overlap_s > 0:
        assert decided.keep == (before[0],)
        assert now + overlap_s <= decided.wake_at < now + overlap_s + 1
        assert plan(now, decided.windows, rotate_s).windows[0] == before[0]
    else:
        assert decided.keep == ()
    later = plan(decided.wake_at, decided.windows, rotate_s)
    assert later.windows[0] == decided.windows[1]
    assert decided.windows[0].usable(now)


@pytest.mark.parametrize("rotate_s", [0.0, 0.99, MAX_ROTATE_S + 1, -1.0, math.nan])
def test_refuses_periods_that_browsers_would_not_take(rotate_s: float) -> None:
    with pytest.raises(ValueError, match="rotation period"):
        plan(START, (), rotate_s)


def test_the_longest_period_fits_into_fourteen_days() -> None:
    window = window_for(int(START), MAX_ROTATE_S)
    assert window.not_after - window.not_before < MAX_VALIDITY_S
