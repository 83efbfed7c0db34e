"""New connections are spread evenly: whoever has more than another hands one over.

A client chooses the connection ID of its first packets at random, so the kernel steers new connections
to workers by dice: of ten viewers, three or fewer land on one of two workers once in three times. So the
worker that gets the first packet looks at the board, and hands the datagram over to the one that has the
fewest connections. That one answers, with connection IDs that lead to itself: only what the client sends
before it has heard them comes to the first worker once more, and is sent after it.

What is handed over travels in a datagram of the machine's own (AF_UNIX). If the other's inbox is full, the
connection simply stays. May import transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgpack

from wtgateway.transport.udp import Peer
from wtgateway.workers.board import Board

FOLLOWED_FOR_S = 10.0  # as long as a handshake may take
MAX_FOLLOWED = 4096
DATAGRAMS_PER_TURN = 64
_INBOX_BYTES = 65536 + 512

Take = Callable[[bytes, Peer, int], None]


class Spread:
    """One worker's end: ``outboxes[i]`` leads to worker i, ``inbox`` is where the others' come in."""

    def __init__(
        self,
        worker: int,
        board: Board,
        inbox: socket.socket,
        outboxes: Sequence[socket.socket],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._worker, self._board, self._loop = worker, board, loop
        self.connections: Callable[[], int] = lambda: 0
        self._inbox, self._outboxes = inbox, outboxes
        self._followed: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        self.handed_over = self.inbox_full = 0
        for sock in (inbox, *outboxes):
            sock.setblocking(False)

    def start(self, take: Take, connections: Callable[[], int]) -> None:
        """``take`` gets what others hand over: datagram, peer, number of the UDP socket it came to.

        ``connections`` says how many there are here.
        """
        self.connections = connections
        self._loop.add_reader(self._inbox.fileno(), self._readable, take)
        self.tell()

    def tell(self) -> None:
        """Bring the board up to date."""
        self._board.tell(self._worker, self.connections())

    def close(self) -> None:
        """Take in no more."""
        self._loop.remove_reader(self._inbox.fileno())
        for sock in (self._inbox, *self._outboxes):
            sock.close()

    def follow(self, cid: bytes, data: bytes, peer: Peer, udp: int, now: float) -> bool:
        """Send a datagram after the connection that was handed over; False: it was none of those."""
        known = self._followed.get(cid)
        if known is None or now > known[1]:
            return False
        self._send(known[0], data, peer, udp)  # what is lost now will come again
        return True

    def hand_over(self, cid: bytes, data: bytes, peer: Peer, udp: int, now: float) -> bool:
        """Give a new connection away if another worker has fewer; False: it stays."""
        self.tell()
        other = self._board.least_loaded(self._worker)
        if other == self._worker or not self._send(other, data, peer, udp):
            self._board.expect(self._worker)
            return False
        self._board.expect(other)  # until it says so itself
        self._forget_old(now)
        self._followed[cid] = (other, now + FOLLOWED_FOR_S)
        self.handed_over += 1
        return True

    def _forget_old(self, now: float) -> None:
        while self._followed:
            cid, (_, until) = next(iter(self._followed.items()))
            if now <= until and len(self._followed) < MAX_FOLLOWED:
                return
            del self._followed[cid]

    def _send(self, other: int, data: bytes, peer: Peer, udp: int) -> bool:
        try:
            self._outboxes[other].send(msgpack.packb([udp, peer.address, peer.local, data]))
        except OSError:
            self.inbox_full += 1
            return False
        return True

    def _readable(self, take: Take) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                packed = self._inbox.recv(_INBOX_BYTES)
            except OSError:
                return
            udp, address, local, data = msgpack.unpackb(packed, use_list=False)
            take(data, Peer(address, local), udp)
            self.tell()


def inboxes(workers: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """For each worker the inbox, and the end that leads to it."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def close_fds(fds: Sequence[int]) -> None:
    """Close what may be closed already."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
