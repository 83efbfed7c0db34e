"""The native client's side: one UDP socket, one connection, one WebTransport session.

The server is verified by certificate hashes where they are given (as browsers do with
serverCertificateHashes), else by the system's CAs, or not at all when the caller says so. Imports
aioquic, asyncio and this package.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
import ssl
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted, QuicEvent
from cryptography.hazmat.primitives import hashes

from wtgateway.errors import SessionRefused, TransportError
from wtgateway.protocol.codes import SUBPROTOCOL
from wtgateway.transport import h3codes, internals
from wtgateway.transport.engine import LONELY_CLIENT_S, Engine, Link
from wtgateway.transport.h3 import WebTransportConnection
from wtgateway.transport.lane import Lane
from wtgateway.transport.udp import Peer, UdpSocket
from wtgateway.transport.webtransport import SessionHandler, WebTransportSession

log = logging.getLogger("wtgateway.transport")

IDLE_TIMEOUT_S = 20.0
RECEIVE_WINDOW_BYTES = 16 << 20
CLOSE_PATIENCE_S = 1.0
REFUSED_S = 2.0  # nothing but ICMP refusals for so long: nobody is there any more


_clients: weakref.WeakKeyDictionary[WebTransportSession, _Client] = weakref.WeakKeyDictionary()


async def connect(
    url: str,
    handler: SessionHandler,
    *,
    certificate_hashes: Sequence[bytes] | None = None,
    insecure: bool = False,
    timeout: float = 10.0,  # noqa: ASYNC109 - part of the interface
    headers: Mapping[str, str] | None = None,
    protocols: Sequence[str] = (SUBPROTOCOL,),
    congestion: str = "reno",
) -> WebTransportSession:
    """Open a WebTransport session at ``https://host:port/path?query``.

    Tries the host's addresses in turn. Raises SessionRefused when the server answers no, TransportError
    when there is no connection or its certificate is not the one expected. ``timeout`` is for all of it.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise TransportError(f"{url!r} is not an address to connect to: expected https://host:port/name")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    try:
        async with asyncio.timeout_at(deadline):
            addresses = await loop.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError) as error:
        raise TransportError(f"the host {parts.hostname} cannot be found: {error}") from error
    problem = TransportError(f"{url}: the host has no address")
    for index, (family, _, _, _, address) in enumerate(addresses):
        client = _Client(
            parts.hostname, handler, certificate_hashes, insecure=insecure, congestion=congestion
        )
        share = (deadline - loop.time()) / (len(addresses) - index)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            session = await client.open(
                family, address, parts.netloc.rpartition("@")[2], path, dict(headers or {}), protocols, share
            )
            _clients[session] = client
            return session
        except SessionRefused:
            raise
        except TransportError as error:
            problem = error
    raise problem


async def disconnect(session: WebTransportSession, code: int = 0, reason: str = "") -> None:
    """Close a session of :func:`connect` and its connection, and wait until its socket is closed.

    A second to let the close arrive is the most it takes.
    """
    client = _clients.pop(session, None)
    if client is not None:
        await client.close(session, code, reason)


class _Client:
    """One attempt at one address; lives on as the driver of the session it opened."""

    def __init__(
        self,
        host: str,
        handler: SessionHandler,
        certificate_hashes: Sequence[bytes] | None,
        *,
        insecure: bool,
        congestion: str,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._hashes = None if certificate_hashes is None else [bytes(value) for value in certificate_hashes]
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._engine = Engine(loop=self._loop, lonely_s=LONELY_CLIENT_S, counters=Counter())
        self._engine.route = self._route
        self._engine.on_gone = self._gone
        self._engine.on_socket_error = self._socket_error
        self._configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=H3_ALPN,
            server_name=host,
            congestion_control_algorithm=congestion,
            idle_timeout=IDLE_TIMEOUT_S,
            max_data=RECEIVE_WINDOW_BYTES,
            max_stream_data=RECEIVE_WINDOW_BYTES,
            max_datagram_frame_size=65536,
            verify_mode=ssl.CERT_NONE if insecure or self._hashes is not None else ssl.CERT_REQUIRED,
        )
        self._link: Link | None = None
        self._received, self._refused_at = -1, 0.0  # datagrams until the last refusals began, and when

    async def open(
        self,
        family: int,
        address: tuple[Any, ...],
        authority: str,
        path: str,
        headers: dict[str, str],
        protocols: Sequence[str],
        timeout: float,  # noqa: ASYNC109 - handed down
    ) -> WebTransportSession:
        """Shake hands, CONNECT, and wait for the answer."""
        try:
            udp = UdpSocket.connect(family, address, counters=self._engine.counters)
        except OSError as error:
            raise TransportError(f"{address[0]} cannot be reached: {error.strerror or error}") from error
        self._engine.add_socket(udp)
        now = self._engine.clock()
        quic = QuicConnection(configuration=self._configuration)
        link = self._link = Link(Lane(quic), udp, now)
        link.webtransport = _ClientConnection(
            quic,
            on_request=None,
            protocols=protocols,
            mark_dirty=lambda: self._engine.mark_dirty(link),
            mark_sending=lambda: self._engine.mark_sending(link),
            lane=link.lane,
            counters=self._engine.counters,
            remote=address,
            client=self,
            ask=(authority, path, headers),
        )
        self._engine.add(link, [quic.host_cid])
        quic.connect(Peer(address), now=now)
        self._engine.mark_dirty(link)
        try:
            await asyncio.wait_for(self._done, timeout)
            return next(iter(link.webtransport.sessions.values()))
        except TimeoutError:
            raise TransportError(f"{authority} does not answer over UDP within {timeout:.0f} s") from None
        except StopIteration:
            raise TransportError("the session was closed as soon as it was open") from None
        finally:
            if not link.webtransport.sessions:
                self._abort(link)

    async def close(self, session: WebTransportSession, code: int, reason: str) -> None:
        """Let the close capsule arrive, then end the connection and free the socket."""
        link = self._link
        assert link is not None
        session.close(code, reason)
        self._engine.mark_dirty(link)
        deadline = self._loop.time() + CLOSE_PATIENCE_S
        await asyncio.sleep(0)  # the turn in which the capsule leaves
        while not link.gone and internals.in_flight(link.quic) and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        self._abort(link)

    # --- what the connection tells -------------------------------------------------------------------

    def certificate_problem(self, quic: QuicConnection) -> str:
        """Why the server's certificate is not accepted; empty: it is."""
        if self._hashes is None:
            return ""
        certificate = internals.peer_certificate(quic)
        if certificate is None or certificate.fingerprint(hashes.SHA256()) not in self._hashes:
            return "the server's certificate is none of those expected: fetch its hashes again"
        now = datetime.datetime.now(datetime.UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return "the server's certificate is not valid now: check the clocks of both machines"
        return ""

    def settled(self, connection: WebTransportConnection, problem: str = "") -> None:
        """Something changed: finish the wait when there is an answer."""
        if self._done.done():
            return
        if connection.sessions:
            self._done.set_result(None)
        elif problem:
            self._done.set_exception(TransportError(problem))
        elif connection.refusal is not None:
            status, reason = connection.refusal
            self._done.set_exception(
                SessionRefused(status, reason)
                if status
                else TransportError(f"the connection ended: {reason}")
            )
        elif internals.is_closing(connection.quic):
            event = internals.close_event(connection.quic)
            words = (event.reason_phrase or f"code {event.error_code:#x}") if event is not None else "closed"
            self._done.set_exception(TransportError(f"no connection: {words}"))

    def start_request(self, connection: WebTransportConnection, ask: tuple[str, str, dict[str, str]]) -> None:
        """The handshake is done and the server is the one expected: CONNECT."""
        connection.request(*ask, self._handler)

    # --- the engine's hooks ----------------------------------------------------------------------------

    def _route(self, data: bytes, peer: Peer, udp: UdpSocket, now: float) -> Link | None:
        link = self._link
        if link is not None and internals.is_stateless_reset(link.quic, data):
            self._reset(link)
            return None
        return link

    def _reset(self, link: Link) -> None:
        """The server does not know the connection any more (RFC 9000, section 10.3)."""
        reason = "the server has lost the connection"
        if not self._done.done():
            self._done.set_exception(TransportError(reason))
        self._engine.abandon(link, reason)

    def _socket_error(self, error: TransportError) -> None:
        if not self._done.done():
            self._done.set_exception(error)
        elif self._link is not None and not self._link.gone and self._refused_for_long():
            self._link.webtransport.lost(str(error))
            self._engine.mark_dirty(self._link)

    def _refused_for_long(self) -> bool:
        """Whether refusals are all that has come for a while: a balancer that starts again refuses too."""
        now, received = self._loop.time(), self._engine.counters["datagrams_in"]
        if received != self._received:
            self._received, self._refused_at = received, now
        return now - self._refused_at >= REFUSED_S

    def _gone(self, link: Link) -> None:
        self._loop.call_soon(self._engine.shut)

    def _abort(self, link: Link) -> None:
        if not link.gone and not internals.is_closing(link.quic):
            link.quic.close(error_code=h3codes.H3_NO_ERROR, reason_phrase="done")
            self._engine.flush(link, self._engine.clock())
        self._engine.shut()


class _ClientConnection(WebTransportConnection):
    """Sends the CONNECT once the handshake is done, and tells its client of every change."""

    def __init__(
        self, quic: QuicConnection, *, client: _Client, ask: tuple[str, str, dict[str, str]], **rest: Any
    ) -> None:
        super().__init__(quic, **rest)
        self._client = client
        self._ask = ask

    def handle(self, event: QuicEvent) -> None:
        super().handle(event)
        if isinstance(event, HandshakeCompleted):
            problem = self._client.certificate_problem(self.quic)
            if not problem and self.h3 is None:
                problem = "the server does not speak HTTP/3"
            if problem:
                self._client.settled(self, problem)
                self.quic.close(reason_phrase=problem)
            else:
                self._client.start_request(self, self._ask)

    def settle(self) -> None:
        super().settle()
        self._client.settled(self)
