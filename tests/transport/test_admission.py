"""Who is taken in, who has to prove an address, who waits and who goes: by counts, in virtual time."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.transport import handshakes
from wtgateway.transport.admission import (
    ANSWERS_PER_S,
    HANDSHAKE_S,
    UNPROVEN,
    UNPROVEN_PER_NETWORK,
    UNPROVEN_S,
    Accept,
    Admission,
    Drop,
    HalfOpen,
    Limits,
    Refuse,
    Retry,
    TokenBucket,
    network_of,
)
from wtgateway.transport.handshakes import MAX_AGE_S, MAX_DATAGRAMS, Arrival, HandshakeQueue
from wtgateway.transport.retry import LIFETIME_S, SECRET_BYTES, RetryTokens
from wtgateway.transport.udp import Peer, UdpSocket

WALL = 1_790_000_000.0
_cids = itertools.count(1 << 56)


def cid() -> bytes:
    return next(_cids).to_bytes(8, "big")


def host(number: int) -> tuple[Any, ...]:
    return (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 40_000)


class Gate:
    """An admission with a clock."""

    def __init__(self, **limits: Any) -> None:
        self.now = 50.0
        self.counters: Counter[str] = Counter()
        self.admission = Admission(
            tokens=RetryTokens(bytes(SECRET_BYTES)), counters=self.counters, limits=Limits(**limits)
        )

    def ask(
        self, address: tuple[Any, ...], destination: bytes | None = None, token: bytes = b""
    ) -> Accept | Retry | Refuse | Drop:
        wall = WALL + self.now
        return self.admission.decide(self.now, wall, address, destination or cid(), token, cid)

    def join(self, address: tuple[Any, ...]) -> HalfOpen | None:
        """As a real client: comes again with the token if it is asked to."""
        first = cid()
        decision = self.ask(address, first)
        if isinstance(decision, Retry):
            decision = self.ask(address, decision.source_cid, decision.token)
            if isinstance(decision, Accept):
                assert decision.half_open.proven
                assert decision.half_open.original_cid == first
        return decision.half_open if isinstance(decision, Accept) else None


def test_few_are_taken_in_without_a_round_trip_more() -> None:
    gate = Gate(retry_above=100)
    for number in range(500):
        gate.now += 0.02
        decision = gate.ask(host(number))
        assert isinstance(decision, Accept)
        assert not decision.half_open.proven
        gate.admission.release(decision.half_open)
    assert gate.counters == {"handshakes": 500}


def test_above_the_rate_all_have_to_prove_their_address_until_it_is_calm_again() -> None:
    gate = Gate(retry_above=100)
    accepted = 0
    for number in range(20_000):  # ten seconds of 2,000 a second
        gate.now += 0.0005
        decision = gate.ask(host(number))
        if isinstance(decision, Accept):
            accepted += 1
            gate.admission.release(decision.half_open)  # even if the handshake took no time at all
    assert accepted <= 106
    assert gate.counters["retries"] == 20_000 - accepted
    assert gate.admission.validating
    gate.now += 1.1
    assert isinstance(gate.ask(host(1)), Accept)
    assert not gate.admission.validating


def test_a_pause_shorter_than_what_refills_the_bucket_ends_no_flood() -> None:
    gate = Gate(retry_above=100)
    for number in range(200):
        decision = gate.ask(host(number))
        if isinstance(decision, Accept):
            gate.admission.release(decision.half_open)
    assert gate.admission.validating
    gate.now += 0.9
    assert isinstance(gate.ask(host(1)), Retry)
    assert gate.admission.validating


def test_viewers_get_in_while_a_flood_goes_on() -> None:
    gate = Gate(retry_above=100)
    joined = 0
    for number in range(20_000):
        gate.now += 0.0005
        gate.ask(host(number))
        if number % 200 == 199:
            half_open = gate.join(("192.0.2.1", number))
            assert half_open is not None
            gate.admission.release(half_open)
            joined += 1
    assert joined == 100
    assert gate.admission.half_open <= UNPROVEN


def test_a_flood_from_one_address_leaves_that_address_to_its_owner() -> None:
    gate = Gate(retry_above=1000)
    forged = [gate.ask(host(1)) for _ in range(100)]
    assert sum(isinstance(decision, Accept) for decision in forged) == UNPROVEN_PER_NETWORK
    assert all(isinstance(decision, Retry) for decision in forged[UNPROVEN_PER_NETWORK:])
    assert gate.join(host(1)) is not None


def test_one_network_cannot_have_more_than_its_share_even_with_proof() -> None:
    gate = Gate(retry_above=0, half_open_per_network=4)
    joined = [gate.join(("2001:db8:0:1::" + str(n), 1, 0, 0)) for n in range(1, 9)]
    assert [half_open is not None for half_open in joined] == [True] * 4 + [False] * 4
    assert gate.counters["half_open_of_one_network_full"] == 4
    assert gate.join(("2001:db8:0:2::1", 1, 0, 0)) is not None
    assert joined[0] is not None
    gate.admission.release(joined[0])
    gate.admission.release(joined[0])  # twice is once
    assert gate.join(("2001:db8:0:1::9", 1, 0, 0)) is not None
    assert gate.join(("2001:db8:0:1::10", 1, 0, 0)) is None


def test_behind_a_balancer_that_hides_addresses_none_of_them_has_a_share() -> None:
    """All viewers come from one address then: what holds is what holds for all together."""
    gate = Gate(retry_above=10_000, half_open=UNPROVEN + 5, half_open_per_network=0)
    decisions = [gate.ask(host(1)) for _ in range(UNPROVEN)]
    assert all(isinstance(decision, Accept) for decision in decisions)
    assert isinstance(gate.ask(host(1)), Retry)  # too many unproven ones of everybody
    assert [gate.join(host(1)) is not None for _ in range(7)] == [True] * 5 + [False] * 2
    assert gate.counters["half_open_full"] == 2
    assert not gate.counters["half_open_of_one_network_full"]


def test_all_that_is_half_open_is_bounded() -> None:
    gate = Gate(retry_above=0, half_open=10)
    assert sum(gate.join(host(n)) is not None for n in range(30)) == 10
    assert gate.counters["half_open_full"] == 20


def test_many_unproven_half_open_ones_make_the_next_prove_itself() -> None:
    gate = Gate(retry_above=10_000)
    decisions = [gate.ask(host(n)) for n in range(UNPROVEN + 1)]
    assert isinstance(decisions[-1], Retry)
    assert gate.admission.half_open == UNPROVEN


def test_always() -> None:
    gate = Gate(retry_above=0)
    assert isinstance(gate.ask(host(1)), Retry)


def test_a_token_that_is_too_old_or_from_elsewhere_is_refused_and_an_unknown_one_is_none() -> None:
    gate = Gate(retry_above=0)
    retry = gate.ask(host(1))
    assert isinstance(retry, Retry)
    assert isinstance(gate.ask(host(2), retry.source_cid, retry.token), Refuse)
    gate.now += LIFETIME_S + 1
    assert isinstance(gate.ask(host(1), retry.source_cid, retry.token), Refuse)
    assert isinstance(gate.ask(host(1), token=b"from another server"), Retry)
    assert gate.counters["tokens_refused"] == 2
    assert gate.counters["tokens_unknown"] == 1


def test_a_connection_id_that_no_client_chooses_is_dropped() -> None:
    assert isinstance(Gate().ask(host(1), b"short"), Drop)


def test_answers_are_bounded() -> None:
    gate = Gate(retry_above=0)
    decisions = Counter(type(gate.ask(host(n))) for n in range(int(ANSWERS_PER_S) + 100))
    assert decisions == {Retry: ANSWERS_PER_S, Drop: 100}


def test_half_open_ones_are_given_up_sooner_in_a_flood() -> None:
    gate = Gate(retry_above=100)
    lonely = gate.join(host(1))
    assert lonely is not None
    assert gate.admission.next_deadline() == gate.now + HANDSHAKE_S
    gate.now += UNPROVEN_S + 0.1
    assert gate.admission.overdue(gate.now) == []
    while not isinstance(gate.ask(host(2)), Retry):
        pass
    for number in range(200):
        gate.ask(host(3 + number))
    assert gate.admission.validating
    assert gate.admission.overdue(gate.now) == [lonely]
    proven = gate.join(host(1))
    assert proven is not None
    assert proven.proven
    gate.now += UNPROVEN_S
    assert proven not in gate.admission.overdue(gate.now)
    gate.now += HANDSHAKE_S
    assert proven in gate.admission.overdue(gate.now)
    for half_open in gate.admission.overdue(gate.now):
        gate.admission.release(half_open)
    assert gate.admission.half_open == 0
    assert gate.admission.next_deadline() is None
    assert not gate.admission._networks


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.floats(0, 0.2)), max_size=200))
def test_counts_never_go_wrong(steps: list[tuple[int, bool, float]]) -> None:
    gate = Gate(retry_above=20, half_open=15, half_open_per_network=3)
    alive: list[HalfOpen] = []
    for number, leave, pause in steps:
        gate.now += pause
        if leave and alive:
            gate.admission.release(alive.pop(number % len(alive)))
        elif (half_open := gate.join(host(number))) is not None:
            alive.append(half_open)
        assert gate.admission.half_open == len(alive) <= 15
        assert max(Counter((h.network, h.proven) for h in alive).values(), default=0) <= 3
        assert sum(gate.admission._networks.values()) == len(alive)


def test_networks() -> None:
    assert network_of(("::ffff:192.0.2.1", 1, 0, 0)) == network_of(("192.0.2.1", 2)) == bytes((192, 0, 2, 1))
    assert network_of(("2001:db8::1", 1, 0, 0)) == network_of(("2001:db8::ffff:1", 1, 0, 0))
    assert network_of(("2001:db8:0:1::1", 1, 0, 0)) != network_of(("2001:db8::1", 1, 0, 0))
    assert network_of(("fe80::1%lo", 1, 0, 1)) == bytes.fromhex("fe80000000000000")


def test_a_bucket_fills_at_its_rate_and_no_further() -> None:
    bucket = TokenBucket(10.0, 2.0)
    assert [bucket.take(1.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(1.05)
    assert bucket.take(1.15)
    assert not bucket.full(1.2)
    assert bucket.full(2.0)
    assert [bucket.take(99.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(98.0)  # a clock that goes back gives nothing


# --- the queue ------------------------------------------------------------------------------------------

UDP = cast(UdpSocket, None)


def arrival(size: int = 1200) -> Arrival:
    return Arrival(bytes(size), Peer(("192.0.2.1", 1)), UDP)


def half_open(*, proven: bool = False, begun: bool = False) -> HalfOpen:
    made = HalfOpen(b"net", 0.0, cid(), cid() if proven else None)
    made.owner = object() if begun else None
    return made


class Queue(HandshakeQueue):
    def __init__(self) -> None:
        self.lost: list[HalfOpen] = []
        self.counters: Counter[str] = Counter()
        super().__init__(self.lost.append, self.counters)


def test_the_worthiest_come_first_and_equals_in_order() -> None:
    queue = Queue()
    ranks = [half_open(), half_open(proven=True), half_open(begun=True)]
    again = [half_open(), half_open(proven=True), half_open(begun=True)]
    for item in ranks + again:
        assert queue.push(item, arrival(), 1.0)
    order = [popped[0] for popped in iter(lambda: queue.pop(1.0), None) if popped is not None]
    assert order == [ranks[2], again[2], ranks[1], again[1], ranks[0], again[0]]
    assert (len(queue), queue.bytes) == (0, 0)


def test_datagrams_of_one_connection_stay_together_and_are_bounded() -> None:
    queue = Queue()
    one, other = half_open(), half_open()
    for _ in range(MAX_DATAGRAMS):
        assert queue.push(one, arrival(), 1.0)
        assert queue.push(other, arrival(), 1.0)
    assert not queue.push(one, arrival(), 1.0)
    popped = queue.pop(1.0)
    assert popped is not None
    assert popped[0] is one
    assert len(popped[1]) == MAX_DATAGRAMS
    assert queue.counters["handshake_datagrams_dropped"] == 1
    queue.discard(other)
    assert (queue.pop(1.0), queue.bytes) == (None, 0)


def test_what_waited_too_long_goes_unless_it_was_begun() -> None:
    queue = Queue()
    old, begun, fresh = half_open(proven=True), half_open(begun=True), half_open()
    queue.push(old, arrival(), 1.0)
    queue.push(begun, arrival(), 1.0)
    queue.push(fresh, arrival(), 1.5)
    now = 1.0 + MAX_AGE_S + 0.1
    assert [queue.pop(now) is not None for _ in range(3)] == [True, True, False]
    assert queue.lost == [old]


def test_when_it_is_full_the_oldest_of_the_least_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "MAX_BYTES", 6000)
    queue = Queue()
    unproven = [half_open() for _ in range(3)]
    proven = [half_open(proven=True) for _ in range(2)]
    for item in unproven + proven:
        assert queue.push(item, arrival(), 1.0)
    newcomer = half_open()
    assert queue.push(newcomer, arrival(), 1.1)
    assert queue.lost == unproven[:1]
    for _ in range(3):
        assert queue.push(half_open(proven=True), arrival(), 1.2)
    assert queue.lost == [*unproven, newcomer]
    assert not queue.push(half_open(), arrival(), 1.3)  # worth less than all that waits
    assert queue.push(half_open(proven=True), arrival(), 1.4)
    assert queue.lost == [*unproven, newcomer, proven[0]]
    begun = half_open(begun=True)
    for _ in range(MAX_DATAGRAMS - 3):
        assert queue.push(begun, arrival(), 1.5)
    assert not queue.push(begun, arrival(), 1.5)  # only of its own left: its client repeats it
    assert begun not in queue.lost


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2000), st.booleans()), max_size=120))
def test_bytes_are_bounded_and_counted_right(steps: list[tuple[int, int, bool]]) -> None:
    limit = 10_000
    queue = Queue()
    dice = random.Random(1)
    everyone = [half_open(proven=n % 2 == 0, begun=n % 3 == 0) for n in range(10)]
    original, handshakes.MAX_BYTES = handshakes.MAX_BYTES, limit
    try:
        for number, size, take in steps:
            if take:
                queue.pop(dice.uniform(0, 3))
            else:
                queue.push(everyone[number], arrival(size), 1.0)
            waiting = [w for table in queue._classes for w in table.values()]
            assert queue.bytes == sum(len(a.data) for w in waiting for a in w.arrivals) <= limit
    finally:
        handshakes.MAX_BYTES = original
