"""The whole gateway in one process on loopback sockets, watched by the native transport client."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from wtgateway.announce import announce, ready_facts
from wtgateway.config import Address, ApiConfig, BroadcastConfig, GatewayConfig
from wtgateway.config.allowed_sources import parse_rules
from wtgateway.errors import ConfigError, SessionRefused, WtgatewayError
from wtgateway.gateway import Gateway
from wtgateway.media import Frame
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import Certificates, Goodbye, Message, MessageReader, Ping, Pong, State, pack
from wtgateway.protocol.wire import FrameParser
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.webtransport import WebTransportSession

QUERY = "?v=1&subscribe=video,audio&delivery=stream"


@dataclass
class Watcher:
    """A SessionHandler that keeps what comes and lets a test wait for conditions."""

    frames: list[Frame] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    resets: int = 0
    end: tuple[int, str] | None = None
    session: WebTransportSession | None = None
    control: int = -1
    _parsers: dict[int, FrameParser] = field(default_factory=dict)
    _reader: MessageReader = field(default_factory=MessageReader)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self, session: WebTransportSession) -> None:
        self.session = session

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        if stream_id & 2:
            parser = self._parsers.setdefault(stream_id, FrameParser())
            self.frames += parser.feed(data)
            if fin:
                assert self._parsers.pop(stream_id).idle
        else:
            self.control = stream_id
            self.messages += self._reader.feed(data)
        self._changed.set()

    def stream_reset(self, stream_id: int, code: int) -> None:
        self.resets += 1

    def stop_sending(self, stream_id: int, code: int) -> None: ...

    def datagram(self, data: bytes) -> None: ...

    def writable(self) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        self.end = (code, reason)
        self._changed.set()

    def of(self, kind: type[Message]) -> list[Any]:
        return [m for m in self.messages if isinstance(m, kind)]

    def track(self, track: int) -> list[Frame]:
        return [f for f in self.frames if f.track == track]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def settings(tmp_path: Path, **changes: Any) -> GatewayConfig:
    return replace(
        GatewayConfig(
            bind=Address("localhost", 0),
            web=Address("127.0.0.1", 0),
            certs_dir=tmp_path / "certs",
            api=ApiConfig(allowed_sources=parse_rules("test:")),
            broadcasts=(BroadcastConfig(name="test", source="test:?size=320x180"),),
        ),
        **changes,
    )


@asynccontextmanager
async def running(config: GatewayConfig) -> AsyncIterator[Gateway]:
    gateway, ready = Gateway(config), asyncio.Event()
    task = asyncio.create_task(gateway.run(lambda _: ready.set()))
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield gateway
    finally:
        gateway.stop()
        await task


@asynccontextmanager
async def watching(gateway: Gateway, path: str = "/test" + QUERY) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    host, port = next(a for a in gateway.quic_addresses if ":" not in a[0])
    hashes = [entry["value"] for entry in gateway.certificate_hashes()]
    session = await connect(f"https://{host}:{port}{path}", watcher, certificate_hashes=hashes)
    try:
        yield watcher
    finally:
        await disconnect(session)


async def test_every_frame_arrives_in_order_with_sound(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, watching(gateway) as watcher:
        await watcher.until(lambda: len(watcher.track(0)) >= 30 and len(watcher.track(1)) >= 30)
        pictures = sorted(watcher.track(0), key=lambda f: (f.group, f.index))
        assert pictures[0].keyframe
        by_group: dict[int, list[int]] = {}
        for frame in pictures:
            by_group.setdefault(frame.group, []).append(frame.index)
        for indices in by_group.values():
            assert indices == list(range(len(indices)))
        assert all(b.pts_us > a.pts_us for a, b in itertools.pairwise(pictures))
        assert watcher.resets == 0


async def test_a_second_viewer_gets_the_same_bytes(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        async with watching(gateway) as first, watching(gateway) as second:
            await second.until(lambda: len(second.track(0)) >= 10)
            await first.until(lambda: len(first.track(0)) >= 10)
            theirs = {(f.group, f.index): f.payload for f in first.track(0)}
            common = [f for f in second.track(0) if (f.group, f.index) in theirs]
            assert common
            assert all(theirs[f.group, f.index] == f.payload for f in common)
            assert len(gateway.sessions) == 2
        await first.until(lambda: not gateway.sessions or first.end is not None)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nothing" + QUERY, 404), ("/test?v=2", 421), ("/test?subscribe=smell", 400), ("/../etc", 400)],
)
async def test_a_refusal_says_why(tmp_path: Path, path: str, status: int) -> None:
    async with running(settings(tmp_path)) as gateway:
        with pytest.raises(SessionRefused) as caught:
            async with watching(gateway, path):
                pass
        assert caught.value.status in (status, 404 if path.startswith("/..") else status)
        assert caught.value.reason


async def test_pings_are_answered_in_gateway_time(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, watching(gateway) as watcher:
        await watcher.until(lambda: watcher.control >= 0)
        assert watcher.session is not None
        watcher.session.send(watcher.control, pack(Ping(id=7, client_us=123)))
        watcher.session.flush()
        await watcher.until(lambda: bool(watcher.of(Pong)))
        (pong,) = watcher.of(Pong)
        assert (pong.id, pong.client_us) == (7, 123)


async def test_rotation_touches_no_session_and_is_announced_before(tmp_path: Path) -> None:
    config = settings(tmp_path, cert_rotate_s=1.0)
    async with running(config) as gateway, watching(gateway) as watcher:
        first = gateway.certificate_hashes()
        await watcher.until(lambda: len(watcher.of(Certificates)) >= 3)
        assert watcher.end is None
        told = [entry["value"] for message in watcher.of(Certificates) for entry in message.hashes]
        assert first[1]["value"] in told
        assert gateway.certificate_hashes()[0]["value"] in told
        async with watching(gateway) as another:
            await another.until(lambda: len(another.frames) > 0)
        frames = len(watcher.frames)
        await watcher.until(lambda: len(watcher.frames) > frames + 5)


async def test_viewers_are_told_before_the_gateway_stops(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, watching(gateway) as watcher:
        await watcher.until(lambda: len(watcher.frames) > 0)
        gateway.stop()
        await watcher.until(lambda: watcher.end is not None)
        assert watcher.end is not None
        assert watcher.end[0] == CloseCode.GOING_AWAY
        (goodbye,) = watcher.of(Goodbye)
        assert goodbye.retry_after_ms > 0


async def test_a_source_that_is_away_is_told_and_does_not_disturb_others(tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        broadcasts=(
            BroadcastConfig(name="away", source=str(tmp_path / "not-yet.mp4")),
            BroadcastConfig(name="test", source="test:?size=320x180"),
        ),
    )
    async with (
        running(config) as gateway,
        watching(gateway) as good,
        watching(gateway, "/away" + QUERY) as bad,
    ):
        await bad.until(lambda: any(m.state == "retrying" for m in bad.of(State)))
        state = next(m for m in bad.of(State) if m.state == "retrying")
        assert "not-yet.mp4" in state.reason
        assert state.retry_in_ms > 0
        await good.until(lambda: len(good.track(0)) > 5)
        assert bad.end is None


async def test_the_api_tells_what_plays(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway, watching(gateway) as watcher:
        await watcher.until(lambda: bool(watcher.track(0) and watcher.track(1)))
        assert gateway.web_address is not None
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.web_address[1]}") as client:
            (broadcast,) = (await client.get("/api/v1/broadcasts")).json()
            assert (broadcast["name"], broadcast["state"], broadcast["viewers"]) == ("test", "live", 1)
            assert {t["kind"] for t in broadcast["tracks"]} == {"video", "audio"}
            transport = (await client.get("/api/v1/transport")).json()
            assert transport["url"] == f"https://127.0.0.1:{gateway.quic_addresses[0][1]}"
            assert len(transport["certificateHashes"]) == 2
            assert (await client.get("/readyz")).status_code == 200


async def test_a_taken_port_is_an_error_in_words_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = settings(tmp_path, web=Address("127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(WtgatewayError, match="another port"):
            async with running(config):
                pass


async def test_a_source_that_cannot_be_is_refused_before_the_start(tmp_path: Path) -> None:
    broadcasts = (BroadcastConfig(name="odd", source="gopher://example/1"),)
    with pytest.raises(ConfigError, match="odd"):
        async with running(settings(tmp_path, broadcasts=broadcasts)):
            pass


@pytest.mark.parametrize(
    ("bind", "page", "host"),
    [
        ("127.0.0.1", "localhost:8080", "127.0.0.1"),
        ("localhost", "localhost:8080", "localhost"),
        ("localhost", "[::1]:8080", "[::1]"),
        ("::", "gateway.lan", "gateway.lan"),
    ],
)
async def test_a_page_is_sent_to_an_address_that_listens(
    tmp_path: Path, bind: str, page: str, host: str
) -> None:
    async with running(settings(tmp_path, bind=Address(bind, 0))) as gateway:
        assert gateway.transport_url(page) == f"https://{host}:{gateway.quic_addresses[0][1]}"


async def test_the_ready_block_names_what_a_user_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(settings(tmp_path)) as gateway:
        announce(gateway)
        text = capsys.readouterr().out
        assert ready_facts(gateway)["page"] in text
        assert "(UDP)" in text
        gateway.config = replace(gateway.config, json_log=True)
        announce(gateway)
        facts = json.loads(capsys.readouterr().out)
        assert facts["event"] == "ready"
        assert facts["broadcasts"] == {"test": "test:?size=320x180"}
