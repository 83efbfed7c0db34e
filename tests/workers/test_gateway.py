"""A gateway with several workers, on loopback sockets: what viewers get, and what a death costs whom."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.test_gateway import QUERY, Watcher, running, settings, watching
from wtgateway.config import Address, TransportConfig
from wtgateway.errors import SessionRefused, TransportError
from wtgateway.gateway import Gateway
from wtgateway.media import Frame
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import Certificates, Goodbye, Ping, Trace, Welcome, pack
from wtgateway.transport import steering
from wtgateway.viewer.client import Viewer, ViewOptions
from wtgateway.web.view import WorkerSummary

TRACE = Trace(frames=[{"track": 0, "group": 1, "index": 2, "stages": [1000] * 9}])

pytestmark = [
    pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not()),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Two workers, started once: it takes seconds."""
    async with running(settings(tmp_path_factory.mktemp("lasting"), workers=2)) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(lasting: Gateway) -> Gateway:
    """One with two workers, all of whom are well, that nobody watches; the test leaves it so."""
    pool = lasting.pool
    assert pool is not None
    await until(lambda: not any(pool._board.connections(number) for number in range(2)))
    await until(lambda: not lasting.session_summaries())
    return lasting


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again: what it waits for happens in other processes."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def session_of(watcher: Watcher) -> str:
    (welcome,) = watcher.of(Welcome)
    return str(welcome.session)


async def worker_of(gateway: Gateway, watcher: Watcher) -> int:
    """Which worker serves a watcher, as the API says."""
    await watcher.until(lambda: bool(watcher.of(Welcome)))

    def found() -> list[int]:
        return [s.worker for s in gateway.session_summaries() if s.id == session_of(watcher)]

    await until(lambda: bool(found()))
    return found()[0]


def assert_no_gap(frames: list[Frame]) -> None:
    """Every picture of every group that was begun."""
    pictures = sorted((f.group, f.index) for f in frames if f.track == 0)
    assert pictures[0][1] == 0
    for before, after in itertools.pairwise(pictures):
        assert after in ((before[0], before[1] + 1), (before[0] + 1, 0)), (before, after)


@asynccontextmanager
async def one_viewer_each(gateway: Gateway, workers: int = 2) -> AsyncIterator[list[Watcher]]:
    """A watcher on each worker, by the worker's number."""
    async with AsyncExitStack() as stack:
        watchers = [await stack.enter_async_context(watching(gateway)) for _ in range(workers)]
        numbers = [await worker_of(gateway, watcher) for watcher in watchers]
        assert sorted(numbers) == list(range(workers)), "the second viewer goes where there is none"
        yield [watchers[numbers.index(number)] for number in range(workers)]


async def test_viewers_of_all_workers_get_the_same_frames(gateway: Gateway) -> None:
    async with one_viewer_each(gateway) as watchers:
        for watcher in watchers:
            await watcher.until(lambda w=watcher: len(w.track(0)) >= 30 and len(w.track(1)) >= 30)
        one, other = ({(f.track, f.group, f.index): f for f in w.frames} for w in watchers)
        common = one.keys() & other.keys()
        assert len([key for key in common if key[0] == 0]) >= 10
        assert len([key for key in common if key[0] == 1]) >= 10
        assert all(one[key] == other[key] for key in common)
        for watcher in watchers:
            assert_no_gap(watcher.frames)
        await until(lambda: next(iter(gateway.hub)).viewers == 2)


async def test_both_families_lead_to_the_workers(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {a[0] for a in gateway.quic_addresses} == {"127.0.0.1", "::1"}
    assert len({a[1] for a in gateway.quic_addresses}) == 1
    v4 = list(gateway.quic_addresses)
    for host in ("127.0.0.1", "[::1]"):
        monkeypatch.setattr(gateway, "quic_addresses", [(host, v4[0][1])] if ":" not in host else v4)
        async with watching(gateway) as watcher:
            await watcher.until(lambda w=watcher: len(w.frames) > 5)


async def test_viewers_are_spread_evenly(gateway: Gateway) -> None:
    """Not only in the mean: whoever comes goes where the fewest are."""
    async with AsyncExitStack() as stack:
        for number in range(1, 13):
            await stack.enter_async_context(watching(gateway))
            await until(lambda n=number: len(gateway.session_summaries()) == n)
            counts = Counter(s.worker for s in gateway.session_summaries())
            assert abs(counts[0] - counts[1]) <= 1


async def test_addresses_that_were_proven_to_one_worker_are_proven_to_all(tmp_path: Path) -> None:
    """Each client gets a Retry from the worker where it knocks, and may be handed over behind it."""
    config = settings(tmp_path, workers=2, transport=TransportConfig(retry_above=0.0))
    async with running(config) as gateway, AsyncExitStack() as stack:
        for number in range(1, 9):
            watcher = await stack.enter_async_context(watching(gateway))
            await watcher.until(lambda w=watcher: len(w.frames) > 2)
            await until(lambda n=number: len(gateway.session_summaries()) == n)
        counts = Counter(s.worker for s in gateway.session_summaries())
        assert counts[0] == counts[1] == 4
        await until(lambda: sum(w.counters.get("retries", 0) for w in gateway.worker_summaries()) >= 8)


def workers_of(gateway: Gateway) -> list[WorkerSummary]:
    """The processes that serve viewers; the main process, which has WebSockets, is counted beside them."""
    assert gateway.pool is not None
    return gateway.pool.worker_summaries()


async def test_a_death_costs_the_others_nothing_and_its_own_viewers_little(tmp_path: Path) -> None:
    async with running(settings(tmp_path, workers=2)) as gateway, AsyncExitStack() as stack:
        assert gateway.pool is not None
        assert gateway.web_address is not None
        frames: list[Frame] = []
        notices: list[str] = []
        page = f"http://127.0.0.1:{gateway.web_address[1]}/test"
        viewer = Viewer(ViewOptions(url=page, decode=False), on_frame=frames.append, on_notice=notices.append)
        task = asyncio.create_task(viewer.run())
        await until(lambda: len(gateway.session_summaries()) == 1 and len(frames) > 5)
        victim = gateway.session_summaries()[0].worker
        watcher = await stack.enter_async_context(watching(gateway))
        assert await worker_of(gateway, watcher) != victim
        await watcher.until(lambda: len(watcher.track(0)) >= 20)

        pid = gateway.pool.process_ids()[victim]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        before = len(frames)
        # Told by a reset it comes back; if its own silence tells it first, it has another session by then.
        # A busy machine may be silent more than once.
        figures = viewer.figures
        await until(lambda: figures.reconnects + figures.roams >= 1 and len(frames) >= before + 20)
        await watcher.until(lambda: len(watcher.track(0)) >= 80)
        assert_no_gap(watcher.frames)
        assert watcher.end is None
        assert watcher.resets == 0
        assert figures.roams or any("lost the connection" in notice for notice in notices)
        assert gateway.pool.process_ids()[victim] not in (pid, None)
        await until(lambda: [w.restarts for w in workers_of(gateway)] == [int(n == victim) for n in range(2)])
        await until(lambda: next(iter(gateway.hub)).viewers == 2)
        viewer.stop()
        await task


async def test_viewers_of_a_dead_worker_are_not_counted_any_more(tmp_path: Path) -> None:
    async with running(settings(tmp_path, workers=2)) as gateway, one_viewer_each(gateway):
        assert gateway.pool is not None
        broadcast = next(iter(gateway.hub))
        await until(lambda: broadcast.viewers == 2)
        pid = gateway.pool.process_ids()[0]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: broadcast.viewers == 1 and len(gateway.session_summaries()) == 1)
        assert [w.restarts for w in workers_of(gateway)] == [1, 0]


async def test_a_worker_that_stands_still_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wtgateway.workers.pool.WATCH_EVERY_S", 0.3)
    monkeypatch.setattr("wtgateway.workers.pool.MOST_SILENT", 3)
    async with running(settings(tmp_path, workers=2)) as gateway:
        assert gateway.pool is not None
        pid = gateway.pool.process_ids()[1]
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: [w.restarts for w in workers_of(gateway)] == [0, 1])
        await until(lambda: all(w.up for w in workers_of(gateway)))


async def test_a_worker_does_not_mind_the_signals_of_a_terminal(gateway: Gateway) -> None:
    async with one_viewer_each(gateway) as watchers:
        assert gateway.pool is not None
        for pid in gateway.pool.process_ids():
            assert pid is not None
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        for watcher in watchers:
            count = len(watcher.frames)
            await watcher.until(lambda w=watcher, c=count: len(w.frames) > c + 20)
        assert [w.restarts for w in workers_of(gateway)] == [0, 0]


async def test_rotation_reaches_the_viewers_of_all_workers(tmp_path: Path) -> None:
    config = settings(tmp_path, workers=2, cert_rotate_s=1.0)
    async with running(config) as gateway, one_viewer_each(gateway) as watchers:
        for watcher in watchers:
            await watcher.until(lambda w=watcher: len(w.of(Certificates)) >= 3)
            told = [entry["value"] for message in watcher.of(Certificates) for entry in message.hashes]
            assert gateway.certificate_hashes()[0]["value"] in told
            assert watcher.end is None
        # watching() accepts none but the certificates that are announced now
        async with one_viewer_each_more(gateway):
            pass


@asynccontextmanager
async def one_viewer_each_more(gateway: Gateway) -> AsyncIterator[None]:
    async with watching(gateway) as one, watching(gateway) as other:
        assert await worker_of(gateway, one) != await worker_of(gateway, other)
        for watcher in (one, other):
            await watcher.until(lambda w=watcher: len(w.frames) > 0)
        yield


async def test_viewers_of_all_workers_are_told_before_the_gateway_stops(tmp_path: Path) -> None:
    async with running(settings(tmp_path, workers=2)) as gateway, one_viewer_each(gateway) as watchers:
        assert gateway.pool is not None
        pids = gateway.pool.process_ids()
        for watcher in watchers:
            await watcher.until(lambda w=watcher: len(w.frames) > 0)
        gateway.stop()
        for watcher in watchers:
            await watcher.until(lambda w=watcher: w.end is not None)
            assert watcher.end is not None
            assert watcher.end[0] == CloseCode.GOING_AWAY
            (goodbye,) = watcher.of(Goodbye)
            assert goodbye.retry_after_ms > 0
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_refusal_says_why(gateway: Gateway) -> None:
    with pytest.raises(SessionRefused) as caught:
        async with watching(gateway, "/nothing" + QUERY):
            pass
    assert caught.value.status == 404


async def test_the_api_and_the_metrics_span_the_workers(gateway: Gateway) -> None:
    async with one_viewer_each(gateway) as watchers:
        assert gateway.web_address is not None
        for watcher in watchers:
            await watcher.until(lambda w=watcher: len(w.frames) > 10)
            assert watcher.session is not None
            watcher.session.send(watcher.control, pack(TRACE))
        await until(lambda: all(s.frames_sent > 10 for s in gateway.session_summaries()))
        await until(lambda: all(w.stage_times for w in workers_of(gateway)))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.web_address[1]}") as client:
            listed = (await client.get("/api/v1/sessions")).json()
            assert {s["id"] for s in listed} == {session_of(w) for w in watchers}
            assert {s["worker"] for s in listed} == {0, 1}
            (broadcast,) = (await client.get("/api/v1/broadcasts")).json()
            assert broadcast["viewers"] == 2
            text = (await client.get("/metrics")).text
        samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        for worker in range(2):
            assert samples[f'wtgateway_worker_up{{worker="{worker}"}}'] == "1"
            assert samples[f'wtgateway_sessions{{worker="{worker}"}}'] == "1"
            assert samples[f'wtgateway_worker_restarts_total{{worker="{worker}"}}'] == "0"
            assert int(samples[f'wtgateway_frames_sent_total{{worker="{worker}"}}']) > 0
            assert int(samples[f'wtgateway_datagrams_in_total{{worker="{worker}"}}']) > 0
            of_trace = f'{{broadcast="test",worker="{worker}"}}'
            assert samples[f"wtgateway_frame_latency_seconds_count{of_trace}"] == "1"
            assert float(samples[f"wtgateway_frame_latency_seconds_sum{of_trace}"]) == 0.009
        assert samples['wtgateway_broadcast_viewers{broadcast="test"}'] == "2"


async def test_wishes_of_viewers_come_through(gateway: Gateway) -> None:
    """A keyframe that a viewer asks for is made, and all viewers get it."""
    from wtgateway.protocol.messages import KeyframeRequest

    async with one_viewer_each(gateway) as watchers:
        asking, other = watchers
        for watcher in watchers:
            await watcher.until(lambda w=watcher: len(w.track(0)) > 10)
        newest = max(f.group for f in other.track(0))
        assert asking.session is not None
        asking.session.send(asking.control, pack(KeyframeRequest(track=0, reason="decoder")))
        asking.session.send(asking.control, pack(Ping(id=1, client_us=1)))
        asking.session.flush()
        for watcher in watchers:
            await watcher.until(lambda w=watcher: max(f.group for f in w.track(0)) > newest)


async def test_where_datagrams_cannot_be_steered_there_is_one_worker_and_a_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steering, "why_not", lambda: "this system has no such thing")
    async with running(settings(tmp_path, workers=3)) as gateway, watching(gateway) as watcher:
        assert gateway.pool is None
        await watcher.until(lambda: len(watcher.frames) > 5)
        assert "one worker instead of 3: this system has no such thing" in caplog.text
        assert [w.worker for w in gateway.worker_summaries()] == [0]
        assert [s.id for s in gateway.session_summaries()] == [session_of(watcher)]


async def test_a_taken_port_is_an_error_in_words_and_leaves_nothing_behind(tmp_path: Path) -> None:
    others = processes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        config = settings(tmp_path, workers=2, bind=Address("127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(TransportError, match="cannot be used"):
            async with running(config):
                pass
    assert processes() == others


async def test_two_gateways_with_workers_do_not_share_a_port(gateway: Gateway, tmp_path: Path) -> None:
    config = settings(tmp_path, workers=2, bind=Address("127.0.0.1", gateway.quic_addresses[0][1]))
    with pytest.raises(TransportError, match="cannot be used"):
        async with running(config):
            pass


async def test_workers_that_do_not_start_are_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = processes()
    monkeypatch.setattr("wtgateway.workers.standby.BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(
        "wtgateway.workers.process._start",
        lambda module, fd, stderr: subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"]),
    )
    with pytest.raises(TransportError, match="--workers 1"):
        async with running(settings(tmp_path, workers=2)):
            pass
    assert processes() == others


def processes() -> list[bytes]:
    """Workers that are children of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands: list[bytes] = []
    for pid in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
            commands.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return [command for command in commands if b"wtgateway.workers" in command]


async def test_one_worker_is_this_process(tmp_path: Path) -> None:
    others = processes()
    async with running(settings(tmp_path)) as gateway:
        assert gateway.pool is None
        assert processes() == others
