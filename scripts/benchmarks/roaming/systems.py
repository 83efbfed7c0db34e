"""Whom it happens to: ours in both browsers, and peers in Chromium. All serve at the edge of the network."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scripts.benchmarks.chromium import Chromium, ChromiumError
from scripts.benchmarks.roaming.gaps import Noted
from scripts.benchmarks.systems.aiortc import REQUIREMENTS as AIORTC
from scripts.benchmarks.systems.environments import environment
from scripts.support.gateway import Gateway
from scripts.support.processes import running
from scripts.support.topology import ORIGIN, QUIC_PORT, WEB_PORT, Topology
from tests.e2e.browsers import BridgeError, Firefox

NOTE = (Path(__file__).with_name("note.js")).read_text()
FPS = 30
SOURCE = (
    "lavfi:testsrc2=size=640x360:rate=30[out0];sine=frequency=440:sample_rate=48000[out1]",
    *("--name", "test", "--video-bitrate", "1500k"),
)
_FLAGS = (f"--unsafely-treat-insecure-origin-as-secure={ORIGIN}",)
_READY_SECONDS = 40.0
PageError = (ChromiumError, BridgeError)


class Page(Protocol):
    """A tab of either browser."""

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        ...


@contextlib.asynccontextmanager
async def opened(browser: str, prefix: Sequence[str], url: str) -> AsyncIterator[Page]:
    """A page in a browser of its own, started behind ``prefix``."""
    if browser == "firefox":
        firefox = await Firefox.launch(prefix, [ORIGIN])
        try:
            tab = await firefox.open()
            await tab.goto(url)
            yield tab
        finally:
            await firefox.close()
    else:
        async with Chromium(prefix=prefix, flags=_FLAGS) as chromium:
            yield await chromium.open(url)


@dataclass(frozen=True, slots=True)
class Wtgateway:
    """Ourselves in one browser; served by a gateway at the edge, or by a cluster."""

    browser: str
    path: str = "/test"

    @property
    def name(self) -> str:
        """For the table."""
        return f"wtgateway, {self.browser.capitalize()}"

    def prepare(self) -> None:
        """It is here already."""

    @contextlib.asynccontextmanager
    async def serving(self, world: Topology, directory: Path) -> AsyncIterator[None]:
        """One gateway."""
        gateway = Gateway(
            *SOURCE,
            directory=directory,
            prefix=world.net.command("edge"),
            host="::",
            quic_port=QUIC_PORT,
            web_port=WEB_PORT,
        )
        async with gateway:
            yield

    async def begin(self, page: Page) -> bool:
        """Whether it plays, and is noted from now on."""
        if not await page.evaluate("(window.player?.stats().framesPainted ?? 0) > 0"):
            return False
        await page.evaluate(f"{NOTE}\nwindow.player.setMuted(false)")
        await page.evaluate(
            "window.noteSound(new MediaStream([window.player.getAudioTrack()])).then(() => 0)"
        )
        return True

    async def noted(self, page: Page) -> Noted:
        """Its own record of paints: in Firefox it paints on a canvas, of which a page learns nothing."""
        told = await page.evaluate(
            "window.player.debug.frames().then(frames =>"
            " ({...window.noted(), paints: frames.map(frame => frame.paintUs / 1000), late: (s =>"
            " s.framesLost + s.framesExpired)(window.player.stats())}))"
        )
        return _noted(told)


@dataclass(frozen=True, slots=True)
class _Peer:
    name: str
    path: str
    browser: str = "chromium"

    async def begin(self, page: Page) -> bool:
        """Whether it plays, and is noted from now on."""
        if not await page.evaluate("(document.querySelector('video')?.videoWidth ?? 0) > 0"):
            return False
        await page.evaluate(f"{NOTE}\nwindow.noteVideo(document.querySelector('video'))")
        if "sound" in self.path:
            await page.evaluate("window.noteSound(window.stream).then(() => 0)")
        return True

    async def noted(self, page: Page) -> Noted:
        """What the browser says of its <video>."""
        return _noted(await page.evaluate("window.noted()"))

    @contextlib.asynccontextmanager
    async def _serving(self, world: Topology, *command: str | Path) -> AsyncIterator[None]:
        lines: list[str] = []
        given = ("--host", "any", "--fps", str(FPS), "--bitrate", "1500000")
        async with running(*world.net.command("edge", *command, *given)) as program:
            program.on_line = lines.append
            await program.until(lambda: "ready" in lines, "ready line", _READY_SECONDS)
            yield


@dataclass(frozen=True, slots=True)
class WebSocketPeer(_Peer):
    """Frames over TCP, and another connection when it closes or is silent for two seconds."""

    name: str = "WebSocket"
    path: str = "/?reconnect"

    def prepare(self) -> None:
        """It runs beside the gateway."""

    def serving(self, world: Topology, directory: Path) -> contextlib.AbstractAsyncContextManager[None]:
        """Page and WebSocket on one port."""
        module = (sys.executable, "-u", "-m", "scripts.peers.websocket.server")
        return self._serving(world, *module, "--port", str(WEB_PORT))


@dataclass(frozen=True, slots=True)
class AiortcPeer(_Peer):
    """aiortc 1.16, given the same frames."""

    name: str = "aiortc"
    path: str = "/?sound"

    def prepare(self) -> None:
        """Its environment."""
        environment("aiortc", *AIORTC)

    def serving(self, world: Topology, directory: Path) -> contextlib.AbstractAsyncContextManager[None]:
        """Its server; it signals on the web port."""
        python = environment("aiortc", *AIORTC) / "python"
        module = (python, "-u", "-m", "scripts.peers.aiortc.server", "--feed", "encoded")
        return self._serving(world, *module, "--http", str(WEB_PORT))


def _noted(told: dict[str, Any]) -> Noted:
    silences = told["silences"]
    heard = None if silences is None else [(end, length) for end, length in silences]
    return Noted(told["paints"], heard, told.get("late"))


OURS = (Wtgateway("chromium"), Wtgateway("firefox"))
PEERS = (AiortcPeer(), AiortcPeer("aiortc, ICE restart", "/?sound&restart"), WebSocketPeer())
System = Wtgateway | AiortcPeer | WebSocketPeer
