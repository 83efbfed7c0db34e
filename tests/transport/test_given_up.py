"""Packets that were given up and came after all: not losses."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from wtgateway.transport.losses import LATE_S, MOST_GIVEN_UP, GivenUp, LossShare


def packets(*numbers: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(packet_number=number) for number in numbers]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12), st.sets(st.integers(0, 80)))
def test_each_comes_at_most_once(spans: list[tuple[int, int]], lost: set[int]) -> None:
    given_up = GivenUp()
    given_up.add(packets(*sorted(lost)), 1.0)
    left = set(lost)
    for low, length in spans:
        came = {number for number in left if low <= number <= low + length}
        assert given_up.came([(low, low + length)], 1.1) == len(came)
        left -= came
    assert bool(given_up) == bool(left)


def test_what_comes_very_late_and_what_is_very_much_is_not_looked_for() -> None:
    given_up = GivenUp()
    given_up.add(packets(1), 1.0)
    given_up.add(packets(2), 1.2)
    assert given_up.came([(0, 9)], 1.1 + LATE_S) == 1
    assert not given_up
    given_up.add(packets(*range(2 * MOST_GIVEN_UP)), 2.0)
    assert given_up.came([(0, 10_000)], 2.0) == MOST_GIVEN_UP


def test_a_share_is_never_below_nothing() -> None:
    share = LossShare()
    share.add(0.0, 90, 10)
    share.take_back(3.5, 10)  # the span in which they were lost is over
    assert share.share == 0.0
