"""The driver under endpoint and client: sockets, one timer and turns of the loop for many connections.

A turn: drain the sockets (a bounded number of datagrams), feed each to its connection, then flush
every touched connection once: its events go to the sessions, sessions may hand over more, packets
leave in batches, its timer is set. Connections nobody touches cost nothing. Imports aioquic, asyncio
and this package.

The flush is where a later express lane belongs: a batch of payloads of one connection sealed at once,
in place of ``datagrams_to_send`` for what is nothing but media, after it for all else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired, ConnectionTerminated

from wtgateway.errors import TransportError
from wtgateway.transport import h3codes, internals
from wtgateway.transport.h3 import WebTransportConnection
from wtgateway.transport.timers import Timers
from wtgateway.transport.udp import Peer, UdpSocket

log = logging.getLogger("wtgateway.transport")

DATAGRAMS_PER_TURN = 64  # of one socket; what is left comes in the next turn, after everybody else's work
LONELY_SERVER_S = 10.0  # a connection without a session is closed after so long
LONELY_CLIENT_S = 1.0


class Link:
    """One QUIC connection with its place in the tables."""

    __slots__ = ("__weakref__", "cids", "gone", "had_session", "lonely_since", "quic", "udp", "webtransport")

    def __init__(self, quic: QuicConnection, udp: UdpSocket, now: float) -> None:
        self.quic = quic
        self.udp = udp
        self.webtransport: WebTransportConnection
        self.cids: set[bytes] = set()
        self.lonely_since: float | None = now
        self.had_session = False
        self.gone = False


class Engine:
    """Drives connections. ``route`` finds or makes the link of a datagram, or None to drop it."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, lonely_s: float, counters: Counter[str]) -> None:
        self.loop = loop
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
        """Flush the connection at the end of this turn."""
        if link.gone:
            return
        self._dirty[link] = None
        if not self._flush_planned:
            self._flush_planned = True
            self.loop.call_soon(self._flush_planned_now)

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
        try:
            datagrams = udp.receive(DATAGRAMS_PER_TURN)
        except TransportError as error:
            self.on_socket_error(error)
            return
        now = self.clock()
        for data, peer in datagrams:
            link = self.route(data, peer, udp, now)
            if link is None:
                self.counters["datagrams_dropped"] += 1
                continue
            link.udp = udp
            self._dirty[link] = None
            self._guarded(link, link.quic.receive_datagram, data, peer, now)
        self._flush_dirty()

    def _flush_planned_now(self) -> None:
        self._flush_planned = False
        self._flush_dirty()

    def _flush_dirty(self) -> None:
        dirty, self._dirty = self._dirty, {}
        now = self.clock()
        for link in dirty:
            self.flush(link, now)
        self._set_alarm(now)

    def flush(self, link: Link, now: float) -> None:
        """Events to the sessions, more from the sessions, packets to the socket, the timer set."""
        if link.gone:
            return
        webtransport = link.webtransport
        self._guarded(link, self._events, link)
        webtransport.settle()
        webtransport.writable()
        webtransport.settle()  # a session may have been closed just now
        self._dirty.pop(link, None)
        self._loneliness(link, now)
        if link.gone:
            return
        self._guarded(link, self._send, link, now)
        self._set_timer(link)

    def _send(self, link: Link, now: float) -> None:
        datagrams = link.quic.datagrams_to_send(now)
        if datagrams:
            link.udp.send(datagrams)

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
        when = link.quic.get_timer()
        if link.lonely_since is not None and when is not None and not internals.is_closing(link.quic):
            when = min(when, link.lonely_since + self._patience(link))
        self._timers.set(link, when)

    def _set_alarm(self, now: float) -> None:
        when = self._timers.next_wakeup()
        if when is None or (self._alarm is not None and self._alarm_at <= when):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self.loop.call_later(max(0.0, when - now), self._alarmed)

    def _alarmed(self) -> None:
        self._alarm = None
        now = self.clock()
        for link in self._timers.due(now):
            self._dirty[link] = None
            timer = link.quic.get_timer()
            if timer is not None and timer <= now:
                self._guarded(link, link.quic.handle_timer, now)
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
