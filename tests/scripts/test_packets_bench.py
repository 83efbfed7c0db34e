"""The bench `packets`: every kind of server gets its frames through, and the figures name all of them."""

from __future__ import annotations

import pytest

from scripts.benchmarks import packets
from scripts.benchmarks.packets import Round, Times, figures_of, least, opened_us
from tests.transport.ends import make_certificate


@pytest.mark.parametrize("kind", list(packets.SERVERS))
@pytest.mark.parametrize("mode", ["datagrams", "streams"])
def test_a_round_of_each_kind_comes_through(kind: str, mode: str) -> None:
    times = Round(kind, mode, 7, make_certificate()).run(3)
    assert times.sealed > 0 and times.acknowledged > 0


@pytest.mark.parametrize("kind", list(packets.SERVERS))
def test_packets_are_opened_by_each_kind(kind: str) -> None:
    assert opened_us(kind, make_certificate(), 2) > 0


def test_the_least_of_all_rounds_counts() -> None:
    assert least(Times(1.0, 5.0), Times(2.0, 4.0)) == Times(1.0, 4.0)


def test_figures_name_every_kind() -> None:
    best = {
        (kind, mode, every): Times(2.0, 12.0)
        for kind in packets.SERVERS
        for mode in ("datagrams", "streams")
        for every in packets.ACK_EVERY
    }
    figures = figures_of(best, dict.fromkeys(packets.SERVERS, 13.0))
    assert len(figures) == 7
    assert all(set(figure.peers) == {"aioquic", "ordinary"} for figure in figures)
    assert figures[-1].value == 13.0
