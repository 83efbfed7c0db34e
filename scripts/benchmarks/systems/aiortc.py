"""aiortc 1.16: WebRTC in Python. As it comes, and at its best: given frames already encoded by damage."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from scripts.benchmarks.chromium import Page
from scripts.benchmarks.network import relaying
from scripts.benchmarks.systems.base import BITRATE_BPS, Scene, constructed_at_ms
from scripts.benchmarks.systems.environments import environment
from scripts.support.processes import free_port, running

REQUIREMENTS = ("aiortc==1.16.0", "aiohttp>=3.13", "numpy>=2")
_STAGES = """(async () => {
  for (const s of (await window.connection.getStats()).values()) if (s.type === 'inbound-rtp')
    return {decode: 1000 * s.totalDecodeTime / s.framesDecoded,
            jitterBuffer: 1000 * s.jitterBufferDelay / s.jitterBufferEmittedCount};
  return {};
})()"""


@dataclass(frozen=True, slots=True)
class Aiortc:
    """``feed``: "own" (x11grab and aiortc's own H.264 encoder) or "encoded" (on damage, x264 ultrafast)."""

    feed: str = "own"
    target: str = "video"

    @property
    def name(self) -> str:
        """For the table."""
        return "aiortc" if self.feed == "own" else "aiortc fed"

    def prepare(self) -> None:
        """Its environment."""
        environment("aiortc", *REQUIREMENTS)

    @contextlib.asynccontextmanager
    async def serving(self, scene: Scene) -> AsyncIterator[str]:
        """Its server; with a delay, media goes through a relay and signalling does not."""
        python = environment("aiortc", *REQUIREMENTS) / "python"
        http, media, relay = free_port(), free_port(), free_port()
        command = (
            *(str(python), "-u", "-m", "scripts.peers.aiortc.server", "--http", str(http)),
            *("--display", scene.display, "--fps", f"{scene.capture_fps:g}", "--feed", self.feed),
            *("--bitrate", str(BITRATE_BPS)),
        )
        through = ("--udp", str(media), "--relay", str(relay)) if scene.delay_ms else ()
        lines: list[str] = []
        async with contextlib.AsyncExitStack() as stack:
            program = await stack.enter_async_context(running(*command, *through))
            program.on_line = lines.append
            await program.until(lambda: "ready" in lines, "ready line")
            if scene.delay_ms:
                host = next(line.split()[1] for line in lines if line.startswith("address "))
                await stack.enter_async_context(
                    relaying((host, relay), (host, media), delay_ms=scene.delay_ms)
                )
            yield f"http://localhost:{http}/"

    async def connected_at_ms(self, page: Page) -> float | None:
        """When the page made its RTCPeerConnection."""
        return await constructed_at_ms(page)

    async def stages(self, page: Page) -> dict[str, float]:
        """As the browser's getStats tells."""
        stages: dict[str, float] = await page.evaluate(_STAGES)
        return stages
