"""`latency`: from paint on one X display to paint on another, through each system, in one run.

Figures are pooled over runs: p50, p95 and p99 of the age at the first sighting of each source frame.
Then shares of frames never shown and freezes, and where our own time goes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmarks.chromium import Chromium, ChromiumError, Page
from scripts.benchmarks.glass.analysis import Run, analyse
from scripts.benchmarks.glass.displays import display, painted_display, painted_times
from scripts.benchmarks.glass.reader import Reader, Rectangle
from scripts.benchmarks.report import Figure, Options, quantile
from scripts.benchmarks.systems.aiortc import Aiortc
from scripts.benchmarks.systems.base import Scene, System, painting_fps
from scripts.benchmarks.systems.selkies import Selkies
from scripts.benchmarks.systems.wtgateway import Wtgateway

RATES = (60, 30)
GOALS_MS = {
    (60, "damage"): {"p50": 9.0, "p95": 16.0},
    (30, "damage"): {"p50": 9.0, "p95": 16.0},
    (60, "poll"): {"p50": 18.0, "p95": 27.0},
    (30, "poll"): {"p50": 28.0, "p95": 42.0},
}
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_PICTURE_SECONDS = 30

# The picture fills the window whatever page it is on, so that every system is scaled alike: not at all. By a
# rule and not by the element's own style, which pages set again when the picture's size changes; and by a
# sheet made in a script, which no content security policy forbids.
_FILL = """(() => {
  const selector = %r;
  const element = document.querySelector(selector);
  if (!element || !(element.videoWidth || element.width)) return null;
  const rule = Object.entries({position: 'fixed', inset: '0', width: '100vw', height: '100vh', margin: '0',
    transform: 'none', 'max-width': 'none', 'max-height': 'none', 'z-index': '2147483647',
    'object-fit': 'fill'}).map(([name, value]) => `${name}: ${value} !important`).join('; ');
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`${selector} { ${rule} }`);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const {x, y, width, height} = element.getBoundingClientRect();
  return {x, y, width, height};
})()"""


@dataclass(slots=True)
class Measured:
    """What one system showed at one rate."""

    run: Run = field(default_factory=Run)
    stages: dict[str, float] = field(default_factory=dict)
    error: str = ""


def systems(options: Options) -> Iterator[System]:
    """Ours in both captures, then the peers."""
    yield Wtgateway("damage")
    yield Wtgateway("poll")
    if options.peers:
        yield Aiortc("own")
        yield Aiortc("encoded")
        yield Selkies()


async def filled(page: Page, target: str) -> Rectangle:
    """Wait for a picture in ``target``, make it fill the window; where it is."""
    deadline = time.monotonic() + _PICTURE_SECONDS
    while time.monotonic() < deadline:
        if place := await page.evaluate(_FILL % target):
            return Rectangle(**place)
        await asyncio.sleep(0.1)
    raise ChromiumError(f"no picture in {target} within {_PICTURE_SECONDS} s")


async def _measure(system: System, fps: int, options: Options) -> Measured:
    """All runs of one system at one rate; a system that fails says why and yields no figures."""
    measured = Measured()
    runs, seconds, warm_seconds = (1, 6, 2) if options.quick else (3, 20, 5)
    for number in range(runs):
        folder = options.directory / f"{system.name}-{fps}-{number}".replace(" ", "-")
        folder.mkdir()
        try:
            await _one_run(system, fps, seconds, warm_seconds, folder, measured)
        except (RuntimeError, TimeoutError) as error:
            measured.error = str(error)
            print(f"{system.name} at {fps} Hz, run {number + 1}: {error}", file=sys.stderr)
    return measured


async def _one_run(
    system: System, fps: int, seconds: float, warm_seconds: float, folder: Path, measured: Measured
) -> None:
    log = folder / "painted"
    async with (
        painted_display(painting_fps(fps), log, sys.executable) as source,
        display() as glass,
        system.serving(Scene(display=source, fps=fps, directory=folder)) as url,
        Chromium(display=glass) as chromium,
    ):
        page = await chromium.open(url)
        picture = await filled(page, system.target)
        await asyncio.sleep(warm_seconds)
        reader = Reader(glass, picture)
        reader.start()
        start_ms = time.time() * 1000
        await asyncio.sleep(seconds)
        end_ms = time.time() * 1000
        run = analyse(reader.finish(), painted_times(log), start_ms, end_ms)
        if not run.ages_ms:
            raise ChromiumError(f"no readable barcode in {seconds:g} s ({run.unreadable} unreadable)")
        measured.run.add(run)
        measured.stages = await system.stages(page)
        await page.close()


def figures_of(fps: int, results: dict[str, Measured]) -> Iterator[Figure]:
    """Our two captures beside the peers."""
    peers = {name: m for name, m in results.items() if not name.startswith("wtgateway")}
    for capture in ("damage", "poll"):
        ours = results[f"wtgateway {capture}"]
        prefix = f"{capture}_{fps}hz"
        for label, share in QUANTILES.items():
            yield Figure(
                name=f"{prefix}_{label}",
                value=quantile(ours.run.ages_ms, share),
                unit="ms",
                goal=GOALS_MS[fps, capture].get(label),
                peers={name: quantile(m.run.ages_ms, share) for name, m in peers.items()},
            )
        yield from _smoothness(prefix, ours, peers)
        for stage, value in ours.stages.items():
            yield Figure(name=f"{prefix}_stage_{stage}_p50", value=round(value, 2), unit="ms")


def _smoothness(prefix: str, ours: Measured, peers: dict[str, Measured]) -> Iterator[Figure]:
    shown = {name: m for name, m in peers.items() if m.run.ages_ms}
    yield Figure(
        name=f"{prefix}_missing",
        value=round(ours.run.missing_percent, 1),
        unit="%",
        peers={name: round(m.run.missing_percent, 1) for name, m in shown.items()},
    )
    yield Figure(
        name=f"{prefix}_freezes",
        value=ours.run.freezes,
        unit="> 100 ms",
        peers={name: m.run.freezes for name, m in shown.items()},
    )


async def run(options: Options) -> list[Figure]:
    """Every system at every rate, one after the other."""
    chosen = list(systems(options))
    for system in chosen:
        await asyncio.to_thread(system.prepare)
    figures: list[Figure] = []
    for fps in RATES:
        results = {}
        for system in chosen:
            print(f"== {system.name} at {fps} Hz", file=sys.stderr, flush=True)
            results[system.name] = await _measure(system, fps, options)
        figures += figures_of(fps, results)
    return figures
