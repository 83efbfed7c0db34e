"""The pages' server against slow and greedy peers, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, RemoteSettingsChanged
from h2.settings import SettingCodes

from tests.web.conftest import CLIENT_DIR, FakeControl, FakeView
from tests.web.test_server import serving
from wtgateway.web import patience, server
from wtgateway.web.app import create_app
from wtgateway.web.sse import Streams


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of half a second in place of many."""
    monkeypatch.setattr(patience, "BODY_S", 0.5)
    monkeypatch.setattr(patience, "PIECE_S", 0.5)
    configure = server._hypercorn_config

    def quick(*arguments: Any) -> Any:
        config = configure(*arguments)
        assert config.keep_alive_timeout <= 30
        assert config.ssl_handshake_timeout <= 10
        assert config.h11_max_incomplete_size <= 32 << 10
        assert config.h2_max_header_list_size <= 32 << 10
        assert config.h2_max_concurrent_streams <= 64
        assert config.keep_alive_max_requests <= 1000
        config.keep_alive_timeout = 0.5
        config.keep_alive_max_requests = 100
        return config

    monkeypatch.setattr(server, "_hypercorn_config", quick)


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answered(reader: asyncio.StreamReader) -> bytes:
    """All until the server closes."""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def others_are_answered(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/api/v1/transport")).status_code == 200


def full_app() -> Any:
    return create_app(
        FakeView(), CLIENT_DIR, control=(control := FakeControl()), streams=Streams(control.events, "i")
    )


async def test_headers_a_byte_at_a_time(hasty: None) -> None:
    async with serving(app=full_app()) as [(_, port)], raw(port) as (reader, writer):
        closed = asyncio.create_task(answered(reader))
        for byte in b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: " + b"a" * 10_000:
            if closed.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert b"200" not in await closed
        await others_are_answered(port)


async def test_headers_without_an_end() -> None:
    async with serving(app=full_app()) as [(_, port)], raw(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(4000):
                writer.write(b"x-%d: %s\r\n" % (number, b"a" * 100))
                await writer.drain()
        assert (await answered(reader))[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")
        await others_are_answered(port)


PUT = b"PUT /api/v1/broadcasts/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


async def test_a_body_a_byte_at_a_time(hasty: None) -> None:
    async with serving(app=full_app()) as [(_, port)], raw(port) as (reader, writer):
        writer.write(PUT + b"content-length: 5000\r\n\r\n")
        closed = asyncio.create_task(answered(reader))
        for _ in range(1000):
            if closed.done():
                break
            writer.write(b" ")
            await asyncio.sleep(0.02)
        assert (await closed).startswith(b"HTTP/1.1 408")
        await others_are_answered(port)


@pytest.mark.parametrize(
    "head", [b"content-length: 900000000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"]
)
async def test_a_giant_body(head: bytes) -> None:
    async with serving(app=full_app()) as [(_, port)], raw(port) as (reader, writer):
        writer.write(PUT + head)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20 and not reader.at_eof():
                piece = bytes(60_000)
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if b"chunked" in head else piece)
                async with asyncio.timeout(5):
                    await writer.drain()
                sent += len(piece)
        assert sent < 32 << 20
        assert (await answered(reader))[:12] in (b"HTTP/1.1 413", b"")
        await others_are_answered(port)


async def test_an_answer_that_nobody_reads(hasty: None) -> None:
    async with serving(app=full_app()) as [(_, port)], raw(port) as (reader, writer):
        sock = writer.get_extra_info("socket")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        request = b"GET /_client/player.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(900):
                writer.write(request)
            async with asyncio.timeout(3):
                await writer.drain()
                await asyncio.sleep(1.5)
        assert sock is not None
        await others_are_answered(port)


class H2Peer:
    """A client of HTTP/2 with prior knowledge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
        self.ended = False
        self.settings: dict[Any, int] = {}
        self.h2.initiate_connection()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def read(self) -> None:
        """Until the server closes."""
        with contextlib.suppress(Exception):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    if isinstance(event, ConnectionTerminated):
                        self.ended = True
                    if isinstance(event, RemoteSettingsChanged):
                        self.settings |= {k: v.new_value for k, v in event.changed_settings.items()}
        self.ended = True

    def request(self, **extra: str) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = {":method": "GET", ":path": "/healthz", ":scheme": "http", ":authority": "localhost"}
        self.h2.send_headers(stream_id, [*pseudo.items(), *extra.items()], end_stream=True)
        return stream_id


async def test_rapid_reset_ends_the_connection(hasty: None) -> None:
    async with serving(app=full_app()) as [(_, port)], raw(port) as (reader, writer):
        peer = H2Peer(reader, writer)
        reading = asyncio.create_task(peer.read())
        await peer.flush()
        made = 0
        while not peer.ended and made < 20_000:
            with contextlib.suppress(Exception):
                peer.h2.reset_stream(peer.request())
            made += 1
            if made % 50 == 0:
                await peer.flush()
                await asyncio.sleep(0.002)
        async with asyncio.timeout(10):
            await reading
        assert peer.ended
        assert made < 20_000
        assert peer.settings[SettingCodes.MAX_CONCURRENT_STREAMS] <= 64
        await others_are_answered(port)


async def test_a_bomb_of_hpack() -> None:
    """One long header in the table, referred to ten thousand times."""
    async with serving(app=full_app()) as [(_, port)], raw(port) as (reader, writer):
        peer = H2Peer(reader, writer)
        reading = asyncio.create_task(peer.read())
        await peer.flush()
        await asyncio.sleep(0.1)
        long = b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000  # a literal with indexing, of nearly all of the table
        block = b"\x82\x84\x86\x41\x09localhost" + long + b"\xbe" * 12_000
        first = len(block[:16_000]).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big")
        writer.write(first + block[:16_000])
        async with asyncio.timeout(10):
            await reading
        assert peer.ended
        await others_are_answered(port)
