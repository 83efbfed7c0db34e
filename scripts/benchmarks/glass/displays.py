"""X displays without a screen, started and ended by us."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from scripts.support.processes import running

WIDTH, HEIGHT = 1280, 720


@contextlib.asynccontextmanager
async def display(width: int = WIDTH, height: int = HEIGHT) -> AsyncIterator[str]:
    """A fresh Xvfb; yields its name. It picks the number itself, so nobody's display is disturbed."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"]
    number: list[str] = []
    async with running(*command) as server:
        server.on_line = lambda line: number.append(line.strip()) if line.strip().isdigit() else None
        await server.until(lambda: bool(number), "display number")
        yield f":{number[0]}"


@contextlib.asynccontextmanager
async def painted_display(fps: float, log: Path, python: str) -> AsyncIterator[str]:
    """A display on which the clock is painted; yields its name."""
    async with display() as name:
        painter = (python, "-u", "-m", "scripts.benchmarks.glass.painter")
        lines: list[str] = []
        async with running(*painter, "--display", name, "--fps", f"{fps:g}", "--log", log) as program:
            program.on_line = lines.append
            await program.until(lambda: "painting" in lines, "first painting")
            yield name


def painted_times(log: Path) -> list[float]:
    """The painter's log: epoch ms of each painting."""
    data = log.read_bytes()
    times: list[float] = np.frombuffer(data[: len(data) // 8 * 8], "<f8").tolist()
    return times
