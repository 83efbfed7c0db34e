"""The search for a path's MTU, against paths that take what they take."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.transport.pmtu import (
    BASE,
    BLACK_HOLE_LOSSES,
    HIGHEST,
    MAX_PROBES,
    PROBE_TIMER_S,
    RAISE_S,
    WAIT_S,
    WORTHWHILE,
    PathMtu,
    is_ipv4,
)

ROUND_TRIP_S = 0.02


class Path:
    """A path that takes ``limit`` bytes of UDP payload; the sender's own interface takes ``interface``."""

    def __init__(self, limit: int, interface: int = 1 << 16, loss: float = 0.0, seed: int = 1) -> None:
        self.limit, self.interface, self.loss = limit, interface, loss
        self.random = random.Random(seed)
        self.probes: list[int] = []
        self.now = 100.0

    def search(self, mtu: PathMtu) -> None:
        """Run the probes until there is none to send."""
        while (size := mtu.next_probe(self.now)) is not None:
            self.probes.append(size)
            assert len(self.probes) < 200
            if size > self.interface:
                mtu.on_too_big(size)
                continue
            self.now += ROUND_TRIP_S
            mtu.on_probe(size, size <= self.limit and self.random.random() >= self.loss)


@pytest.mark.parametrize(
    ("ipv4", "limit", "found"),
    [
        (True, 1472, 1472),
        (False, 1452, 1452),
        (True, 1464, 1464),  # PPPoE
        (False, 1372, 1372),  # WireGuard
        (True, 1372, 1372),
        (False, 1352, 1352),
        (False, 1232, 1232),  # IPv6's least
        (True, 8972, 8972),
        (False, 8952, 8952),
        (True, 65507, HIGHEST),
        (False, 65487, HIGHEST),
    ],
)
def test_the_usual_paths_are_found_to_the_byte(ipv4: bool, limit: int, found: int) -> None:
    mtu, path = PathMtu(ipv4=ipv4), Path(limit)
    path.search(mtu)
    assert mtu.size == found


def test_ethernet_takes_one_probe_and_what_is_above_it_three() -> None:
    mtu, path = PathMtu(ipv4=True), Path(1472)
    path.search(mtu)
    assert path.probes == [1472] + [4068] * MAX_PROBES


def test_an_interface_of_ethernet_size_answers_at_once() -> None:
    mtu, path = PathMtu(ipv4=False), Path(1452, interface=1452)
    path.search(mtu)
    assert (mtu.size, path.probes) == (1452, [1452, 4048])
    assert path.now == 100.0 + ROUND_TRIP_S


@given(st.booleans(), st.integers(BASE, 20_000), st.integers(BASE, 70_000))
def test_any_path_is_found(ipv4: bool, limit: int, ceiling: int) -> None:
    mtu, path = PathMtu(ipv4=ipv4, ceiling=ceiling), Path(limit)
    path.search(mtu)
    assert BASE <= mtu.size <= min(limit, ceiling, HIGHEST)
    if limit < 1452:
        assert min(limit, ceiling) - mtu.size < WORTHWHILE
    assert all(BASE < size <= min(ceiling, HIGHEST) for size in path.probes)
    assert len(path.probes) <= 8 * MAX_PROBES
    assert not mtu.searching


@given(st.integers(BASE, 2_000), st.integers(0, 1000))
def test_random_loss_costs_bytes_but_never_claims_too_much(limit: int, seed: int) -> None:
    mtu, path = PathMtu(ipv4=True), Path(limit, loss=0.3, seed=seed)
    path.search(mtu)
    assert mtu.size <= limit
    assert len(path.probes) <= 60


def test_two_lost_probes_are_bad_luck_and_three_are_an_answer() -> None:
    mtu = PathMtu(ipv4=True)
    for _ in range(MAX_PROBES - 1):
        assert mtu.next_probe(1.0) == 1472
        mtu.on_probe(1472, False)
    assert mtu.next_probe(1.0) == 1472
    mtu.on_probe(1472, True)
    assert mtu.size == 1472
    mtu = PathMtu(ipv4=True)
    for _ in range(MAX_PROBES):
        assert mtu.next_probe(1.0) == 1472
        mtu.on_probe(1472, False)
    following = mtu.next_probe(1.0)
    assert following is not None
    assert following < 1472


def test_one_probe_is_under_way_at_a_time() -> None:
    mtu = PathMtu(ipv4=True)
    assert mtu.next_probe(1.0) == 1472
    assert mtu.next_probe(1.0 + PROBE_TIMER_S - 0.1) is None
    assert mtu.next_timer() == 1.0 + PROBE_TIMER_S
    assert mtu.next_probe(1.0 + PROBE_TIMER_S) == 1472  # nothing was heard: the second attempt
    mtu.on_probe(1472, True)  # of the first, late
    assert mtu.size == 1472


def test_a_late_answer_is_worth_something_even_after_the_size_was_given_up() -> None:
    mtu = PathMtu(ipv4=True)
    for attempt in range(MAX_PROBES):
        assert mtu.next_probe(attempt * PROBE_TIMER_S) == 1472
    smaller = mtu.next_probe(MAX_PROBES * PROBE_TIMER_S)
    assert smaller is not None
    assert smaller < 1472
    mtu.on_probe(1472, True)
    assert mtu.size == 1472
    mtu.on_probe(smaller, True)
    assert mtu.size == 1472
    mtu.on_probe(smaller, False)
    assert mtu.size == 1472


def test_what_could_not_be_sent_is_tried_again_and_does_not_count() -> None:
    mtu = PathMtu(ipv4=True)
    now: float | None = 1.0
    for _ in range(MAX_PROBES + 1):
        assert now is not None
        assert mtu.next_probe(now) == 1472
        mtu.on_unsent(1472, now)
        assert mtu.next_probe(now) is None
        now = mtu.next_timer()
    mtu.on_unsent(1472, 5.0)  # nothing is under way: no effect
    assert mtu.next_timer() != 5.0 + WAIT_S


def test_a_search_that_is_over_rests_and_looks_up_again() -> None:
    mtu, path = PathMtu(ipv4=True), Path(1472)
    path.search(mtu)
    done = path.now
    assert mtu.next_timer() == done + RAISE_S
    assert mtu.next_probe(done + RAISE_S - 1) is None
    path.now, path.limit, path.probes = done + RAISE_S, 9000, []
    path.search(mtu)
    assert mtu.size == 8972
    assert min(path.probes) > 1472


def test_at_the_ceiling_no_timer_is_left() -> None:
    mtu, path = PathMtu(ipv4=True, ceiling=1472), Path(9000)
    path.search(mtu)
    assert (mtu.size, path.probes, mtu.next_timer()) == (1472, [1472], None)
    assert mtu.next_probe(path.now + 10 * RAISE_S) is None


def test_a_peer_that_takes_no_more_than_the_base_is_not_probed() -> None:
    for ceiling in (0, BASE):
        mtu = PathMtu(ipv4=True, ceiling=ceiling)
        assert mtu.next_probe(1.0) is None
        assert mtu.next_timer() is None
        assert mtu.size == BASE


def found(limit: int, *, ipv4: bool = True) -> tuple[PathMtu, Path]:
    mtu, path = PathMtu(ipv4=ipv4), Path(limit)
    path.search(mtu)
    return mtu, path


def test_a_black_hole_brings_back_the_base_and_a_smaller_size() -> None:
    mtu, path = found(1472)
    for _ in range(BLACK_HOLE_LOSSES):
        assert mtu.size == 1472
        mtu.on_packets_lost(1472)
    assert (mtu.size, mtu.black_holes) == (BASE, 1)
    path.limit, path.probes = 1372, []
    path.search(mtu)
    assert mtu.size == 1372
    assert max(path.probes) < 1472


def test_losses_with_arrivals_in_between_are_no_black_hole() -> None:
    mtu, _ = found(1472)
    for _ in range(20):
        mtu.on_packets_lost(1472)
        assert mtu.suspicious
        mtu.on_packets_lost(1472)
        mtu.on_packet_acked(1472)
        assert not mtu.suspicious
    assert (mtu.size, mtu.black_holes) == (1472, 0)


def test_small_packets_that_arrive_say_nothing_about_large_ones() -> None:
    mtu, _ = found(1472)
    for _ in range(BLACK_HOLE_LOSSES):
        mtu.on_packets_lost(1472)
        mtu.on_packet_acked(100)
        mtu.on_packet_acked(BASE)
    assert mtu.size == BASE


def test_what_arrives_counts_against_the_smallest_that_was_lost() -> None:
    mtu, _ = found(1472)
    mtu.on_packets_lost(1300)
    mtu.on_packets_lost(1472)
    mtu.on_packet_acked(1299)
    assert mtu.suspicious
    mtu.on_packet_acked(1300)
    assert not mtu.suspicious
    mtu.on_packets_lost(1472)
    mtu.on_packets_lost(1472)
    assert mtu.size == 1472


def test_small_packets_that_are_lost_say_nothing_either() -> None:
    mtu, _ = found(1472)
    for _ in range(20):
        mtu.on_packets_lost(BASE)
    assert mtu.size == 1472
    assert not mtu.suspicious


def test_what_was_sent_before_the_fall_does_not_count_again() -> None:
    mtu, path = found(1472)
    for _ in range(BLACK_HOLE_LOSSES + 5):
        mtu.on_packets_lost(1472)
    assert mtu.black_holes == 1
    path.limit = 1372
    path.search(mtu)
    for _ in range(5):
        mtu.on_packets_lost(1472)
    assert (mtu.size, mtu.black_holes) == (1372, 1)


def test_an_interface_whose_mtu_shrinks_is_noticed_at_once() -> None:
    mtu, path = found(1472)
    mtu.on_too_big(1472)
    assert mtu.size == BASE
    path.limit = path.interface = 1372
    path.search(mtu)
    assert mtu.size == 1372
    mtu.on_too_big(BASE)  # below what QUIC needs: nothing that probing could mend
    assert mtu.size == 1372


def test_a_black_hole_is_looked_into_again_after_the_rest() -> None:
    mtu, path = found(1472)
    for _ in range(BLACK_HOLE_LOSSES):
        mtu.on_packets_lost(1472)
    path.limit = 1300
    path.search(mtu)
    assert 1292 < mtu.size <= 1300
    path.now += RAISE_S
    path.limit = 1472
    path.search(mtu)
    assert mtu.size == 1472


def test_families() -> None:
    assert is_ipv4(("192.0.2.1", 1))
    assert is_ipv4(("::ffff:192.0.2.1", 1, 0, 0))
    assert not is_ipv4(("2001:db8::1", 1, 0, 0))
