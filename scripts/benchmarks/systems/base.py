"""What a benchmark asks of a system, and what it tells it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.benchmarks.chromium import Page

BITRATE_BPS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is to be captured: an X display painted at ``fps``.

    Source, grabber and display each have a clock. Were all at the same rate, their phases would be
    drawn by luck once a run: so the system is asked for ``fps`` * 599/600 and the source paints at
    ``fps`` * 199/200, which makes the phases sweep and lets no frame fall between two grabs.
    """

    display: str
    fps: float
    directory: Path
    delay_ms: float = 0.0  # each way; 0: no relay in between

    @property
    def capture_fps(self) -> float:
        """What the system is asked for."""
        return round(self.fps * 599 / 600, 3)


def painting_fps(fps: float) -> float:
    """What the source paints at; see :class:`Scene`."""
    return fps * 199 / 200


class System(Protocol):
    """One system in one setting."""

    @property
    def name(self) -> str:
        """For the table."""
        ...

    @property
    def target(self) -> str:
        """CSS selector of the <video> or <canvas> with the picture."""
        ...

    def prepare(self) -> None:
        """Install what is missing; blocking, and before anything is measured."""

    def serving(self, scene: Scene) -> AbstractAsyncContextManager[str]:
        """Capture and serve for as long as the block; yields the page's URL."""
        ...

    async def connected_at_ms(self, page: Page) -> float | None:
        """When the page began to connect, in epoch ms."""

    async def stages(self, page: Page) -> dict[str, float]:
        """Where the time goes, p50 ms by stage, as far as the system knows."""
        ...


async def constructed_at_ms(page: Page) -> float | None:
    """When the page constructed its first connection, as ``first_frame.js`` saw it."""
    at: float | None = await page.evaluate("window.__firstFrame?.connect ?? null")
    return at
