"""Gateways that end while they are watched: their viewers go elsewhere first. Real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.test_gateway import QUERY, Watcher, running, settings, watching
from wtgateway.cluster import make_secret
from wtgateway.config import ClusterConfig
from wtgateway.errors import TransportError
from wtgateway.gateway import Gateway
from wtgateway.media import Frame
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import Drain, Feedback, Goodbye, Resume, Welcome, pack
from wtgateway.transport import client as transport_client
from wtgateway.transport import session as session_module
from wtgateway.transport import steering
from wtgateway.viewer.client import Viewer, ViewOptions

LONG_S = 600.0  # never waited for


async def until(condition: Callable[[], Any]) -> None:
    """Look again and again: what it waits for happens elsewhere."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def counted(gateway: Gateway) -> Counter[str]:
    total: Counter[str] = Counter()
    for worker in gateway.worker_summaries():
        total.update(worker.counters)
    return total


def resumes(gateway: Gateway) -> dict[str, int]:
    return {
        name.removeprefix("resumes_"): value
        for name, value in counted(gateway).items()
        if name.startswith("resumes_")
    }


def address(gateway: Gateway) -> str:
    host, port = next(a for a in gateway.quic_addresses if ":" not in a[0])
    return f"https://{host}:{port}"


class Balancer:
    """Viewers know one address; each connection goes to the node that takes new ones."""

    def __init__(self, *nodes: Gateway) -> None:
        self.nodes = nodes
        self.urls: list[str] = []

    async def connect(self, url: str, handler: Any, **options: Any) -> Any:
        self.urls.append(url)
        node = next(node for node in self.nodes if node.ready())
        return await transport_client.connect(
            url.replace(address(self.nodes[0]), address(node)), handler, **options
        )

    def viewer(self, on_frame: Callable[[Frame], None], *, audio: bool = True) -> Viewer:
        hashes = tuple(entry["value"] for entry in self.nodes[0].certificate_hashes())
        options = ViewOptions(url=f"{address(self.nodes[0])}/test", hashes=hashes, decode=False, audio=audio)
        return Viewer(options, on_frame=on_frame, on_notice=lambda _: None, connect=self.connect)


async def page(gateway: Gateway, path: str) -> httpx.Response:
    assert gateway.web_address is not None
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://{gateway.web_address[0]}:{gateway.web_address[1]}{path}")


async def test_a_drained_gateway_ends_when_its_viewers_play_elsewhere(tmp_path: Path) -> None:
    make_secret(tmp_path / "secret")
    cluster = ClusterConfig(secret=tmp_path / "secret")
    config = settings(tmp_path, cluster=cluster, drain_timeout_s=LONG_S)
    frames: list[Frame] = []
    async with running(config) as b:
        async with running(config) as a:
            balancer = Balancer(a, b)
            viewer = balancer.viewer(frames.append)
            task = asyncio.create_task(viewer.run())
            await until(lambda: len(frames) > 20 and viewer.core and viewer.core.resume)
            a.stop()
            await until(lambda: a.node_summary().viewers == 0)  # long before the time is over
        assert viewer.core is not None
        assert viewer.core.welcome is not None
        assert viewer.core.welcome.instance == b.node_summary().instance != a.node_summary().instance
        seen = len(frames)
        await until(lambda: len(frames) > seen + 20)
        viewer.stop()
        await task
        assert resumes(b) == {"elsewhere": 1}
    stats = viewer.stats()
    assert (stats["roams"], stats["reconnects"], stats["gaps"]) == (1, 0, 0)
    assert len(balancer.urls) == 2
    assert "&resume=" in balancer.urls[1]


async def test_while_it_drains_nobody_is_taken_in_and_a_second_wish_ends_it(tmp_path: Path) -> None:
    config = settings(tmp_path, drain_timeout_s=LONG_S, node="a")
    async with running(config) as gateway, watching(gateway) as watcher:
        await watcher.until(lambda: len(watcher.frames) > 0)
        before = (await page(gateway, "/api/v1/node")).json()
        assert before == {
            "node": "a", "serverId": "", "draining": False, "viewers": 1, "lbConfig": "",
            "instance": watcher.of(Welcome)[0].instance,
        }  # fmt: skip
        gateway.stop()
        await watcher.until(lambda: bool(watcher.of(Drain)))
        assert 0 < watcher.of(Drain)[0].within_ms <= LONG_S * 1000
        ready = await page(gateway, "/readyz")
        assert (ready.status_code, ready.text) == (503, "not ready: viewers are sent to other nodes\n")
        assert (await page(gateway, "/api/v1/node")).json() == before | {"draining": True}
        assert "wtgateway_draining 1" in (await page(gateway, "/metrics")).text
        assert (await page(gateway, "/api/v1/transport")).status_code == 200
        with pytest.raises(TransportError, match="0x2"):  # CONNECTION_REFUSED
            async with watching(gateway):
                pass
        assert counted(gateway)["connections_refused"] >= 1
        frames = len(watcher.frames)
        await watcher.until(lambda: len(watcher.frames) > frames + 5)  # and is served on
        gateway.stop()
        await watcher.until(lambda: watcher.end is not None)
        assert watcher.end is not None
        assert watcher.end[0] == CloseCode.GOING_AWAY
        assert watcher.of(Goodbye)[0].retry_after_ms > 0


async def test_who_does_not_go_is_told_goodbye_when_the_time_is_over(tmp_path: Path) -> None:
    config = settings(tmp_path, drain_timeout_s=0.2)
    async with running(config) as gateway, watching(gateway) as watcher:
        await watcher.until(lambda: len(watcher.frames) > 0)
        gateway.stop()
        await watcher.until(lambda: watcher.end is not None)
        assert watcher.of(Drain)
        assert watcher.of(Goodbye)


def token(watcher: Watcher) -> str:
    return str(watcher.of(Resume)[-1].token)


async def test_a_session_goes_on_where_another_stopped_and_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "SETTLED_S", 0.0)
    async with running(settings(tmp_path)) as gateway, watching(gateway) as first:
        await first.until(lambda: len(first.track(0)) > 10 and bool(first.of(Resume)))
        place = max((f.group, f.index) for f in first.track(0))
        query = f"?resume={token(first)}&after=0.0.{place[0]}.{place[1]}"
        async with watching(gateway, "/test" + query) as second:
            await second.until(lambda: len(second.track(0)) > 5)
            begins = min((f.group, f.index) for f in second.track(0))
            assert begins in ((place[0], place[1] + 1), (place[0] + 1, 0))
            assert counted(gateway)["tracks_continued"] == 1
            assert first.end is None
            assert second.session is not None
            second.session.send(second.control, pack(Feedback(track=0, frames_received=5)))
            second.session.flush()
            await first.until(lambda: first.end is not None)
            assert first.end is not None
            assert first.end[0] == CloseCode.NORMAL
            assert list(gateway.sessions) == [second.of(Welcome)[0].session]
        assert resumes(gateway) == {"here": 1}


@pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not())
async def test_workers_drain_and_refuse_a_token_that_another_one_took(tmp_path: Path) -> None:
    config = settings(tmp_path, workers=2, drain_timeout_s=LONG_S)
    async with running(config) as gateway, watching(gateway) as first, watching(gateway) as second:
        await first.until(lambda: bool(first.of(Resume)))
        await until(lambda: [w.sessions for w in gateway.worker_summaries()][:2] == [1, 1])
        query = f"/test{QUERY}&resume={token(first)}"
        async with watching(gateway, query) as third:
            await third.until(lambda: bool(third.of(Welcome)))
            assert gateway.pool is not None
            used = gateway.pool._used
            await until(lambda: len(used) == 1)
            # More connections go where fewer are: some of these at the other worker.
            async with watching(gateway, query) as fourth, watching(gateway, query) as fifth:
                await until(lambda: resumes(gateway) == {"here": 1, "used": 2})
                assert fourth.of(Welcome)[0].instance == fifth.of(Welcome)[0].instance
                sessions = {s.id: s.worker for s in gateway.session_summaries()}
                workers = {sessions[w.of(Welcome)[0].session] for w in (third, fourth, fifth)}
                assert workers == {0, 1}
        gateway.stop()
        for watcher in (first, second):
            await watcher.until(lambda watcher=watcher: bool(watcher.of(Drain)))  # type: ignore[misc]
        with pytest.raises(TransportError):
            async with watching(gateway):
                pass
        await transport_client.disconnect(first.session)  # type: ignore[arg-type]
        await transport_client.disconnect(second.session)  # type: ignore[arg-type]
        await until(lambda: gateway.node_summary().viewers == 0)
