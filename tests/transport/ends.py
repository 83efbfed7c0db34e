"""Two ends of a WebTransport connection in memory, over the seeded network, in virtual time."""

from __future__ import annotations

import datetime
import functools
import ssl
from collections import Counter
from collections.abc import Callable, Collection

from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired, HandshakeCompleted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.netsim import Conditions, Link, VirtualTime
from wtgateway.transport import internals
from wtgateway.transport.drafts import Draft
from wtgateway.transport.endpoint import ServerCertificate
from wtgateway.transport.h3 import WebTransportConnection
from wtgateway.transport.pacer import MediaPacer
from wtgateway.transport.reset_stream_at import ResetStreamAtConnection
from wtgateway.transport.udp import Peer
from wtgateway.transport.webtransport import Refusal, SessionHandler, SessionRequest, WebTransportSession

NEAR = Conditions(delay=0.005)
CLIENT, SERVER = Peer(("::2", 1)), Peer(("::1", 2))


@functools.cache
def make_certificate(name: str = "localhost") -> ServerCertificate:
    """A certificate as browsers accept them by hash; one per name and run."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=13))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return ServerCertificate(certificate, key)


def fingerprint(certificate: ServerCertificate) -> bytes:
    """What a page would be given."""
    return certificate.cert.fingerprint(hashes.SHA256())


class Recorder:
    """A session handler that writes down what happens to it."""

    def __init__(self) -> None:
        self.session: WebTransportSession | None = None
        self.streams: dict[int, bytearray] = {}
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.datagrams: list[bytes] = []
        self.closes: list[tuple[int, str]] = []
        self.on_opened: Callable[[WebTransportSession], None] = lambda _: None
        self.on_data: Callable[[int, bytes], None] = lambda *_: None
        self.on_writable: Callable[[], None] = lambda: None
        self.on_closed: Callable[[], None] = lambda: None

    def opened(self, session: WebTransportSession) -> None:
        assert self.session is None
        self.session = session
        self.on_opened(session)

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        self.streams.setdefault(stream_id, bytearray()).extend(data)
        if fin:
            self.finished.add(stream_id)
        self.on_data(stream_id, data)

    def stream_reset(self, stream_id: int, code: int) -> None:
        self.resets[stream_id] = code

    def stop_sending(self, stream_id: int, code: int) -> None:
        self.stops[stream_id] = code

    def datagram(self, data: bytes) -> None:
        self.datagrams.append(data)

    def writable(self) -> None:
        self.on_writable()

    def closed(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))
        self.on_closed()

    @property
    def open(self) -> WebTransportSession:
        assert self.session is not None
        return self.session


class End:
    """One end: what the engine does, with virtual time for the loop and a Link for the socket."""

    def __init__(self, time: VirtualTime, quic: QuicConnection, webtransport: WebTransportConnection) -> None:
        self.time, self.quic, self.webtransport = time, quic, webtransport
        self.lane = webtransport.lane
        self.peer: Peer
        self.out: Link
        self._planned = False
        self._timer = -1.0

    def mark_dirty(self) -> None:
        if not self._planned:
            self._planned = True
            self.time.after(0.0, self.flush)

    def receive(self, data: bytes) -> None:
        self.lane.receive(data, self.peer, self.time.now)
        self.flush()

    def flush(self) -> None:
        self._planned = False
        while (event := self.quic.next_event()) is not None:
            if not isinstance(event, ConnectionIdIssued | ConnectionIdRetired):
                self.webtransport.handle(event)
                if isinstance(event, HandshakeCompleted) and self.webtransport.is_client:
                    self.on_connected()
        self.webtransport.settle()
        self.webtransport.writable()
        self.webtransport.settle()
        sent = self._transmit()
        while self.lane.can_send:
            sent += self._transmit()
        if sent and self.lane.hungry and self.lane.room() > 0:
            self.mark_dirty()  # what was handed over a little at a time goes on
        self._arm()

    def _transmit(self) -> int:
        packets = [data for run in self.lane.transmit(self.time.now) for data in run.packets]
        for data in packets:
            self.out.send(data)
        return len(packets)

    def on_connected(self) -> None:
        """Client: ask for the session."""

    def _arm(self) -> None:
        timer = self.lane.get_timer()
        if timer is not None and timer != self._timer:
            self._timer = timer
            self.time.at(timer + 1e-6, lambda: self._fire(timer))  # a real clock is past it, too

    def _fire(self, timer: float) -> None:
        if timer == self._timer:
            self._timer = -1.0
            self.lane.handle_timer(self.time.now)
            self.flush()


class Ends:
    """A server and a client, joined; ``server`` and ``client`` are the handlers of the first session."""

    def __init__(
        self,
        *,
        down: Conditions = NEAR,
        up: Conditions | None = None,
        seed: int = 1,
        congestion: str = "media",
        answer: Callable[[SessionRequest], SessionHandler | Refusal] | None = None,
        path: str = "/test",
        drafts: Collection[Draft] | None = None,
    ) -> None:
        self.time = VirtualTime()
        self.server, self.client = Recorder(), Recorder()
        self.requests: list[SessionRequest] = []
        self._drafts = drafts  # that the client announces
        self._answer = answer or (lambda _: self.server)
        self.client_end = self._make(congestion="reno", original=None)
        original = self.client_end.quic.original_destination_connection_id
        self.server_end = self._make(congestion=congestion, original=original)
        quiet = up or Conditions(delay=down.delay)
        self.down = Link(self.time, down, seed, self.client_end.receive)
        self.up = Link(self.time, quiet, seed + 1, self.server_end.receive)
        self.server_end.out, self.server_end.peer = self.down, CLIENT
        self.client_end.out, self.client_end.peer = self.up, SERVER
        self.client_end.on_connected = lambda: self.request(path, self.client)
        self.client_end.quic.connect(SERVER, now=self.time.now)
        self.client_end.flush()

    def request(self, path: str, handler: SessionHandler) -> None:
        """Another CONNECT on the same connection."""
        self.client_end.webtransport.request("localhost:1", path, {"origin": "https://page.example"}, handler)
        self.client_end.mark_dirty()

    def run(self, seconds: float = 0.5) -> None:
        """Let time pass."""
        self.time.run(seconds)

    @property
    def counters(self) -> Counter[str]:
        return self.server_end.webtransport.counters

    def _make(self, *, congestion: str, original: bytes | None) -> End:
        is_client = original is None
        configuration = QuicConfiguration(
            is_client=is_client,
            alpn_protocols=H3_ALPN,
            congestion_control_algorithm=congestion,
            max_datagram_frame_size=65536,
            max_data=1 << 24 if is_client else 1 << 18,
            max_stream_data=1 << 24 if is_client else 1 << 18,
            verify_mode=ssl.CERT_NONE,
            server_name="localhost" if is_client else None,
        )
        if not is_client:
            certificate = make_certificate()
            configuration.certificate, configuration.private_key = certificate.cert, certificate.key
        offered = self._drafts if is_client else None
        quic = ResetStreamAtConnection(
            announce=offered is not None and max(offered) >= Draft.DRAFT_15,
            configuration=configuration,
            original_destination_connection_id=original,
        )
        if congestion == "media":
            internals.install_pacer(quic, MediaPacer(max_datagram_size=1200))
        end: End
        webtransport = WebTransportConnection(
            quic,
            on_request=None if is_client else self._on_request,
            protocols=("wtgateway-1",),
            mark_dirty=lambda: end.mark_dirty(),
            counters=Counter(),
            remote=("::2", 1),
            offered=offered,
        )
        end = End(self.time, quic, webtransport)
        return end

    def _on_request(self, request: SessionRequest) -> SessionHandler | Refusal:
        self.requests.append(request)
        return self._answer(request)
