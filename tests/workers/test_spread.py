"""New connections go where the fewest are, and what follows them follows them."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator

import pytest

from wtgateway.transport.udp import Peer
from wtgateway.workers.board import Board
from wtgateway.workers.spread import FOLLOWED_FOR_S, MAX_FOLLOWED, Spread, inboxes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd is Linux's")

PEER = Peer(("2001:db8::1", 4433, 0, 0), ((41, 50, bytes(20)),))


class Workers:
    """Several workers' ends in one process; ``taken`` is what each was handed."""

    def __init__(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        self.boards = [Board(count)]
        self.boards += [Board(count, os.dup(self.boards[0].fd)) for _ in range(count - 1)]
        boxes, outs = inboxes(count)
        self.count = [0] * count
        self.taken: list[list[tuple[bytes, Peer, int]]] = [[] for _ in range(count)]
        self.ends = [
            Spread(n, self.boards[n], boxes[n], [out.dup() for out in outs], loop) for n in range(count)
        ]
        for out in outs:
            out.close()
        for n, end in enumerate(self.ends):
            end.start(lambda data, peer, udp, n=n: self._take(n, data, peer, udp), lambda n=n: self.count[n])

    def _take(self, n: int, data: bytes, peer: Peer, udp: int) -> None:
        self.taken[n].append((data, peer, udp))
        self.count[n] += 1

    def close(self) -> None:
        for end in self.ends:
            end.close()
        for board in self.boards:
            board.close()


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(3)
    yield workers
    workers.close()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_has_fewest_keeps_what_comes(workers: Workers) -> None:
    assert not workers.ends[0].hand_over(b"cid", b"initial", PEER, 0, 1.0)
    assert not workers.ends[0].follow(b"cid", b"again", PEER, 0, 1.0)


async def test_a_connection_and_what_follows_it_go_to_who_has_fewest(workers: Workers) -> None:
    workers.count[:] = [2, 1, 2]
    for end in workers.ends:
        end.tell()
    assert workers.ends[0].hand_over(b"cid", b"initial", PEER, 1, 1.0)
    workers.count[1] = 9  # whatever happens meanwhile
    assert workers.ends[0].follow(b"cid", b"second", PEER, 1, 1.0 + FOLLOWED_FOR_S)
    assert not workers.ends[0].follow(b"cid", b"third", PEER, 1, 1.1 + FOLLOWED_FOR_S)
    await settle()
    assert workers.taken == [[], [(b"initial", PEER, 1), (b"second", PEER, 1)], []]


@pytest.mark.parametrize("burst", [1, 7])
async def test_connections_that_come_by_dice_are_spread_evenly(workers: Workers, burst: int) -> None:
    """Even when many come before anybody has said that it took one."""
    dice = random.Random(4)
    for round_number in range(40):
        for number in range(burst):
            at = dice.choices(range(3), weights=[6, 3, 1])[0]
            if not workers.ends[at].hand_over(b"%d.%d" % (round_number, number), b"", PEER, 0, 1.0):
                workers.count[at] += 1
        await settle()
        assert max(workers.count) - min(workers.count) <= (1 if burst == 1 else 3)
    assert sum(workers.count) == 40 * burst


async def test_nothing_is_given_to_a_worker_that_is_down(workers: Workers) -> None:
    workers.count[:] = [3, 0, 4]
    for end in workers.ends:
        end.tell()
    workers.boards[0].down(1)
    assert not workers.ends[0].hand_over(b"cid", b"initial", PEER, 0, 1.0)
    assert workers.boards[2].connections(1) is None


async def test_a_full_inbox_leaves_the_connection_where_it_is(workers: Workers) -> None:
    workers.count[:] = [5000, 0, 5000]
    for end in workers.ends:
        end.tell()
    given = 0
    while workers.ends[0].hand_over(b"%d" % given, bytes(1200), PEER, 0, 1.0):
        given += 1
        assert given < 5000
    assert workers.ends[0].inbox_full == 1
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(workers.taken[1]) == given


async def test_what_is_followed_is_bounded(workers: Workers) -> None:
    end = workers.ends[0]
    workers.count[:] = [1_000_000, 0, 1_000_000]
    for other in workers.ends:
        other.tell()
    for number in range(MAX_FOLLOWED + 10):
        assert end.hand_over(b"%d" % number, b"", PEER, 0, 1.0)
        await asyncio.sleep(0)
    assert len(end._followed) == MAX_FOLLOWED
    assert not end.follow(b"0", b"", PEER, 0, 1.0)
    assert end.hand_over(b"late", b"", PEER, 0, 1.0 + FOLLOWED_FOR_S * 2)
    assert len(end._followed) == 1
