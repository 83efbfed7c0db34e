"""The simulated network is the same every run and does what its conditions say."""

from __future__ import annotations

import pytest

from tests.netsim import BAD, MOBILE, Conditions, Link, StreamLink, VirtualTime


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
