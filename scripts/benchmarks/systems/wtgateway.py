"""Ourselves: the gateway captures the display, its own player page shows it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from scripts.benchmarks.chromium import Page
from scripts.benchmarks.network import relaying
from scripts.benchmarks.systems.base import BITRATE_BPS, Scene
from scripts.support.gateway import Gateway

BROADCAST = "glass"
_RELAY_HOST = "127.0.0.2"  # the page is served here, so it connects here, where the relay listens

_STAGES = """(() => {
  const {stages, latencyMs} = window.player.stats();
  return {...stages, total: latencyMs.p50};
})()"""
_CONNECTED_AT = """(() => {
  const {navigationToFirstFrameMs, firstFrameMs} = window.player.stats();
  return firstFrameMs ? performance.timeOrigin + navigationToFirstFrameMs - firstFrameMs : null;
})()"""


@dataclass(frozen=True, slots=True)
class Wtgateway:
    """``capture``: damage, poll or auto, as in the configuration."""

    capture: str = "auto"
    target: str = ".wtgateway-picture"

    @property
    def name(self) -> str:
        """For the table."""
        return f"wtgateway {self.capture}"

    def prepare(self) -> None:
        """It is here already."""

    @contextlib.asynccontextmanager
    async def serving(self, scene: Scene) -> AsyncIterator[str]:
        """The gateway on free ports of loopback; with a delay, a relay takes its place on 127.0.0.2."""
        arguments = (
            *(f"x11:{scene.display}", "--name", BROADCAST, "--no-audio"),
            *("--capture", self.capture, "--fps", f"{scene.capture_fps:g}"),
            *("--video-bitrate", str(BITRATE_BPS)),
        )
        web_host = _RELAY_HOST if scene.delay_ms else None
        async with contextlib.AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(
                Gateway(*arguments, directory=scene.directory, web_host=web_host)
            )
            if scene.delay_ms:
                ends = ((_RELAY_HOST, gateway.quic_port), ("127.0.0.1", gateway.quic_port))
                await stack.enter_async_context(relaying(*ends, delay_ms=scene.delay_ms))
            yield f"{gateway.url}/{BROADCAST}"

    async def connected_at_ms(self, page: Page) -> float | None:
        """When the worker made its WebTransport: it is out of a page script's sight, so the player tells."""
        at: float | None = await page.evaluate(_CONNECTED_AT)
        return at

    async def stages(self, page: Page) -> dict[str, float]:
        """As the player and the gateway measured them."""
        stages: dict[str, float] = await page.evaluate(_STAGES)
        return stages
