"""What an operator sees of a real gateway, and has it do: with one process, and with two workers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import pytest_asyncio

from tests.test_gateway import Watcher, running, settings, watching
from wtgateway.config.hooks_model import HookConfig
from wtgateway.events import Event
from wtgateway.gateway import Gateway
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import Trace, Welcome, pack
from wtgateway.transport import steering
from wtgateway.web.schemas import COMPONENTS

METRICS = Path(__file__).parents[1] / "docs" / "metrics.md"
MARK = {"x-wtgateway": "1"}
STAGES = [1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[1, 2], ids=["alone", "workers"])
async def gateway(request: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Started once for all tests of this file: it takes a second, with workers more."""
    if request.param > 1 and (why := steering.why_not()):
        pytest.skip(why)
    config = settings(tmp_path_factory.mktemp("operating"), workers=request.param)
    async with running(config) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    assert gateway.web_address is not None
    host, port = gateway.web_address
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=30) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again: what it waits for happens in other processes."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def id_of(watcher: Watcher) -> str:
    await watcher.until(lambda: bool(watcher.of(Welcome)))
    return str(watcher.of(Welcome)[0].session)


def fits(schema: str, value: Any) -> None:
    root = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": dict(COMPONENTS)}}
    jsonschema.Draft202012Validator(root).validate(value)


async def all_of(events: Any, kinds: set[str]) -> dict[str, Event]:
    """The next event of each kind, whichever comes first."""
    found: dict[str, Event] = {}
    async with asyncio.timeout(30):
        while kinds - set(found):
            event = await anext(events)
            found.setdefault(event.kind, event)
    return found


async def test_a_session_is_seen_sampled_asked_a_keyframe_and_kicked(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    with gateway.events.subscribe() as events:
        async with watching(gateway) as watcher:
            first = await all_of(events, {"session.opened", "broadcast.read"})
            opened = first["session.opened"]
            session = await id_of(watcher)
            assert (opened.fields["session"], opened.fields["broadcast"]) == (session, "test")
            assert opened.fields["transport"] == "webtransport"
            assert first["broadcast.read"].fields == {"broadcast": "test"}
            assert watcher.session is not None
            trace = Trace(frames=[{"track": 0, "group": 1, "index": 2, "stages": STAGES}])
            watcher.session.send(watcher.control, pack(trace), False)
            await until(lambda: len(gateway.session_history(session)) >= 2)
            await until(lambda: bool(gateway.session_history(session)[-1]["latencyMs"]))
            shown = (await http.get(f"/api/v1/sessions/{session}")).json()
            fits("SessionDetails", shown)
            sample = shown["history"][-1]
            assert sample["latencyMs"]["capture"] == 1.0
            assert sample["rateBps"] > 1000
            assert sample["framesSent"] > 1
            groups = {frame.group for frame in watcher.track(0)}
            assert (await http.post(f"/api/v1/sessions/{session}/keyframe", headers=MARK)).status_code == 204
            await watcher.until(lambda: {f.group for f in watcher.track(0)} > groups)
            gone = await http.delete(f"/api/v1/sessions/{session}?reason=enough", headers=MARK)
            assert gone.status_code == 204
            await watcher.until(lambda: watcher.end is not None)
            assert watcher.end == (CloseCode.KICKED, "enough")
            last = await all_of(events, {"session.closed", "broadcast.unread"})  # in either order
            closed = last["session.closed"]
            assert closed.fields["session"] == session
            assert (closed.fields["code"], closed.fields["reason"]) == (CloseCode.KICKED, "enough")
            assert closed.fields["frames_sent"] > 0
            assert last["broadcast.unread"].fields == {"broadcast": "test"}
    assert not await gateway.kick(session, 0, "again")
    assert not await gateway.request_keyframe("none")
    await until(lambda: not gateway.session_history(session))


async def test_a_qlog_has_the_packets_of_both_directions_and_no_secret(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    async with watching(gateway) as watcher:
        session = await id_of(watcher)
        path = f"/api/v1/sessions/{session}/qlog"
        assert (await http.get(path)).status_code == 404
        assert (await http.post(path, headers=MARK)).status_code == 204
        frames = len(watcher.frames)
        await watcher.until(lambda: len(watcher.frames) > frames + 20)
        events: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while {"transport:packet_sent", "transport:packet_received"} - {e.get("name") for e in events}:
                answer = await http.get(path)
                events = [json.loads(line) for line in answer.text.split("\x1e")[1:]]
        assert answer.headers["content-type"] == "application/qlog+json-seq"
        assert (events[0]["qlog_format"], events[0]["qlog_version"]) == ("JSON-SEQ", "0.3")
        sent = [e["data"] for e in events if e.get("name") == "transport:packet_sent"]
        media = [f for packet in sent for f in packet["frames"] if f["frame_type"] == "stream"]
        assert len({frame["stream_id"] for frame in media}) > 5
        numbers = [packet["header"]["packet_number"] for packet in sent]
        assert numbers == sorted(set(numbers))
        received = [e["data"] for e in events if e.get("name") == "transport:packet_received"]
        assert any(f["frame_type"] == "ack" for packet in received for f in packet["frames"])
        assert [e["time"] for e in events[1:]] == sorted(e["time"] for e in events[1:])
        assert (await http.delete(path, headers=MARK)).status_code == 204
        assert (await http.get(path)).status_code == 404
        frames = len(watcher.frames)
        await watcher.until(lambda: len(watcher.frames) > frames + 20)  # it goes on as before
        await http.post(path, headers=MARK)
    # one that ends while it is noted ends in order
    await until(lambda: not gateway.session_summaries())


async def test_the_gateway_as_a_whole(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await until(lambda: len(gateway.gateway_history()) >= 2)
    overview = (await http.get("/api/v1/overview")).json()
    fits("Overview", overview)
    assert overview["ready"]
    assert overview["broadcasts"]["total"] == 1
    names = {process["name"] for process in overview["processes"]}
    assert names == ({"main"} if gateway.pool is None else {"main", "worker-0", "worker-1"})
    assert all(process["rssBytes"] > 1 << 20 for process in overview["processes"])
    await until(lambda: bool(gateway.broadcast_history("test")))
    fits("BroadcastDetails", (await http.get("/api/v1/broadcasts/test")).json())
    config = (await http.get("/api/v1/config")).json()
    assert config["workers"] == gateway.config.workers
    assert config["broadcasts"]["test"]["source"] == "test:?size=320x180"


async def test_all_metrics_of_a_gateway_are_documented(gateway: Gateway, http: httpx.AsyncClient) -> None:
    documented = set(re.findall(r"^\| `(wtgateway_\w+)`", METRICS.read_text(), re.MULTILINE))
    async with watching(gateway) as watcher:
        session = await id_of(watcher)
        await until(lambda: any(s.id == session for s in gateway.session_summaries()))
        text = (await http.get("/metrics")).text
    found = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert found <= documented, found - documented
    assert 'wtgateway_broadcast_sessions{broadcast="test",transport="webtransport"} 1' in text
    processes = set(re.findall(r'wtgateway_process_open_fds{process="([^"]+)"}', text))
    loops = set(re.findall(r'wtgateway_event_loop_lag_seconds_count{process="([^"]+)"}', text))
    assert processes == loops == {process.name for process in gateway.processes()}
    assert 'wtgateway_events_total{kind="session.opened"}' in text


async def test_hooks_run_for_what_happens_to_a_gateway(tmp_path: Path) -> None:
    """From the source that is there to the last viewer who leaves with the gateway itself."""
    out = tmp_path / "out"

    def says(event: str) -> HookConfig:
        return HookConfig((f'echo "{event} $WTG_BROADCAST $WTG_TRANSPORT $WTG_CODE" >> "{out}"',), shell=True)

    names = ("available", "unavailable", "read", "unread", "connect", "disconnect")
    config = settings(tmp_path, hooks={f"run_on_{name}": says(name) for name in names})
    async with running(config) as gateway:
        await until(lambda: out.exists() and "available test" in out.read_text())
        async with watching(gateway) as watcher:
            await watcher.until(lambda: len(watcher.frames) > 3)
            await until(lambda: {"read", "connect"} <= {line.split()[0] for line in lines_of(out)})
        await until(lambda: {"unread", "disconnect"} <= {line.split()[0] for line in lines_of(out)})
        assert gateway.operation.listener.commands.counters["failed"] == 0
    lines = lines_of(out)
    assert "connect test webtransport " in lines
    assert f"disconnect test  {int(CloseCode.NORMAL)}" in lines
    assert gateway.operation.listener.commands.running == 0


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


async def test_a_certificate_is_made_that_follows_soon(gateway: Gateway, http: httpx.AsyncClient) -> None:
    before = {each["sha256"] for each in (await http.get("/api/v1/certificates")).json()}
    after = (await http.post("/api/v1/certificates/rotate", headers=MARK)).json()
    for each in after:
        fits("Certificate", each)
    assert {each["sha256"] for each in after} - before
    assert after[0]["current"]
    assert after[0]["sha256"] in before


async def test_the_log_level_is_that_of_all_processes(gateway: Gateway, http: httpx.AsyncClient) -> None:
    logger = logging.getLogger("wtgateway")
    before = logger.level
    try:
        assert (await http.put("/api/v1/log-level", json={"level": "error"})).status_code == 200
        assert logger.level == logging.ERROR
        assert (await http.get("/api/v1/log-level")).json() == {"level": "error"}
    finally:
        await gateway.set_log_level("info")
        logger.setLevel(before)


async def test_events_are_streamed_to_the_end(gateway: Gateway, http: httpx.AsyncClient) -> None:
    async with http.stream("GET", "/api/v1/events?kinds=degraded") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        gateway.events.publish("recovered", what="not asked for")
        gateway.events.publish("degraded", what="disk")
        async with asyncio.timeout(30):
            data = [line async for line in _until(lines, "data: ")]
    value = json.loads(data[-1].removeprefix("data: "))
    fits("Event", value)
    assert (value["kind"], value["fields"]) == ("degraded", {"what": "disk"})


async def _until(lines: Any, beginning: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith(beginning):
            return


async def test_the_end_of_the_gateway_is_the_end_of_a_stream(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        assert gateway.web_address is not None
        host, port = gateway.web_address
        async with (
            httpx.AsyncClient(timeout=30) as client,
            client.stream("GET", f"http://{host}:{port}/api/v1/events") as stream,
        ):
            lines = stream.aiter_lines()
            await anext(lines)
            gateway.stop()
            async with asyncio.timeout(30):
                rest = [line async for line in lines]
    assert rest[-1] == ""
