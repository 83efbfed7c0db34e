"""The gateway's QUIC endpoint: takes connections in, closes them in order.

Own endpoint on aioquic's sans-I/O connection instead of ``aioquic.asyncio.serve`` (see docs/architecture.md);
the turns of the loop, the flush and the place of the later express sealing lane are in
:mod:`wtgateway.transport.engine`. Imports aioquic, asyncio and this package.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aioquic._buffer import Buffer
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from wtgateway.protocol.codes import SUBPROTOCOL
from wtgateway.transport import h3codes, internals
from wtgateway.transport.acceptor import Acceptor
from wtgateway.transport.admission import (
    HALF_OPEN_PER_NETWORK,
    RETRY_ABOVE,
    Admission,
    HalfOpen,
    Limits,
)
from wtgateway.transport.congestion import NAME as MEDIA
from wtgateway.transport.connection_ids import ConnectionIds, ServerConnection, StatelessResets
from wtgateway.transport.engine import LONELY_SERVER_S, Engine, Link
from wtgateway.transport.h3 import OnRequest, WebTransportConnection
from wtgateway.transport.handshakes import Arrival
from wtgateway.transport.lane import Lane
from wtgateway.transport.pacer import MediaPacer
from wtgateway.transport.prober import PathProber
from wtgateway.transport.retry import SECRET_BYTES, RetryTokens
from wtgateway.transport.steering import unusable
from wtgateway.transport.udp import Peer, UdpSocket, plain_address

log = logging.getLogger("wtgateway.transport")

IDLE_TIMEOUT_S = 20.0
VIEWER_WINDOW_BYTES = 256 * 1024  # what a viewer may have under way towards us
MAX_CONNECTIONS = 10_000


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What the endpoint proves itself with; ``chain`` holds the issuers, if any."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()


class Elsewhere(Protocol):
    """Other endpoints on the same port, to which new connections may be given.

    ``cid`` is the one that the client sends to, ``udp`` the number of the socket that it came to.
    """

    def follow(self, cid: bytes, data: bytes, peer: Peer, udp: int, now: float) -> bool:
        """Send a datagram after a connection that was given away; False: it was none of those."""

    def hand_over(self, cid: bytes, data: bytes, peer: Peer, udp: int, now: float) -> bool:
        """Give a new connection away; False: it stays."""


class QuicEndpoint:
    """Listens on UDP. ``on_request`` answers each CONNECT at once with a handler or a Refusal.

    ``retry_above`` (new connections a second) and ``half_open_per_address`` bound what those may cost that
    are no viewers yet: :class:`~wtgateway.transport.admission.Limits`. ``secret``: SECRET_BYTES that all
    share who shall take each other's Retry tokens; one of its own if there is none. ``connection_ids`` are
    for one endpoint of several on the same port, or behind the same balancer, ``elsewhere`` for the former.
    """

    def __init__(
        self,
        *,
        on_request: OnRequest,
        certificate: ServerCertificate,
        loop: asyncio.AbstractEventLoop | None = None,
        congestion: str = MEDIA,
        protocols: Sequence[str] = (SUBPROTOCOL,),
        retry_above: float = RETRY_ABOVE,
        half_open_per_address: int = HALF_OPEN_PER_NETWORK,
        secret: bytes | None = None,
        connection_ids: ConnectionIds | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.stats: Counter[str] = Counter()
        self._on_request = on_request
        self._congestion = congestion
        self._protocols = tuple(protocols)
        self._ids = connection_ids or ConnectionIds()
        self._resets = StatelessResets(self._ids)
        self._elsewhere = elsewhere
        self._sockets: list[UdpSocket] = []
        self._configuration = self._configure(certificate)
        self._engine = Engine(
            loop=loop or asyncio.get_running_loop(),
            lonely_s=LONELY_SERVER_S,
            counters=self.stats,
            cid_bytes=self._ids.cid_bytes,
        )
        self._engine.route = self._route
        self._engine.on_gone = self._gone
        self._acceptor = Acceptor(
            self._engine,
            Admission(
                tokens=RetryTokens(secret or os.urandom(SECRET_BYTES)),
                counters=self.stats,
                limits=Limits(retry_above=retry_above, half_open_per_network=half_open_per_address),
            ),
            make=self._make_link,
            issue=self._ids.issue,
            hand_over=self._hand_over,
            counters=self.stats,
        )
        self._accepting = True
        self._refusing = False
        self._all_gone = asyncio.Event()
        logging.getLogger("quic").setLevel(logging.ERROR)  # it tells of every stream reset by a peer

    @property
    def connections(self) -> int:
        """QUIC connections now, closing ones included."""
        return len(self._engine.live)

    @property
    def sessions(self) -> int:
        """WebTransport sessions now."""
        return sum(len(link.webtransport.sessions) for link in self._engine.live)

    async def start(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """Bind every address of ``host`` ("[::]" is both families, "localhost" ::1 and 127.0.0.1).

        Returns the bound addresses, all on one port, also for port 0. Raises TransportError.
        """
        bound: list[UdpSocket] = []
        try:
            for family, address in await resolve_bind(self._engine.loop, host, port):
                if bound:
                    address = (address[0], bound[0].address[1], *address[2:])
                bound.append(UdpSocket.bind(family, address, counters=self.stats))
        except OSError as error:
            for udp in bound:
                udp.close()
            raise unusable(host, port, error) from error
        self._listen(bound)
        return [udp.address for udp in bound]

    def start_on(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on sockets that are bound already, and are the endpoint's from now on. Raises OSError."""
        self._listen([UdpSocket.adopt(sock, counters=self.stats) for sock in sockets])

    def take_over(self, data: bytes, peer: Peer, udp: int) -> None:
        """A datagram that another endpoint has given to this one; it came to socket number ``udp`` there."""
        now, sock = self._engine.clock(), self._sockets[udp]
        link = self._route(data, peer, sock, now, handed_over=True)
        if link is not None:
            link.udp = sock
            self._engine.receive(link, data, peer, now)
            self._engine.mark_dirty(link)

    def _listen(self, sockets: list[UdpSocket]) -> None:
        self._sockets += sockets
        for udp in sockets:
            self._engine.add_socket(udp)

    def use_certificate(self, certificate: ServerCertificate) -> None:
        """Prove new connections with it; those that are there do not notice."""
        self._configuration = self._configure(certificate)

    def refuse_connections(self) -> None:
        """Tell whoever wants to connect to go elsewhere (RFC 9000, section 5.2.2); connections go on."""
        self._refusing = True

    async def close(self, code: int, reason: str, timeout: float) -> None:  # noqa: ASYNC109 - a bound, not a cancel
        """End all sessions with ``code``, wait at most ``timeout`` s for the peers, then close for good."""
        self._accepting = False
        sessions = [
            (link, session) for link in self._engine.live for session in link.webtransport.sessions.values()
        ]
        for _, session in sessions:
            session.close(code, reason)
        try:
            await asyncio.wait_for(
                self._closes_answered([(link, session.id) for link, session in sessions]), timeout
            )
        except TimeoutError:
            log.debug("not every viewer acknowledged the close in %.1f s", timeout)
        now = self._engine.clock()
        for link in list(self._engine.live):
            link.quic.close(error_code=h3codes.H3_NO_ERROR, reason_phrase=reason)
            self._engine.flush(link, now)
        self._acceptor.close()
        self._engine.shut()

    async def _closes_answered(self, closed: list[tuple[Link, int]]) -> None:
        """Until each peer has ended its side of the CONNECT stream; asks often, briefly, once a life.

        An acknowledgement is not enough: a browser whose connection closes before it has told its page
        of the capsule shows a lost connection instead of code and reason.
        """
        while closed := [item for item in closed if _is_unanswered(*item)]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    # --- taking connections in ---------------------------------------------------------------------

    def _route(
        self, data: bytes, peer: Peer, udp: UdpSocket, now: float, *, handed_over: bool = False
    ) -> Link | None:
        """The link a datagram belongs to; None: it waits as part of a handshake, or leads nowhere."""
        if data and not data[0] & 0x80:
            link = self._engine.links.get(data[1 : 1 + self._ids.cid_bytes])
            if link is None:
                self._reset(data, peer, udp, now)
        else:
            link = self._route_long(data, peer, udp, now, handed_over)
        if link is not None and self._acceptor.defer(link, Arrival(data, peer, udp), now):
            return None
        return link

    def _reset(self, data: bytes, peer: Peer, udp: UdpSocket, now: float) -> None:
        """Tell a peer that its connection is gone, so that it need not wait for its timeout."""
        answer = self._resets.answer(data, now)
        if answer is None:
            self.stats["datagrams_dropped"] += 1
            if self._ids.is_foreign(data[1 : 1 + self._ids.cid_bytes]):
                self.stats["datagrams_misrouted"] += 1
        else:
            self.stats["stateless_resets"] += 1
            udp.send([(answer, peer)])

    def _hand_over(self, cid: bytes, arrival: Arrival, now: float) -> bool:
        if self._elsewhere is None:
            return False
        number = self._sockets.index(arrival.udp)
        return self._elsewhere.hand_over(cid, arrival.data, arrival.peer, number, now)

    def _followed(self, cid: bytes, arrival: Arrival, now: float) -> bool:
        if self._elsewhere is None:
            return False
        number = self._sockets.index(arrival.udp)
        return self._elsewhere.follow(cid, arrival.data, arrival.peer, number, now)

    def _route_long(
        self, data: bytes, peer: Peer, udp: UdpSocket, now: float, handed_over: bool
    ) -> Link | None:
        header = _long_header(data)
        if header is None:
            self.stats["datagrams_dropped"] += 1
            return None
        if (link := self._engine.links.get(header.destination_cid)) is not None:
            return link
        if len(data) < SMALLEST_MAX_DATAGRAM_SIZE or header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            self.stats["datagrams_dropped"] += 1
        elif header.version not in self._configuration.supported_versions:
            if self._acceptor.admission.may_answer(now, "version_negotiations"):
                self._negotiate_version(header.destination_cid, header.source_cid, peer, udp)
        elif header.packet_type != QuicPacketType.INITIAL or not self._may_accept():
            self.stats["datagrams_dropped"] += 1
        else:
            arrival = Arrival(data, peer, udp)
            if not handed_over and self._followed(header.destination_cid, arrival, now):
                return None
            if self._refusing:
                self._acceptor.refuse(header, arrival, now)
            else:
                self._acceptor.initial(header, arrival, now, may_hand_over=not handed_over)
        return None

    def _may_accept(self) -> bool:
        if len(self._engine.live) >= MAX_CONNECTIONS:
            self.stats["connections_refused"] += 1
            return False
        return self._accepting

    def _make_link(self, half_open: HalfOpen, peer: Peer, udp: UdpSocket, now: float) -> Link:
        quic = ServerConnection(
            connection_ids=self._ids,
            configuration=self._configuration,
            original_destination_connection_id=half_open.original_cid,
            retry_source_connection_id=half_open.retry_cid,
        )
        if self._congestion == MEDIA:
            internals.install_pacer(quic, MediaPacer(max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE))
        link = Link(Lane(quic), udp, now)
        if internals.EXPRESS and self._congestion == MEDIA:
            link.prober = PathProber(link.lane, self.stats)
        link.webtransport = WebTransportConnection(
            quic,
            on_request=self._on_request,
            protocols=self._protocols,
            mark_dirty=lambda: self._engine.mark_dirty(link),
            mark_sending=lambda: self._engine.mark_sending(link),
            counters=self.stats,
            remote=plain_address(peer.address),
            lane=link.lane,
        )
        self._engine.add(link, [half_open.retry_cid or half_open.original_cid, quic.host_cid])
        return link

    def _gone(self, link: Link) -> None:
        self._acceptor.gone(link)

    def _negotiate_version(self, to_cid: bytes, from_cid: bytes, peer: Peer, udp: UdpSocket) -> None:
        answer = encode_quic_version_negotiation(
            source_cid=to_cid,
            destination_cid=from_cid,
            supported_versions=self._configuration.supported_versions,
        )
        udp.send([(answer, peer)])

    def _configure(self, certificate: ServerCertificate) -> QuicConfiguration:
        configuration = QuicConfiguration(
            is_client=False,
            alpn_protocols=H3_ALPN,
            congestion_control_algorithm=self._congestion,
            connection_id_length=self._ids.cid_bytes,
            idle_timeout=IDLE_TIMEOUT_S,
            max_data=VIEWER_WINDOW_BYTES,
            max_stream_data=VIEWER_WINDOW_BYTES,
            max_datagram_frame_size=65536,
        )
        configuration.certificate = certificate.cert
        configuration.private_key = certificate.key
        configuration.certificate_chain = list(certificate.chain)
        return configuration


def _long_header(data: bytes) -> QuicHeader | None:
    try:
        return pull_quic_header(Buffer(data=data), host_cid_length=8) if data and data[0] & 0x80 else None
    except ValueError:
        return None


def _is_unanswered(link: Link, session_id: int) -> bool:
    if link.gone or internals.is_closing(link.quic):
        return False
    return internals.can_receive(link.quic, session_id) or internals.in_flight(link.quic)


async def resolve_bind(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and addresses to bind, IPv6 first; without IPv6 ``::`` becomes all of IPv4."""
    host = host.strip("[]")
    if host in ("", "::"):
        if socket.has_ipv6 and _ipv6_works():
            return [(socket.AF_INET6, ("::", port, 0, 0))]
        log.warning("this machine has no IPv6: listening on IPv4 only")
        host = "0.0.0.0"  # noqa: S104 - asked for by the caller
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    addresses = {(family, address): None for family, _, _, _, address in found}
    if host == "localhost":
        addresses.setdefault((socket.AF_INET, ("127.0.0.1", port)))
        if _ipv6_works():
            addresses.setdefault((socket.AF_INET6, ("::1", port, 0, 0)))
    return sorted(addresses, key=lambda item: item[0] != socket.AF_INET6)


def _ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
