"""Turns of the engine: who is heard when more waits than one turn takes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import pytest

from wtgateway.transport.engine import DATAGRAMS_AT_ONCE, MOST_SAID, READING_S, Engine, Link
from wtgateway.transport.udp import Peer, UdpSocket

PEER = Peer(("192.0.2.1", 9))


class _Link:
    half_open = gone = False

    def __init__(self, name: str) -> None:
        self.name = name


class Turn:
    """An engine whose connections only note what they hear; datagrams are a name and a number."""

    def __init__(self, waiting: list[tuple[str, bool]]) -> None:
        self.counters: Counter[str] = Counter()
        self.engine = Engine(loop=asyncio.get_running_loop(), lonely_s=10, counters=self.counters)
        self.heard: dict[str, list[int]] = {}
        self._waiting = [
            (b"\x40" + name.encode().ljust(8) + bytes((says,)) + bytes((n // 256, n % 256)), PEER, 0.0)
            for n, (name, says) in enumerate(waiting)
        ]
        for name in {name for name, _ in waiting}:
            self.engine.links[name.encode().ljust(8)] = cast(Link, _Link(name))
        self.engine.receive = self._receive  # type: ignore[method-assign]
        self.engine._flush_dirty = lambda: None  # type: ignore[method-assign]
        self.engine._rest = lambda udp: None  # type: ignore[method-assign]

    def receive(self, limit: int) -> list[Any]:
        """As the socket's."""
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return taken

    def _receive(self, link: Any, data: bytes, peer: Peer, now: float) -> bool:
        self.heard.setdefault(link.name, []).append(data[10] * 256 + data[11])
        return bool(data[9])

    def run(self) -> None:
        self.engine._readable(cast(UdpSocket, self))

    @property
    def left(self) -> int:
        return len(self._waiting)


async def test_all_that_waits_is_read_in_one_turn() -> None:
    turn = Turn([("a", False)] * 200 + [("b", False)] * 10)
    turn.run()
    assert turn.heard == {"a": list(range(200)), "b": list(range(200, 210))}
    assert turn.left == 0
    assert not turn.counters


async def test_reading_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turn([("a", False)] * 400)
    times = iter([0.0, 0.4 * READING_S, 0.9 * READING_S, 1.1 * READING_S])
    turn.engine.clock = lambda: next(times)
    turn.run()
    assert turn.left == 400 - 3 * DATAGRAMS_AT_ONCE


async def test_who_says_much_is_heard_as_long_as_nobody_waits_for_it() -> None:
    turn = Turn([("loud", True)] * (DATAGRAMS_AT_ONCE - 1))
    turn.run()
    assert len(turn.heard["loud"]) == DATAGRAMS_AT_ONCE - 1


async def test_who_says_much_is_not_heard_where_others_wait_behind_it() -> None:
    """Acknowledgements are heard in any number, and another turn begins anew."""
    crowd = [("loud", True)] * 60 + [("quiet", True), ("viewer", False)] * 2
    waiting = crowd + [("loud", True)] * 60 + [("quiet", True)] * (MOST_SAID - 2) + [("viewer", False)] * 100
    turn = Turn(waiting)
    turn.run()
    assert len(turn.heard["loud"]) == 60, "what was read at first"
    assert len(turn.heard["quiet"]) == MOST_SAID
    assert len(turn.heard["viewer"]) == 102
    assert turn.counters["datagrams_unheard"] == 60
    assert turn.left == 0
    turn._waiting = Turn([("loud", True)])._waiting
    turn.run()
    assert len(turn.heard["loud"]) == 61
