"""Limits of sessions and bit rates, as pure counts."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.config.model import BroadcastLimits, LimitsConfig
from wtgateway.limits import (
    LEAST_BPS,
    LEAST_BURST_BYTES,
    Ledger,
    Occupancy,
    Party,
    RateCap,
    fair_level,
    network_of,
)

CAM = Party(broadcast="cam", network="192.0.2.1", identity="ann")
NEIGHBOUR = Party(broadcast="x", network="192.0.2.1")
SAME = Party(broadcast="x", identity="ann")


def filled(limits: LimitsConfig, *parties: Party, **broadcasts: BroadcastLimits) -> Ledger:
    ledger = Ledger(limits, broadcasts)
    for number, party in enumerate(parties):
        assert ledger.refusal(party) is None
        ledger.enter(str(number), party)
    return ledger


def named(ledger: Ledger, party: Party) -> str:
    reached = ledger.refusal(party)
    return reached.limit if reached else ""


@pytest.mark.parametrize(
    ("limits", "other", "limit", "status"),
    [
        (LimitsConfig(sessions=2), Party(broadcast="x"), "sessions", 503),
        (LimitsConfig(sessions_per_broadcast=2), Party(broadcast="cam"), "sessions_per_broadcast", 503),
        (LimitsConfig(sessions_per_address=2), NEIGHBOUR, "sessions_per_address", 429),
        (LimitsConfig(sessions_per_identity=2), SAME, "sessions_per_identity", 429),
        (LimitsConfig(bitrate_bps=2 * LEAST_BPS), Party(broadcast="x"), "bitrate", 503),
        (LimitsConfig(bitrate_per_broadcast_bps=2 * LEAST_BPS), Party(broadcast="cam"), "bitrate", 503),
    ],
)  # fmt: skip
def test_each_limit(limits: LimitsConfig, other: Party, limit: str, status: int) -> None:
    ledger = filled(limits, CAM, CAM)
    reached = ledger.refusal(other)
    assert reached is not None
    assert (reached.limit, reached.status) == (limit, status)
    assert f"try again in {reached.retry_after_s} s" in reached.words
    assert "192.0.2" not in reached.words
    assert "ann" not in reached.words
    ledger.leave("0")
    ledger.leave("0")
    assert ledger.refusal(other) is None
    assert ledger.own.sessions == 1


def test_nobody_else_is_meant() -> None:
    limits = LimitsConfig(sessions_per_broadcast=1, sessions_per_address=1, sessions_per_identity=1)
    ledger = filled(limits, CAM)
    assert ledger.refusal(Party(broadcast="x", network="192.0.2.2", identity="bob")) is None
    assert ledger.refusal(Party(broadcast="x")) is None  # of no known address or identity


def test_a_broadcasts_own_limit_replaces_the_gateways() -> None:
    ledger = filled(LimitsConfig(sessions_per_broadcast=1), CAM, CAM, cam=BroadcastLimits(sessions=2))
    assert named(ledger, CAM) == "sessions_per_broadcast"
    assert not named(ledger, Party(broadcast="x"))
    ledger.use(LimitsConfig(), {})
    assert not named(ledger, CAM)


def test_without_limits_there_is_no_end() -> None:
    ledger = filled(LimitsConfig(sessions=0), *[CAM] * 5000)
    assert ledger.refusal(CAM) is None


def test_who_takes_anothers_place_is_let_in_beside_it_but_not_without_end() -> None:
    limits = LimitsConfig(
        sessions=80, sessions_per_address=1, sessions_per_identity=1, sessions_per_broadcast=1
    )
    again = Party(broadcast="cam", network="192.0.2.1", identity="ann", resumes=True)
    ledger = filled(limits, CAM, again)
    assert named(ledger, again)
    assert named(ledger, CAM)
    ledger.leave("0")
    assert not named(ledger, again)
    assert named(ledger, CAM)
    full = filled(LimitsConfig(sessions=80), *[CAM] * 80)
    for number in range(10):
        assert not named(full, again)
        full.enter(f"again{number}", again)
    assert named(full, again) == "sessions"


def test_sessions_of_other_processes_count() -> None:
    ledger = filled(LimitsConfig(sessions=4, sessions_per_address=3), CAM)
    twin = filled(LimitsConfig(), CAM, CAM)
    ledger.others = Occupancy.sum([twin.own.to_row()])
    assert named(ledger, CAM) == "sessions_per_address"
    assert not named(ledger, Party(broadcast="x"))
    ledger.others = Occupancy.sum([twin.own.to_row(), filled(LimitsConfig(), CAM).own.to_row()])
    assert named(ledger, Party(broadcast="x")) == "sessions"


KEYS = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(KEYS, KEYS, KEYS, st.booleans(), st.booleans()), max_size=60))
def test_no_limit_is_ever_exceeded_and_nothing_is_left(steps: list[tuple[str, str, str, bool, bool]]) -> None:
    limits = LimitsConfig(
        sessions=8, sessions_per_broadcast=4, sessions_per_address=3, sessions_per_identity=2
    )
    ledger = Ledger(limits)
    for number, (broadcast, network, identity, resumes, leaves) in enumerate(steps):
        party = Party(broadcast=broadcast, network=network, identity=identity, resumes=resumes)
        if ledger.refusal(party) is None:
            ledger.enter(str(number), party)
        if leaves:
            ledger.leave(str(number // 2))
        own = ledger.own
        assert own.sessions <= 9
        assert max(own.broadcasts.values(), default=0) <= 8
        assert max(own.networks.values(), default=0) <= 6
        assert max(own.identities.values(), default=0) <= 4
        assert sum(own.broadcasts.values()) == own.sessions
    for number in range(len(steps)):
        ledger.leave(str(number))
    assert ledger.own == Occupancy()


# --- bit rates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "demands", "level"),
    [
        (900, [], 900),
        (900, [100], 900),
        (900, [1000], 900),
        (900, [1000, 1000, 1000], 300),
        (900, [100, 1000, 1000], 400),  # what one leaves is the others'
        (900, [100, 200, 1000], 600),
        (900, [100, 100, 100], 300),  # all fit: room to grow, evenly
        (900, [0, 100], 800),  # not known: any
    ],
)
def test_what_is_there_is_divided_fairly(capacity: int, demands: list[int], level: int) -> None:
    assert fair_level(capacity, demands) == level


@given(st.integers(1, 10**9), st.lists(st.integers(1, 10**8), min_size=1, max_size=50))
def test_a_level_uses_all_and_never_more(capacity: int, demands: list[int]) -> None:
    level = fair_level(capacity, demands)
    used = sum(min(demand, level) for demand in demands)
    assert used <= capacity
    assert used >= min(capacity, sum(demands)) - len(demands)
    assert level >= capacity // len(demands)


def test_each_session_has_the_least_of_its_limits() -> None:
    limits = LimitsConfig(bitrate_bps=9_000_000, bitrate_per_session_bps=4_000_000)
    broadcasts = {
        "b": BroadcastLimits(bitrate_bps=1_000_000),
        "c": BroadcastLimits(bitrate_per_session_bps=7),
    }
    ledger = filled(limits, *(Party(broadcast=name) for name in "abbc"), **broadcasts)
    rates = ledger.rates({"0": 0, "1": 5_000_000, "2": 200_000, "3": 0})
    assert rates == {
        "0": 4_000_000 if 8_800_000 / 3 > 4_000_000 else 2_933_333,
        "1": 800_000,
        "2": 800_000,
        "3": 7,
    }
    assert Ledger().rates({"nobody": 5}) == {}
    assert filled(LimitsConfig(), CAM).rates({"0": 5}) == {"0": 0}


def test_processes_share_by_how_many_sessions_they_have() -> None:
    ledger = filled(LimitsConfig(bitrate_bps=4_000_000), CAM)
    ledger.others = Occupancy.sum([filled(LimitsConfig(), CAM, CAM, CAM).own.to_row()])
    assert ledger.rates({"0": 0}) == {"0": 1_000_000}


@given(
    st.integers(10_000, 10**8),
    st.lists(st.tuples(st.floats(0.0001, 0.2), st.integers(1, 60_000)), min_size=1, max_size=60),
)
def test_a_capped_rate_is_kept(bps: int, frames: list[tuple[float, int]]) -> None:
    cap, now, sent, biggest = RateCap(), 100.0, 0, 0
    cap.set(bps, now)
    for pause, size in frames:
        now += pause
        if cap.room(now) > 0:
            cap.spend(size)
            sent, biggest = sent + size, max(biggest, size)
        else:
            wait = cap.wait(now)
            assert wait > 0
            now += wait
            assert cap.room(now) > 0
    burst = max(LEAST_BURST_BYTES, bps / 16)
    assert sent <= burst + bps / 8 * (now - 100.0) + biggest + 1


def test_a_cap_is_taken_away_and_changed() -> None:
    cap = RateCap()
    cap.spend(10**9)  # without a rate nothing counts
    assert cap.wait(0.0) == 0.0
    cap.set(8_000_000, 0.0)
    cap.spend(1_000_000)
    assert cap.room(0.0) < 0
    assert cap.wait(0.0) == pytest.approx(0.5, rel=0.01)
    cap.set(16_000_000, 0.0)
    assert cap.wait(0.0) == pytest.approx(0.25, rel=0.01)
    cap.set(0, 0.0)
    assert cap.wait(0.0) == 0.0


def test_time_that_goes_back_gives_nothing() -> None:
    cap = RateCap()
    cap.set(8_000_000, 10.0)
    cap.spend(600_000)
    room = cap.room(10.0)
    assert cap.room(5.0) == room
    assert cap.room(10.0) == room


# --- addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_what_stands_for_a_subscriber(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_of_one_subscriber_are_one(address: ipaddress.IPv6Address, host: int) -> None:
    if address.ipv4_mapped is None:
        other = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
        if other.ipv4_mapped is None:
            assert network_of(str(address)) == network_of(str(other))
