"""A client that is told by ICMP that nobody listens: believed while connecting, and later not at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from wtgateway.errors import TransportError
from wtgateway.transport.client import REFUSED_S, _Client

REFUSED = TransportError("nothing listens on that UDP port")


def client() -> tuple[Any, list[str], list[float]]:
    """One with a session, the reasons for which it gave that up, and its clock."""
    made: Any = _Client("localhost", SimpleNamespace(), None, insecure=True, congestion="reno")  # type: ignore[arg-type]
    lost: list[str] = []
    now = [100.0]
    made._loop = SimpleNamespace(time=lambda: now[0])
    made._link = SimpleNamespace(gone=False, webtransport=SimpleNamespace(lost=lost.append))
    made._engine.mark_dirty = lambda link: None
    made._done.set_result(None)
    return made, lost, now


async def test_while_it_connects_a_refusal_is_the_answer() -> None:
    made, lost, _ = client()
    made._done = asyncio.get_running_loop().create_future()
    made._socket_error(REFUSED)
    assert made._done.exception() is REFUSED
    assert not lost


async def test_a_session_outlives_refusals_that_pass() -> None:
    made, lost, now = client()
    for _ in range(20):
        made._socket_error(REFUSED)
        now[0] += REFUSED_S * 0.9
        made._engine.counters["datagrams_in"] += 1  # somebody is there again
    assert not lost


async def test_it_ends_when_refusals_are_all_that_comes() -> None:
    made, lost, now = client()
    made._socket_error(REFUSED)
    now[0] += REFUSED_S
    assert not lost
    made._socket_error(REFUSED)
    assert lost == [str(REFUSED)]
