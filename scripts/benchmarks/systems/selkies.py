"""Selkies 2.1.0 in WebSocket mode, on a display that it did not start: the one to beat on latency."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from scripts.benchmarks.chromium import Page
from scripts.benchmarks.systems.base import BITRATE_BPS, Scene, constructed_at_ms
from scripts.benchmarks.systems.environments import environment
from scripts.support.processes import accepts, free_port, running

REQUIREMENTS = ("selkies==2.1.0",)
_READY_SECONDS = 60
_OFF = ("enable-basic-auth", "audio-enabled", "microphone-enabled", "gamepad-enabled", "enable-resize")


@dataclass(frozen=True, slots=True)
class Selkies:
    """Software H.264 at the same bit rate as everybody."""

    name: str = "selkies"
    target: str = "#videoStream"

    def prepare(self) -> None:
        """Its environment."""
        environment("selkies", *REQUIREMENTS)

    @contextlib.asynccontextmanager
    async def serving(self, scene: Scene) -> AsyncIterator[str]:
        """Its server; it cannot be relayed over UDP."""
        assert not scene.delay_ms, "Selkies streams over TCP here; the relay is for UDP"
        program_path = environment("selkies", *REQUIREMENTS) / "selkies"
        port, fps, kbps = free_port(), round(scene.fps), BITRATE_BPS // 1000
        command = (
            *(str(program_path), "--port", str(port), "--mode", "websockets", "--use-cpu=true"),
            *(f"--{switch}=false" for switch in _OFF),
            *("--encoder=h264enc", f"--framerate={fps}-{fps}"),
            *("--rate-control-mode=cbr", f"--video-bitrate={kbps}-{kbps}"),
        )
        home = scene.directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        async with running(*command, env={"DISPLAY": scene.display, "HOME": str(home)}) as program:
            await program.until(lambda: accepts(port), "port", _READY_SECONDS)
            yield f"http://localhost:{port}/"

    async def connected_at_ms(self, page: Page) -> float | None:
        """When the page made its WebSocket."""
        return await constructed_at_ms(page)

    async def stages(self, page: Page) -> dict[str, float]:
        """It tells none."""
        return {}
