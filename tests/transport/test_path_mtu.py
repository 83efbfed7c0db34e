"""Path MTU discovery of whole connections: in memory over paths that drop, and on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.packet import QuicTransportParameters, pull_quic_transport_parameters
from aioquic.tls import Epoch

from tests.netsim import Conditions, Link
from tests.transport.ends import CLIENT, NEAR, Ends, Recorder, fingerprint, make_certificate
from wtgateway.transport import internals
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.endpoint import QuicEndpoint
from wtgateway.transport.pmtu import BASE, HIGHEST, RAISE_S
from wtgateway.transport.prober import NEVER, PathProber
from wtgateway.transport.udp import Peer, UdpSocket
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import Refusal, SessionHandler, SessionRequest

pytestmark = pytest.mark.skipif(not internals.EXPRESS, reason="probes are packets of the express lane")

CERTIFICATE = make_certificate()


class Narrow(Link):
    """A direction that takes datagrams of at most ``limit`` bytes, and tells nobody."""

    limit = 1 << 16

    def __init__(self, other: Link) -> None:
        super().__init__(other.time, other.conditions, 1, other._deliver)
        self.largest = 0

    def send(self, data: bytes) -> bool:
        if len(data) > self.limit:
            self.counters.lost += 1
            return False
        self.largest = max(self.largest, len(data))
        return super().send(data)


class Probing(Ends):
    """Two ends, of which the server looks for the path's MTU, as the engine has it do."""

    def __init__(self, limit: int = 1472, interface: int = 1 << 16, down: Conditions = NEAR) -> None:
        self.counted: Counter[str] = Counter()
        super().__init__(down=down)
        self.interface = interface
        self.narrow = self.server_end.out = Narrow(self.down)
        self.narrow.limit = limit
        self.prober = PathProber(self.server_end.lane, self.counted)
        flush, arm = self.server_end.flush, self.server_end._arm
        self._alarm = NEVER

        def probing_flush() -> None:
            if self.prober.due <= self.time.now:
                self.prober.act(self.time.now, self._send)
            flush()
            self.prober.look()
            if self.prober.due <= self.time.now:
                self.time.after(0.0, self.server_end.flush)

        def probing_arm() -> None:
            arm()
            if self.time.now < self.prober.due < NEVER and self.prober.due != self._alarm:
                self._alarm = self.prober.due
                self.time.at(self._alarm, self.server_end.flush)

        self.server_end.flush, self.server_end._arm = probing_flush, probing_arm  # type: ignore[method-assign]

    def _send(self, data: bytes, peer: Peer) -> bool | None:
        assert peer == CLIENT
        if len(data) > self.interface:
            return False
        self.narrow.send(data)
        return True

    @property
    def size(self) -> int:
        return self.server_end.quic._max_datagram_size

    def check_balance(self) -> None:
        """Nothing is waited for, and nothing counted that is not there."""
        recovery = self.server_end.quic._loss
        assert recovery.bytes_in_flight == 0
        assert all(space.ack_eliciting_in_flight == 0 for space in recovery.spaces)

    def play(self, frames: int, size: int = 20_000) -> None:
        """Frames at 30 a second."""
        for _ in range(frames):
            self.server.open.send_frame(bytes(size), Urgency.DELTA)
            self.server_end.mark_dirty()
            self.run(1 / 30)


@pytest.mark.parametrize(("limit", "found"), [(1452, 1452), (1352, 1352), (1232, 1232), (8952, 8952)])
def test_a_connection_finds_what_its_path_takes(limit: int, found: int) -> None:
    ends = Probing(limit)
    ends.run(5.0)
    assert ends.size == found
    ends.check_balance()
    ends.play(10)
    ends.run(1.0)
    assert ends.narrow.largest == found
    assert len(ends.client.finished) == 10
    controller: Any = ends.server_end.quic._loss._cc
    assert controller._mtu == found
    pacer: Any = ends.server_end.quic._loss._pacer
    assert pacer._packet_bytes == found


def test_lost_probes_are_no_congestion() -> None:
    ends = Probing(1232)
    window = ends.server_end.quic._loss.congestion_window
    ends.run(5.0)
    controller: Any = ends.server_end.quic._loss._cc
    assert controller.lost_packets == 0
    assert controller.congestion_window >= window
    assert ends.counted["mtu_probes"] > 6


def test_a_size_that_the_interface_refuses_leaves_nothing_behind() -> None:
    ends = Probing(1 << 16, interface=1452)
    ends.run(0.2)
    assert ends.size == 1452
    assert ends.counted["mtu_probes"] == 1
    ends.check_balance()
    quic = ends.server_end.quic
    sent, spent = quic._packet_number, quic._network_paths[0].bytes_sent
    made = ends.server_end.lane.send_probe(1400, ends.time.now, lambda _: None)
    assert made is not None
    ends.server_end.lane.withdraw_probe(1400)
    ends.check_balance()
    assert not quic._spaces[Epoch.ONE_RTT].sent_packets
    assert (quic._packet_number, quic._network_paths[0].bytes_sent) == (sent + 1, spent)
    ends.play(3)
    ends.run(1.0)
    assert len(ends.client.finished) == 3


def test_a_refused_probe_is_not_waited_for() -> None:
    ends = Probing(1 << 16, interface=1452)
    withdrawn: list[int] = []
    lane = ends.server_end.lane
    withdraw = lane.withdraw_probe

    def withdrawing(size: int) -> None:
        withdrawn.append(size)
        withdraw(size)

    lane.withdraw_probe = withdrawing  # type: ignore[method-assign]
    ends.run(0.2)
    assert withdrawn == [4048]


def test_a_search_that_is_over_costs_nothing_and_is_taken_up_after_ten_minutes() -> None:
    ends = Probing(1452)
    ends.run(2.0)
    probes = ends.counted["mtu_probes"]
    due = ends.prober.due
    assert RAISE_S - 3 < due - ends.time.now < RAISE_S
    ends.run(10.0)
    assert (ends.counted["mtu_probes"], ends.prober.due) == (probes, due)


def test_media_gets_through_a_black_hole() -> None:
    ends = Probing(1452)
    ends.run(2.0)
    ends.play(10)
    ends.narrow.limit = 1352
    ends.play(60)
    ends.run(5.0)
    assert ends.counted["mtu_black_holes"] == 1
    assert ends.size == 1352
    assert len(ends.client.finished) == 70
    ends.check_balance()


def test_heavy_random_loss_is_no_black_hole() -> None:
    ends = Probing(1452, down=Conditions(delay=0.005, loss=0.1, burst=0.3))
    ends.run(10.0)
    found = ends.size
    ends.play(90)
    ends.run(5.0)
    assert ends.counted["mtu_black_holes"] == 0
    assert ends.size == found
    assert len(ends.client.finished) == 90


def test_another_path_begins_at_the_base() -> None:
    ends = Probing(1452)
    ends.run(2.0)
    assert ends.size == 1452
    ends.narrow.limit = 1300
    moved = Peer(("192.0.2.9", 7))
    ends.server_end.peer = moved
    sent: list[int] = []
    send = ends.narrow.send
    ends.narrow.send = lambda data: sent.append(len(data)) or send(data)  # type: ignore[func-returns-value,method-assign]
    ends._send = lambda data, peer: ends.narrow.send(data) or True  # type: ignore[method-assign]
    ends.client.open.send_datagram(b"from elsewhere")
    ends.client_end.mark_dirty()
    ends.run(0.004)
    assert not sent
    ends.run(0.008)
    assert sent
    assert sent[0] <= BASE
    assert ends.size == BASE
    ends.play(5)
    ends.run(5.0)
    assert 1292 <= ends.size <= 1300  # of IPv4 now
    assert len(ends.client.finished) == 5


def test_datagrams_that_fit_no_more_do_not_block_those_behind_them() -> None:
    ends = Probing(1452)
    ends.run(2.0)
    quic = ends.server_end.quic
    quic.send_datagram_frame(bytes(1400))
    quic.send_datagram_frame(bytes(1000))
    assert internals.set_max_datagram_size(quic, BASE) == 1
    assert [len(data) for data in quic._datagrams_pending] == [1000]


def test_the_peers_own_limit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    parse: Callable[..., QuicTransportParameters] = pull_quic_transport_parameters

    def limited(buffer: Any) -> QuicTransportParameters:
        parameters = parse(buffer)
        parameters.max_udp_payload_size = 1400
        return parameters

    monkeypatch.setattr(internals, "pull_quic_transport_parameters", limited)
    ends = Probing(1 << 16)
    ends.run(2.0)
    assert ends.size == 1400
    assert ends.prober.due == NEVER


# --- real sockets -----------------------------------------------------------------------------------------


class Served:
    """An endpoint with one kind of session."""

    def __init__(self) -> None:
        self.handlers: list[Recorder] = []
        self.endpoint = QuicEndpoint(on_request=self._answer, certificate=CERTIFICATE)

    def _answer(self, request: SessionRequest) -> SessionHandler | Refusal:
        self.handlers.append(Recorder())
        return self.handlers[-1]

    async def found(self) -> int:
        """The size, once the search is over."""
        (link,) = self.endpoint._engine.live
        async with asyncio.timeout(30):
            while link.prober is None or link.prober.mtu is None or link.prober.due - _clock() < 60:
                await asyncio.sleep(0)
        return link.quic._max_datagram_size


def _clock() -> float:
    return asyncio.get_running_loop().time()


class Counting(Recorder):
    """Knows when a stream has come whole."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()
        self.on_data = lambda *_: self.changed.set()

    async def whole(self) -> None:
        async with asyncio.timeout(10):
            while not self.finished:
                self.changed.clear()
                await self.changed.wait()


async def play(served: Served, url: str) -> int:
    """Connect, let the path be searched, send a frame in packets of that size; the size."""
    client = Counting()
    session = await connect(url, client, certificate_hashes=[fingerprint(CERTIFICATE)])
    try:
        size = await served.found()
        served.handlers[0].open.send_frame(bytes(200_000), Urgency.KEYFRAME)
        served.handlers[0].open.flush()
        await client.whole()
        assert next(iter(client.streams.values())) == bytes(200_000)
        return size
    finally:
        await disconnect(session)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_loopback_takes_the_largest(host: str) -> None:
    served = Served()
    addresses = await served.endpoint.start("[::]", 0)
    try:
        assert await play(served, f"https://{host}:{addresses[0][1]}/test") == HIGHEST
        assert served.endpoint.stats["send_too_big"] == 0
        assert served.endpoint.stats["send_errors"] == 0
    finally:
        await served.endpoint.close(0, "", 1.0)


async def test_an_idle_connection_is_woken_for_a_probe_and_for_nothing_else() -> None:
    served = Served()
    addresses = await served.endpoint.start("127.0.0.1", 0)
    session = await connect(
        f"https://127.0.0.1:{addresses[0][1]}/test", Recorder(), certificate_hashes=[fingerprint(CERTIFICATE)]
    )
    try:
        await served.found()
        engine = served.endpoint._engine
        (link,) = engine.live
        assert link.prober is not None
        async with asyncio.timeout(10):
            while internals.in_flight(link.quic) or engine._timers._deadlines[link] < engine.clock() + 5:
                await asyncio.sleep(0)
        link.prober.due = engine.clock() + 0.02
        engine._set_timer(link)
        engine._set_alarm(engine.clock())
        async with asyncio.timeout(5):
            while link.prober.due != NEVER:  # at the ceiling: there is nothing to be tried
                await asyncio.sleep(0)
        assert engine._timers._deadlines[link] > engine.clock() + 5
    finally:
        await disconnect(session)
        await served.endpoint.close(0, "", 1.0)


def test_a_probe_that_is_too_large_is_told_at_once() -> None:
    udp = UdpSocket.bind(socket.AF_INET, ("127.0.0.1", 0), counters=Counter())
    peer = Peer(("127.0.0.1", udp.address[1]))
    assert udp.send_probe(bytes(9000), peer) is True
    assert udp.send_probe(bytes(65507), peer) in (True, False)
    udp.close()


class Refusing(socket.socket):
    """A socket that fails as asked."""

    code = 0

    def sendto(self, data: Any, *_: Any) -> int:
        raise OSError(self.code, "as asked")


@pytest.mark.parametrize(
    ("code", "told"), [(errno.EMSGSIZE, False), (errno.EAGAIN, None), (errno.ENETUNREACH, None)]
)
def test_what_the_kernel_says_to_a_probe(code: int, told: bool | None) -> None:
    sock = Refusing(socket.AF_INET, socket.SOCK_DGRAM)
    sock.code = code
    udp = UdpSocket(sock, counters=Counter())
    assert udp.send_probe(bytes(1452), Peer(("192.0.2.1", 1))) is told
    assert udp.counters["send_too_big"] == 0
    udp.close()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EMSGSIZE])
def test_a_run_that_is_too_large_is_no_reason_to_give_segmentation_up(code: int) -> None:
    class Shrunk(socket.socket):
        def sendmsg(self, buffers: Any, *_: Any) -> int:
            raise OSError(code, "as asked")

        def sendto(self, data: Any, *_: Any) -> int:
            raise OSError(errno.EMSGSIZE, "as asked")

    udp = UdpSocket(Shrunk(socket.AF_INET, socket.SOCK_DGRAM), counters=Counter(), segmented=True)
    udp.send_run([bytes(1452)] * 3, Peer(("192.0.2.1", 1)))
    assert udp.segmented
    assert udp.counters["send_too_big"] == 3
    assert udp.refused_bytes == 1452
    udp.close()


NAMESPACE = f"wtg-mtu-{os.getpid()}"
OURS = {socket.AF_INET: "198.18.77.1", socket.AF_INET6: "fd77:77::1"}
THEIRS = {socket.AF_INET: "198.18.77.2", socket.AF_INET6: "fd77:77::2"}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)


@contextlib.contextmanager
def veth(here: int, there: int) -> Iterator[None]:
    """A pair of interfaces with those MTUs, the other end in a network namespace of its own."""
    name = f"wtg{os.getpid() % 100000}"
    try:
        _ip("netns", "add", NAMESPACE)
        _ip("link", "add", name, "mtu", str(here), "type", "veth", "peer", "name", "far", "netns", NAMESPACE)
        _ip("addr", "add", OURS[socket.AF_INET] + "/24", "dev", name)
        _ip("-6", "addr", "add", OURS[socket.AF_INET6] + "/64", "dev", name, "nodad")
        _ip("link", "set", name, "up")
        inside = ("-n", NAMESPACE)
        _ip(*inside, "link", "set", "far", "mtu", str(there))
        _ip(*inside, "addr", "add", THEIRS[socket.AF_INET] + "/24", "dev", "far")
        _ip(*inside, "-6", "addr", "add", THEIRS[socket.AF_INET6] + "/64", "dev", "far", "nodad")
        _ip(*inside, "link", "set", "far", "up")
    except (OSError, subprocess.SubprocessError) as error:
        _remove(name)
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', '') or error}")
    try:
        yield
    finally:
        _remove(name)


def _remove(name: str) -> None:
    for arguments in (("link", "del", name), ("netns", "del", NAMESPACE)):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _ip(*arguments)


def bound_inside(family: int) -> socket.socket:
    """A UDP socket of the namespace: it stays one, whoever uses it."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with Path(f"/run/netns/{NAMESPACE}").open() as handle:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle.fileno(), 0):  # of this thread only
                    raise OSError(ctypes.get_errno(), "setns")
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.bind((THEIRS[socket.AddressFamily(family)], 0))
            made.append(sock)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        pytest.skip(f"a thread cannot enter the namespace: {made[0]}")
    return made[0]


def _shrink(mtu: int) -> None:
    """The sender's interface takes less from now on."""
    _ip("-n", NAMESPACE, "link", "set", "far", "mtu", str(mtu))


needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2 for a network namespace"
)


@needs_namespaces
@pytest.mark.parametrize(
    ("family", "sender", "receiver", "found"),
    [
        (socket.AF_INET, 1400, 1400, 1372),
        (socket.AF_INET6, 1400, 1400, 1352),
        (socket.AF_INET, 1500, 1500, 1472),
        (socket.AF_INET6, 1500, 1500, 1452),
        (socket.AF_INET, 1500, 1400, 1372),  # the sender's kernel takes more than arrives
        (socket.AF_INET6, 1500, 1400, 1352),
    ],
)
async def test_the_mtu_of_an_interface_is_found(family: int, sender: int, receiver: int, found: int) -> None:
    with veth(receiver, sender):
        sock = bound_inside(family)
        served = Served()
        port = sock.getsockname()[1]
        served.endpoint.start_on([sock])
        try:
            host = THEIRS[socket.AddressFamily(family)]
            size = await play(served, f"https://{f'[{host}]' if ':' in host else host}:{port}/test")
            # a veth lets frames pass that are a VLAN tag longer than its MTU
            assert found <= size <= found + (4 if sender != receiver else 0)
        finally:
            await served.endpoint.close(0, "", 1.0)


@needs_namespaces
async def test_an_interface_that_takes_less_than_it_did_is_followed_at_once() -> None:
    with veth(1500, 1500):
        sock = bound_inside(socket.AF_INET)
        served = Served()
        port = sock.getsockname()[1]
        served.endpoint.start_on([sock])
        client = Counting()
        session = await connect(
            f"https://{THEIRS[socket.AF_INET]}:{port}/test",
            client,
            certificate_hashes=[fingerprint(CERTIFICATE)],
        )
        try:
            assert await served.found() == 1472
            segmented = served.endpoint._sockets[0].segmented
            _shrink(1400)
            served.handlers[0].open.send_frame(bytes(30_000), Urgency.KEYFRAME)
            served.handlers[0].open.flush()
            await client.whole()
            assert await served.found() == 1372
            assert served.endpoint.stats["mtu_black_holes"] == 0
            assert 0 < served.endpoint.stats["send_too_big"] <= 30
            assert served.endpoint._sockets[0].segmented == segmented
        finally:
            await disconnect(session)
            await served.endpoint.close(0, "", 1.0)
