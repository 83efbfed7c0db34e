"""A gateway with a source from the network: it has a process of its own, which viewers outlive."""

from __future__ import annotations

import functools
import http.server
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.isolation.test_really import until
from tests.sources.conftest import write_media
from tests.test_gateway import QUERY, running, settings, watching
from wtgateway.config import BroadcastConfig
from wtgateway.isolation import IsolatedPipeline
from wtgateway.isolation.choice import is_isolated, why_not
from wtgateway.media import BroadcastState
from wtgateway.pipeline import Pipeline, supervision
from wtgateway.protocol.messages import Welcome

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A film from a web server."""
    write_media(tmp_path / "film.mkv", 300)
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/film.mkv"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_source_from_the_network_crashes_alone_and_viewers_keep_their_session(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "BACKOFF_FIRST_S", 0.05)
    film = BroadcastConfig(name="film", source=url)
    both = (film, BroadcastConfig(name="test", source="test:?size=320x180"))
    async with running(settings(tmp_path, broadcasts=both)) as gateway:
        pipeline = gateway.pipelines["film"]
        assert isinstance(pipeline, IsolatedPipeline)
        assert isinstance(gateway.pipelines["test"], Pipeline)
        async with watching(gateway, "/film" + QUERY) as own, watching(gateway) as other:
            await own.until(lambda: len(own.track(0)) > 10 and len(own.track(1)) > 5)
            await other.until(lambda: len(other.track(0)) > 5)
            group, pid = own.track(0)[-1].group, pipeline.pid
            assert pid is not None
            with gateway.events.subscribe() as events:
                os.kill(pid, signal.SIGSEGV)
                await own.until(lambda: own.track(0)[-1].group > group)
                async for event in events:
                    if event.kind == "source.died":
                        assert event.fields == {"broadcast": "film", "how": "SIGSEGV"}
                        break
            first = next(frame for frame in own.track(0) if frame.group > group)
            assert (first.keyframe, first.index) == (True, 0)
            assert len(own.of(Welcome)) == 1, "the same session"
            assert own.end is None
            seen = sorted((f.group, f.index) for f in other.track(0))
            assert all(b in ((a[0], a[1] + 1), (a[0] + 1, 0)) for a, b in itertools.pairwise(seen))
            await until(lambda: pipeline.stats.process_deaths == 1)
            assert gateway.web_address is not None
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.web_address[1]}") as client:
                lines = (await client.get("/metrics")).text.splitlines()
            assert 'wtgateway_source_process_deaths_total{broadcast="film"} 1' in lines
            assert 'wtgateway_source_restarts_total{broadcast="film"} 1' in lines
            assert 'wtgateway_source_lost_total{broadcast="film"} 0' in lines
            assert 'wtgateway_source_process_deaths_total{broadcast="test"} 0' in lines
        assert next(b for b in gateway.broadcasts() if b.name == "film").state is BroadcastState.LIVE
        last = pipeline.pid
        assert last is not None
    assert not Path(f"/proc/{last}").exists()


def test_what_has_a_process_of_its_own() -> None:
    """By default what comes over the network, else as configured."""
    network = (
        "rtsp://h/x",
        "rtsps://h/x",
        "rtmp://h/x",
        "rtmps://h/x",
        "srt://h:1",
        "http://h/x",
        "https://h/x",
    )
    for source in network:
        assert is_isolated(BroadcastConfig(name="b", source=source))
        assert not is_isolated(BroadcastConfig(name="b", source=source, isolate=False))
    for source in (
        "film.mkv",
        "file:film.mkv",
        "test:",
        "x11::0",
        "v4l2:/dev/video0",
        "lavfi:testsrc",
        "alsa:",
    ):
        assert not is_isolated(BroadcastConfig(name="b", source=source))
        assert is_isolated(BroadcastConfig(name="b", source=source, isolate=True))
