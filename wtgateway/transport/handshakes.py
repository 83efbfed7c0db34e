"""Datagrams of handshakes, which wait for their turn: a bounded queue, the worthiest first.

A handshake costs Python a millisecond or more (key exchange, signature, TLS), a thousand times what a
media packet costs. So whatever belongs to a half-open connection is put here, and one connection is
advanced at a time, between the turns of those that have viewers.

First come connections that were begun (little is left to do, and their memory is freed), then those
whose address is proven, then the others; each class in order of arrival. When there are too many bytes,
the one that has waited longest in the least class goes: its client has probably sent again by now, and
an answer that late would only spoil its measure of the round trip. What waits for more than ``MAX_AGE_S``
goes for the same reason. Nothing that was begun is given up here; its client repeats what is refused.

Pure: ``now`` is an argument, in s. Imports this package only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from wtgateway.transport.admission import HalfOpen
from wtgateway.transport.udp import Peer, UdpSocket

MAX_BYTES = 1 << 20
MAX_DATAGRAMS = 8  # of one connection; a ClientHello with post-quantum key shares takes two or three
MAX_AGE_S = 1.0  # QUIC's clients send again after a second if they know nothing of the path


class Arrival(NamedTuple):
    """A datagram as it came."""

    data: bytes
    peer: Peer
    udp: UdpSocket


class _Waiting:
    __slots__ = ("arrivals", "bytes", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.arrivals: list[Arrival] = []
        self.bytes = 0


class HandshakeQueue:
    """``given_up`` is called for each connection that was not begun and will not be."""

    def __init__(self, given_up: Callable[[HalfOpen], None], counters: Counter[str]) -> None:
        self._given_up = given_up
        self._counters = counters
        self._classes: tuple[OrderedDict[HalfOpen, _Waiting], ...] = tuple(OrderedDict() for _ in range(3))
        self._bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._classes))

    @property
    def bytes(self) -> int:
        """Bytes of datagrams that wait."""
        return self._bytes

    def push(self, half_open: HalfOpen, arrival: Arrival, now: float) -> bool:
        """Let a datagram wait; False if it was dropped instead."""
        queue = self._classes[_class(half_open)]
        waiting = queue.get(half_open)
        size = len(arrival.data)
        if (waiting is not None and len(waiting.arrivals) >= MAX_DATAGRAMS) or not self._make_room(
            size, half_open
        ):
            self._counters["handshake_datagrams_dropped"] += 1
            return False
        if waiting is None:
            waiting = queue[half_open] = _Waiting(now)
        waiting.arrivals.append(arrival)
        waiting.bytes += size
        self._bytes += size
        return True

    def pop(self, now: float) -> tuple[HalfOpen, list[Arrival]] | None:
        """The connection to advance now, and what came for it; None when nothing waits."""
        for queue in self._classes:
            while queue:
                half_open, waiting = queue.popitem(last=False)
                self._bytes -= waiting.bytes
                if half_open.owner is None and now - waiting.since > MAX_AGE_S:
                    self._counters["handshakes_stale"] += 1
                    self._given_up(half_open)
                    continue
                return half_open, waiting.arrivals
        return None

    def discard(self, half_open: HalfOpen) -> None:
        """Forget what waits for a connection that is gone."""
        for queue in self._classes:
            waiting = queue.pop(half_open, None)
            if waiting is not None:
                self._bytes -= waiting.bytes

    def _make_room(self, size: int, newcomer: HalfOpen) -> bool:
        """Drop what is worth less than, or as much as and older than, the newcomer."""
        for queue in self._classes[:0:-1]:
            while queue and self._bytes + size > MAX_BYTES:
                half_open = next(iter(queue))
                if half_open is newcomer or _class(half_open) < _class(newcomer):
                    return False
                self.discard(half_open)
                self._counters["handshakes_displaced"] += 1
                self._given_up(half_open)
        return self._bytes + size <= MAX_BYTES


def _class(half_open: HalfOpen) -> int:
    if half_open.owner is not None:
        return 0
    return 1 if half_open.proven else 2
