"""A network in memory, seeded and in virtual time: no sockets, no sleeping, the same every run.

``Conditions`` describe one direction, ``Link`` carries datagrams under them, ``StreamLink`` reliable
streams on top (what is lost is sent again a round trip later, as QUIC does, each stream by itself).
``VirtualTime`` runs what is due in order. A scenario is: conditions, media, run, check.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field


class VirtualTime:
    """A clock that jumps from one thing due to the next."""

    def __init__(self, start: float = 1_000.0) -> None:
        self.now = start
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Do something at a time; equal times go in the order they were asked for."""
        heapq.heappush(self._due, (max(when, self.now), next(self._count), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Do something some seconds from now."""
        self.at(self.now + seconds, call)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = end


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """One direction of a path. Probabilities are 0..1; ``rate_bps`` 0: without limit."""

    delay: float = 0.0
    jitter: float = 0.0  # uniform, on top of the delay; does not reorder by itself
    reorder: float = 0.0  # probability that a datagram ignores those before it and is held back
    reorder_by: float = 0.02
    loss: float = 0.0
    burst: float = 0.0  # probability that a loss goes on with the next datagram
    duplicate: float = 0.0
    rate_bps: float = 0.0
    queue_bytes: int = 256 * 1024


LAN = Conditions(delay=0.0005)
WIFI = Conditions(delay=0.004, jitter=0.006, loss=0.01, reorder=0.01)
MOBILE = Conditions(delay=0.03, jitter=0.02, loss=0.02, burst=0.3, reorder=0.02, duplicate=0.01, rate_bps=8e6)
BAD = Conditions(delay=0.06, jitter=0.04, loss=0.10, burst=0.5, reorder=0.05, duplicate=0.05)
THIN = Conditions(delay=0.02, rate_bps=1e6, queue_bytes=32 * 1024)


@dataclass
class LinkCounters:
    """What became of the datagrams."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    overflowed: int = 0
    duplicated: int = 0


class Link:
    """One direction of datagrams; ``deliver`` is called in virtual time."""

    def __init__(
        self, time: VirtualTime, conditions: Conditions, seed: int, deliver: Callable[[bytes], None]
    ) -> None:
        self.time, self.conditions, self.counters = time, conditions, LinkCounters()
        self._deliver = deliver
        self._random = random.Random(seed)
        self._free_at = 0.0  # when the wire has sent what is queued
        self._last_arrival = 0.0
        self._in_burst = False

    @property
    def backlog(self) -> int:
        """Bytes that wait before the bottleneck."""
        return round(max(0.0, self._free_at - self.time.now) * self.conditions.rate_bps / 8)

    def send(self, data: bytes) -> bool:
        """Send a datagram; False if it was lost (an oracle for StreamLink, nobody else may look)."""
        c, dice, now = self.conditions, self._random, self.time.now
        self.counters.sent += 1
        if c.rate_bps and self.backlog + len(data) > c.queue_bytes:
            self.counters.overflowed += 1
            return False
        self._free_at = max(self._free_at, now) + (len(data) * 8 / c.rate_bps if c.rate_bps else 0.0)
        self._in_burst = dice.random() < (c.burst if self._in_burst else c.loss)
        if self._in_burst:
            self.counters.lost += 1
            return False
        arrival = self._free_at + c.delay + dice.uniform(0, c.jitter)
        if dice.random() < c.reorder:
            arrival += c.reorder_by
        else:
            arrival = self._last_arrival = max(arrival, self._last_arrival)
        self._arrive(data, arrival)
        if dice.random() < c.duplicate:
            self.counters.duplicated += 1
            self._arrive(data, arrival + dice.uniform(0, 0.05))
        return True

    def _arrive(self, data: bytes, when: float) -> None:
        def arrive() -> None:
            self.counters.delivered += 1
            self._deliver(data)

        self.time.at(when, arrive)


PIECE_BYTES = 1_200


@dataclass
class _Receiving:
    pieces: dict[int, tuple[bytes, bool]] = field(default_factory=dict)
    next_piece: int = 0
    over: bool = False


class StreamLink:
    """One direction of reliable streams, in pieces over a :class:`Link`.

    ``deliver(stream_id, data, fin)`` and ``reset(stream_id)`` are called in virtual time, each stream
    in order, streams among themselves as the path makes it. A lost piece is sent again after
    ``retransmit`` seconds.
    """

    def __init__(
        self,
        time: VirtualTime,
        conditions: Conditions,
        seed: int,
        deliver: Callable[[int, bytes, bool], None],
        reset: Callable[[int], None] = lambda stream_id: None,
    ) -> None:
        self.time, self.link = time, Link(time, conditions, seed, self._piece_arrived)
        self.retransmit = 2.25 * conditions.delay + conditions.jitter + 0.005
        self.retransmitted = 0
        self._deliver, self._reset = deliver, reset
        self._wire: dict[bytes, tuple[int, int, bytes, bool]] = {}
        self._sent: dict[int, int] = {}
        self._receiving: dict[int, _Receiving] = {}
        self._given_up: set[int] = set()
        self._tag = itertools.count()

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        """Append to a stream."""
        pieces = [data[i : i + PIECE_BYTES] for i in range(0, len(data), PIECE_BYTES)] or [b""]
        for n, piece in enumerate(pieces):
            number = self._sent.get(stream_id, 0)
            self._sent[stream_id] = number + 1
            self._transmit(stream_id, number, piece, fin and n == len(pieces) - 1)

    def reset(self, stream_id: int) -> None:
        """Give a stream up: what has not arrived will not."""
        self._given_up.add(stream_id)
        self.time.after(self.link.conditions.delay, lambda: self._reset_arrived(stream_id))

    def _transmit(self, stream_id: int, number: int, piece: bytes, fin: bool) -> None:
        if stream_id in self._given_up:
            return
        # The link sees as many bytes as the wire would; what they mean is looked up by their tag.
        tag = next(self._tag).to_bytes(8, "big")
        self._wire[tag] = (stream_id, number, piece, fin)
        if not self.link.send(tag + bytes(len(piece) + 32)):
            self.retransmitted += 1
            del self._wire[tag]
            self.time.after(self.retransmit, lambda: self._transmit(stream_id, number, piece, fin))

    def _piece_arrived(self, datagram: bytes) -> None:
        stream_id, number, piece, fin = self._wire[datagram[:8]]
        stream = self._receiving.setdefault(stream_id, _Receiving())
        if stream.over or number < stream.next_piece:
            return
        stream.pieces[number] = (piece, fin)
        while stream.next_piece in stream.pieces:
            data, last = stream.pieces.pop(stream.next_piece)
            stream.next_piece += 1
            stream.over = last
            self._deliver(stream_id, data, last)

    def _reset_arrived(self, stream_id: int) -> None:
        stream = self._receiving.setdefault(stream_id, _Receiving())
        if not stream.over:
            stream.over = True
            self._reset(stream_id)
