"""A gateway's viewers on real sockets: one who behaves, whom nothing may be taken from, and attackers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import socket
import ssl
import sys
import time
import types
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from aioquic.buffer import Buffer
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, StreamDataReceived
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

from tests.test_gateway import Watcher
from tests.transport.ends import fingerprint, make_certificate
from wtgateway import clock
from wtgateway.config.model import LimitsConfig
from wtgateway.hub import Broadcast, Hub, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol.subscribe_query import SubscribeQuery
from wtgateway.transport.capsules import CapsuleParser, CloseSession
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.endpoint import QuicEndpoint
from wtgateway.transport.engine import Engine, Link
from wtgateway.workers.service import ViewerService

CERTIFICATE = make_certificate()
QUERY = "?v=1&subscribe=video&delivery=stream&deadline=4000"
FPS, GROUP = 50, 25
FRAME_BYTES = 3000
MEGABYTE = 1 << 20


class Stage:
    """``cam`` is published at FPS; ``viewer`` watches it."""

    def __init__(self, limits: LimitsConfig | None = None, **endpoint: Any) -> None:
        self.hub = Hub()
        self.cam = self.hub.add("cam")
        rendition = Rendition(id=0, codec="avc1.42E01F", fps=FPS, bitrate_bps=1_200_000)
        self.cam.set_catalog(
            Catalog(revision=1, tracks=(Track(id=0, kind=Kind.VIDEO, renditions=(rendition,)),))
        )
        self.cam.set_status(Status(BroadcastState.LIVE))
        self.service = ViewerService(
            self.hub.get,
            CERTIFICATE,
            [],
            make_endpoint=lambda **given: QuicEndpoint(**given, **endpoint),
        )
        if limits is not None:
            self.service.limiting.use(limits, {})
        self.service.admitting = True
        self.port = 0
        self.viewer = Watcher()
        self.published: list[tuple[int, int]] = []

    @property
    def endpoint(self) -> QuicEndpoint:
        return self.service.endpoint

    @property
    def counters(self) -> dict[str, int]:
        return self.service.counters()

    def url(self, query: str = QUERY) -> str:
        return f"https://127.0.0.1:{self.port}/cam{query}"

    async def join(self) -> Watcher:
        """Another viewer who behaves."""
        watcher = Watcher()
        await connect(self.url(), watcher, certificate_hashes=[fingerprint(CERTIFICATE)])
        return watcher

    async def publish(self) -> None:
        """A keyframe now and then, so that nobody has to ask for one."""
        for number in itertools.count():
            group, index = divmod(number, GROUP)
            now = clock.now_us()
            self.cam.publish(
                Frame(
                    track=0, rendition=0, group=group, index=index, keyframe=index == 0, pts_us=now,
                    capture_us=now, duration_us=1_000_000 // FPS, payload=bytes(FRAME_BYTES),
                )
            )  # fmt: skip
            self.published.append((group, index))
            await asyncio.sleep(1 / FPS)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    async def viewer_has_all(self) -> None:
        """The one who behaves gets each frame from its first on, those of now included."""
        seen = self.published[-1]
        await self.viewer.until(lambda: position(self.viewer.frames[-1]) >= seen)
        got = sorted(map(position, self.viewer.frames))
        first, last = self.published.index(got[0]), self.published.index(got[-1])
        assert got == self.published[first : last + 1]
        assert self.viewer.end is None
        assert self.viewer.resets == 0

    def link_of(self, port: int) -> Link | None:
        """The connection of whoever sends from that port."""
        for link in self.endpoint._engine.live:
            if link.webtransport.remote and link.webtransport.remote[1] == port:
                return link
        return None


@contextlib.asynccontextmanager
async def staged(limits: LimitsConfig | None = None, **endpoint: Any) -> AsyncIterator[Stage]:
    """A stage with its viewer; at the end it is checked that he missed nothing."""
    stage = Stage(limits, **endpoint)
    ((_, stage.port),) = await stage.endpoint.start("127.0.0.1", 0)
    stage.service.start()
    publishing = asyncio.create_task(stage.publish())
    session = await connect(stage.url(), stage.viewer, certificate_hashes=[fingerprint(CERTIFICATE)])
    await stage.viewer.until(lambda: len(stage.viewer.frames) >= 3)
    try:
        yield stage
        await stage.viewer_has_all()
    finally:
        publishing.cancel()
        await disconnect(session)
        await stage.service.close(0, "", 0)  # type: ignore[arg-type]


def position(frame: Frame) -> tuple[int, int]:
    return frame.group, frame.index


# --- attackers --------------------------------------------------------------------------------------


class Attacker:
    """A QUIC client that may do as it likes: ``quic`` and ``h3`` are aioquic's, to be misused.

    ``reads``: whether it acknowledges and takes in what comes. ``end`` is how the connection ended: code and
    words; ``session_end`` the same of the WebTransport session.
    """

    def __init__(self, stage: Stage, **options: Any) -> None:
        self.stage = stage
        self.end: tuple[int, str] | None = None
        self.session_end: tuple[int, str] | None = None
        self.statuses: dict[int, str] = {}
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.resets: dict[int, int] = {}
        self.control = -1
        self.reads = True
        self.sent_bytes = 0
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=H3_ALPN,
            verify_mode=ssl.CERT_NONE,
            server_name="localhost",
            max_datagram_frame_size=65536,
            **options,
        )
        self.quic = QuicConnection(configuration=configuration)
        self.h3: H3Connection | None = None
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._capsules: dict[int, CapsuleParser] = {}
        self._loop.add_reader(self._sock.fileno(), self._readable)

    @property
    def port(self) -> int:
        return int(self._sock.getsockname()[1])

    @property
    def link(self) -> Link:
        found = self.stage.link_of(self.port)
        assert found is not None
        return found

    async def open(self, session: bool = True, query: str = QUERY) -> Attacker:
        """Connect, with a session if wished."""
        self.quic.connect(("127.0.0.1", self.stage.port), now=time.monotonic())
        self.flush()
        await self.stage.until(lambda: self.quic._handshake_confirmed or self.end)
        assert self.end is None, self.end
        await self.stage.until(lambda: self.h3 is not None and self.h3.received_settings is not None)
        if session:
            stream_id = self.ask(query)
            self.flush()
            await self.stage.until(lambda: stream_id in self.statuses)
            assert self.statuses[stream_id] == "200"
            await self.stage.until(lambda: self.control >= 0)
        return self

    def ask(self, query: str = QUERY, extra: Iterable[tuple[bytes, bytes]] = ()) -> int:
        """A CONNECT; its stream."""
        assert self.h3 is not None
        stream_id = self.quic.get_next_available_stream_id()
        self.h3.send_headers(
            stream_id,
            [
                (b":method", b"CONNECT"),
                (b":protocol", b"webtransport"),
                (b":scheme", b"https"),
                (b":authority", b"localhost"),
                (b":path", b"/cam" + query.encode()),
                (b"sec-webtransport-http3-draft02", b"1"),
                *extra,
            ],
        )
        return stream_id

    def flush(self) -> None:
        """Send what there is."""
        for data, address in self.quic.datagrams_to_send(time.monotonic()):
            self.send(data, address)
        if self._timer is not None:
            self._timer.cancel()
        when = self.quic.get_timer()
        if when is not None:
            self._timer = self._loop.call_later(max(0.0, when - time.monotonic()), self._alarm)

    def send(self, data: bytes, address: Any = None) -> None:
        """A datagram as it is; a full buffer loses it, as a network would."""
        with contextlib.suppress(OSError):
            self._sock.sendto(data, address or ("127.0.0.1", self.stage.port))
            self.sent_bytes += len(data)

    def send_frames(self, *frames: bytes) -> None:
        """A packet with these frames, whatever they are: each with its type."""
        quic = self.quic
        if self.end is not None or not quic._cryptos[Epoch.ONE_RTT].send.is_valid():
            return  # it is over
        builder = QuicPacketBuilder(
            host_cid=quic.host_cid, is_client=True, max_datagram_size=1200,
            packet_number=quic._packet_number, peer_cid=quic._peer_cid.cid, version=quic._version,
        )  # fmt: skip
        builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[Epoch.ONE_RTT])
        for frame in frames:
            kind = Buffer(data=frame).pull_uint_var()
            head = len(frame) - len(frame[_varint_bytes(frame) :])
            builder.start_frame(kind, capacity=len(frame)).push_bytes(frame[head:])
        datagrams, _ = builder.flush()
        quic._packet_number = builder.packet_number
        for data in datagrams:
            self.send(data)

    def _alarm(self) -> None:
        self._timer = None
        self.quic.handle_timer(time.monotonic())
        self._events()
        self.flush()

    def _readable(self) -> None:
        for _ in range(64):
            try:
                data, address = self._sock.recvfrom(65536)
            except OSError:
                break
            if self.reads:
                self.quic.receive_datagram(data, address, time.monotonic())
        if self.reads:
            self._events()
            self.flush()

    def _events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, ProtocolNegotiated):
                self.h3 = H3Connection(self.quic, enable_webtransport=True)
            if isinstance(event, ConnectionTerminated):
                self.end = (event.error_code, event.reason_phrase)
            if isinstance(event, StreamDataReceived) and event.stream_id % 4 == 1:
                self.control = event.stream_id  # the gateway opens it
            if self.h3 is None:
                continue
            for found in self.h3.handle_event(event):
                headers = getattr(found, "headers", None)
                if headers is not None:
                    self.headers[found.stream_id] = dict(headers)
                    self.statuses[found.stream_id] = dict(headers)[b":status"].decode()
                elif type(found).__name__ == "DataReceived":
                    parser = self._capsules.setdefault(found.stream_id, CapsuleParser())
                    for capsule in parser.feed(found.data):
                        if isinstance(capsule, CloseSession):
                            self.session_end = (capsule.code, capsule.reason)

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._sock.close()


def _varint_bytes(data: bytes) -> int:
    return 1 << (data[0] >> 6)


@contextlib.asynccontextmanager
async def attacking(
    stage: Stage, *, session: bool = True, query: str = QUERY, **options: Any
) -> AsyncIterator[Attacker]:
    """An attacker who has connected."""
    attacker = Attacker(stage, **options)
    try:
        yield await attacker.open(session, query)
    finally:
        attacker.close()


# --- how much memory an attacker has -------------------------------------------------------------------

_SHARED = (
    type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, Broadcast, Hub,
    ViewerService, QuicEndpoint, Engine, QuicConfiguration, Frame, SubscribeQuery, logging.Logger,
    logging.LoggerAdapter, asyncio.AbstractEventLoop,
)  # fmt: skip


def footprint(link: Link) -> int:
    """Bytes of all that one connection holds; what all share is left out."""
    seen: set[int] = set()
    waiting: list[Any] = [link]
    total = 0
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _SHARED) or found is sys.modules:
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        waiting += gc.get_referents(found)
    return total
