"""Sessions over WebSockets: the whole gateway, HTTP/1.1 and HTTP/2 on loopback, and the native viewer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx
import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from tests.test_gateway import QUERY, Watcher, running, settings, watching
from wtgateway.errors import SessionRefused, TransportError
from wtgateway.gateway import Gateway
from wtgateway.media import Frame
from wtgateway.protocol import progress
from wtgateway.protocol import websocket_messages as ws
from wtgateway.protocol.codes import SUBPROTOCOL, CloseCode
from wtgateway.protocol.messages import Certificates, Goodbye, Ping, Pong, Progress, Resume, State, pack
from wtgateway.transport.websocket_client import connect_websocket, disconnect_websocket
from wtgateway.viewer import Viewer, ViewOptions


def page(gateway: Gateway) -> str:
    assert gateway.web_address is not None
    return "http://{}:{}".format(*gateway.web_address)


@contextlib.asynccontextmanager
async def over_websocket(gateway: Gateway, path: str = "test" + QUERY) -> AsyncIterator[Watcher]:
    async with httpx.AsyncClient() as http:
        told = (await http.get(f"{page(gateway)}/api/v1/transport")).json()
    watcher = Watcher()
    session = await connect_websocket(told["webSocketUrl"] + path, watcher)
    try:
        yield watcher
    finally:
        await disconnect_websocket(session)


class Raw:
    """A viewer of the tests' own over HTTP/1.1: says what no viewer would, and reads when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader, self.writer, self.head = reader, writer, head
        self.wire = Connection(ConnectionType.CLIENT)
        self.messages: list[bytes] = []

    @classmethod
    async def connect(cls, gateway: Gateway, path: str, *, extra: str = "", receive: int = 0) -> Raw:
        assert gateway.web_address is not None
        sock = socket.socket()
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, gateway.web_address)
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        writer.write(
            f"GET /_ws/{path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"{extra}\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        return cls(reader, writer, head)

    def say(self, event: Any) -> None:
        self.writer.write(self.wire.send(event))

    async def end(self) -> int:
        """The close code; what comes before it is kept."""
        async with asyncio.timeout(20):
            while True:
                data = await self.reader.read(65536)
                if not data:
                    return 0
                self.wire.receive_data(data)
                for event in self.wire.events():
                    if isinstance(event, BytesMessage):
                        self.messages.append(bytes(event.data))
                    elif isinstance(event, CloseConnection):
                        return int(event.code)


async def test_every_frame_arrives_in_order_with_sound(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, over_websocket(gateway) as watcher:
        await watcher.until(lambda: len(watcher.track(0)) >= 60 and len(watcher.track(1)) >= 60)
        pictures = watcher.track(0)
        assert pictures[0].keyframe
        first = pictures[0].group
        assert [f.index for f in pictures if f.group == first] == list(
            range(sum(f.group == first for f in pictures))
        )
        assert watcher.of(Certificates)[0].hashes == gateway.certificate_hashes()
        assert watcher.of(State)
        assert watcher.session is not None
        watcher.session.send(1, pack(Ping(id=7, client_us=1)))
        await watcher.until(lambda: any(pong.id == 7 for pong in watcher.of(Pong)))
        (session,) = gateway.sessions.values()
        assert session.rtt_us > 0
        (summary,) = gateway.session_summaries()
        assert summary.transport == "websocket"


async def test_the_viewers_progress_is_what_stands_on_the_path(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, over_websocket(gateway) as watcher:
        await watcher.until(lambda: len(watcher.track(0)) >= 30)
        (session,) = gateway.sessions.values()
        flow = session._transport.flow  # type: ignore[union-attr]
        received = sum(48 + len(frame.payload) for frame in watcher.frames)
        await watcher.until(lambda: flow.told >= received)
        assert flow.rate > 0
        assert flow.min_rtt > 0


async def test_over_http_2(tmp_path: Path) -> None:
    """RFC 8441: an extended CONNECT on one stream, and pages on others of the same connection."""
    async with running(settings(tmp_path)) as gateway:
        assert gateway.web_address is not None
        reader, writer = await asyncio.open_connection(*gateway.web_address)
        h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        h2c.initiate_connection()
        writer.write(h2c.data_to_send())
        wire = Connection(ConnectionType.CLIENT)
        frames, status, ended, page_status = [], "", False, ""
        sent, said, at = False, 0, 0.0
        async with asyncio.timeout(30):
            while not ended:
                for event in h2c.receive_data(await reader.read(65536)):
                    if isinstance(event, h2.events.RemoteSettingsChanged) and not sent:
                        assert h2c.remote_settings.enable_connect_protocol == 1
                        sent = True
                        head = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http"}
                        head |= {
                            ":path": "/_ws/test" + QUERY,
                            ":authority": "localhost",
                            "sec-websocket-version": "13",
                        }
                        head |= {"sec-websocket-protocol": SUBPROTOCOL}
                        head |= {"sec-websocket-extensions": "permessage-deflate"}
                        h2c.send_headers(1, list(head.items()))
                    elif isinstance(event, h2.events.ResponseReceived):
                        found = dict(event.headers)
                        if event.stream_id == 1:
                            status = found[":status"]
                            assert found["sec-websocket-protocol"] == SUBPROTOCOL
                            assert "sec-websocket-extensions" not in found
                        else:
                            page_status = found[":status"]
                    elif isinstance(event, h2.events.DataReceived):
                        h2c.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        if event.stream_id != 1:
                            continue
                        wire.receive_data(event.data)
                        for message in wire.events():
                            if isinstance(message, BytesMessage):
                                frames.append(bytes(message.data))
                            elif isinstance(message, CloseConnection):
                                assert message.code == 1000
                                ended = True
                    came = sum(len(each) - 1 for each in frames if each[0] == 1)
                    due = asyncio.get_running_loop().time() - at >= progress.REPORT_S
                    new = came - said
                    if (new >= progress.REPORT_BYTES or (new and due)) and wire.state.name == "OPEN":
                        said, at = came, asyncio.get_running_loop().time()
                        told = BytesMessage(data=ws.control(pack(Progress(bytes=came))))
                        h2c.send_data(1, wire.send(told))
                    if len(frames) >= 30 and not page_status:
                        page_status = "asked"
                        ask = {
                            ":method": "GET",
                            ":scheme": "http",
                            ":path": "/healthz",
                            ":authority": "localhost",
                        }
                        h2c.send_headers(3, list(ask.items()), end_stream=True)
                    if len(frames) >= 60 and page_status == "200" and wire.state.name == "OPEN":
                        h2c.send_data(1, wire.send(CloseConnection(1000)))
                writer.write(h2c.data_to_send())
        assert status == "200"
        kinds = {message[0] for message in frames}
        assert kinds == {0, 1}
        writer.close()


async def test_refusals_are_those_of_a_connect(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        for path, extra, status in (
            ("nothing" + QUERY, "", 404),
            ("test?v=9", "", 421),
            ("test?delivery=pigeon", "", 400),
            ("test" + QUERY, "Sec-WebSocket-Protocol: other\r\n", 400),
            ("test" + QUERY, "Origin: https://evil.example\r\n", 403),
        ):
            raw = await Raw.connect(gateway, path, extra=extra)
            assert raw.head.startswith(f"http/1.1 {status} "), path
            assert "wtgateway-reason: " in raw.head
            raw.writer.close()
            if not extra:
                with pytest.raises(SessionRefused) as refused:
                    async with over_websocket(gateway, path):
                        pass
                assert refused.value.status == status
        assert not gateway.sessions


async def test_what_is_compressed_is_not_compressed_again(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        extra = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        raw = await Raw.connect(gateway, "test" + QUERY, extra=extra)
        assert raw.head.startswith("http/1.1 101 ")
        assert "sec-websocket-extensions" not in raw.head
        raw.writer.close()


async def test_what_makes_no_sense_ends_that_session_alone(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, over_websocket(gateway) as other:
        for said in (
            TextMessage(data="hello"),
            BytesMessage(data=b""),
            BytesMessage(data=b"\x07abc"),
            BytesMessage(data=b"\x01" + bytes(48)),
            BytesMessage(data=ws.control(pack(Ping(id=1, client_us=1))[:-1])),
            BytesMessage(data=ws.control(pack(Progress(bytes=1 << 40)))),
            BytesMessage(data=ws.control(pack(State(state="live")))),
        ):
            raw = await Raw.connect(gateway, "test" + QUERY)
            raw.say(said)
            assert await raw.end() == 4000 + CloseCode.MALFORMED, said
            raw.writer.close()
        seen = len(other.frames)
        await other.until(lambda: len(other.frames) > seen + 10)
        assert other.end is None


async def test_a_message_of_more_than_any_viewer_has_to_say_is_refused(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        raw = await Raw.connect(gateway, "test" + QUERY)
        raw.say(BytesMessage(data=bytes(ws.MOST_VIEWER_BYTES + 1)))
        assert await raw.end() in (1009, 4000 + CloseCode.TOO_LARGE)
        raw.writer.close()


async def test_a_viewer_that_never_reads_is_sent_away_and_costs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "STALLED_S", 1.0)
    async with running(settings(tmp_path)) as gateway, over_websocket(gateway) as other:
        raw = await Raw.connect(gateway, "test" + QUERY, receive=4096)
        ids = set(gateway.sessions)
        assert len(ids) == 2
        most = 0
        async with asyncio.timeout(20):
            while len(gateway.sessions) == 2:
                for session in gateway.sessions.values():
                    link = session._transport
                    if link is not None:
                        most = max(most, link.flow.standing + link.waiting)  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
        assert most <= 2 * progress.FIRST_WINDOW + 100_000, "the window, and a frame"
        (left,) = gateway.sessions
        assert left in ids
        seen = len(other.frames)
        await other.until(lambda: len(other.frames) > seen + 10)
        raw.writer.transport.abort()


async def test_over_http_2_who_takes_nothing_loses_its_stream_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "STALLED_S", 1.0)
    async with running(settings(tmp_path)) as gateway:
        assert gateway.web_address is not None
        reader, writer = await asyncio.open_connection(*gateway.web_address)
        h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        h2c.initiate_connection()
        # Octets of a stream, of which none are given back.
        h2c.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2_000})
        head = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":authority": "localhost"}
        head |= {":path": "/_ws/test" + QUERY, "sec-websocket-version": "13"}
        page_status = ""
        async with asyncio.timeout(20):
            while not page_status:
                writer.write(h2c.data_to_send())
                for event in h2c.receive_data(await reader.read(65536)):
                    if isinstance(event, h2.events.SettingsAcknowledged) and event.changed_settings:
                        h2c.send_headers(1, list(head.items()))
                    elif isinstance(event, h2.events.StreamReset):
                        ask = {":method": "GET", ":scheme": "http", ":path": "/healthz"}
                        h2c.send_headers(3, [*ask.items(), (":authority", "localhost")], end_stream=True)
                    elif isinstance(event, h2.events.ResponseReceived) and event.stream_id == 3:
                        page_status = dict(event.headers)[":status"]
        assert page_status == "200"
        assert not gateway.sessions
        writer.close()


@pytest.mark.parametrize("first_over", ["webtransport", "websocket"])
async def test_a_token_of_one_transport_resumes_on_the_other(tmp_path: Path, first_over: str) -> None:
    begin, go_on = (watching, over_websocket) if first_over == "webtransport" else (over_websocket, watching)
    prefix = {watching: "/test", over_websocket: "test"}
    async with running(settings(tmp_path)) as gateway, begin(gateway) as first:
        await first.until(
            lambda: len(first.track(0)) >= 10 and len(first.track(1)) >= 10 and bool(first.of(Resume))
        )
        newest = [max(first.track(track), key=lambda f: (f.group, f.index)) for track in (0, 1)]
        after = ",".join(f"{f.track}.{f.rendition}.{f.group}.{f.index}" for f in newest)
        query = f"{QUERY}&resume={first.of(Resume)[-1].token}&after={after}"
        async with go_on(gateway, prefix[go_on] + query) as second:
            await second.until(lambda: bool(second.track(0)) and bool(second.track(1)))
            for frame, last in zip((second.track(0)[0], second.track(1)[0]), newest, strict=True):
                assert (frame.group, frame.index) in ((last.group, last.index + 1), (last.group + 1, 0))


async def test_the_end_is_told_in_words_and_as_a_code(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, over_websocket(gateway) as watcher:
        await watcher.until(lambda: bool(watcher.frames))
        gateway.stop()
        await watcher.until(lambda: watcher.end is not None)
        assert watcher.end is not None
        assert watcher.end[0] == CloseCode.GOING_AWAY
        assert watcher.of(Goodbye)[0].code == CloseCode.GOING_AWAY


async def test_there_are_none_where_they_are_switched_off(tmp_path: Path) -> None:
    async with running(settings(tmp_path, websocket=False)) as gateway, httpx.AsyncClient() as http:
        assert "webSocketUrl" not in (await http.get(f"{page(gateway)}/api/v1/transport")).json()
        raw = await Raw.connect(gateway, "test" + QUERY)
        assert raw.head.startswith(("http/1.1 403 ", "http/1.1 404 "))
        raw.writer.close()


# --- the native viewer -------------------------------------------------------------------------------


async def nobody(*_: Any, **__: Any) -> Any:
    """What happens to UDP where it is dropped."""
    await asyncio.Event().wait()


async def refused_by_the_network(*_: Any, **__: Any) -> Any:
    raise TransportError("no UDP here")


async def play(gateway: Gateway, transport: str = "auto", **connect: Any) -> dict[str, Any]:
    """The viewer's figures after thirty pictures."""
    frames: list[Frame] = []
    enough = asyncio.Event()

    def seen(frame: Frame) -> None:
        frames.append(frame)
        if sum(each.track == 0 for each in frames) >= 30:
            enough.set()

    options = ViewOptions(url=f"{page(gateway)}/test", decode=False, transport=transport, delivery="auto")
    viewer = Viewer(options, on_frame=seen, **connect)
    task = asyncio.create_task(viewer.run())
    async with asyncio.timeout(30):
        await asyncio.wait({task, asyncio.ensure_future(enough.wait())}, return_when=asyncio.FIRST_COMPLETED)
    viewer.stop()
    await task
    return viewer.stats()


@pytest.mark.parametrize("connect", [nobody, refused_by_the_network])
async def test_the_viewer_takes_a_websocket_where_webtransport_does_not_open(
    tmp_path: Path, connect: Any
) -> None:
    async with running(settings(tmp_path)) as gateway:
        stats = await play(gateway, connect=connect)
        assert stats["transport"] == "websocket"
        assert stats["reconnects"] == 0


async def test_the_viewer_takes_webtransport_where_both_open(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        assert (await play(gateway, "webtransport"))["transport"] == "webtransport"
        assert (await play(gateway, "websocket"))["transport"] == "websocket"
        assert not gateway.sessions


async def test_a_websocket_is_served_beside_workers(tmp_path: Path) -> None:
    async with running(settings(tmp_path, workers=2)) as gateway, over_websocket(gateway) as watcher:
        assert gateway.pool is not None
        await watcher.until(lambda: len(watcher.track(0)) >= 10 and len(watcher.track(1)) >= 10)
        assert [s.transport for s in gateway.session_summaries()] == ["websocket"]
        token = watcher.of(Resume)[-1].token
        newest = max(watcher.track(0), key=lambda f: (f.group, f.index))
        query = f"{QUERY}&resume={token}&after=0.{newest.rendition}.{newest.group}.{newest.index}"
        async with watching(gateway, "/test" + query) as second:  # a worker takes the token
            await second.until(lambda: bool(second.track(0)))
            assert second.track(0)[0].group >= newest.group
