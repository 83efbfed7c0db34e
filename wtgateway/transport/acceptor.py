"""Takes new connections in: decides (:mod:`admission`), answers, and does handshakes a piece at a time.

What belongs to a connection whose handshake is under way waits in a queue (:mod:`handshakes`); one
connection is advanced per turn of the loop, after the flush of those with viewers, and while there are
viewers at most ``SHARE`` of the time goes into it. Imports aioquic and this package; the loop is the
engine's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from aioquic.quic.packet import QuicErrorCode, QuicHeader, encode_quic_retry

from wtgateway.transport import internals
from wtgateway.transport.admission import Accept, Admission, HalfOpen, Refuse, Retry
from wtgateway.transport.engine import Engine, Link
from wtgateway.transport.handshakes import Arrival, HandshakeQueue
from wtgateway.transport.retry import encode_invalid_token, encode_refusal
from wtgateway.transport.udp import Peer, UdpSocket

log = logging.getLogger("wtgateway.transport")

SHARE = 0.5  # of the time, for handshakes, while somebody watches
SWEEP_S = 0.5
TELL_S = 60.0  # a flood that comes and goes is told of so often at most

MakeLink = Callable[[HalfOpen, Peer, UdpSocket, float], Link]


class Acceptor:
    """``make`` makes the link of a connection that is taken in and gives it to the engine, ``issue`` a
    new connection ID that leads here. ``hand_over`` may give a connection that would be taken in to another
    endpoint.
    """

    def __init__(
        self,
        engine: Engine,
        admission: Admission,
        *,
        make: MakeLink,
        issue: Callable[[], bytes],
        counters: Counter[str],
        hand_over: Callable[[bytes, Arrival, float], bool] = lambda *_: False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.admission = admission
        self._engine, self._make, self._issue, self._counters = engine, make, issue, counters
        self._wall, self._hand_over = wall, hand_over
        self._queue = HandshakeQueue(self._given_up, counters)
        self._links: dict[Link, HalfOpen] = {}
        self._waiting: dict[tuple[bytes, Peer], HalfOpen] = {}  # not begun: by where the client sends to
        self._places: dict[HalfOpen, tuple[bytes, Peer]] = {}
        self._turn: asyncio.Handle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._was_validating = False
        self._tell_after = self._rest_until = 0.0

    @property
    def half_open(self) -> int:
        """Handshakes under way, those that wait to be begun included."""
        return self.admission.half_open

    def defer(self, link: Link, arrival: Arrival, now: float) -> bool:
        """Whether a datagram is part of a handshake, and was put away for its turn (or dropped)."""
        half_open = self._links.get(link)
        if half_open is None:
            return False
        self._push(half_open, arrival, now)
        return True

    def initial(
        self, header: QuicHeader, arrival: Arrival, now: float, *, may_hand_over: bool = True
    ) -> None:
        """An Initial that belongs to no connection."""
        place = (header.destination_cid, arrival.peer)
        half_open = self._waiting.get(place)
        if half_open is None:
            half_open = self._admit(header, arrival, now)
            if half_open is None:
                return
            if may_hand_over and self._hand_over(header.destination_cid, arrival, now):
                self.admission.release(half_open)
                return
            self._waiting[place] = half_open
            self._places[half_open] = place
            self._plan_sweep(now)
        self._push(half_open, arrival, now)

    def refuse(self, header: QuicHeader, arrival: Arrival, now: float) -> None:
        """Answer an Initial that belongs to no connection: CONNECTION_REFUSED (RFC 9000, section 5.2.2)."""
        half_open = self._waiting.get((header.destination_cid, arrival.peer))
        if half_open is not None:  # it was taken in before
            self._push(half_open, arrival, now)
        elif header.version is not None and self.admission.may_answer(now, "connections_refused"):
            answer = encode_refusal(
                QuicErrorCode.CONNECTION_REFUSED,
                version=header.version,
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
            )
            arrival.udp.send([(answer, arrival.peer)])

    def gone(self, link: Link) -> None:
        """A connection is over, perhaps before its handshake was."""
        half_open = self._links.pop(link, None)
        if half_open is not None:
            self._queue.discard(half_open)
            self.admission.release(half_open)

    def close(self) -> None:
        """Begin nothing any more."""
        for handle in (self._turn, self._sweep):
            if handle is not None:
                handle.cancel()
        self._turn = self._sweep = None
        for half_open in list(self._places):
            self._queue.discard(half_open)
            self._given_up(half_open)

    # --- decisions ---------------------------------------------------------------------------------

    def _admit(self, header: QuicHeader, arrival: Arrival, now: float) -> HalfOpen | None:
        decision = self.admission.decide(
            now, self._wall(), arrival.peer.address, header.destination_cid, header.token, self._issue
        )
        self._tell_of_floods(now)
        if isinstance(decision, Accept):
            return decision.half_open
        assert header.version is not None
        if isinstance(decision, Retry):
            answer = encode_quic_retry(
                header.version,
                decision.source_cid,
                header.source_cid,
                header.destination_cid,
                decision.token,
            )
        elif isinstance(decision, Refuse):
            answer = encode_invalid_token(
                version=header.version, source_cid=header.destination_cid, destination_cid=header.source_cid
            )
        else:
            self._counters["datagrams_dropped"] += 1
            return None
        arrival.udp.send([(answer, arrival.peer)])
        return None

    def _tell_of_floods(self, now: float) -> None:
        validating = self.admission.validating
        if validating and not self._was_validating and now >= self._tell_after:
            self._tell_after = now + TELL_S
            log.warning(
                "more than %g new connections a second: each has to prove its address first, until there "
                "are fewer",
                self.admission.limits.retry_above,
            )
        self._was_validating = validating

    # --- work --------------------------------------------------------------------------------------

    def _push(self, half_open: HalfOpen, arrival: Arrival, now: float) -> None:
        if not self._queue.push(half_open, arrival, now) and half_open.owner is None:
            self._given_up(half_open)
        self._plan_turn(now)

    def _plan_turn(self, now: float) -> None:
        if self._turn is not None or not self._queue:
            return
        loop, rest = self._engine.loop, self._rest_until - now
        if rest > 0 and self._anybody_watches():
            self._turn = loop.call_later(rest, self._work)
        else:
            self._turn = loop.call_soon(self._work)

    def _work(self) -> None:
        """Advance one handshake, and plan the next turn."""
        self._turn = None
        started = self._engine.clock()
        work = self._queue.pop(started)
        if work is not None:
            self._advance(*work, started)
        now = self._engine.clock()
        self._rest_until = now + (now - started) * (1 / SHARE - 1)
        self._plan_turn(now)

    def _advance(self, half_open: HalfOpen, arrivals: list[Arrival], now: float) -> None:
        engine = self._engine
        link: Link | None = half_open.owner
        if link is None:
            self._leave_waiting(half_open)
            _, peer, udp = arrivals[0]
            link = half_open.owner = self._make(half_open, peer, udp, now)
            link.half_open = True
            self._links[link] = half_open
        for data, peer, udp in arrivals:
            link.udp = udp
            engine.receive(link, data, peer, now)
            if link.gone:
                return
        if internals.is_unbegun(link.quic):  # no Initial of it could be opened: not from a QUIC client
            self._counters["initials_forged"] += 1
            engine.abandon(link, "no QUIC")
            return
        if half_open.proven:
            internals.validate_path(link.quic)
        if internals.handshake_confirmed(link.quic):
            link.half_open = False
            del self._links[link]
            self.admission.release(half_open)
        engine.mark_dirty(link)

    def _anybody_watches(self) -> bool:
        return len(self._engine.live) > len(self._links)

    def _given_up(self, half_open: HalfOpen) -> None:
        self._leave_waiting(half_open)
        self.admission.release(half_open)

    def _leave_waiting(self, half_open: HalfOpen) -> None:
        place = self._places.pop(half_open, None)
        if place is not None:
            del self._waiting[place]

    # --- time --------------------------------------------------------------------------------------

    def _plan_sweep(self, now: float) -> None:
        deadline = self.admission.next_deadline()
        if self._sweep is None and deadline is not None:
            wait = min(max(deadline - now, 0.01), SWEEP_S)  # a flood makes deadlines come sooner
            self._sweep = self._engine.loop.call_later(wait, self._sweep_now)

    def _sweep_now(self) -> None:
        """Give up what took too long, without a word: who never answered is not told more."""
        self._sweep = None
        now = self._engine.clock()
        for half_open in self.admission.overdue(now):
            self._counters["handshakes_timed_out"] += 1
            if half_open.owner is None:
                self._queue.discard(half_open)
                self._given_up(half_open)
            else:
                self._engine.abandon(half_open.owner, "the handshake took too long")
        self._plan_sweep(now)
