"""The driver under endpoint and client: sockets, one timer and turns of the loop for many connections.

A turn: drain the sockets (a bounded number of datagrams), feed each to its connection's lane, then
flush every touched connection once. Three kinds of touch, by what they cost: a packet that only
acknowledged and made room for nothing, or held datagrams, which their sessions have taken, is done with (its
connection is not flushed, no timer is set); media that was handed over, or room for what waits, makes the
connection send a batch; all else is a visit to aioquic: its events go to the sessions, its answers leave, its
timer is asked for. A connection sends at most one batch a turn, so that none delays the others. Connections
nobody touches cost nothing.

Imports aioquic, asyncio and this package.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired, ConnectionTerminated

from wtgateway.errors import TransportError
from wtgateway.transport import h3codes, internals
from wtgateway.transport.h3 import WebTransportConnection
from wtgateway.transport.lane import Attention, Lane
from wtgateway.transport.prober import PathProber
from wtgateway.transport.timers import Timers
from wtgateway.transport.udp import Peer, Received, UdpSocket

log = logging.getLogger("wtgateway.transport")

DATAGRAMS_AT_ONCE = 64  # of one socket; where there are more, they are read as well,
READING_S = 0.02  # for so long; what is left comes in the next turn, after everybody else's work
MOST_SAID = 4  # packets of one connection a turn, beside acknowledgements, where so many wait; more are lost
LONELY_SERVER_S = 10.0  # a connection without a session is closed after so long
LONELY_CLIENT_S = 1.0
LEAST_WAIT_S = 0.001
REST_S = 0.001


class Link:
    """One QUIC connection with its place in the tables."""

    __slots__ = (
        "__weakref__",
        "attend",
        "cids",
        "gone",
        "had_session",
        "half_open",
        "lane",
        "lonely_since",
        "prober",
        "quic",
        "udp",
        "webtransport",
    )

    def __init__(self, lane: Lane, udp: UdpSocket, now: float) -> None:
        self.lane = lane
        self.quic = lane.quic
        self.udp = udp
        self.webtransport: WebTransportConnection
        self.attend = True  # aioquic may have events, or something to say
        self.cids: set[bytes] = set()
        self.lonely_since: float | None = now
        self.had_session = False
        self.prober: PathProber | None = None
        self.half_open = False  # its datagrams are for the router to put in their order
        self.gone = False


class Engine:
    """Drives connections. ``route`` finds the link of a datagram; None: it has seen to it, or dropped it.

    ``cid_bytes``: octets of the connection IDs that are issued here, which short headers do not tell.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        lonely_s: float,
        counters: Counter[str],
        cid_bytes: int = 8,
    ) -> None:
        self.loop = loop
        self._cid_end = 1 + cid_bytes
        self.counters = counters
        self.clock = time.monotonic
        self.links: dict[bytes, Link] = {}
        self.live: set[Link] = set()
        self.route: Callable[[bytes, Peer, UdpSocket, float], Link | None] = lambda *_: None
        self.on_socket_error: Callable[[TransportError], None] = lambda _: None
        self.on_gone: Callable[[Link], None] = lambda _: None
        self._lonely_s = lonely_s
        self._sockets: list[UdpSocket] = []
        self._timers: Timers[Link] = Timers()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._dirty: dict[Link, None] = {}
        self._flush_planned = False

    # --- tables ----------------------------------------------------------------------------------

    def add_socket(self, udp: UdpSocket) -> None:
        """Read from it, and write what it could not take."""
        self._sockets.append(udp)
        udp.on_blocked = lambda: self.loop.add_writer(udp.fileno(), self._resume, udp)
        self.loop.add_reader(udp.fileno(), self._readable, udp)

    def add(self, link: Link, cids: list[bytes]) -> None:
        """Take a connection in."""
        self.live.add(link)
        self.counters["connections"] += 1
        for cid in cids:
            self.links[cid] = link
            link.cids.add(cid)

    def mark_dirty(self, link: Link) -> None:
        """Visit the connection at the end of this turn, and send what it has."""
        link.attend = True
        self.mark_sending(link)

    def mark_sending(self, link: Link) -> None:
        """Send what the connection has at the end of this turn: nothing but that has changed."""
        if link.gone:
            return
        self._dirty[link] = None
        if not self._flush_planned:
            self._flush_planned = True
            self.loop.call_soon(self._flush_planned_now)

    def abandon(self, link: Link, reason: str) -> None:
        """Forget a connection without a word to its peer; its sessions are told."""
        link.webtransport.lost(reason)
        link.webtransport.settle()
        if not link.gone:
            self._forget(link)

    def shut(self) -> None:
        """Forget everything; sessions that are left are told."""
        for link in list(self.live):
            link.webtransport.lost("the endpoint was shut")
            link.webtransport.settle()
            self._forget(link)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for udp in self._sockets:
            self.loop.remove_reader(udp.fileno())
            self.loop.remove_writer(udp.fileno())
            udp.close()
        self._sockets.clear()

    # --- the turn --------------------------------------------------------------------------------

    def _readable(self, udp: UdpSocket) -> None:
        said: Counter[Link] = Counter()
        crowded, until = False, self.clock() + READING_S
        while True:
            try:
                datagrams = udp.receive(DATAGRAMS_AT_ONCE)
            except TransportError as error:
                self.on_socket_error(error)
                return
            self._read(datagrams, udp, said, crowded=crowded)
            if len(datagrams) < DATAGRAMS_AT_ONCE:
                break
            crowded = True
            if self.clock() >= until:
                break
        if self._dirty or crowded:
            self._flush_dirty()
        else:
            self._set_alarm(self.clock())
            self._rest(udp)

    def _read(self, datagrams: list[Received], udp: UdpSocket, said: Counter[Link], *, crowded: bool) -> None:
        """Each to its connection. ``crowded``: who has ``said`` a lot in this turn is not heard in it again.

        What waits behind 64 others in the kernel waits because of those who send the most.
        """
        cid_end = self._cid_end
        for data, peer, now in datagrams:
            link = self.links.get(data[1:cid_end]) if data and not data[0] & 0x80 else None
            if link is None or link.half_open:
                link = self.route(data, peer, udp, now)
                if link is None:
                    continue
            if crowded and said[link] >= MOST_SAID:
                self.counters["datagrams_unheard"] += 1
                continue
            link.udp = udp
            if self.receive(link, data, peer, now):
                said[link] += 1

    def _rest(self, udp: UdpSocket) -> None:
        """Only acknowledgements came, for which nobody waits: read the next with those behind them."""
        self.loop.remove_reader(udp.fileno())
        self.loop.call_later(REST_S, self._rested, udp)

    def _rested(self, udp: UdpSocket) -> None:
        if udp in self._sockets:
            self.loop.add_reader(udp.fileno(), self._readable, udp)

    def receive(self, link: Link, data: bytes, peer: Peer, now: float) -> bool:
        """A datagram for a connection, which is flushed with the others of this turn.

        Whether it said more than what arrived.
        """
        try:
            attention = link.lane.receive(data, peer, now)
        except Exception as error:
            self._broken(link, error)
            return True
        if attention & Attention.FULL:
            link.attend = True
        elif attention & Attention.EVENTS:
            self._guarded(link, self._events, link)
            if link.gone:
                return True
            if internals.is_closing(link.quic):  # for what a datagram held
                link.attend = True
        if link.attend or attention & Attention.SEND:
            self._dirty[link] = None
        else:
            self._sooner(link)
        return bool(attention & (Attention.EVENTS | Attention.FULL))

    def _flush_planned_now(self) -> None:
        self._flush_planned = False
        self._flush_dirty()

    def _flush_dirty(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for link in dirty:  # each at its own time: one for all would add their turn to round trips
            self.flush(link, self.clock())
        self._set_alarm(self.clock())

    def flush(self, link: Link, now: float) -> None:
        """Events to the sessions, more from the sessions, a batch of packets to the socket, the timer set."""
        if link.gone:
            return
        webtransport = link.webtransport
        if link.attend:
            self._guarded(link, self._events, link)
            webtransport.settle()
        webtransport.writable()
        if link.attend:  # also when a session was closed just now
            link.attend = False
            webtransport.settle()
            self._loneliness(link, now)
            if link.gone:
                return
            link.lane.touch()
            if link.prober is not None:
                link.prober.look()
        self._dirty.pop(link, None)
        self._guarded(link, self._send, link, now)

    def _send(self, link: Link, now: float) -> None:
        lane, prober = link.lane, link.prober
        probing = prober is not None and prober.due <= now
        if prober is not None and probing:
            prober.act(now, link.udp.send_probe)
        runs = lane.transmit(now)
        for peer, packets in runs:
            link.udp.send_run(packets, peer)
        if link.udp.refused_bytes:
            if prober is not None:
                prober.refused(link.udp.refused_bytes)
                self.mark_sending(link)
            link.udp.refused_bytes = 0
        if lane.can_send or (runs and lane.hungry and lane.room() > 0):
            self.mark_sending(link)  # what was handed over a little at a time goes on, step by step
        if lane.visited or probing:
            self._set_timer(link)
        else:
            self._sooner(link)
            if runs:
                self._timers.sooner(link, now + lane.probe_timeout)

    def _events(self, link: Link) -> None:
        while (event := link.quic.next_event()) is not None:
            if isinstance(event, ConnectionIdIssued):
                self.links[event.connection_id] = link
                link.cids.add(event.connection_id)
            elif isinstance(event, ConnectionIdRetired):
                self.links.pop(event.connection_id, None)
                link.cids.discard(event.connection_id)
            else:
                link.webtransport.handle(event)
                if isinstance(event, ConnectionTerminated):
                    link.webtransport.settle()
                    self._forget(link)

    def _guarded(self, link: Link, call: Callable[..., None], *arguments: object) -> None:
        """Nothing that a peer sends may reach the log as a traceback, or other connections at all."""
        try:
            call(*arguments)
        except Exception as error:
            self._broken(link, error)

    def _broken(self, link: Link, error: Exception) -> None:
        self.counters["malformed"] += 1
        log.warning("connection from %s closed: %r", link.webtransport.remote, error)
        log.debug("where that came from", exc_info=True)
        if internals.is_closing(link.quic):
            link.webtransport.lost("the connection broke")
            link.webtransport.settle()
            self._forget(link)
        else:
            link.quic.close(error_code=h3codes.H3_INTERNAL_ERROR, reason_phrase="malformed")
            self.mark_dirty(link)

    def _loneliness(self, link: Link, now: float) -> None:
        """Close connections that carry no session for long."""
        if link.webtransport.sessions:
            link.lonely_since, link.had_session = None, True
        elif link.lonely_since is None:
            link.lonely_since = now
        elif now - link.lonely_since >= self._patience(link) and not internals.is_closing(link.quic):
            link.quic.close(error_code=h3codes.H3_NO_ERROR, reason_phrase="no session")

    def _patience(self, link: Link) -> float:
        return self._lonely_s if link.had_session else max(self._lonely_s, LONELY_SERVER_S)

    # --- time ------------------------------------------------------------------------------------

    def _set_timer(self, link: Link) -> None:
        when = link.lane.get_timer()
        if link.lonely_since is not None and when is not None and not internals.is_closing(link.quic):
            when = min(when, link.lonely_since + self._patience(link))
        if link.prober is not None and when is not None:
            when = min(when, link.prober.due)
        self._timers.set(link, when)

    def _sooner(self, link: Link) -> None:
        """What the lane set by itself; deadlines that moved away are found out when they come up."""
        when = link.lane.sooner()
        if when is not None:
            self._timers.sooner(link, when)

    def _set_alarm(self, now: float) -> None:
        when = self._timers.next_wakeup()
        if when is None:
            return
        # A loop's clock ticks in milliseconds: it would call too early, again and again.
        when = max(when, now + LEAST_WAIT_S)
        if self._alarm is not None:
            if self._alarm_at <= when:
                return
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self.loop.call_later(when - now, self._alarmed)

    def _alarmed(self) -> None:
        self._alarm = None
        now = self.clock()
        for link in self._timers.due(now):
            when = link.lane.postponed(now) if link.lonely_since is None else None
            if when is not None and link.prober is not None:
                when = min(when, link.prober.due)
            if when is not None and when > now:
                self._timers.set(link, when)
                continue
            try:
                due = link.lane.handle_timer(now)
            except Exception as error:
                self._broken(link, error)
                continue
            probing = link.prober is not None and link.prober.due <= now
            if due or probing or link.lonely_since is not None:
                link.attend = True
                self._dirty[link] = None
            else:
                self._set_timer(link)
        self._flush_dirty()

    def _resume(self, udp: UdpSocket) -> None:
        udp.resume()
        if not udp.blocked:
            self.loop.remove_writer(udp.fileno())

    def _forget(self, link: Link) -> None:
        link.gone = True
        self.live.discard(link)
        self._timers.remove(link)
        for cid in link.cids:
            self.links.pop(cid, None)
        link.cids.clear()
        self.on_gone(link)
