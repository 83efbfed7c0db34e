"""The systems of the bench, each serving a display at an address that a bad network leads to."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.benchmarks.chromium import Page
from scripts.benchmarks.delivery.result import Json
from scripts.benchmarks.delivery.scenarios import FPS, Scenario
from scripts.benchmarks.systems.aiortc import REQUIREMENTS as AIORTC
from scripts.benchmarks.systems.environments import PEERS, environment
from scripts.support.gateway import Gateway
from scripts.support.processes import ROOT, accepts, free_port, running

CAPTURE_FPS = f"{FPS * 599 / 600:g}"  # so that the phases of source and capture sweep (see systems/base.py)
MOQ = ("moq-rs==0.5.1", "av>=18,<19", "numpy>=2")
MOQ_PAGE = ("@moq/watch@0.4.6", "esbuild@0.25.12")
_PAGE = ROOT / "scripts" / "peers" / "moq" / "page.js"
_READY_SECONDS = 40.0

_PLAYER = """(() => {
  const s = window.player.stats(), g = s.gateway ?? {};
  const names = ['framesPainted', 'framesLost', 'framesExpired', 'nacksSent', 'fragmentsRecovered',
    'audioUnderruns', 'audioFramesReceived', 'audioFramesConcealed', 'latencyMs', 'state', 'delivery',
    'reconnects', 'bitrateBps', 'framesReceived', 'framesDropped', 'keyframeRequests', 'width'];
  return {...Object.fromEntries(names.map(name => [name, s[name] ?? null])),
    estimateBps: g.estimate_bps ?? null, fecSharePpm: g.fec_share_ppm ?? null,
    reason: g.delivery_reason ?? null, lossPpm: g.loss_ppm ?? null};
})()"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to serve, and what: ``display`` is empty when the scenario has no screen."""

    host: str
    display: str
    directory: Path
    scenario: Scenario


class System(Protocol):
    """One system in one setting."""

    @property
    def name(self) -> str:
        """For the table."""
        ...

    @property
    def target(self) -> str:
        """CSS selector of the picture."""
        ...

    def prepare(self) -> None:
        """Install what is missing; blocking, and before anything is measured."""

    def serving(self, place: Place) -> contextlib.AbstractAsyncContextManager[str]:
        """Serve for as long as the block; yields the page's URL."""
        ...

    async def sample(self, page: Page) -> dict[str, Json]:
        """What it says of itself now."""
        ...


@dataclass(frozen=True, slots=True)
class Wtgateway:
    """Ourselves; ``delivery`` is stream, datagram or auto."""

    delivery: str
    target: str = ".wtgateway-picture"

    @property
    def name(self) -> str:
        """For the table."""
        return f"wtgateway {self.delivery}"

    def prepare(self) -> None:
        """It is here already."""

    @contextlib.asynccontextmanager
    async def serving(self, place: Place) -> AsyncIterator[str]:
        """The gateway; its page is asked for this delivery and the scenario's deadline."""
        scenario = place.scenario
        source = ("test:", "--size", "1280x720") if scenario.sound else (f"x11:{place.display}", "--no-audio")
        arguments = (
            *source,
            *("--name", "glass", "--capture", "damage", "--fps", CAPTURE_FPS),
            *("--video-bitrate", str(scenario.bitrate_bps)),
        )
        async with Gateway(*arguments, directory=place.directory, host=place.host) as gateway:
            asked = f"delivery={self.delivery}&deadline={scenario.deadline_ms:.0f}"
            yield f"{gateway.url}/glass?{asked}"

    async def sample(self, page: Page) -> dict[str, Json]:
        """The player's figures and the gateway's."""
        sampled: dict[str, Json] = await page.evaluate(_PLAYER)
        return sampled


@dataclass(frozen=True, slots=True)
class _Peer:
    """A server that captures by ``scripts/peers/aiortc/feed.py`` and prints `ready`."""

    name: str
    target: str

    async def sample(self, page: Page) -> dict[str, Json]:
        """Nothing is asked of it while it is measured."""
        return {}

    def _given(self, place: Place) -> tuple[str, ...]:
        return (
            *("--host", place.host, "--display", place.display, "--fps", CAPTURE_FPS),
            *("--bitrate", str(place.scenario.bitrate_bps)),
        )

    @contextlib.asynccontextmanager
    async def _running(self, *command: str | Path) -> AsyncIterator[None]:
        lines: list[str] = []
        async with running(*command) as program:
            program.on_line = lines.append
            await program.until(lambda: "ready" in lines, "ready line", _READY_SECONDS)
            yield


@dataclass(frozen=True, slots=True)
class WebSocketPeer(_Peer):
    """The same frames over TCP to WebCodecs."""

    name: str = "websocket"
    target: str = "#picture"

    def prepare(self) -> None:
        """It runs beside the gateway."""

    @contextlib.asynccontextmanager
    async def serving(self, place: Place) -> AsyncIterator[str]:
        """Page and WebSocket on one port."""
        port = free_port(socket.SOCK_STREAM, place.host)
        module = (sys.executable, "-u", "-m", "scripts.peers.websocket.server")
        async with self._running(*module, "--port", str(port), *self._given(place)):
            yield f"http://{place.host}:{port}/"


@dataclass(frozen=True, slots=True)
class AiortcPeer(_Peer):
    """aiortc 1.16 at its best: given the same frames, as its own encoder is slower."""

    name: str = "aiortc"
    target: str = "video"

    def prepare(self) -> None:
        """Its environment."""
        environment("aiortc", *AIORTC)

    @contextlib.asynccontextmanager
    async def serving(self, place: Place) -> AsyncIterator[str]:
        """Its server; candidates of the network's two addresses alone can meet."""
        python = environment("aiortc", *AIORTC) / "python"
        port = free_port(socket.SOCK_STREAM, place.host)
        module = (python, "-u", "-m", "scripts.peers.aiortc.server")
        async with self._running(*module, "--http", str(port), "--feed", "encoded", *self._given(place)):
            yield f"http://{place.host}:{port}/"


@dataclass(frozen=True, slots=True)
class MoqPeer(_Peer):
    """moq-rs 0.5.1 and @moq/watch 0.4.6 at its lowest latency."""

    name: str = "moq"
    target: str = "canvas"

    def prepare(self) -> None:
        """Its environment, and its page's script."""
        environment("moq-glass", *MOQ)
        moq_script()

    @contextlib.asynccontextmanager
    async def serving(self, place: Place) -> AsyncIterator[str]:
        """QUIC and the page on the same number."""
        python = environment("moq-glass", *MOQ) / "python"
        port = free_port(socket.SOCK_STREAM, place.host)
        module = (python, "-u", "-m", "scripts.peers.moq.server", "--script", str(moq_script()))
        async with self._running(*module, "--port", str(port), *self._given(place)):
            assert accepts(port, place.host)
            yield f"http://{place.host}:{port}/"


def moq_script() -> Path:
    """The bundle of its page, made once for exactly these packages and this page."""
    folder = PEERS / "moq-watch"
    stamp, made = folder / ".made-of", folder / "page.js"
    wanted = "\n".join((*MOQ_PAGE, _PAGE.read_text()))
    if stamp.exists() and stamp.read_text() == wanted:
        return made
    print(f"== installing {', '.join(MOQ_PAGE)} into {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"private": true}')
    (folder / "source.js").write_text(_PAGE.read_text())
    npm = ("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *MOQ_PAGE)
    subprocess.run(npm, cwd=folder, check=True, stdout=sys.stderr)
    esbuild = (str(folder / "node_modules" / ".bin" / "esbuild"), "source.js", "--bundle", "--format=esm")
    subprocess.run((*esbuild, f"--outfile={made}", "--log-level=error"), cwd=folder, check=True)
    stamp.write_text(wanted)
    return made


def systems(*, peers: bool) -> tuple[System, ...]:
    """All of them: ours first."""
    ours: tuple[System, ...] = (Wtgateway("auto"), Wtgateway("stream"), Wtgateway("datagram"))
    return (*ours, WebSocketPeer(), AiortcPeer(), MoqPeer()) if peers else ours
