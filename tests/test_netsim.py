"""The simulated network is the same every run and does what its conditions say."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest

from tests.netsim import (
    BAD,
    MOBILE,
    Conditions,
    Link,
    StreamLink,
    VirtualTime,
)
from tests.netsim_losses import GilbertElliott, LossBursts
from tests.netsim_queues import Bottleneck
from tests.netsim_tcp import TcpFlow


def _run(
    conditions: Conditions, count: int, seed: int = 3, spacing: float = 0.01
) -> tuple[Link, list[tuple[float, int]]]:
    time = VirtualTime()
    arrivals: list[tuple[float, int]] = []
    link = Link(time, conditions, seed, lambda data: arrivals.append((time.now, int.from_bytes(data[:4]))))
    for n in range(count):
        time.after(n * spacing, lambda n=n: link.send(n.to_bytes(4) + bytes(996)))  # type: ignore[misc]
    time.run(count * spacing + 5)
    return link, arrivals


def test_a_seed_gives_the_same_run() -> None:
    assert _run(BAD, 300)[1] == _run(BAD, 300)[1]
    assert _run(BAD, 300)[1] != _run(BAD, 300, seed=4)[1]


def test_delay_and_order() -> None:
    _, arrivals = _run(Conditions(delay=0.05, jitter=0.1), 50)
    assert [n for _, n in arrivals] == list(range(50))
    assert arrivals[0][0] >= 1_000.05


def test_loss_reordering_and_duplicates() -> None:
    link, arrivals = _run(Conditions(delay=0.01, loss=0.1, reorder=0.1, duplicate=0.1), 2_000)
    assert link.counters.lost == pytest.approx(200, rel=0.25)
    assert link.counters.duplicated == pytest.approx(180, rel=0.25)
    numbers = [n for _, n in arrivals]
    assert numbers != sorted(numbers)
    assert link.counters.delivered == len(arrivals) == 2_000 - link.counters.lost + link.counters.duplicated


def test_rate_and_queue() -> None:
    link, arrivals = _run(Conditions(rate_bps=80_000, queue_bytes=10_000), 100, spacing=0.0)
    assert len(arrivals) == 10
    assert link.counters.overflowed == 90
    assert arrivals[-1][0] == pytest.approx(1_001.0)


def test_streams_are_whole_and_in_order_under_loss() -> None:
    time = VirtualTime()
    got: dict[int, bytes] = {}
    ended: set[int] = set()

    def deliver(stream_id: int, data: bytes, fin: bool) -> None:
        assert stream_id not in ended
        got[stream_id] = got.get(stream_id, b"") + data
        if fin:
            ended.add(stream_id)

    link = StreamLink(time, MOBILE, 5, deliver)
    sent = {n: bytes([n]) * (n * 700) for n in range(1, 30)}
    for stream_id, data in sent.items():
        link.send(stream_id, data[:500])
        link.send(stream_id, data[500:], fin=True)
    time.run(30)
    assert got == sent
    assert ended == set(sent)
    assert link.retransmitted > 0


# --- losses that come together ----------------------------------------------------------------------


def _bursts(arrivals: list[tuple[float, int]]) -> list[int]:
    """Lengths of the gaps in the numbers."""
    numbers = [-1, *(n for _, n in arrivals)]
    return [after - before - 1 for before, after in itertools.pairwise(numbers) if after - before > 1]


def test_gilbert_elliott_has_its_share_and_its_bursts() -> None:
    model = GilbertElliott.of(0.10, mean_burst=8)
    assert model.mean_loss == pytest.approx(0.10)
    _, arrivals = _run(Conditions(losses=model), 15_000, spacing=0.0001)
    bursts = _bursts(arrivals)
    assert 1 - len(arrivals) / 15_000 == pytest.approx(0.10, rel=0.2)
    assert sum(bursts) / len(bursts) == pytest.approx(8, rel=0.15)


def test_bursts_are_as_long_as_they_were_asked_for() -> None:
    _, arrivals = _run(Conditions(losses=LossBursts(0.10)), 15_000, spacing=0.0001)
    bursts = _bursts(arrivals)
    assert 1 - len(arrivals) / 15_000 == pytest.approx(0.10, rel=0.2)
    assert min(bursts) == 5
    assert sum(length <= 20 for length in bursts) > 0.95 * len(bursts)  # two may follow each other


def test_nothing_arrives_in_a_blackout() -> None:
    link, arrivals = _run(Conditions(delay=0.1, blackouts=((2.0, 1.0),)), 500)
    lost = sorted(set(range(500)) - {n for _, n in arrivals})
    assert lost == list(range(200, 300))
    assert link.counters.lost == 100


# --- queues ------------------------------------------------------------------------------------------


def test_the_rate_steps_in_time_and_what_is_queued_is_carried_at_the_new_one() -> None:
    conditions = Conditions(rate_bps=800_000, queue_bytes=1 << 20, steps=((0.095, 80_000.0), (2.05, 8e6)))
    _, arrivals = _run(conditions, 200, spacing=0.0)
    times = [when - 1_000.0 for when, _ in arrivals]
    assert sum(when <= 0.1001 for when in times) == 10  # 10 ms each
    assert sum(0.1001 < when <= 2.1001 for when in times) == 20
    assert times[-1] == pytest.approx(2.1 + 170 * 0.001, abs=0.002)


def test_conditions_that_are_replaced_carry_what_was_queued() -> None:
    time = VirtualTime()
    arrivals: list[float] = []
    link = Link(time, Conditions(rate_bps=80_000), 1, lambda _: arrivals.append(time.now - 1_000.0))
    for _ in range(20):
        link.send(bytes(1_000))
    time.run(1.0)
    link.conditions = Conditions(rate_bps=800_000)
    time.run(2.0)
    assert sum(when < 1.001 for when in arrivals) == 10
    assert len(arrivals) == 20
    assert arrivals[-1] == pytest.approx(1.1)


def _overload(conditions: Conditions, load: float = 2.0, seconds: float = 6.0) -> tuple[Link, list[float]]:
    """``load`` times what the link carries; how long each that arrived had waited."""
    time = VirtualTime()
    waits: list[float] = []
    link = Link(
        time, conditions, 1, lambda data: waits.append(time.now - 1_000.0 - int.from_bytes(data[:8]) / 1e6)
    )
    spacing = 1_000 * 8 / conditions.rate_bps / load

    def send() -> None:
        link.send(round((time.now - 1_000.0) * 1e6).to_bytes(8) + bytes(992))
        time.after(spacing, send)

    send()
    time.run(seconds)
    return link, waits


def test_a_bloated_queue_takes_two_seconds() -> None:
    link, waits = _overload(Conditions.bloated(delay=0.0, rate_bps=8e6))
    assert max(waits) == pytest.approx(2.0, rel=0.01)
    assert link.counters.overflowed > 0


def test_codel_drops_before_its_queue_is_full_and_more_and_more() -> None:
    link, waits = _overload(Conditions(rate_bps=8e6, queue_bytes=1 << 22, codel=True), load=1.2, seconds=10.0)
    assert link.counters.overflowed == 0
    assert link.bottleneck is not None
    assert link.bottleneck.codel is not None
    assert link.counters.lost == link.bottleneck.codel.dropped > 500
    assert max(waits) < 1.0  # drop-tail would have come to two seconds
    assert max(waits[-500:]) < 0.2  # on the way down
    assert link.counters.sent == pytest.approx(len(waits) + link.counters.lost + link.backlog / 1_000, abs=2)


def test_codel_leaves_a_queue_alone_that_drains() -> None:
    link, arrivals = _run(Conditions(rate_bps=8e6, queue_bytes=1 << 20, codel=True), 2_000, spacing=0.0011)
    assert len(arrivals) == 2_000
    assert link.counters.lost == 0


def test_streams_are_whole_behind_codel_and_a_blackout() -> None:
    time = VirtualTime()
    got: dict[int, bytes] = {}
    conditions = Conditions(
        delay=0.02, rate_bps=2e6, queue_bytes=1 << 20, codel=True, blackouts=((0.3, 0.4),)
    )
    link = StreamLink(
        time, conditions, 5, lambda stream, data, _: got.__setitem__(stream, got.get(stream, b"") + data)
    )
    sent = {n: bytes([n]) * 20_000 for n in range(1, 30)}
    for stream_id, data in sent.items():
        link.send(stream_id, data, fin=True)
    time.run(30)
    assert got == sent
    assert link.retransmitted > 0


# --- competing flows ---------------------------------------------------------------------------------


def _flows(
    conditions: Conditions, algorithms: list[Literal["reno", "cubic"]], seconds: float = 20.0
) -> tuple[list[float], Bottleneck]:
    """What each had, in bit/s."""
    time = VirtualTime()
    bottleneck = Bottleneck(time, conditions.rate_bps, conditions.queue_bytes, codel=conditions.codel)
    flows = [
        TcpFlow(time, conditions, bottleneck, seed=n, algorithm=algorithm)
        for n, algorithm in enumerate(algorithms)
    ]
    for flow in flows:
        flow.start()
    time.run(seconds)
    return [flow.delivered_bytes * 8 / seconds for flow in flows], bottleneck


@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
def test_a_flow_fills_link_and_queue(algorithm: Literal["reno", "cubic"]) -> None:
    conditions = Conditions(delay=0.02, rate_bps=4e6, queue_bytes=40_000)
    (rate,), bottleneck = _flows(conditions, [algorithm])
    assert 3.6e6 < rate <= 4.01e6
    assert bottleneck.overflowed > 0
    assert bottleneck.delay > 0.01


@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
def test_random_loss_starves_a_flow(algorithm: Literal["reno", "cubic"]) -> None:
    (rate,), _ = _flows(Conditions(delay=0.02, rate_bps=20e6, loss=0.02), [algorithm])
    assert rate < 6e6  # 1.2 segments a round trip over the root of the loss


def test_two_flows_share() -> None:
    (one, other), _ = _flows(Conditions(delay=0.02, rate_bps=4e6, queue_bytes=40_000), ["reno", "reno"], 30)
    assert 0.4 < one / other < 2.5
    assert one + other > 3.6e6


def test_a_flow_survives_a_blackout_and_stops_when_it_is_told() -> None:
    time = VirtualTime()
    bottleneck = Bottleneck(time, 4e6, 40_000)
    flow = TcpFlow(time, Conditions(delay=0.02, rate_bps=4e6, blackouts=((1.0, 2.0),)), bottleneck)
    flow.start(until=8.0)
    time.run(3.0)
    before = flow.delivered_bytes
    time.run(3.0)
    assert flow.delivered_bytes - before > 3.0 * 4e6 / 8 / 2
    time.run(5.0)
    assert bottleneck.backlog == 0
