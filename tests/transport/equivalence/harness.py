"""Two ends in memory under a seeded network: the one under test, and a stock aioquic peer.

Every datagram passes the :class:`Witness`, every step is audited by :class:`Books`. The end under test
is driven as the engine drives it, through a :class:`Driver`: the lane, or :class:`Stock`, plain aioquic
behind the same methods, which is what the lane is measured against.
"""

from __future__ import annotations

import datetime
import functools
import random
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from tests.netsim import Conditions, Link, VirtualTime
from tests.transport.equivalence.books import Books
from tests.transport.equivalence.ledger import CLIENT, SERVER
from tests.transport.equivalence.packets import AES_128, VERSION_1
from tests.transport.equivalence.paths import is_probing
from tests.transport.equivalence.witness import Emission, KeyLog, Witness
from wtgateway.transport import congestion, internals
from wtgateway.transport.batch import Run
from wtgateway.transport.lane import Attention, Lane
from wtgateway.transport.pacer import MediaPacer
from wtgateway.transport.udp import Peer
from wtgateway.transport.urgency import Urgency

NEAR = Conditions(delay=0.005)
SERVER_ADDRESS = Peer(("::1", 443))
TIMER_LATE_S = 1e-6  # a real clock is past its timer
MOST_TURNS = 1_000  # of one flush


def client_address(place: int) -> Peer:
    """The client's address after so many moves."""
    return Peer(("::2", 50_000 + place))


class Driver(Protocol):
    """What a driver of connections calls: the part of :class:`Lane` that these tests use."""

    quic: QuicConnection
    probe_timeout: float
    visited: bool

    def receive(self, data: bytes, peer: Peer, now: float) -> Attention: ...
    def open_frame(self, head: bytes, body: bytes, urgency: Urgency) -> int: ...
    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int: ...
    def transmit(self, now: float) -> list[Run]: ...
    def get_timer(self) -> float | None: ...
    def sooner(self) -> float | None: ...
    def handle_timer(self, now: float) -> bool: ...
    def touch(self) -> None: ...
    def unsent_bytes(self, stream_id: int) -> int: ...
    def unacknowledged_bytes(self, stream_id: int) -> int: ...
    @property
    def can_send(self) -> bool: ...


class Stock:
    """aioquic as it is, behind the lane's methods."""

    can_send = False
    visited = True
    probe_timeout = 0.0

    def __init__(self, quic: QuicConnection) -> None:
        self.quic = quic

    def receive(self, data: bytes, peer: Peer, now: float) -> Attention:
        self.quic.receive_datagram(bytes(data), peer, now)
        return Attention.FULL

    def open_frame(self, head: bytes, body: bytes, urgency: Urgency) -> int:
        stream_id = self.quic.get_next_available_stream_id(is_unidirectional=True)
        self.quic.send_stream_data(stream_id, head + body, end_stream=True)
        return stream_id

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int:
        limit = internals.max_datagram_frame_payload(self.quic)
        taken = 0
        for payload in payloads:
            if len(payload) > limit:
                break
            self.quic.send_datagram_frame(payload)
            taken += 1
        return taken

    def transmit(self, now: float) -> list[Run]:
        return [Run(peer, [packet]) for packet, peer in self.quic.datagrams_to_send(now)]

    def get_timer(self) -> float | None:
        return self.quic.get_timer()

    def sooner(self) -> float | None:
        return self.quic.get_timer()

    def handle_timer(self, now: float) -> bool:
        self.quic.handle_timer(now)
        return True

    def touch(self) -> None:
        pass

    def unsent_bytes(self, stream_id: int) -> int:
        return internals.unsent_bytes(self.quic, stream_id)

    def unacknowledged_bytes(self, stream_id: int) -> int:
        return internals.unacknowledged_bytes(self.quic, stream_id)


DRIVERS: dict[str, Callable[[QuicConnection], Driver]] = {
    "stock": Stock,
    "ordinary": lambda quic: Lane(quic, express=False),
    "express": lambda quic: Lane(quic, express=True),
}


@functools.cache
def certificate() -> tuple[x509.Certificate, ed25519.Ed25519PrivateKey]:
    """Ed25519: its signatures have one size, so that a handshake has the same sizes in every run."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0x5EED << 100)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    return builder.sign(key, None), key


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a connection is made. Sizes in bytes; ``lane`` is the side under test."""

    lane: str = SERVER
    suite: int = AES_128
    version: int = VERSION_1
    congestion: str = "reno"
    conditions: Conditions = NEAR  # once the handshake is over; during it the path only delays ...
    rough_handshake: bool = False  # ... unless this is set
    seed: int = 1
    peer_max_data: int = 1 << 24
    peer_max_stream_data: int = 1 << 24
    peer_max_streams: int = 128
    peer_ack_delay: float = 0.001  # s; how long the stock peer sits on an ACK
    max_datagram_size: int = 1200
    cid_bytes: int = 8  # of the connection IDs that the lane's side issues
    max_datagram_frame: int | None = 65_536  # which either side takes


@dataclass
class Received:
    """What one end's application was told."""

    streams: dict[int, bytearray] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    resets: dict[int, int] = field(default_factory=dict)
    stops: dict[int, int] = field(default_factory=dict)
    datagrams: list[bytes] = field(default_factory=list)
    pings: list[int] = field(default_factory=list)
    ended: events.ConnectionTerminated | None = None

    def take(self, event: events.QuicEvent) -> None:
        match event:
            case events.StreamDataReceived():
                assert event.stream_id not in self.finished, "data after the end"
                self.streams.setdefault(event.stream_id, bytearray()).extend(event.data)
                if event.end_stream:
                    self.finished.add(event.stream_id)
            case events.StreamReset():
                assert event.stream_id not in self.finished, "a reset after the end"
                assert self.resets.setdefault(event.stream_id, event.error_code) == event.error_code
            case events.StopSendingReceived():
                self.stops[event.stream_id] = event.error_code
            case events.DatagramFrameReceived():
                self.datagrams.append(event.data)
            case events.PingAcknowledged():
                self.pings.append(event.uid)
            case events.ConnectionTerminated():
                assert self.ended is None
                self.ended = event


class End:
    """One end, and what a driver of connections does with it."""

    def __init__(self, name: str, world: World, driver: Driver) -> None:
        self.name, self.world, self.driver, self.quic = name, world, driver, driver.quic
        self.books = Books(name, driver.quic, world.witness)
        self.received = Received()
        self.attentions: Counter[Attention] = Counter()
        self.out: Link
        self._timer: float | None = None

    def receive(self, emission: Emission, source: Peer) -> None:
        """A datagram has arrived."""
        now, before = self.world.time.now, self.books.in_flight()
        accepted = self.world.witness.delivered(emission, now)
        attention = self.driver.receive(bytes(emission), source, now)
        self.attentions[attention] += 1
        self.books.received(before, accepted, now)
        if attention & Attention.EVENTS:
            self._take_events()
        if attention & (Attention.SEND | Attention.FULL):
            self.flush(attend=bool(attention & Attention.FULL))
        else:
            self._sooner(self.driver.sooner())

    def _take_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.received.take(event)

    def flush(self, *, attend: bool = True) -> None:
        """Events to the application, packets to the network, the timer set: what ``Engine.flush`` does."""
        if attend:
            self._take_events()
            self.driver.touch()
        for _ in range(MOST_TURNS):
            self._send()
            if not self.driver.can_send:
                return
        raise AssertionError(f"{self.name} never stops to have something to send")

    def do(self, action: Callable[[], object], *, touch: bool = True) -> None:
        """What the application asks; ``touch``: of the connection itself, not of the lane."""
        action()
        self.flush(attend=touch)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing waits."""
        waiting = getattr(self.driver, "waiting", 0) + internals.queued_bytes(self.quic)
        return not (waiting or any(space.ack_eliciting_in_flight for space in self.quic._spaces.values()))

    def _send(self) -> None:
        driver, now, before = self.driver, self.world.time.now, self.quic._loss.bytes_in_flight
        probing, of_paths = self.quic._probe_pending, 0
        runs = driver.transmit(now)
        for destination, packets in runs:
            assert all(len(packet) == len(packets[0]) for packet in packets[:-1])
            assert len(packets[-1]) <= len(packets[0]), "the kernel would cut it in two"
            for data in packets:
                emission = self.world.emit(self, data, destination)
                if all(is_probing(packet) for packet in emission.packets):
                    of_paths += len(emission)  # nor are these held back (RFC 9000 section 9.4)
        self.books.sent(before + of_paths, probing=probing)
        if driver.visited:
            self._set_timer(driver.get_timer())
        else:
            self._sooner(driver.sooner())
            if runs:
                self._sooner(now + driver.probe_timeout)

    def _sooner(self, when: float | None) -> None:
        if when is not None and (self._timer is None or when < self._timer):
            self._set_timer(when)

    def _set_timer(self, when: float | None) -> None:
        self._timer = when
        if when is not None:
            self.world.time.at(when + TIMER_LATE_S, lambda: self._fire(when))

    def _fire(self, when: float) -> None:
        if when != self._timer:
            return
        now, before = self.world.time.now, self.books.in_flight()
        self._timer = None
        due = self.driver.handle_timer(now)
        self.books.timed_out(before, now)
        if due:
            self.flush()
        else:
            self._set_timer(self.driver.get_timer())


class World:
    """Both ends, the network between them, and the witness."""

    def __init__(self, setup: Setup, driver: str) -> None:
        self.setup, self.time = setup, VirtualTime()
        self.dice = random.Random(setup.seed)
        self.keylog = KeyLog()
        self.witness = Witness(self.keylog)
        self.place = 0  # of the client
        self.open_places = {0}
        self.path_mtu = 65_535  # UDP payload that the network carries
        self.dark: set[str] = set()  # senders whose datagrams the network loses
        self.drop: Callable[[Emission], bool] = lambda _: False  # what the network loses on top
        self.extra_mtu = 0  # the size of a path MTU probe that is being sent
        client_quic = self._quic(CLIENT, None)
        server_quic = self._quic(SERVER, client_quic.original_destination_connection_id)
        drivers = {name: Stock if name != setup.lane else DRIVERS[driver] for name in (CLIENT, SERVER)}
        self.client = End(CLIENT, self, drivers[CLIENT](client_quic))
        self.server = End(SERVER, self, drivers[SERVER](server_quic))
        self.lane, self.peer = (
            (self.server, self.client) if setup.lane == SERVER else (self.client, self.server)
        )
        quiet = setup.conditions if setup.rough_handshake else Conditions(delay=setup.conditions.delay)
        self.client.out = Link(self.time, quiet, setup.seed, self._at_server)
        self.server.out = Link(self.time, quiet, setup.seed + 1, self._at_client)
        client_quic.connect(SERVER_ADDRESS, now=self.time.now)
        self.client.flush()

    def shake_hands(self, seconds: float = 20.0) -> None:
        """Let the handshake come to its end, for so long at most."""
        ends = (self.client, self.server)
        deadline = self.time.now + seconds
        while not all(end.quic._handshake_confirmed for end in ends) and self.time.now < deadline:
            self.run(0.1)
        assert all(end.quic._handshake_confirmed for end in ends)
        self.run(20 * self.setup.conditions.delay)
        self.weather(self.setup.conditions)

    def _quic(self, name: str, original: bytes | None) -> QuicConnection:
        setup, own = self.setup, name == self.setup.lane
        configuration = QuicConfiguration(
            is_client=name == CLIENT,
            alpn_protocols=["wtgateway-test"],
            cipher_suites=[CipherSuite(setup.suite)],
            supported_versions=[setup.version],
            connection_id_length=setup.cid_bytes if own else 8,
            congestion_control_algorithm=setup.congestion if own else "reno",
            max_datagram_frame_size=setup.max_datagram_frame,
            max_datagram_size=setup.max_datagram_size if own else 1200,
            max_data=1 << 20 if own else setup.peer_max_data,
            max_stream_data=1 << 20 if own else setup.peer_max_stream_data,
            verify_mode=ssl.CERT_NONE,
            server_name="localhost" if name == CLIENT else None,
            secrets_log_file=self.keylog,  # type: ignore[arg-type]
        )
        if name == SERVER:
            configuration.certificate, configuration.private_key = certificate()
        quic = QuicConnection(configuration=configuration, original_destination_connection_id=original)
        if own and setup.congestion == congestion.NAME:
            internals.install_pacer(quic, MediaPacer(max_datagram_size=setup.max_datagram_size))
        if not own:
            quic._ack_delay = setup.peer_ack_delay
            for limit in (quic._local_max_streams_uni, quic._local_max_streams_bidi):
                limit.value = limit.sent = setup.peer_max_streams
        return quic

    # --- the network ------------------------------------------------------------------------------

    def emit(self, end: End, data: bytes, destination: Any) -> Emission:
        """A datagram leaves an end."""
        source = client_address(self.place) if end is self.client else SERVER_ADDRESS
        mtu = self.extra_mtu or end.quic._max_datagram_size
        emission = self.witness.emitted(end.name, data, destination, source, self.time.now, mtu)
        reachable = destination == SERVER_ADDRESS or destination in map(client_address, self.open_places)
        dark = end.name in self.dark or self.drop(emission)
        if reachable and not dark and len(data) <= self.path_mtu:
            end.out.send(emission)
        return emission

    def _at_server(self, data: bytes) -> None:
        assert isinstance(data, Emission)
        self.server.receive(data, data.source)

    def _at_client(self, data: bytes) -> None:
        assert isinstance(data, Emission)
        self.client.receive(data, data.source)

    def weather(self, conditions: Conditions) -> None:
        """The network changes, in both directions."""
        self.client.out.conditions = self.server.out.conditions = conditions

    def move_client(self, *, keep_old: bool = False) -> None:
        """The client's address changes; the old one is dead unless kept."""
        self.place += 1
        self.open_places = {*self.open_places, self.place} if keep_old else {self.place}

    @property
    def server_knows_address(self) -> bool:
        """Whether what the server sends goes to where the client is, and will go on to."""
        path = self.server.quic._network_paths[0]
        return path.is_validated and bool(path.addr == client_address(self.place))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.time.run(seconds)

    def settle(self, seconds: float = 60.0) -> bool:
        """Let time pass in a network without faults until neither end has anything left to say."""
        self.weather(Conditions(delay=self.setup.conditions.delay))
        self.dark.clear()
        end = self.time.now + seconds
        while not (idle := self.client.idle and self.server.idle) and self.time.now < end:
            self.run(0.25)
            if not self.server_knows_address:
                # After a path validation that failed, the server is back at an address that may be dead,
                # until the client says something: here a PING, for a page it would be a report.
                self.client.do(lambda: self.client.quic.send_ping(0))
        return idle
