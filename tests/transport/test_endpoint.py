"""Endpoint and client over real sockets on loopback, both address families."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.transport.ends import Recorder, fingerprint, make_certificate
from wtgateway.errors import SessionRefused, TransportError
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import internals
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.endpoint import QuicEndpoint
from wtgateway.transport.sealing import Sealer
from wtgateway.transport.udp import Peer, UdpSocket, plain_address
from wtgateway.transport.webtransport import (
    LOST,
    Refusal,
    SessionHandler,
    SessionRequest,
    WebTransportSession,
)

CERTIFICATE = make_certificate()
HASHES = [fingerprint(CERTIFICATE)]


class Waiting(Recorder):
    """A recorder one can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()
        self.on_data = lambda *_: self._changed.set()
        self.on_closed = self._changed.set

    def datagram(self, data: bytes) -> None:
        super().datagram(data)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Served:
    """An endpoint and the handlers of its sessions, in the order of their CONNECTs."""

    def __init__(self) -> None:
        self.handlers: list[Waiting] = []
        self.endpoint = QuicEndpoint(on_request=self._answer, certificate=CERTIFICATE)
        self.on_opened: Callable[[WebTransportSession], None] = lambda _: None
        self.addresses: list[tuple[Any, ...]] = []

    def _answer(self, request: SessionRequest) -> SessionHandler | Refusal:
        if not request.path.startswith("/test"):
            return Refusal(404, "no such broadcast")
        handler = Waiting()
        handler.on_opened = self.on_opened
        self.handlers.append(handler)
        return handler

    def url(self, host: str, path: str = "/test") -> str:
        return f"https://{host}:{self.addresses[0][1]}{path}"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    served.addresses = await served.endpoint.start("[::]", 0)
    yield served
    await served.endpoint.close(0, "", 1.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_a_session_over_each_family(served: Served, host: str) -> None:
    payload = bytes(range(256)) * 1000

    def on_opened(session: WebTransportSession) -> None:
        session.send(session.open_uni(), payload, True)
        assert session.send_datagram(b"datagram")

    served.on_opened = on_opened
    client = Waiting()
    session = await connect(served.url(host), client, certificate_hashes=HASHES)
    await client.until(lambda: bool(client.finished) and bool(client.datagrams))
    assert next(iter(client.streams.values())) == payload
    assert session.protocol == "wtgateway-1"
    remote = served.handlers[0].open.request.remote
    assert remote[0] in ("127.0.0.1", "::1")
    await disconnect(session, 7, "seen")
    await served.handlers[0].until(lambda: bool(served.handlers[0].closes))
    assert served.handlers[0].closes == [(7, "seen")]


async def test_localhost_binds_both_families_on_one_port() -> None:
    served = Served()
    served.addresses = await served.endpoint.start("localhost", 0)
    assert {address[0] for address in served.addresses} == {"::1", "127.0.0.1"}
    assert len({address[1] for address in served.addresses}) == 1
    for host in ("127.0.0.1", "[::1]"):
        session = await connect(served.url(host), Waiting(), certificate_hashes=HASHES)
        await disconnect(session)
    await served.endpoint.close(0, "", 1.0)


async def test_a_taken_port_is_told_in_words(served: Served) -> None:
    other = QuicEndpoint(on_request=lambda _: Refusal(404, ""), certificate=CERTIFICATE)
    with pytest.raises(TransportError, match="cannot be used"):
        await other.start("::", served.addresses[0][1])


async def test_a_refusal_reaches_the_caller(served: Served) -> None:
    with pytest.raises(SessionRefused) as caught:
        await connect(served.url("127.0.0.1", "/missing"), Waiting(), certificate_hashes=HASHES)
    assert (caught.value.status, caught.value.reason) == (404, "no such broadcast")


async def test_another_certificate_than_expected_is_refused(served: Served) -> None:
    with pytest.raises(TransportError, match="none of those expected"):
        await connect(served.url("127.0.0.1"), Waiting(), certificate_hashes=[bytes(32)])
    with pytest.raises(TransportError, match="no connection"):
        await connect(served.url("localhost"), Waiting())  # no CA made it
    session = await connect(served.url("localhost"), Waiting(), insecure=True)
    await disconnect(session)
    assert len(served.handlers) == 1


async def test_nobody_there_is_told_at_once_and_silence_after_the_timeout() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(TransportError, match="does not answer"):
            await connect(f"https://127.0.0.1:{port}/x", Waiting(), insecure=True, timeout=0.05)
    with pytest.raises(TransportError, match="nothing listens"):
        await connect(f"https://127.0.0.1:{port}/x", Waiting(), insecure=True, timeout=10)


@pytest.mark.parametrize("url", ["http://localhost/x", "https:///x", "nonsense"])
async def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(TransportError, match="expected https"):
        await connect(url, Waiting())


async def test_a_new_certificate_serves_new_connections_only(served: Served) -> None:
    before = Waiting()
    session = await connect(served.url("127.0.0.1"), before, certificate_hashes=HASHES)
    renewed = make_certificate("renewed")
    served.endpoint.use_certificate(renewed)
    with pytest.raises(TransportError, match="none of those expected"):
        await connect(served.url("127.0.0.1"), Waiting(), certificate_hashes=HASHES)
    after = await connect(served.url("127.0.0.1"), Waiting(), certificate_hashes=[fingerprint(renewed)])
    served.handlers[0].open.send_datagram(b"still here")
    served.handlers[0].open.flush()
    await before.until(lambda: before.datagrams == [b"still here"])
    await disconnect(session)
    await disconnect(after)


async def test_closing_the_endpoint_tells_every_session(served: Served) -> None:
    clients = [Waiting() for _ in range(3)]
    for client in clients:
        await connect(served.url("127.0.0.1"), client, certificate_hashes=HASHES)
    await served.endpoint.close(CloseCode.GOING_AWAY, "restarting", 5.0)
    for client in clients:
        await client.until(lambda client=client: bool(client.closes))
        assert client.closes == [(CloseCode.GOING_AWAY, "restarting")]
    assert [handler.closes for handler in served.handlers] == [[(1, "restarting")]] * 3
    assert served.endpoint.connections == 0


async def test_a_peer_that_does_not_acknowledge_does_not_hold_up_the_close(served: Served) -> None:
    client = Waiting()
    await connect(served.url("127.0.0.1"), client, certificate_hashes=HASHES)
    engine = client.open._connection._client._engine  # type: ignore[attr-defined]
    for udp in engine._sockets:
        engine.loop.remove_reader(udp.fileno())
    await served.endpoint.close(1, "", 0.02)
    assert served.handlers[0].closes == [(1, "")]
    engine.shut()
    assert client.closes == [(LOST, "the endpoint was shut")]


@pytest.mark.skipif(not internals.EXPRESS, reason="nothing is sealed by the lane")
async def test_flushes_of_one_turn_are_one(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Waiting()
    session = await connect(served.url("127.0.0.1"), client, certificate_hashes=HASHES)
    server = served.handlers[0].open
    batches: list[list[bytes]] = []
    seal = Sealer.seal

    def record(*arguments: Any) -> list[bytes]:
        batches.append([payload for payload in arguments[-1] if payload[0] in (0x30, 0x31)])  # DATAGRAM
        return seal(*arguments)

    monkeypatch.setattr(Sealer, "seal", record)
    for n in range(10):
        server.send_datagram(bytes([n]))
        server.flush()
        server.flush()
    await client.until(lambda: len(client.datagrams) == 10)
    assert [len(batch) for batch in batches if batch] == [1]
    await disconnect(session)


async def test_an_idle_connection_costs_no_timer_turns(served: Served) -> None:
    session = await connect(served.url("127.0.0.1"), Waiting(), certificate_hashes=HASHES)
    engine = served.endpoint._engine
    link = next(iter(engine.live))
    async with asyncio.timeout(10):
        while internals.in_flight(link.quic) or engine._timers._deadlines[link] < engine.clock() + 5:
            await asyncio.sleep(0)
    assert engine._timers._deadlines[link] > engine.clock() + 15
    await disconnect(session)


async def test_connections_move_with_their_clients_port(served: Served) -> None:
    client = Waiting()
    session = await connect(served.url("127.0.0.1"), client, certificate_hashes=HASHES)
    engine = client.open._connection._client._engine  # type: ignore[attr-defined]
    old = engine._sockets.pop()
    engine.loop.remove_reader(old.fileno())
    old.close()
    fresh = UdpSocket.connect(socket.AF_INET, ("127.0.0.1", served.addresses[0][1]), counters=Counter())
    engine.add_socket(fresh)
    next(iter(engine.live)).udp = fresh
    session.send_datagram(b"from another port")
    session.flush()
    server = served.handlers[0]
    await server.until(lambda: server.datagrams == [b"from another port"])
    server.open.send_datagram(b"found you")
    server.open.flush()
    await client.until(lambda: client.datagrams == [b"found you"])
    await disconnect(session)


# --- sockets by themselves ----------------------------------------------------------------------------


class FakeSocket(socket.socket):
    """A socket whose sends fail as a test wants."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent: list[tuple[bytes, ...]] = []
        self.failures: list[int] = []

    def _send(self, buffers: tuple[bytes, ...]) -> int:
        if self.failures and (code := self.failures.pop(0)):
            raise OSError(code, "as asked")
        self.sent.append(buffers)
        return 0

    def sendmsg(self, buffers: Any, *_: Any) -> int:
        return self._send(tuple(buffers))

    def sendto(self, data: Any, *_: Any) -> int:
        return self._send((data,))


@pytest.fixture
def fake() -> Any:
    sock = FakeSocket()
    yield sock
    sock.close()


A, B = Peer(("127.0.0.1", 1)), Peer(("127.0.0.1", 2))


def test_runs_of_equal_datagrams_leave_as_one(fake: FakeSocket) -> None:
    udp = UdpSocket(fake, counters=Counter(), segmented=True)
    full, short = bytes(1200), bytes(100)
    udp.send([(full, A)] * 3 + [(short, A), (full, A), (full, B), (short, B), (short, B)])
    assert [list(map(len, batch)) for batch in fake.sent] == [
        [1200, 1200, 1200, 100],
        [1200],
        [1200, 100],
        [100],
    ]
    assert udp.counters["gso_batches"] == 2
    udp.send([(full, A)] * 130)
    assert max(len(batch) for batch in fake.sent) <= 64
    assert all(sum(map(len, batch)) <= 65000 for batch in fake.sent)


def test_without_segmentation_each_leaves_singly(fake: FakeSocket) -> None:
    udp = UdpSocket(fake, counters=Counter(), segmented=False)
    udp.send([(bytes(1200), A)] * 3)
    assert len(fake.sent) == 3


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_card_that_cannot_segment_is_noticed_and_nothing_is_lost(fake: FakeSocket, code: int) -> None:
    udp = UdpSocket(fake, counters=Counter(), segmented=True)
    fake.failures = [code]
    udp.send([(bytes([n]) * 10, A) for n in range(5)])
    assert [batch[0][0] for batch in fake.sent] == [0, 1, 2, 3, 4]
    assert not udp.segmented


def test_a_full_kernel_buffer_keeps_order_and_is_bounded(fake: FakeSocket) -> None:
    udp = UdpSocket(fake, counters=Counter(), segmented=False)
    blocked: list[bool] = []
    udp.on_blocked = lambda: blocked.append(True)
    fake.failures = [errno.EAGAIN]
    udp.send([(bytes([n]), A) for n in range(5)])
    assert (fake.sent, blocked, udp.blocked) == ([], [True], True)
    udp.resume()
    assert [batch[0][0] for batch in fake.sent] == [0, 1, 2, 3, 4]
    assert not udp.blocked
    fake.failures = [errno.EAGAIN]
    udp.send([(bytes(1200), A)] * 2000)
    assert udp.counters["send_dropped"] == 2000 - (1 << 20) // 1200
    udp.close()
    assert not udp.blocked


def test_a_segmented_run_that_meets_a_full_buffer_when_sent_singly_is_not_sent_twice(
    fake: FakeSocket,
) -> None:
    udp = UdpSocket(fake, counters=Counter(), segmented=True)
    fake.failures = [errno.EIO, 0, errno.EAGAIN]
    udp.send([(bytes([n]) * 10, A) for n in range(4)])
    udp.resume()
    assert [batch[0][0] for batch in fake.sent if len(batch) == 1] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("code", "counter"),
    [(errno.ENOBUFS, "send_errors"), (errno.EMSGSIZE, "send_too_big"), (errno.EPERM, "send_errors")],
)
def test_what_the_kernel_refuses_is_counted(fake: FakeSocket, code: int, counter: str) -> None:
    udp = UdpSocket(fake, counters=Counter(), segmented=False)
    fake.failures = [code]
    udp.send([(b"a", A), (b"b", A)])
    assert fake.sent == [(b"b",)]
    assert udp.counters[counter] == 1


def test_an_answer_leaves_from_the_address_that_was_asked() -> None:
    """127.0.0.2 is ours, too; without the ancillary data the answer would come from 127.0.0.1."""
    udp = UdpSocket.bind(socket.AF_INET6, ("::", 0, 0, 0), counters=Counter())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("127.0.0.2", udp.address[1]))
        asking.settimeout(5)
        asking.send(b"question")
        ((data, peer, _),) = udp.receive(1)  # loopback delivers before send() returns
        assert data == b"question"
        assert plain_address(peer.address) == ("127.0.0.1", asking.getsockname()[1])
        udp.send([(b"answer", peer), (b"answer", peer)])
        assert asking.recv(100) == b"answer"  # a connected socket takes it from 127.0.0.2 only
    udp.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps datagrams")
@pytest.mark.parametrize("host", ["::", "::1"])
def test_a_datagram_has_the_time_it_arrived_not_that_it_was_read(host: str) -> None:
    udp = UdpSocket.bind(socket.AF_INET6, (host, 0, 0, 0), counters=Counter())
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        before = time.monotonic()
        sender.sendto(b"x", ("::1", udp.address[1]))
        after = time.monotonic()
    while time.monotonic() < after + 0.005:
        pass  # the loop is busy
    ((_, _, arrived),) = udp.receive(10)
    assert before - 0.001 <= arrived <= after + 0.001
    udp.close()


def test_a_batch_of_reading_is_bounded() -> None:
    udp = UdpSocket.bind(socket.AF_INET, ("127.0.0.1", 0), counters=Counter())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for n in range(10):
            sender.sendto(bytes([n]), udp.address)
    assert len(udp.receive(4)) == 4
    assert [data[0] for data, _, _ in udp.receive(100)] == [4, 5, 6, 7, 8, 9]
    assert udp.receive(100) == []
    udp.close()


# --- aioquic's internals ------------------------------------------------------------------------------


def test_this_aioquic_has_everything_we_read() -> None:
    assert internals.missing_attributes(internals._NEEDED) == []
    assert internals.missing_attributes(internals._NEEDED_BY_LANE) == []
    assert internals.missing_attributes({"connection": "_not_there", "nothing": ""}) == [
        "connection._not_there"
    ]
    assert internals.COMPLETE


async def test_without_them_sessions_still_work(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(internals, "COMPLETE", False)
    served.on_opened = lambda session: session.send(session.open_uni(), bytes(100_000), True)
    client = Waiting()
    session = await connect(served.url("127.0.0.1"), client, insecure=True)
    await client.until(lambda: bool(client.finished))
    assert session.room() > 0
    assert session.path().rtt_us == 0
    with caplog.at_level(logging.WARNING):
        await disconnect(session)
    assert not caplog.records
