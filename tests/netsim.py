"""A network in memory, seeded and in virtual time: no sockets, no sleeping, the same every run.

``Conditions`` describe one direction, ``Link`` carries datagrams under them, ``StreamLink`` reliable
streams on top (what is lost is sent again a round trip later, as QUIC does, each stream by itself).
``VirtualTime`` runs what is due in order. A scenario is: conditions, media, run, check. Losses that
come together are in :mod:`tests.netsim_losses`, queues in :mod:`tests.netsim_queues`, flows that compete
for one in :mod:`tests.netsim_tcp`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.netsim_losses import LossProcess
from tests.netsim_queues import Bottleneck


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


class Wakes:
    """Deadlines by name, of which the one set last counts; ``settle`` is called after each that has come."""

    def __init__(self, time: VirtualTime, settle: Callable[[], None]) -> None:
        self._time, self._settle = time, settle
        self._set: dict[str, float] = {}

    def set(self, who: str, when: float | None, call: Callable[[float], None]) -> None:
        """Call with the time when it is ``when``; None leaves what was set before."""
        if when is None or self._set.get(who, -1.0) == when:
            return
        self._set[who] = when

        def wake() -> None:
            if self._set.get(who) == when:
                del self._set[who]
                call(self._time.now)
                self._settle()

        self._time.at(when, wake)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """One direction of a path. Probabilities are 0..1; ``rate_bps`` 0: without limit.

    ``losses`` takes the place of ``loss`` and ``burst``. ``steps`` are changes of the rate, (seconds after
    the link's beginning, rate), for a link that has one; ``blackouts`` (first second, seconds) in which
    nothing that leaves the queue arrives.
    """

    delay: float = 0.0
    jitter: float = 0.0  # uniform, on top of the delay; does not reorder by itself
    reorder: float = 0.0  # probability that a datagram ignores those before it and is held back
    reorder_by: float = 0.02
    loss: float = 0.0
    burst: float = 0.0  # probability that a loss goes on with the next datagram
    duplicate: float = 0.0
    rate_bps: float = 0.0
    queue_bytes: int = 256 * 1024
    codel: bool = False
    losses: LossProcess | None = None
    steps: tuple[tuple[float, float], ...] = ()
    blackouts: tuple[tuple[float, float], ...] = ()

    @classmethod
    def bloated(cls, *, delay: float, rate_bps: float, queue_s: float = 2.0) -> Conditions:
        """A drop-tail queue of so many seconds: bufferbloat."""
        return cls(delay=delay, rate_bps=rate_bps, queue_bytes=round(rate_bps * queue_s / 8))


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


class _Fate(NamedTuple):
    delay: float
    held_back: float
    copied: float


class Link:
    """One direction of datagrams; ``deliver`` is called in virtual time.

    ``dropped`` is called with what CoDel or a blackout took after ``send`` had accepted it. A
    ``bottleneck`` may be shared with others; else the link has its own.
    """

    def __init__(
        self,
        time: VirtualTime,
        conditions: Conditions,
        seed: int,
        deliver: Callable[[bytes], None],
        *,
        dropped: Callable[[bytes], None] = lambda data: None,
        bottleneck: Bottleneck | None = None,
    ) -> None:
        self.time, self.counters = time, LinkCounters()
        self.bottleneck = bottleneck
        self._began = time.now
        if bottleneck is None:
            self.conditions = conditions
        else:
            self._set(conditions)
        self._deliver, self._dropped = deliver, dropped
        self._random = random.Random(seed)
        self._last_arrival = 0.0
        self._in_burst = False

    @property
    def conditions(self) -> Conditions:
        """May be replaced at any time; what is queued stays, and leaves at the new rate."""
        return self._conditions

    @conditions.setter
    def conditions(self, new: Conditions) -> None:
        self._set(new)
        if self.bottleneck is not None and new.rate_bps:
            self.bottleneck.rate_bps, self.bottleneck.queue_bytes = new.rate_bps, new.queue_bytes
        elif new.rate_bps:
            self.bottleneck = Bottleneck(
                self.time, new.rate_bps, new.queue_bytes, codel=new.codel, steps=new.steps
            )

    def _set(self, new: Conditions) -> None:
        self._conditions = new
        self._lost = new.losses.begin() if new.losses is not None else None

    @property
    def backlog(self) -> int:
        """Bytes that wait before the bottleneck."""
        return self.bottleneck.backlog if self.bottleneck is not None else 0

    def send(self, data: bytes) -> bool:
        """Send a datagram; False if it was lost (an oracle for StreamLink, nobody else may look)."""
        self.counters.sent += 1
        bottleneck = self.bottleneck if self._conditions.rate_bps else None
        if bottleneck is not None and not bottleneck.has_room(len(data)):
            self.counters.overflowed += 1
            return False
        fate = self._throw()  # before it is queued: a seed throws the same for any queue
        if bottleneck is None:
            self._left(data, fate)
        else:
            bottleneck.push(len(data), lambda: self._left(data, fate), lambda: self._drop(data))
        return fate is not None

    def _throw(self) -> _Fate | None:
        """What will become of a datagram; None: it is lost behind the queue."""
        c, dice = self._conditions, self._random
        if self._is_lost():
            self.counters.lost += 1
            return None
        return _Fate(
            delay=c.delay + dice.uniform(0, c.jitter),
            held_back=c.reorder_by if dice.random() < c.reorder else 0.0,
            copied=dice.uniform(0, 0.05) if dice.random() < c.duplicate else 0.0,
        )

    def _is_lost(self) -> bool:
        if self._lost is not None:
            return self._lost(self._random)
        c = self._conditions
        self._in_burst = self._random.random() < (c.burst if self._in_burst else c.loss)
        return self._in_burst

    def _in_blackout(self) -> bool:
        at = self.time.now - self._began
        return any(start <= at < start + seconds for start, seconds in self._conditions.blackouts)

    def _drop(self, data: bytes) -> None:
        self.counters.lost += 1
        self._dropped(data)

    def _left(self, data: bytes, fate: _Fate | None) -> None:
        if fate is None:
            return
        if self._in_blackout():
            self._drop(data)
            return
        arrival = self.time.now + fate.delay
        if fate.held_back:
            arrival += fate.held_back
        else:
            arrival = self._last_arrival = max(arrival, self._last_arrival)
        self._arrive(data, arrival)
        if fate.copied:
            self.counters.duplicated += 1
            self._arrive(data, arrival + fate.copied)

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
        self.time = time
        self.link = Link(time, conditions, seed, self._piece_arrived, dropped=self._piece_dropped)
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
        wire = tag + bytes(len(piece) + 32)
        if not self.link.send(wire):
            self._piece_dropped(wire)

    def _piece_dropped(self, datagram: bytes) -> None:
        stream_id, number, piece, fin = self._wire.pop(datagram[:8])
        self.retransmitted += 1
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
