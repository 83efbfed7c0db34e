"""`join`: how long until the first picture, from navigation and from CONNECT, near and far.

Each load is a fresh context of a headless Chromium: no cache, no session to resume. The end of the
time is the first frame in the page's <video> or <canvas> that carries a valid barcode, seen by
``first_frame.js``; its start is the navigation, or the making of the WebTransport or RTCPeerConnection.
Far: 20 ms each way for media by a relay; pages and signalling stay near, for everybody.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from scripts.benchmarks.chromium import Chromium, ChromiumError, first_frame_script
from scripts.benchmarks.glass.displays import painted_display
from scripts.benchmarks.report import Figure, Options, quantile
from scripts.benchmarks.systems.aiortc import Aiortc
from scripts.benchmarks.systems.base import Scene, System, painting_fps
from scripts.benchmarks.systems.wtgateway import Wtgateway

FPS = 60
LOADS = 20
QUICK_LOADS = 3
FAR_DELAY_MS = 20.0
GOALS_MS = {
    ("near", "connect"): {"p50": 80.0, "p95": 120.0},
    ("near", "navigation"): {"p50": 180.0, "p95": 260.0},
    ("far", "connect"): {"p50": 200.0},
    ("far", "navigation"): {},
}
QUANTILES = {"p50": 0.5, "p95": 0.95}
_FRAME_SECONDS = 30


@dataclass(slots=True)
class Joins:
    """Times of one system at one distance, ms."""

    navigation: list[float] = field(default_factory=list)
    connect: list[float] = field(default_factory=list)


async def _join(chromium: Chromium, system: System, url: str, joins: Joins) -> None:
    """One load; its two times."""
    page = await chromium.open(url, first_frame_script(system.target))
    deadline = time.monotonic() + _FRAME_SECONDS
    try:
        while True:
            first = await page.evaluate("window.__firstFrame?.first ?? null")
            connected = await system.connected_at_ms(page) if first else None
            if connected is not None:
                break
            if time.monotonic() > deadline:
                raise ChromiumError(f"{system.name}: no first frame within {_FRAME_SECONDS} s")
            await asyncio.sleep(0.05)
        joins.navigation.append(first - await page.evaluate("performance.timeOrigin"))
        joins.connect.append(first - connected)
    finally:
        await page.close()


async def _joins(system: System, delay_ms: float, options: Options) -> Joins:
    """All loads of one system at one distance."""
    joins = Joins()
    folder = options.directory / f"{system.name}-{delay_ms:g}".replace(" ", "-")
    folder.mkdir()
    loads = QUICK_LOADS if options.quick else LOADS
    async with painted_display(painting_fps(FPS), folder / "painted", sys.executable) as source:
        scene = Scene(display=source, fps=FPS, directory=folder, delay_ms=delay_ms)
        async with system.serving(scene) as url, Chromium() as chromium:
            for load in range(loads + 1):
                kept = joins if load else Joins()  # the first load warms the browser and the server
                try:
                    await _join(chromium, system, url, kept)
                except (ChromiumError, TimeoutError) as error:
                    print(f"{system.name}, load {load}: {error}", file=sys.stderr)
                await asyncio.sleep(0.5 + 0.137 * (load % 7))  # in step with nobody's timer
    return joins


def figures_of(distance: str, ours: Joins, peers: dict[str, Joins]) -> Iterator[Figure]:
    """Both starts, both quantiles; and how many loads they stand on."""
    for start in ("connect", "navigation"):
        for label, share in QUANTILES.items():
            yield Figure(
                name=f"{distance}_{start}_{label}",
                value=quantile(getattr(ours, start), share),
                unit="ms",
                goal=GOALS_MS[distance, start].get(label),
                peers={name: quantile(getattr(joins, start), share) for name, joins in peers.items()},
            )
    yield Figure(
        name=f"{distance}_loads",
        value=len(ours.connect),
        unit="",
        peers={name: len(joins.connect) for name, joins in peers.items()},
    )


async def run(options: Options) -> list[Figure]:
    """Near, then far; ours, then aiortc."""
    ours: System = Wtgateway("auto")
    peers: list[System] = [Aiortc("own"), Aiortc("encoded")] if options.peers else []
    for system in (ours, *peers):
        await asyncio.to_thread(system.prepare)
    figures: list[Figure] = []
    for distance, delay_ms in (("near", 0.0), ("far", FAR_DELAY_MS)):
        results = {}
        for system in (ours, *peers):
            print(f"== {system.name}, {distance}", file=sys.stderr, flush=True)
            results[system.name] = await _joins(system, delay_ms, options)
        figures += figures_of(distance, results.pop(ours.name), results)
    return figures
