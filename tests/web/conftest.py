"""A gateway that only answers questions, and a client for the application in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from wtgateway.media import BroadcastState, Catalog, Kind, Rendition, Track
from wtgateway.web.app import create_app
from wtgateway.web.view import BroadcastSummary, NodeSummary, SessionSummary, WorkerSummary

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
