"""Floods of new connections against an endpoint on real sockets: by counts of what it did, not by time."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aioquic._buffer import Buffer
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted
from aioquic.quic.packet import QuicErrorCode, QuicPacketType, pull_quic_header

from tests.transport.ends import Recorder, fingerprint, make_certificate
from wtgateway.transport import handshakes, internals
from wtgateway.transport.acceptor import Acceptor
from wtgateway.transport.admission import (
    HANDSHAKE_S,
    UNPROVEN,
    UNPROVEN_PER_NETWORK,
    Admission,
    Decision,
    HalfOpen,
)
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.connection_ids import ConnectionIds
from wtgateway.transport.endpoint import QuicEndpoint
from wtgateway.transport.engine import Engine, Link
from wtgateway.transport.handshakes import Arrival
from wtgateway.transport.lane import Lane
from wtgateway.transport.retry import SECRET_BYTES, RetryTokens
from wtgateway.transport.steering import Rule
from wtgateway.transport.udp import Peer, UdpSocket
from wtgateway.transport.webtransport import Refusal, SessionHandler, SessionRequest

CERTIFICATE = make_certificate()
HASHES = [fingerprint(CERTIFICATE)]


class Gate:
    """An endpoint on 127.0.0.1 and what a test wants to know of it."""

    def __init__(self, **limits: Any) -> None:
        self.handlers: list[Recorder] = []
        self.endpoint = QuicEndpoint(on_request=self._answer, certificate=CERTIFICATE, **limits)
        self.address: tuple[Any, ...] = ()

    def _answer(self, request: SessionRequest) -> SessionHandler | Refusal:
        self.handlers.append(Recorder())
        return self.handlers[-1]

    @property
    def stats(self) -> Any:
        return self.endpoint.stats

    @property
    def half_open(self) -> int:
        return self.endpoint._acceptor.half_open

    def url(self, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.address[1]}/test"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until it holds."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0)

    async def drained(self, datagrams: int) -> None:
        """Until so many datagrams more were read, and all work that they made is done."""
        await self.until(lambda: self.stats["datagrams_in"] >= datagrams)
        await self.until(lambda: not self.endpoint._acceptor._queue)


MakeGate = Callable[..., Any]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, nothing becomes stale while a test waits for its turn."""
    monkeypatch.setattr(handshakes, "MAX_AGE_S", 60.0)


@pytest.fixture
async def gates() -> AsyncIterator[MakeGate]:
    made: list[Gate] = []

    async def make(host: str = "[::]", **limits: Any) -> Gate:
        gate = Gate(**limits)
        (gate.address, *_) = await gate.endpoint.start(host, 0)
        made.append(gate)
        return gate

    yield make
    for gate in made:
        await gate.endpoint.close(0, "", 1.0)


def make_client(**options: Any) -> QuicConnection:
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        verify_mode=ssl.CERT_NONE,
        server_name="localhost",
        max_datagram_frame_size=65536,
        **options,
    )
    return QuicConnection(configuration=configuration)


def first_flight(client: QuicConnection, address: tuple[Any, ...]) -> list[bytes]:
    """A real ClientHello in as many datagrams as it takes."""
    client.connect(address, now=0.0)
    return [data for data, _ in client.datagrams_to_send(0.0)]


class Forger:
    """Sends Initials with real ClientHellos from many addresses of 127/8, and never answers."""

    def __init__(self, port: int, addresses: int = 250) -> None:
        self.sockets: list[socket.socket] = []
        self._to = ("127.0.0.1", port)
        for n in range(addresses):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((f"127.77.{n // 250}.{n % 250 + 1}", 0))
            sock.setblocking(False)
            self.sockets.append(sock)
        self.sent = 0
        self._hello = first_flight(make_client(), self._to)[0]

    def send(self, count: int, *, single_address: bool = False) -> None:
        """Initials of different connections. The kernel's buffer holds some thousands."""
        for _ in range(count):
            (hello,) = first_flight(make_client(), self._to)
            sock = self.sockets[0 if single_address else self.sent % len(self.sockets)]
            sock.sendto(hello, self._to)
            self.sent += 1

    def send_garbage(self, count: int) -> None:
        """Initials that nobody can open: a header, then noise under another connection ID each."""
        for _ in range(count):
            self.sent += 1
            noise = bytearray(self._hello)
            noise[6:14] = self.sent.to_bytes(8, "big")
            self.sockets[self.sent % len(self.sockets)].sendto(noise, self._to)

    def received(self) -> list[bytes]:
        """All that came back."""
        found: list[bytes] = []
        for sock in self.sockets:
            while True:
                try:
                    found.append(sock.recv(65535))
                except BlockingIOError:
                    break
        return found

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def forge() -> Any:
    made: list[Forger] = []

    def make(gate: Gate, **options: Any) -> Forger:
        made.append(Forger(gate.address[1], **options))
        return made[-1]

    yield make
    for forger in made:
        forger.close()


def kind(data: bytes) -> QuicPacketType:
    return pull_quic_header(Buffer(data=data), host_cid_length=8).packet_type


# --- one client at a time -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_client_that_is_asked_for_proof_gets_in(gates: MakeGate, host: str) -> None:
    gate = await gates(retry_above=0)
    session = await connect(gate.url(host), Recorder(), certificate_hashes=HASHES)
    assert gate.stats["retries"] == 1
    assert gate.stats["connections"] == 1
    (link,) = gate.endpoint._engine.live
    assert link.quic._network_paths[0].is_validated
    assert gate.half_open == 0
    await disconnect(session)


async def test_a_quiet_gateway_asks_nobody(gates: MakeGate) -> None:
    gate = await gates()
    for _ in range(5):
        session = await connect(gate.url(), Recorder(), certificate_hashes=HASHES)
        await disconnect(session)
    assert gate.stats["retries"] == 0
    assert gate.stats["handshakes"] == 5
    assert gate.half_open == 0


class Wire:
    """A client by hand: aioquic's connection and a socket that is read only when the test says so."""

    def __init__(self, gate: Gate, **options: Any) -> None:
        self.gate = gate
        self.to = ("127.0.0.1", gate.address[1])
        self.quic = make_client(**options)
        self.sock = self.socket()
        self.now = 0.0
        self.quic.connect(self.to, now=0.0)

    @staticmethod
    def socket() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        return sock

    def flight(self) -> list[bytes]:
        self.now += 0.001
        return [data for data, _ in self.quic.datagrams_to_send(self.now)]

    def send(self, datagrams: list[bytes]) -> None:
        for data in datagrams:
            self.sock.sendto(data, self.to)

    async def receive(self) -> list[bytes]:
        """What the gateway has sent, at least one datagram."""
        got: list[bytes] = []

        def read() -> bool:
            while True:
                try:
                    got.append(self.sock.recv(65535))
                except BlockingIOError:
                    return bool(got)

        await self.gate.until(read)
        for data in got:
            self.quic.receive_datagram(data, self.to, self.now)
        return got

    def events(self) -> list[Any]:
        return list(iter(self.quic.next_event, None))


@pytest.mark.parametrize("retry_above", [0, 100])
async def test_a_client_hello_in_several_datagrams_is_one_connection(
    gates: MakeGate, retry_above: int
) -> None:
    gate = await gates(retry_above=retry_above)
    wire = Wire(gate, quantum_readiness_test=True)
    flight = wire.flight()
    assert len(flight) > 1
    wire.send(flight)
    if not retry_above:
        assert {kind(data) for data in await wire.receive()} == {QuicPacketType.RETRY}
        wire.send(wire.flight())
    await wire.receive()
    wire.send(wire.flight())
    await gate.until(lambda: gate.half_open == 0)
    assert any(isinstance(event, HandshakeCompleted) for event in wire.events())
    assert gate.stats["connections"] == gate.stats["handshakes"] == 1
    wire.sock.close()


async def test_what_follows_a_handshake_at_once_keeps_its_order(gates: MakeGate) -> None:
    """1-RTT packets that arrive with the last of the handshake are not overtaken by it and lost."""
    gate = await gates()
    wire = Wire(gate)
    wire.send(wire.flight())
    await wire.receive()
    last = wire.flight()
    wire.quic.send_stream_data(2, b"\x00" + b"\x04\x00")  # a control stream with empty SETTINGS
    after = wire.flight()
    assert after
    assert not after[0][0] & 0x80
    wire.send(last + after)
    await gate.until(lambda: gate.half_open == 0)
    (link,) = gate.endpoint._engine.live
    await gate.until(lambda: 2 in link.quic._streams)
    assert internals.handshake_confirmed(link.quic)
    assert gate.stats["datagrams_in"] == 1 + len(last + after)  # nothing had to be sent again
    wire.sock.close()


async def test_a_token_from_another_address_is_refused_in_words_that_a_client_knows(gates: MakeGate) -> None:
    gate = await gates(retry_above=0)
    wire = Wire(gate)
    wire.send(wire.flight())
    await wire.receive()
    wire.sock.close()
    wire.sock = wire.socket()
    wire.send(wire.flight())
    answer = await wire.receive()
    assert sum(map(len, answer)) < 100
    wire.quic.handle_timer(wire.quic.get_timer() or 0.0)
    (end,) = [event for event in wire.events() if isinstance(event, ConnectionTerminated)]
    assert end.error_code == QuicErrorCode.INVALID_TOKEN
    assert gate.stats["connections"] == 0
    wire.sock.close()


async def test_a_proven_address_gets_all_that_the_answer_takes(gates: MakeGate) -> None:
    gate = await gates(retry_above=0)
    gate.endpoint._configuration.certificate_chain = [CERTIFICATE.cert] * 20
    wire = Wire(gate)
    wire.send(wire.flight())
    await wire.receive()
    proof = wire.flight()
    wire.send(proof)
    got = 0
    while got <= 3 * sum(map(len, proof)):
        got += sum(map(len, await wire.receive()))
    wire.sock.close()


def test_an_unproven_address_gets_three_times_what_it_sent_and_no_more() -> None:
    client = make_client()
    (hello,) = first_flight(client, ("127.0.0.1", 1))
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN, max_datagram_frame_size=65536)
    configuration.certificate, configuration.private_key = CERTIFICATE.cert, CERTIFICATE.key
    configuration.certificate_chain = [CERTIFICATE.cert] * 20  # an answer far larger than its question
    quic = QuicConnection(
        configuration=configuration,
        original_destination_connection_id=client.original_destination_connection_id,
    )
    lane, now, sent = Lane(quic), 1.0, 0
    lane.receive(hello, Peer(("127.0.0.1", 2)), now)
    while not internals.is_closing(quic):
        sent += sum(len(data) for run in lane.transmit(now) for data in run.packets)
        assert sent <= 3 * len(hello)
        assert lane.send_probe(1400, now, lambda _: None) is None
        now = max(now, lane.get_timer() or 0.0) + 0.001
        lane.handle_timer(now)
        quic.next_event()
    assert sent > 2 * len(hello)


# --- floods ---------------------------------------------------------------------------------------------


async def test_a_flood_makes_few_connections_and_viewers_still_get_in(gates: MakeGate, forge: Any) -> None:
    gate = await gates(retry_above=20)
    forger, ticks = forge(gate), itertools.count()
    admission, start = gate.endpoint._acceptor.admission, gate.endpoint._engine.clock()
    decide: Callable[..., Decision] = admission.decide

    def deciding(now: float, *rest: Any) -> Decision:
        """2,000 a second, however long it takes to make them."""
        return decide(start + forger.sent / 2000 + next(ticks) * 1e-5, *rest)

    admission.decide = deciding
    for burst in range(5):
        forger.send(100)
        await gate.drained(forger.sent)
        assert gate.half_open <= UNPROVEN
        session = await connect(gate.url(), Recorder(), certificate_hashes=HASHES)
        await disconnect(session)
        assert len(gate.handlers) == burst + 1
    stats = gate.stats
    assert 20 <= stats["handshakes"] <= 20 + 1 + 5
    assert stats["retries"] == 500 + 5 + 5 - stats["handshakes"]
    answers = forger.received()
    assert sum(kind(data) is QuicPacketType.RETRY for data in answers) == stats["retries"] - 5
    assert sum(map(len, answers)) < 3 * 1200 * 500


async def test_a_flood_from_one_address_is_held_to_its_share(gates: MakeGate, forge: Any) -> None:
    gate = await gates(retry_above=10_000)
    forger = forge(gate)
    forger.send(100, single_address=True)
    await gate.drained(100)
    assert gate.half_open == UNPROVEN_PER_NETWORK
    assert gate.endpoint.connections == UNPROVEN_PER_NETWORK


async def test_initials_that_nobody_can_open_leave_nothing(gates: MakeGate, forge: Any) -> None:
    gate = await gates(retry_above=10_000)
    forger = forge(gate)
    forger.send_garbage(50)
    await gate.drained(50)
    assert gate.stats["initials_forged"] == 50
    assert (gate.endpoint.connections, gate.half_open) == (0, 0)
    assert not gate.endpoint._engine.links
    assert forger.received() == []


async def test_one_handshake_is_advanced_a_turn_and_viewers_have_theirs_in_between(
    gates: MakeGate, forge: Any
) -> None:
    gate = await gates(retry_above=10_000)
    session = await connect(gate.url(), Recorder(), certificate_hashes=HASHES)
    acceptor, engine = gate.endpoint._acceptor, gate.endpoint._engine
    turns, advanced, flushed = 0, list[int](), list[int]()
    watcher = next(iter(engine.live))
    advance, flush = acceptor._advance, engine.flush

    def advancing(*arguments: Any) -> None:
        advanced.append(turns)
        advance(*arguments)

    def flushing(link: Link, now: float) -> None:
        if link is watcher:
            flushed.append(turns)
        flush(link, now)

    acceptor._advance, engine.flush = advancing, flushing
    forger = forge(gate)
    forger.send(20)
    async with asyncio.timeout(20):
        while len(advanced) < 20:
            watcher.webtransport.mark_dirty()
            await asyncio.sleep(0)
            turns += 1
    assert len(set(advanced)) == 20  # never two in one turn
    assert set(range(advanced[1], advanced[-1])) <= set(flushed)  # and the viewer's flush in each
    await disconnect(session)


class Stub:
    """Whatever it is given; can be a key."""

    quic: QuicConnection
    gone: bool


class Loop:
    """Notes what is planned, for a test to do in its own time."""

    def __init__(self) -> None:
        self.planned: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, call: Callable[[], None]) -> Any:
        return self.call_later(0.0, call)

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        self.planned.append((delay, call))
        return SimpleNamespace(cancel=lambda: None)


@pytest.mark.parametrize("watched", [True, False])
def test_while_somebody_watches_handshakes_have_half_of_the_time(watched: bool) -> None:
    """Each takes a known time of a clock that the test turns."""
    now, work, loop = [100.0], 0.004, Loop()
    engine = SimpleNamespace(loop=loop, clock=lambda: now[0], live=set(), mark_dirty=lambda _: None)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.certificate, configuration.private_key = CERTIFICATE.cert, CERTIFICATE.key

    def make(half_open: HalfOpen, *_: Any) -> Any:
        quic = QuicConnection(
            configuration=configuration, original_destination_connection_id=half_open.original_cid
        )
        link = Stub()
        link.quic, link.gone = quic, False
        engine.live.add(link)
        return link

    def receive(link: Any, data: bytes, peer: Peer, at: float) -> None:
        link.quic.receive_datagram(data, peer, at)
        now[0] += work

    engine.receive = receive
    if watched:
        engine.live.add(object())
    counters: Counter[str] = Counter()
    admission = Admission(tokens=RetryTokens(bytes(SECRET_BYTES)), counters=counters)
    acceptor = Acceptor(
        cast(Engine, engine), admission, make=make, issue=lambda: os.urandom(8), counters=counters
    )
    for number in range(6):
        (hello,) = first_flight(make_client(), ("127.0.0.1", 1))
        header = pull_quic_header(Buffer(data=hello))
        arrival = Arrival(hello, Peer((f"192.0.2.{number + 1}", 1)), cast(UdpSocket, None))
        acceptor.initial(header, arrival, now[0])
    delays: list[float] = []
    while turns := [plan for plan in loop.planned if plan[1] == acceptor._work]:
        assert len(turns) == 1
        loop.planned.remove(turns[0])
        delays.append(turns[0][0])
        now[0] += turns[0][0]
        turns[0][1]()
    assert len(engine.live) == 6 + watched
    assert delays == pytest.approx([0.0] + [work if watched else 0.0] * 5)


async def test_a_handshake_that_stalls_is_forgotten_without_a_word(gates: MakeGate, forge: Any) -> None:
    gate = await gates(retry_above=10_000)
    forger = forge(gate)
    forger.send(3)
    await gate.drained(3)
    assert gate.endpoint.connections == 3
    forger.received()
    engine, acceptor = gate.endpoint._engine, gate.endpoint._acceptor
    clock = engine.clock
    engine.clock = lambda: clock() + HANDSHAKE_S + 0.1
    sent = gate.stats["datagrams_out"]
    acceptor._sweep_now()
    assert gate.stats["handshakes_timed_out"] == 3
    assert (gate.endpoint.connections, gate.half_open) == (0, 0)
    assert gate.stats["datagrams_out"] == sent
    assert not engine._timers._deadlines


async def test_what_waits_is_let_go_at_the_end(gates: MakeGate, forge: Any) -> None:
    gate = await gates(retry_above=10_000)
    forger = forge(gate)
    forger.send(20)
    await gate.until(lambda: gate.stats["datagrams_in"] == 20)
    await gate.endpoint.close(0, "", 0.1)
    assert (gate.half_open, len(gate.endpoint._acceptor._queue)) == (0, 0)
    assert gate.endpoint._acceptor._turn is None


# --- several workers ------------------------------------------------------------------------------------


async def test_a_proof_given_to_one_worker_is_taken_by_another() -> None:
    """Worker 0 asks for it, and gives the connection to worker 1, which shares no more than the secret."""
    secret, given = os.urandom(SECRET_BYTES), set[bytes]()
    handlers: list[Recorder] = []

    def answer(_: SessionRequest) -> SessionHandler:
        handlers.append(Recorder())
        return handlers[-1]

    def make(worker: int, elsewhere: Any) -> QuicEndpoint:
        return QuicEndpoint(
            on_request=answer,
            certificate=CERTIFICATE,
            retry_above=0,
            secret=secret,
            connection_ids=ConnectionIds(worker=worker, workers=2, secret=bytes(32)),
            elsewhere=elsewhere,
        )

    second = make(1, None)

    class Elsewhere:
        def follow(self, cid: bytes, data: bytes, peer: Peer, udp: int, now: float) -> bool:
            return cid in given and self.hand_over(cid, data, peer, udp, now)

        def hand_over(self, cid: bytes, data: bytes, peer: Peer, udp: int, now: float) -> bool:
            given.add(cid)
            second.take_over(data, peer, udp)
            return True

    first = make(0, Elsewhere())
    ((_, port, *_),) = await first.start("127.0.0.1", 0)
    shared = first._sockets[0].sock.dup()
    second.start_on([shared])
    loop = asyncio.get_running_loop()
    loop.remove_reader(shared.fileno())
    route = first._engine.route

    def steering(data: bytes, peer: Peer, udp: UdpSocket, now: float) -> Link | None:
        """What the kernel does: a connection ID of worker 1 leads to worker 1."""
        cid = pull_quic_header(Buffer(data=data), host_cid_length=8).destination_cid
        if Rule(2).worker_of(cid) == 1 and cid in second._engine.links:
            second.take_over(data, peer, 0)
            return None
        return route(data, peer, udp, now)

    first._engine.route = steering
    try:
        session = await connect(f"https://127.0.0.1:{port}/test", Recorder(), certificate_hashes=HASHES)
        assert (first.stats["retries"], second.stats["retries"]) == (1, 0)
        assert (first.connections, second.connections) == (0, 1)
        assert first._acceptor.half_open == second._acceptor.half_open == 0
        assert len(handlers) == 1
        await disconnect(session)
    finally:
        await first.close(0, "", 0.1)
        await second.close(0, "", 0.1)
