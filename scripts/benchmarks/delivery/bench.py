"""Runs every system in every scenario, one after the other, and keeps what each yielded.

The browser is at one end of a network at IP level (``scripts/netsim --tun``), all servers are at the other,
so that QUIC, WebRTC and TCP go through the same model. The page is loaded over a path that has only the
scenario's delay; once its picture plays the path becomes the scenario's. A system that fails is told in its
row and ends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from scripts.benchmarks.chromium import Chromium, ChromiumError, Page
from scripts.benchmarks.delivery.figures import figures_of
from scripts.benchmarks.delivery.markdown import document
from scripts.benchmarks.delivery.result import Result, file_name
from scripts.benchmarks.delivery.scenarios import BY_NAME, FPS, SCENARIOS, Scenario, both_ways, run_seconds
from scripts.benchmarks.delivery.systems import Place, System, systems
from scripts.benchmarks.glass.displays import display, painted_display, painted_times
from scripts.benchmarks.glass.reader import Reader
from scripts.benchmarks.latency import filled
from scripts.benchmarks.network import Network, network
from scripts.benchmarks.report import Figure, Options
from scripts.benchmarks.systems.base import painting_fps
from scripts.benchmarks.systems.environments import environment
from scripts.support.processes import ROOT

SECONDS, QUICK_SECONDS = 30.0, 8.0
CALM_SECONDS = 3.0  # from the first picture to the bad network
SAMPLE_SECONDS = 0.5
LATE_MS = 20.0  # a figure made by a network that was later is to be doubted
PATIENCE_SECONDS = 120.0  # for all around the measuring
PLOTTING = ("matplotlib>=3.10",)
_PLAYING = """(() => {
  window.player?.setMuted(false);
  return (window.player?.stats().framesPainted ?? 0) > 0;
})()"""


def _chosen_scenarios(options: Options) -> list[Scenario]:
    return [BY_NAME[name] for name in options.scenarios] or list(SCENARIOS)


def chosen_systems(options: Options) -> list[System]:
    """As asked for; `--quick` is `auto` alone. Raises ValueError when a name is nobody's."""
    known = systems(peers=options.peers)
    if not options.systems:
        return [known[0]] if options.quick else list(known)
    wanted = [name.removeprefix("wtgateway ") for name in options.systems]
    names = [system.name.removeprefix("wtgateway ") for system in known]
    if unknown := set(wanted) - set(names):
        raise ValueError(f"no system is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return [system for system, name in zip(known, names, strict=True) if name in wanted]


@contextlib.asynccontextmanager
async def _source(scenario: Scenario, log: Path) -> AsyncIterator[str]:
    """The painted display; empty where the gateway's own test picture is the source."""
    if scenario.sound:
        yield ""
        return
    async with painted_display(painting_fps(FPS), log, sys.executable) as name:
        yield name


async def _until_playing(page: Page) -> None:
    deadline = time.monotonic() + 30
    while not await page.evaluate(_PLAYING):
        if time.monotonic() > deadline:
            raise ChromiumError("no picture within 30 s")
        await asyncio.sleep(0.1)


class Run:
    """One system in one scenario."""

    def __init__(self, scenario: Scenario, system: System, options: Options) -> None:
        self._scenario, self._system = scenario, system
        usual = QUICK_SECONDS if options.quick else SECONDS
        self._seconds = run_seconds(scenario, options.seconds or usual)
        self._warm = min(scenario.warm_s, 3.0) if options.quick else scenario.warm_s
        self._network = both_ways(scenario.options) if options.both_ways else scenario.options
        self._directory = options.directory / file_name(scenario.name, system.name).removesuffix(".json")
        self.result = Result(scenario=scenario.name, system=system.name)

    async def measure(self) -> Result:
        """Its result; never raises for what the system does."""
        self._directory.mkdir(parents=True)
        try:
            async with asyncio.timeout(self._seconds + self._warm + PATIENCE_SECONDS):
                await self._measure()
        except (
            RuntimeError,
            OSError,
            TimeoutError,
            ValueError,
            LookupError,
            subprocess.SubprocessError,
        ) as error:
            self.result.error = f"{type(error).__name__}: {error}".strip()
        return self.result

    async def _measure(self) -> None:
        scenario, log = self._scenario, self._directory / "painted"
        async with (
            _source(scenario, log) as source,
            display() as glass,
            network(self._directory / "network.json", scenario.before) as path,
            self._system.serving(
                Place(host=path.near, display=source, directory=self._directory, scenario=scenario)
            ) as url,
            Chromium(display=glass, prefix=path.enter, flags=(_trusting(url),)) as chromium,
        ):
            page = await chromium.open(url)
            if scenario.sound:
                await _until_playing(page)
                await self._watch(path, page)
            else:
                picture = await filled(page, self._system.target)
                reader = Reader(glass, picture)
                reader.start()
                try:
                    await self._watch(path, page)
                finally:
                    seen = reader.finish()
                self.result.sightings = [(s.at_ms, s.painted_ms) for s in seen if s.painted_ms is not None]
                self.result.painted = painted_times(log)
            report = await path.figures()
            self.result.intervals = report["intervals"]
            self.result.relay_late_ms, self.result.relay_late_share = report["latestMs"], report["lateShare"]
        if not scenario.sound and not self.result.sightings:
            raise ChromiumError("no readable picture")

    async def _watch(self, path: Network, page: Page) -> None:
        result = self.result
        await asyncio.sleep(CALM_SECONDS)
        result.began_ms = await path.become(self._network)
        await asyncio.sleep(self._warm)
        result.start_ms = time.time() * 1000
        until = time.monotonic() + self._seconds
        while (left := until - time.monotonic()) > 0:
            await self._sample(page)
            await asyncio.sleep(min(left, SAMPLE_SECONDS))
        result.end_ms = time.time() * 1000
        await self._sample(page)

    async def _sample(self, page: Page) -> None:
        """What the glass shows counts even when the page tells nothing any more."""
        with contextlib.suppress(ChromiumError, TimeoutError):
            if sample := await self._system.sample(page):
                self.result.samples.append({"atMs": time.time() * 1000, **sample})


def _trusting(url: str) -> str:
    """WebCodecs and WebTransport are for secure origins; this one is ours, at a private address."""
    parts = urlsplit(url)
    return f"--unsafely-treat-insecure-origin-as-secure={parts.scheme}://{parts.netloc}"


def _kept(options: Options, scenario: Scenario, system: System) -> Result | None:
    """The result of an earlier run that went well."""
    if options.results is None:
        return None
    file = options.results / file_name(scenario.name, system.name)
    if not file.exists():
        return None
    result = Result.loads(file.read_text())
    return None if result.error else result


async def _one(options: Options, scenario: Scenario, system: System) -> Result:
    if (kept := _kept(options, scenario, system)) is not None:
        return kept
    print(f"== {scenario.name}: {system.name}", file=sys.stderr, flush=True)
    result = await Run(scenario, system, options).measure()
    if result.error:
        print(f"{scenario.name}, {system.name}: {result.error}", file=sys.stderr, flush=True)
    if result.relay_late_ms > LATE_MS:
        late = f"the network itself was up to {result.relay_late_ms:.0f} ms late, and"
        late += f" more than 1 ms {100 * result.relay_late_share:.1f} % of the times: the machine was busy"
        print(f"{scenario.name}, {system.name}: {late}", file=sys.stderr, flush=True)
    if options.results is not None:
        (options.results / file_name(scenario.name, system.name)).write_text(result.dumps())
    return result


def _usable(chosen: list[System]) -> list[System]:
    """Those that could be installed."""
    usable = []
    for system in chosen:
        try:
            system.prepare()
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            print(f"{system.name} is left out: {error}", file=sys.stderr, flush=True)
        else:
            usable.append(system)
    return usable


async def run(options: Options) -> list[Figure]:
    """Every scenario, each with every system. Ends with a sentence when nothing can be run here."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        raise SystemExit("scripts/bench delivery needs root and /dev/net/tun: it makes a network of its own")
    try:
        chosen = chosen_systems(options)
    except ValueError as error:
        raise SystemExit(f"scripts/bench delivery: {error}") from None
    for folder in filter(None, (options.results, options.plots)):
        folder.mkdir(parents=True, exist_ok=True)
    usable = await asyncio.to_thread(_usable, chosen)
    if options.plots is not None:
        await asyncio.to_thread(environment, "plots", *PLOTTING)
    figures: list[Figure] = []
    results: list[Result] = []
    for scenario in _chosen_scenarios(options):
        suited = [s for s in usable if not scenario.ours_only or s.name.startswith("wtgateway")]
        row = [await _one(options, scenario, system) for system in suited]
        results += row
        figures += figures_of(scenario, row)
        _show(options, results)  # what there is so far: a long run may be ended
    return figures


def _show(options: Options, results: list[Result]) -> None:
    if options.markdown is not None:
        options.markdown.write_text(document(results))
    if options.plots is not None:
        python = environment("plots", *PLOTTING) / "python"
        files = options.directory / "for-plots"
        files.mkdir(exist_ok=True)
        for result in results:
            (files / file_name(result.scenario, result.system)).write_text(result.dumps())
        command = (
            str(python),
            "-m",
            "scripts.benchmarks.delivery.plots",
            str(files),
            str(options.plots.resolve()),
        )
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            print(f"no plots: {done.stderr.strip()[-500:]}", file=sys.stderr, flush=True)
