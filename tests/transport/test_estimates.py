"""What congestion control goes by: rates, losses, one-way delays, probes, competition; and hostile input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
from aioquic.quic.packet import QuicPacketType
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transport.model import PACKET, Sent
from wtgateway.transport.competing import LOOK_S, VAIN_CUTS, Competition
from wtgateway.transport.congestion import (
    INITIAL_WINDOW,
    MAXIMUM_WINDOW,
    MINIMUM_PACKETS,
    MediaCongestionControl,
)
from wtgateway.transport.delivery_rate import LIMITED_ROUNDS, RateEstimate, RateSampler, Spell
from wtgateway.transport.losses import LossJudge, LossShare
from wtgateway.transport.one_way import SAMPLES, OneWayDelay, WindowedMinimum
from wtgateway.transport.probing import LEAST_PURSE, Prober

# --- rates -------------------------------------------------------------------------------------------


def test_a_rate_is_bytes_over_the_longer_of_sending_and_acknowledging() -> None:
    sampler = RateSampler()
    sampler.begin(acked_at=10.0, sent_at=9.96, delivered=5_000)
    assert sampler.rate(10.1, 10.06, 105_000) == pytest.approx(1_000_000)
    assert sampler.rate(10.02, 10.06, 105_000) == pytest.approx(1_000_000)  # ACKs that came together
    assert sampler.rate(10.2, 10.06, 105_000) == pytest.approx(500_000)
    assert sampler.rate(10.001, 9.961, 105_000) == 0.0  # too little time to tell


def test_what_an_application_brought_is_a_lower_bound_and_what_a_window_brought_is_the_path() -> None:
    estimate = RateEstimate()
    estimate.on_round(300.0, limited=False)
    estimate.on_round(200.0, limited=False)
    assert (estimate.rate, estimate.bounded) == (300.0, False)
    estimate.on_round(250.0, limited=True)
    assert (estimate.rate, estimate.bounded) == (250.0, True)
    estimate.on_round(0.0, limited=True)
    for _ in range(LIMITED_ROUNDS):
        estimate.on_round(100.0, limited=True)
    assert estimate.rate == 100.0


def test_a_queue_lowers_the_estimate_and_never_raises_it() -> None:
    estimate = RateEstimate()
    estimate.on_round(300.0, limited=False)
    estimate.on_queue(500.0)
    assert (estimate.rate, estimate.bounded) == (300.0, True)
    estimate.on_queue(100.0)
    estimate.on_queue(0.0)  # not known
    assert estimate.rate == 100.0


def test_a_probe_raises_it_and_never_lowers_it() -> None:
    estimate = RateEstimate()
    estimate.on_round(300.0, limited=False)
    estimate.on_probe(200.0, saturated=True)
    assert (estimate.rate, estimate.bounded) == (300.0, True)
    estimate.on_probe(600.0, saturated=False)
    assert (estimate.rate, estimate.bounded) == (600.0, False)


def test_losses_of_three_seconds_count() -> None:
    loss = LossShare()
    assert loss.share == 0.0
    loss.add(100.0, 90, 10)
    assert loss.share == pytest.approx(0.1)
    loss.add(102.9, 100, 0)
    assert loss.share == pytest.approx(0.05)
    loss.add(103.1, 100, 0)
    assert loss.share == 0.0
    loss.add(5_000.0, 0, 1)
    assert loss.share == 1.0


def judged(
    judge: LossJudge, *, sent: int, lost: int, queueing: float, limited: bool = True
) -> list[tuple[float, bool]]:
    """What is said of each hundred packets of which so many were lost."""
    said = []
    for n in range(sent // 100):
        packets = [Sent(i, 1_000.0 + n, PACKET, False, 0.0) for i in range(100)]
        judge.on_lost(packets[:lost])
        judge.on_acked(packets[lost:])
        said.append(judge.take(1_000.0 + n, queueing, 0.020, limited=limited))
    return said


@pytest.mark.parametrize(
    ("lost", "queueing", "limited", "congested"),
    [
        (10, 0.0, True, False),  # radio
        (10, 0.010, True, True),  # a queue that overflows
        (10, 0.010, False, False),  # of somebody else
        (2, 0.015, True, False),
        (15, 0.006, True, True),
        (15, 0.0, True, False),
    ],
)
def test_losses_are_congestion_beside_a_queue(
    lost: int, queueing: float, limited: bool, congested: bool
) -> None:
    said = judged(LossJudge(), sent=1_000, lost=lost, queueing=queueing, limited=limited)
    assert said == [(lost / 100, congested)] * 10


def test_a_policer_has_no_queue_and_takes_much_all_the_time() -> None:
    assert any(is_so for _, is_so in judged(LossJudge(), sent=1_000, lost=30, queueing=0.0, limited=False))
    bursts = LossJudge()
    said = [judged(bursts, sent=100, lost=lost, queueing=0.0)[0][1] for lost in (40, 0, 10, 30, 0, 0) * 5]
    assert not any(said)


def test_losses_from_before_a_cut_are_answered_for() -> None:
    judge = LossJudge()
    judge.answered(1_000.5)
    assert judged(judge, sent=100, lost=50, queueing=0.1) == [(0.0, False)]
    judge.reset()
    assert judge.take(1_002.0, 0.1, 0.02, limited=True) == (0.0, False)


def test_a_spell_lasts_and_tells_what_came_in_it() -> None:
    spell = Spell()
    assert spell.watch(10.0, 9.9, 0) is None
    assert spell.watch(10.029, 9.92, 2_900) is None
    assert spell.watch(10.031, 9.93, 3_100) == pytest.approx(100_000)
    spell.end()
    assert spell.watch(10.2, 10.1, 10_000) is None


# --- one-way delays ----------------------------------------------------------------------------------


def test_a_minimum_is_forgotten_after_two_windows() -> None:
    least = WindowedMinimum(10.0)
    assert least.value == math.inf
    for second in range(100, 141):
        least.add(float(second), 5.0 if second > 105 else 1.0)
        assert least.value == (1.0 if second <= 121 else 5.0)


def arrivals(
    delay: OneWayDelay, queue: list[tuple[float, float]], *, offset: float = 1e6, skew: float = 0.0
) -> float:
    """Samples each 10 ms: the queue on the way out and that on the way back, in s; when the last was sent."""
    now = 1_000.0
    for out, back in queue:
        now += 0.010
        delay.add(now, round((now * (1 + skew) + offset + 0.020 + out) * 1e6), out + back)
    return now


@pytest.mark.parametrize("offset", [-900.0, 0.0, 1e9])
def test_the_queue_on_the_way_back_is_told_whatever_the_clocks_say(offset: float) -> None:
    delay = OneWayDelay()
    now = arrivals(delay, [(0.0, 0.0)] * 50 + [(0.010, 0.060)] * 60, offset=offset)
    assert delay.behind(now) == pytest.approx(0.060, abs=0.001)
    assert delay.behind(now + 10) == 0.0  # nobody told anything of late


def test_a_queue_on_the_way_out_is_not_taken_for_the_way_back() -> None:
    delay = OneWayDelay()
    now = arrivals(delay, [(0.0, 0.0)] * 50 + [(0.080, 0.0)] * 60)
    assert delay.behind(now) == pytest.approx(0.0, abs=0.001)


def test_clocks_that_drift_apart_are_kept_up_with() -> None:
    delay = OneWayDelay()
    now = arrivals(delay, [(0.0, 0.0)] * 20_000, skew=-200e-6)
    assert delay.behind(now) <= 0.001
    now = arrivals(fast := OneWayDelay(), [(0.0, 0.0)] * 20_000, skew=200e-6)
    assert fast.behind(now) == 0.0  # a clock that runs ahead looks like a queue on the way out, of 6 ms


def test_the_gradient_is_that_of_the_delay() -> None:
    delay = OneWayDelay()
    now = arrivals(delay, [(0.0, 0.0)] * 30)
    assert delay.gradient(now) == pytest.approx(0.0, abs=1e-3)
    growing = OneWayDelay()
    now = arrivals(growing, [(n * 0.001, 0.0) for n in range(30)])
    assert growing.gradient(now) == pytest.approx(0.1, rel=0.01)  # a millisecond each ten
    assert growing.gradient(now + 10) == 0.0
    assert OneWayDelay().gradient(1_000.0) == 0.0


def test_a_clock_that_was_set_begins_anew() -> None:
    delay = OneWayDelay()
    now = arrivals(delay, [(0.0, 0.05)] * 40)
    delay.add(now + 0.01, round((now + 3_600 + 1e6) * 1e6), 0.05)
    assert delay.behind(now + 0.01) == 0.0


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 2_000),
            st.integers(-(1 << 70), 1 << 70) | st.integers(0, 1 << 40),
            st.floats(-10, 10),
        ),
        max_size=60,
    )
)
def test_whatever_a_viewer_tells_of_arrivals_is_bounded(told: list[tuple[float, int, float]]) -> None:
    delay = OneWayDelay()
    for sent_s, arrived_us, queue in told:
        delay.add(sent_s, arrived_us, queue)
        assert 0.0 <= delay.behind(1_000.0) < 30.0
        assert math.isfinite(delay.gradient(1_000.0))
    assert len(delay._samples) <= SAMPLES
    assert len(delay._behind) <= SAMPLES


# --- probing -----------------------------------------------------------------------------------------


@dataclass
class Probed:
    """A prober beside an application that sends ``rate`` bytes a second over ``capacity``."""

    rate: float
    capacity: float
    calm: bool = True

    def __post_init__(self) -> None:
        self.estimate = RateEstimate()
        self.prober = Prober(self.estimate)
        self.now, self.sent, self.padding = 1_000.0, 0, 0
        self._flight: list[tuple[float, Sent]] = []
        self._free_at = 0.0
        self.asked: list[tuple[float, int]] = []

    def run(self, seconds: float) -> None:
        """In steps of 2 ms."""
        for _ in range(round(seconds / 0.002)):
            self.now += 0.002
            self._send(int(self.rate * 0.002))
            wanted = self.prober.bytes_wanted(self.now, 0.040, PACKET, 1 << 20, calm=self.calm)
            if wanted:
                self.padding += wanted
                self.asked.append((self.now, wanted))
                self._send(wanted)
            acked = [packet for at, packet in self._flight if at <= self.now]
            self._flight = [(at, packet) for at, packet in self._flight if at > self.now]
            if acked and self.prober.measuring:
                self.prober.on_acked(self.now, acked)

    def _send(self, size: int) -> None:
        self.sent += size
        self.prober.sent += size
        self._free_at = max(self._free_at, self.now) + size / self.capacity
        self._flight.append((self._free_at + 0.040, Sent(0, self.now, size, False, self.now)))


def test_probes_double_the_estimate_until_it_is_enough() -> None:
    probed = Probed(rate=375_000, capacity=1e9)
    probed.estimate.on_round(375_000, limited=False)
    probed.run(6)
    assert probed.estimate.rate >= 2.4 * 375_000
    padding = probed.padding
    probed.run(20)
    assert probed.padding == padding


def test_probes_find_what_the_path_has() -> None:
    probed = Probed(rate=375_000, capacity=600_000)
    probed.estimate.on_round(375_000, limited=False)
    probed.run(10)
    assert 0.85 * 600_000 <= probed.estimate.rate <= 1.02 * 600_000
    assert probed.estimate.bounded


def test_padding_is_a_small_share_and_rarer_when_it_finds_nothing() -> None:
    probed = Probed(rate=375_000, capacity=400_000)
    probed.estimate.on_round(375_000, limited=False)
    probed.run(120)
    assert probed.padding <= 0.06 * probed.sent
    starts = [after for (before, _), (after, _) in pairwise(probed.asked) if after - before > 0.5]
    assert all(after - before >= 16.0 for before, after in list(pairwise(starts))[6:])


def test_nothing_is_probed_in_trouble_nor_for_nobody() -> None:
    probed = Probed(rate=375_000, capacity=1e9, calm=False)
    probed.estimate.on_round(375_000, limited=False)
    probed.run(5)
    assert probed.padding == 0
    silent = Probed(rate=1_000, capacity=1e9)
    silent.estimate.on_round(1_000, limited=False)
    silent.run(5)
    assert silent.padding == 0


def test_padding_is_bounded_though_every_train_would_find_more() -> None:
    probed = Probed(rate=375_000, capacity=1e9)
    probed.prober.wanted = 1e9
    for _ in range(60):
        probed.estimate.rate = 375_000.0  # as if it fell again and again
        probed.run(0.5)
    assert probed.padding <= 0.10 * probed.sent + LEAST_PURSE


def test_a_train_that_one_acknowledgement_answers_says_nothing() -> None:
    estimate = RateEstimate()
    estimate.on_round(375_000.0, limited=False)
    prober = Prober(estimate)
    now, sent = 1_000.0, []
    for _ in range(3_000):
        now += 0.002
        size = 750 + prober.bytes_wanted(now, 0.040, PACKET, 1 << 20, calm=True)
        prober.sent += size
        if prober.target:
            sent.append(Sent(0, now, size, False, now))
        elif sent:
            break
    late = Sent(1, now + 0.010, PACKET, False, now)
    prober.on_acked(now + 0.050, sent[:5])
    prober.on_acked(now + 0.056, [*sent[5:], late])  # a viewer that sat on all of it
    assert not prober.measuring
    assert estimate.rate == 375_000.0


def test_a_train_that_met_a_queue_says_nothing() -> None:
    probed = Probed(rate=375_000, capacity=1e9)
    probed.estimate.on_round(375_000, limited=False)
    while not probed.prober.target:
        probed.run(0.01)
    probed.prober.on_trouble(probed.now)
    probed.run(0.2)
    assert probed.estimate.rate == 375_000
    assert not probed.prober.measuring


def test_a_train_that_brings_trouble_has_failed() -> None:
    """On a narrow path a train is a queue; who tried again after a second each time would always have one."""
    probed = Probed(rate=50_000, capacity=1e9)
    probed.estimate.on_round(50_000, limited=False)
    begun, targets = [], []
    for _ in range(16_000):
        probed.run(0.005)
        if probed.prober.target and (not begun or probed.now - begun[-1] > 0.4):
            begun.append(probed.now)
            targets.append(probed.prober.target)
            probed.prober.on_trouble(probed.now)
            probed.prober.on_trouble(probed.now + 0.1)  # as a queue goes on for a while
    pauses = [after - before for before, after in pairwise(begun)]
    assert pauses[:5] == pytest.approx([1, 2, 4, 8, 16], abs=0.3)
    assert min(pauses[4:]) > 15.7
    assert targets == pytest.approx([2.0 * 50_000] + [1.5 * 50_000] * (len(targets) - 1))


def test_a_rate_that_has_fallen_is_probed_for_sooner_for_a_minute() -> None:
    probed = Probed(rate=50_000, capacity=60_000)
    probed.estimate.on_round(500_000, limited=True)
    probed.run(1)
    probed.estimate.on_queue(50_000)
    probed.prober.on_trouble(probed.now)
    probed.run(120)
    starts = [after - 1_000.0 for (before, _), (after, _) in pairwise(probed.asked) if after - before > 0.5]
    soon = [after - before for before, after in pairwise(starts) if after < 50]
    later = [after - before for before, after in pairwise(starts) if before > 62]
    assert len(soon) > 15 and max(soon) < 2.6
    assert later and min(later) > 7.5


def test_a_train_on_a_slow_path_is_short() -> None:
    probed = Probed(rate=50_000, capacity=60_000)
    probed.estimate.on_round(50_000, limited=False)
    probed.run(1.0)
    trains = [asked for asked in probed.asked if asked[1]]
    assert 0 < sum(size for _, size in trains) <= 0.15 * 2 * 50_000


# --- competition -------------------------------------------------------------------------------------


def cut(
    competition: Competition, *, queue: float, rates: list[float], step: float = 0.3, left: float = 0.6
) -> bool:
    """Cuts for ``queue``, each of which leaves ``left`` of a window that brought a rate."""
    now, window = 1_000.0, 60_000.0
    for rate in rates:
        competition.on_queue(now, queue, rate, int(window))
        now, window = now + step, max(4_800.0, window * left)
    return competition.on


def test_a_queue_that_stands_though_one_yields_is_others() -> None:
    assert cut(Competition(), queue=0.08, rates=[1e6, 6e5, 4e5, 3e5, 2e5])
    assert not cut(Competition(), queue=0.08, rates=[1e6, 6e5, 4e5])  # not yet
    assert not cut(
        Competition(), queue=0.08, rates=[1e6, 6e5, 4e5, 3e5, 2e5], step=0.05
    )  # a newcomer's start
    assert not cut(Competition(), queue=0.08, rates=[1e6] * 10)  # all of the link is its own: a slow link
    assert cut(Competition(), queue=0.08, rates=[1e6, 6e5, 4e5, 2e5, 1e5, 9e4, 9e4]), (
        "down to the least window"
    )


def test_a_link_that_has_become_slower_is_not_shared() -> None:
    """Its queue is one's own and takes a while to drain; what it gives does not go with the window."""
    assert not cut(Competition(), queue=0.08, rates=[1e6, 1.3e5, 1.25e5, 1.25e5, 1.25e5])
    assert not cut(Competition(), queue=0.30, rates=[1e6, 4e5, 1.25e5, 1.25e5, 1.25e5, 1.2e5])


def test_calm_in_between_counts_as_calm() -> None:
    competition = Competition()
    for n in range(5 * VAIN_CUTS):
        competition.on_queue(1_000.0 + n, 0.08, 1e6 / (n + 1), 60_000)
        competition.on_calm(0.5)
    assert not competition.on


def compete(competition: Competition, now: float, window: int, **changed: float) -> int:
    values: dict[str, float] = {"queueing": 0.08, "rtt": 0.12, "target": 0.02, "lost": 0.0} | changed
    return competition.on_round(now, window=window, mtu=PACKET, limited=True, **values)


def test_it_grows_gives_way_to_overflow_and_keeps_below_its_limit() -> None:
    competition = Competition()
    cut(competition, queue=0.08, rates=[1e6, 6e5, 4e5, 3e5, 2e5])
    assert compete(competition, 1.0, 60_000) > 60_000
    assert compete(competition, 1.1, 60_000, lost=0.02) < 0.8 * 60_000
    assert compete(competition, 1.2, 60_000, lost=0.02, queueing=0.03) > 60_000  # no overflow
    assert compete(competition, 1.3, 60_000, queueing=0.140) < 60_000
    assert compete(competition, 1.3, 4 * PACKET, queueing=2.0, rtt=2.0) >= 4 * PACKET


def test_once_in_a_while_it_looks_whether_the_others_have_gone() -> None:
    competition = Competition()
    cut(competition, queue=0.08, rates=[1e6, 6e5, 4e5, 3e5, 2e5])
    compete(competition, 1.0, 60_000)
    assert compete(competition, 1.1 + LOOK_S, 60_000) == 30_000
    compete(competition, 1.2 + LOOK_S, 30_000)
    assert compete(competition, 1.3 + LOOK_S, 30_000) == 60_000  # they are still there
    assert compete(competition, 1.4 + 2 * LOOK_S, 60_000) == 30_000
    compete(competition, 1.5 + 2 * LOOK_S, 30_000, queueing=0.005)
    assert not competition.on


# --- the controller, whatever it is told ---------------------------------------------------------------

_events = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 40)),
        st.tuples(st.just("ack"), st.integers(1, 40)),
        st.tuples(st.just("lose"), st.integers(1, 40)),
        st.tuples(st.just("expire"), st.integers(1, 3)),
        st.tuples(st.just("rtt"), st.floats(0.0, 100.0)),
        st.tuples(st.just("arrival"), st.integers(-(1 << 66), 1 << 66)),
        st.tuples(st.just("time"), st.floats(0.0, 30.0)),
        st.tuples(st.just("probe"), st.integers(-100, 1 << 20)),
        st.tuples(st.just("collapse"), st.just(0)),
        st.tuples(st.just("size"), st.sampled_from([1200, 1452, 9000])),
    ),
    max_size=120,
)


@settings(max_examples=60, deadline=None)
@given(_events)
def test_window_pace_and_estimate_are_bounded_whatever_happens(events: list[tuple[str, float]]) -> None:
    control = MediaCongestionControl(max_datagram_size=PACKET)
    flight: list[Sent] = []
    now, number, mtu = 1_000.0, 0, PACKET
    for what, value in events:
        if what == "send":
            for _ in range(int(value)):
                flight.append(Sent(number, now, mtu, False, now, QuicPacketType.ONE_RTT))
                control.on_bytes_sent(mtu)
                number += 1
        elif what in ("ack", "lose", "expire") and flight:
            taken, flight = flight[: int(value)], flight[int(value) :]
            if what == "ack":
                control.on_packets_acked(now=now, packets=taken)
            elif what == "lose":
                control.on_packets_lost(now=now, packets=taken)  # type: ignore[arg-type]
            else:
                control.on_packets_expired(packets=taken)  # type: ignore[arg-type]
        elif what == "rtt":
            control.on_rtt_measurement(now=now, rtt=value)
        elif what == "arrival":
            control.on_arrival(now, int(value))
        elif what == "time":
            now += value
        elif what == "probe":
            assert 0 <= control.probe_bytes(now, int(value)) <= max(0, value)
        elif what == "collapse":
            control.on_persistent_congestion()
        elif what == "size":
            mtu = int(value)
            control.set_max_datagram_size(mtu)
        assert MINIMUM_PACKETS * mtu <= control.congestion_window <= MAXIMUM_WINDOW
        assert control.bytes_in_flight == sum(packet.sent_bytes for packet in flight)
        assert 0.0 <= control.estimate.rate < 1e12 / 8
        assert 0.0 < control.pace(0.04) < 1e12
        assert 0.0 <= control.loss.share <= 1.0
        assert 0.0 <= control.queueing_delay() <= 100.0


def test_acknowledgements_faster_than_light_do_not_make_a_terabit() -> None:
    """A viewer that acknowledges at once what was just sent gains no more than what was sent."""
    control = MediaCongestionControl(max_datagram_size=PACKET)
    now = 1_000.0
    for n in range(2_000):
        packets = [Sent(n, now, PACKET, False, now)]
        control.on_bytes_sent(PACKET)
        control.on_packets_acked(now=now + 1e-6, packets=packets)
        control.on_rtt_measurement(now=now + 1e-6, rtt=1e-6)
        now += 0.001
    assert control.estimate.rate <= 1.1 * PACKET / 0.001
    assert control.congestion_window == INITIAL_WINDOW


def test_a_viewer_that_says_all_queues_are_its_own_is_believed_to_a_limit() -> None:
    def window(queue: float) -> int:
        control = MediaCongestionControl(max_datagram_size=PACKET)
        now = 1_000.0
        for n in range(60):  # less than the base is remembered
            packets = [Sent(n * 60 + i, now, PACKET, False, now) for i in range(60)]
            control.on_bytes_sent(60 * PACKET)
            sent, now = now, now + 0.040 + (queue if n > 20 else 0.0)
            for part in range(8):  # no queue on the way out, it says
                at = sent + part / 8 * (now - sent)
                control.on_arrival(at, round((at + 0.020) * 1e6))
            control.on_packets_acked(now=now, packets=packets)
            control.on_rtt_measurement(now=now, rtt=now - sent)
        return control.congestion_window

    assert window(0.100) >= 30 * PACKET
    assert window(0.400) <= 8 * PACKET


def driven(out: list[float], back: list[float], *, tells: bool = True) -> list[int]:
    """Windows after each round of a full one, with those queues (s) on the way out and back."""
    control = MediaCongestionControl(max_datagram_size=PACKET)
    now, windows = 1_000.0, []
    for n, (ahead, behind) in enumerate(zip(out, back, strict=True)):
        count = control.congestion_window // PACKET
        packets = [Sent(n, now, PACKET, False, now) for _ in range(count)]
        control.on_bytes_sent(count * PACKET)
        sent, now = now, now + 0.060 + ahead + behind
        control.on_packets_acked(now=now, packets=packets)
        control.on_rtt_measurement(now=now, rtt=now - sent)
        if tells:
            for part in range(8):
                at = sent + part / 8 * (now - sent)
                control.on_arrival(at, round((at + 0.030 + ahead) * 1e6))
        windows.append(control.congestion_window)
    return windows


def test_a_delay_that_grows_ends_growth_before_the_queue_is_long() -> None:
    growing = [0.0] * 4 + [n * 0.004 for n in range(6)]  # 4 ms in each 60, of a target of 30
    back = [0.0] * len(growing)
    told, untold = driven(growing, back), driven(growing, back, tells=False)
    assert told[3] == untold[3]
    assert told[-1] == told[-3]
    assert untold[-1] > untold[-3]


def test_what_stands_on_the_way_back_is_part_of_the_way_when_the_window_is_cut() -> None:
    out, back = [0.0] * 12 + [0.050] * 2, [0.0] + [0.060] * 13
    windows = driven(out, back)
    assert 0.75 * windows[-2] <= windows[-1] <= 0.82 * windows[-2]
