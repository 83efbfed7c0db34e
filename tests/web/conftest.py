"""A gateway that only answers questions, and a client for the application in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from wtgateway.errors import ConfigError
from wtgateway.events import Events
from wtgateway.media import BroadcastState, Catalog, Kind, Rendition, Track
from wtgateway.web.app import create_app
from wtgateway.web.control import CertificateFacts, ProcessFigures, Unavailable
from wtgateway.web.histograms import BOUNDS_US
from wtgateway.web.sse import Streams
from wtgateway.web.view import BroadcastSummary, Health, NodeSummary, SessionSummary, WorkerSummary

CLIENT_DIR = Path(__file__).parents[2] / "client" / "src"

CATALOG = Catalog(
    revision=1,
    tracks=(
        Track(
            id=0,
            kind=Kind.VIDEO,
            renditions=(
                Rendition(id=0, codec="avc1.42E01F", bitrate_bps=4_000_000, width=1280, height=720, fps=30.0),
            ),
        ),
        Track(
            id=1,
            kind=Kind.AUDIO,
            renditions=(Rendition(id=0, codec="opus", bitrate_bps=128_000, sample_rate=48_000, channels=2),),
        ),
    ),
)


def hash_entry(byte: int) -> dict[str, Any]:
    return {
        "algorithm": "sha-256",
        "value": bytes([byte]) * 32,
        "notBefore": "2030-01-01T00:00:00Z",
        "notAfter": "2030-01-14T00:00:00Z",
    }


@dataclass
class FakeView:
    """A GatewayView whose answers a test sets."""

    summaries: list[BroadcastSummary] = field(
        default_factory=lambda: [
            BroadcastSummary(
                name="test",
                state=BroadcastState.LIVE,
                catalog=CATALOG,
                viewers=2,
                source="test:",
                uptime_s=61.25,
            ),
            BroadcastSummary(
                name="house/door",
                state=BroadcastState.RETRYING,
                reason="the source is away: connection refused",
                retry_in_ms=4000,
            ),
        ]
    )
    hashes: list[dict[str, Any]] = field(default_factory=lambda: [hash_entry(0xAB), hash_entry(0xCD)])
    is_ready: bool = True
    dead: str = ""
    short_of: tuple[str, ...] = ()
    hosts: list[str] = field(default_factory=list)
    sessions: list[SessionSummary] = field(default_factory=list)
    workers: list[WorkerSummary] = field(default_factory=list)
    node: NodeSummary = field(default_factory=NodeSummary)

    def broadcasts(self) -> list[BroadcastSummary]:
        return self.summaries

    def transport_url(self, host_header: str) -> str:
        self.hosts.append(host_header)
        return f"https://{host_header.rsplit(':', 1)[0]}:4433"

    def certificate_hashes(self) -> list[dict[str, Any]]:
        return self.hashes

    def node_summary(self) -> NodeSummary:
        return self.node

    def ready(self) -> bool:
        return self.is_ready

    def health(self) -> Health:
        draining = "viewers are sent to other nodes" if self.node.draining else "the gateway is starting"
        return Health(dead=self.dead, unready="" if self.is_ready else draining, short_of=self.short_of)

    def session_summaries(self) -> list[SessionSummary]:
        return self.sessions

    def worker_summaries(self) -> list[WorkerSummary]:
        return self.workers


@pytest.fixture
def view() -> FakeView:
    return FakeView()


def client_for(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8080")


@pytest.fixture
async def http(view: FakeView) -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(create_app(view, CLIENT_DIR)) as client:
        yield client


@dataclass
class FakeControl:
    """A GatewayControl that keeps what is asked of it."""

    events: Events = field(default_factory=Events)
    documents: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"test": {"source": "rtsp://me:word@cam/1", "video": {"codec": "h264"}}}
    )
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=lambda: {"a1"})
    level: str = "info"
    noted: bytes | None = None
    rotates: bool = True

    def uptime_s(self) -> float:
        return 12.345

    def processes(self) -> list[ProcessFigures]:
        return [ProcessFigures(rss_bytes=1 << 20, open_fds=9, max_fds=1024, cpu_s=1.5, loop_lag_us=700)]

    def loop_lags(self) -> Mapping[str, list[int]]:
        return {"main": [700, 1, *[0] * len(BOUNDS_US)]}

    def tasks(self) -> Mapping[str, int]:
        return {"main": 17}

    def session_history(self, session_id: str) -> list[Mapping[str, Any]]:
        return [
            {
                "at": 1_700_000_000_000, "rateBps": 1, "loss": 0.5, "rttUs": 2, "queueingUs": 3,
                "queuedBytes": 4, "framesSent": 5, "framesDropped": 6, "latencyMs": {"encode": 1.5},
            }
        ]  # fmt: skip

    def broadcast_history(self, name: str) -> list[Mapping[str, Any]]:
        return [{"at": 1_700_000_000_000, "rateBps": 1, "sourceBps": 2, "viewers": 3}]

    def gateway_history(self) -> list[Mapping[str, Any]]:
        return [
            {
                "at": 1_700_000_000_000, "rateBps": 8, "sessions": 3, "rssBytes": 1, "cpuShare": 0.5,
                "loopLagUs": 1,
            }
        ]  # fmt: skip

    def counters(self) -> Mapping[str, Mapping[tuple[tuple[str, str], ...], int]]:
        return {}

    def broadcast_document(self, name: str) -> Mapping[str, Any] | None:
        return self.documents.get(name)

    async def put_broadcast(self, name: str, document: Mapping[str, Any]) -> bool:
        self.calls.append(("put", name, document))
        if "source" not in document:
            raise ConfigError("API", f"broadcasts.{name}", "no source rtsp://me:word@cam", "a source")
        new = name not in self.documents
        self.documents[name] = dict(document)
        return new

    async def remove_broadcast(self, name: str) -> bool:
        self.calls.append(("remove", name))
        return self.documents.pop(name, None) is not None

    async def restart_broadcast(self, name: str) -> bool:
        self.calls.append(("restart", name))
        return name in self.documents

    async def kick(self, session_id: str, code: int, reason: str) -> bool:
        self.calls.append(("kick", session_id, code, reason))
        return session_id in self.sessions

    async def request_keyframe(self, session_id: str) -> bool:
        self.calls.append(("keyframe", session_id))
        return session_id in self.sessions

    async def start_qlog(self, session_id: str) -> bool:
        if session_id == "ws":
            raise Unavailable("there is no QUIC connection")
        if session_id in self.sessions:
            self.noted = b'\x1e{"qlog_format":"JSON-SEQ"}\n'
        return session_id in self.sessions

    async def qlog(self, session_id: str) -> bytes | None:
        return self.noted if session_id in self.sessions else None

    async def stop_qlog(self, session_id: str) -> bool:
        noted, self.noted = self.noted, None
        return noted is not None and session_id in self.sessions

    def certificates(self) -> list[CertificateFacts]:
        times = {"not_before": "2030-01-01T00:00:00Z", "not_after": "2030-01-14T00:00:00Z"}
        return [CertificateFacts(sha256="ab" * 32, current=True, **times)]

    async def rotate_certificates(self) -> None:
        if not self.rotates:
            raise Unavailable("they come from the cluster's secret")
        self.calls.append(("rotate",))

    def log_level(self) -> str:
        return self.level

    async def set_log_level(self, level: str) -> None:
        self.level = level

    def config_document(self) -> Mapping[str, Any]:
        return {"bind": "localhost:4433"}


@dataclass
class Api:
    """An application with all of the API, and what stands behind it."""

    app: Any
    http: httpx.AsyncClient
    view: FakeView
    control: FakeControl
    streams: Streams


@pytest.fixture
async def api(view: FakeView) -> AsyncIterator[Api]:
    control = FakeControl()
    streams = Streams(control.events, "run", heartbeat_s=0.01)
    view.sessions = [SessionSummary(id="a1", broadcast="test", stages_us=(1500,) * 9)]
    app = create_app(view, CLIENT_DIR, control=control, streams=streams)
    async with client_for(app) as client:
        yield Api(app, client, view, control, streams)
