"""WebSockets of the pages' server on real sockets: what is known of them, and where they are said to be."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from tests.web.conftest import CLIENT_DIR, FakeView, client_for
from wtgateway.errors import ProtocolError
from wtgateway.web import server
from wtgateway.web.app import create_app
from wtgateway.web.websocket import Upgrade

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@contextlib.asynccontextmanager
async def served(
    view: FakeView, serve: Callable[[Upgrade], Awaitable[None]]
) -> AsyncIterator[tuple[str, int]]:
    shutdown = asyncio.Event()
    bound: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
    app = create_app(view, CLIENT_DIR, serve=serve, trusted_proxies=LOOPBACK)
    task = asyncio.create_task(
        server.serve(app, host="127.0.0.1", port=0, shutdown=shutdown, started=bound.set_result)
    )
    try:
        yield (await bound)[0]
    finally:
        shutdown.set()
        await task


async def upgraded(
    address: tuple[str, int], path: str = "cam?v=1", extra: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(
        f"GET /_ws/{path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"{extra}\r\n".encode()
    )
    return reader, writer, (await reader.readuntil(b"\r\n\r\n")).decode()


async def test_an_upgrade_tells_who_asks_for_what_and_its_buffers_are_known(view: FakeView) -> None:
    seen: dict[str, Any] = {}
    read = asyncio.Event()

    async def serve(upgrade: Upgrade) -> None:
        await upgrade.accept()
        seen.update(path=upgrade.path, remote=upgrade.remote[0], headers=upgrade.headers, name=upgrade.name)
        carrier = upgrade._carrier
        assert carrier is not None, "this hypercorn looks different inside"
        sock = carrier._writer.transport.get_extra_info("socket")
        seen["nodelay"] = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        seen["lowat"] = sock.getsockopt(socket.IPPROTO_TCP, 25)
        assert upgrade.unsent() == 0
        sending = asyncio.create_task(upgrade.send(bytes(8_000_000)))
        while upgrade.unsent() < 1_000_000 and not sending.done():
            await asyncio.sleep(0)
        seen["unsent"] = upgrade.unsent()
        read.set()
        await sending
        assert await upgrade.receive() == b"thanks"
        await upgrade.close(4001, "enough")

    async with served(view, serve) as address:
        extra = "X-Forwarded-For: 192.0.2.7\r\nOrigin: https://a.example\r\n"
        extra += "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        reader, writer, head = await upgraded(address, "house/door%20?v=1&token=a", extra)
        assert "101" in head
        assert "sec-websocket-extensions" not in head.lower()
        await read.wait()
        wire = Connection(ConnectionType.CLIENT)
        writer.write(wire.send(BytesMessage(data=b"thanks")))
        rest = await reader.read()
        assert b"\x0f\xa1enough" in rest[-10:]
        writer.close()
    assert seen["path"] == "/house/door%20?v=1&token=a"
    assert (seen["remote"], seen["headers"]["origin"]) == ("192.0.2.7", "https://a.example")
    assert seen["nodelay"] == 1
    assert seen["lowat"] == 32 * 1024
    assert seen["unsent"] >= 1_000_000


async def test_a_refusal_is_an_answer_of_http_whose_words_can_break_nothing(view: FakeView) -> None:
    async def serve(upgrade: Upgrade) -> None:
        await upgrade.refuse(429, "later\r\nset-cookie: a=b ü", {"retry-after": "7"})

    async with served(view, serve) as address:
        _, writer, head = await upgraded(address)
        assert head.startswith("HTTP/1.1 429 ")
        lines = head.lower().splitlines()
        assert "wtgateway-reason: later set-cookie: a=b ?" in lines
        assert "retry-after: 7" in lines
        assert not any(line.startswith("set-cookie") for line in lines)
        writer.close()


async def test_a_text_is_no_message_and_a_fault_ends_one_connection_alone(view: FakeView) -> None:
    ended: asyncio.Queue[Any] = asyncio.Queue()

    async def serve(upgrade: Upgrade) -> None:
        await upgrade.accept()
        if upgrade.name == "broken":
            raise RuntimeError("a bug")
        try:
            ended.put_nowait(await upgrade.receive())
        except ProtocolError as error:
            ended.put_nowait(error)

    async with served(view, serve) as address:
        broken_reader, broken, _ = await upgraded(address, "broken")
        _, other, _ = await upgraded(address)
        other.write(b"\x81\x85\0\0\0\0hello")  # a text, masked with nothing
        assert isinstance(await ended.get(), ProtocolError)
        assert b"\x03\xf3" in await broken_reader.read()  # 1011
        _, gone, _ = await upgraded(address)
        gone.transport.abort()
        assert await ended.get() in (1005, 1006)
        for writer in (broken, other):
            writer.close()


async def nobody(_: Upgrade) -> None: ...


@pytest.mark.parametrize(
    ("settings", "headers", "expected"),
    [
        ({}, {"host": "gateway:8080"}, "ws://gateway:8080/_ws/"),
        ({}, {"host": '"><script>'}, "ws://localhost/_ws/"),
        (
            {"trusted_proxies": LOOPBACK},
            {
                "host": "a",
                "x-forwarded-host": "cams.example",
                "x-forwarded-proto": "https",
                "x-forwarded-prefix": "/live",
            },
            "wss://cams.example/live/_ws/",
        ),
        ({}, {"host": "a", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}, "ws://a/_ws/"),
        (
            {"public_url": "https://cams.example:8443/live/", "public_path": "/live/"},
            {"host": "127.0.0.1:8080"},
            "wss://cams.example:8443/live/_ws/",
        ),
    ],
)
async def test_pages_are_told_where_they_are(
    view: FakeView, settings: dict[str, Any], headers: dict[str, str], expected: str
) -> None:
    async with client_for(create_app(view, CLIENT_DIR, serve=nobody, **settings)) as http:
        assert (await http.get("/api/v1/transport", headers=headers)).json()["webSocketUrl"] == expected
        assert f'"webSocketUrl":"{expected}"' in (await http.get("/test", headers=headers)).text
    async with client_for(create_app(view, CLIENT_DIR, **settings)) as http:
        assert "webSocketUrl" not in (await http.get("/api/v1/transport", headers=headers)).json()
