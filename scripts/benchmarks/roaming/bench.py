"""Runs every event on every system in a network of namespaces (scripts.support.topology).

A page plays for a while, something happens once, and after some seconds more the page is asked what it
has painted and heard. Events of the network happen to ours and to peers, with one server at the edge; those
of nodes and balancers to ours alone, behind `wtgateway lb nftables`: peers have neither. A page that has no
picture after ``PATIENCE_S`` counts with that time, and is loaded anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from scripts.benchmarks.report import Figure, Options, quantile
from scripts.benchmarks.roaming.events import (
    PATH_EVENTS,
    ROLLING,
    ROLLING_MS,
    SERVICE_EVENTS,
    PathEvent,
    ServiceEvent,
)
from scripts.benchmarks.roaming.figures import Gaps, figures_of
from scripts.benchmarks.roaming.gaps import Gap, gap
from scripts.benchmarks.roaming.systems import OURS, PEERS, SOURCE, Page, PageError, System, opened
from scripts.support.cluster import Cluster
from scripts.support.crowd import crowd
from scripts.support.namespaces import why_not
from scripts.support.processes import ProgramFailed
from scripts.support.topology import ORIGIN, Topology, topology

TIMES, QUICK_TIMES = 7, 3
CALM_S = 2.0  # before an event: what is usual is measured then
AFTER_S = 3.0  # a stall begins with the event; who still paints now has had none that is not over
PATIENCE_S = 15.0
_LOADING_S = 60.0
_PAINTED = 20  # pictures after the event, of who plays again
CROWDS = (
    12,
    24,
    50,
)  # the goal is of the last one; fewer show from where on it is the machine that does not follow
CROWD_SOURCE = ("test:", "--size", "640x360", "--fps", "15", "--no-audio")


class Stage:
    """A page of one system, loaded when it is needed."""

    def __init__(self, world: Topology, system: System) -> None:
        self.world, self.system = world, system
        self._stack = contextlib.AsyncExitStack()
        self._page: Page | None = None

    async def _loaded(self) -> Page:
        if self._page is None:
            if self.world.link != "wifi":
                await self.world.move("wifi")
            prefix = self.world.net.command("client")
            page: Page = await self._stack.enter_async_context(
                opened(self.system.browser, prefix, ORIGIN + self.system.path)
            )
            await _poll(lambda: self.system.begin(page), _LOADING_S, "picture")
            self._page = page
        return self._page

    async def close(self) -> None:
        """Close the browser; the next measurement opens another."""
        self._page = None
        await self._stack.aclose()

    async def plays(self) -> None:
        """Load what is not loaded, and wait for pictures painted from now on."""
        await self._loaded()
        await self._painted_since(time.time() * 1000)

    async def _painted_since(self, since_ms: float) -> None:
        page = await self._loaded()

        async def enough() -> bool:
            noted = await self.system.noted(page)
            return sum(at > since_ms for at in noted.paints) >= _PAINTED

        await _poll(enough, PATIENCE_S, "picture")

    async def gap(self, act: Callable[[], Awaitable[object]]) -> Gap:
        """What ``act`` costs the page that plays here."""
        await self.plays()
        await asyncio.sleep(CALM_S)
        before = await self.system.noted(await self._loaded())
        began = time.time() * 1000
        await act()
        acted = time.time() * 1000
        await asyncio.sleep(max(0.0, AFTER_S - (acted - began) / 1000))
        with contextlib.suppress(TimeoutError):
            await self._painted_since(acted)
        page = await self._loaded()
        until = time.time() * 1000
        found = gap(before, await self.system.noted(page), began, until)
        if found.picture > 0.9 * 1000 * PATIENCE_S:
            await self.close()
        return found


async def _poll(check: Callable[[], Awaitable[Any]], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not await check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds:g} s")
        await asyncio.sleep(0.1)


class Bench:
    """All measurements of one run; what fails is told on stderr and lacks in the table."""

    def __init__(self, options: Options, world: Topology) -> None:
        self._options, self._world = options, world
        self._times = QUICK_TIMES if options.quick else TIMES
        self.gaps: Gaps = {}
        self.rolling: list[list[dict[str, Any]]] = []

    def _asked(self, name: str) -> bool:
        return not self._options.events or name in self._options.events

    def _systems(self) -> list[System]:
        known: list[System] = [*OURS, *(PEERS if self._options.peers else ())]
        wanted = self._options.systems
        return [s for s in known if not wanted or any(w.lower() in s.name.lower() for w in wanted)]

    async def path(self) -> None:
        """Events of the viewer's network, each system by itself."""
        events = [event for event in PATH_EVENTS if self._asked(event.name)]
        for number, system in enumerate(self._systems() if events else ()):
            directory = self._options.directory / f"served{number}"
            directory.mkdir()
            try:
                await asyncio.to_thread(system.prepare)
                async with system.serving(self._world, directory):
                    for event in events:
                        await self._repeat(event.name, system, functools.partial(self._on_path, event))
            except (OSError, ProgramFailed) as error:
                _tell(f"{system.name}: {error}")

    async def _on_path(self, event: PathEvent, stage: Stage) -> Gap:
        await stage.plays()
        if self._world.link != event.begins:
            await self._world.move(event.begins)
        return await stage.gap(lambda: event.act(self._world))

    async def service(self) -> None:
        """Events of nodes and of the balancer."""
        events = [event for event in SERVICE_EVENTS if self._asked(event.name)]
        ours = [system for system in self._systems() if system in OURS]
        if not events or not ours:
            return
        directory = self._options.directory / "cluster"
        directory.mkdir()
        async with Cluster(self._world, directory, arguments=SOURCE) as cluster:
            for system in ours:
                for event in events:
                    await self._repeat(event.name, system, functools.partial(_on_service, cluster, event))

    async def many(self) -> None:
        """All nodes restarted in turn under many viewers."""
        for count in CROWDS if self._asked(ROLLING) else ():
            _tell(f"== {ROLLING}: {count} native viewers")
            try:
                self.rolling.append(await self._rolling(count))
            except (OSError, ProgramFailed) as error:
                _tell(f"   {type(error).__name__}: {error}")

    async def _rolling(self, count: int) -> list[dict[str, Any]]:
        directory = self._options.directory / f"rolling{count}"
        directory.mkdir()
        async with (
            Cluster(self._world, directory, arguments=CROWD_SOURCE) as cluster,
            crowd(self._world.net.command("client"), f"{ORIGIN}/test", count) as viewers,
        ):
            await asyncio.sleep(CALM_S)
            await viewers.report()
            await cluster.rolling_restart()
            await asyncio.sleep(AFTER_S)
            return await viewers.report()

    async def _repeat(self, name: str, system: System, once: Callable[[Stage], Awaitable[Gap]]) -> None:
        """The same again and again, on one page as long as it lives."""
        _tell(f"== {name}: {system.name}")
        found = self.gaps.setdefault((name, system.name), [])
        stage = Stage(self._world, system)
        try:
            for _ in range(self._times):
                try:
                    async with asyncio.timeout(_LOADING_S + 2 * PATIENCE_S):
                        found.append(await once(stage))
                    _tell(f"   {found[-1]}")
                except (*PageError, OSError, ProgramFailed) as error:
                    _tell(f"   {type(error).__name__}: {error}")
                    await stage.close()
        finally:
            await stage.close()


async def _on_service(cluster: Cluster, event: ServiceEvent, stage: Stage) -> Gap:
    await cluster.start_missing()
    await stage.plays()
    sessions = await cluster.sessions()
    name = max(sessions, key=lambda node: len(sessions[node]))
    return await stage.gap(lambda: event.act(cluster, name))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def rolling_figures(report: list[dict[str, Any]]) -> list[Figure]:
    """Of all viewers: the longest time without a picture, and how many sessions broke off."""
    longest = [float(viewer["longest_ms"]) for viewer in report]
    if not report:
        return []
    label = f"all nodes restarted in turn, {len(report)} viewers"
    return [
        Figure(name=f"{label}: without picture, p50", value=quantile(longest, 0.5), unit="ms"),
        Figure(name=f"{label}: without picture, max", value=max(longest), unit="ms", goal=ROLLING_MS),
        Figure(name=f"{label}: sessions broken off", value=sum(v["reconnects"] for v in report), unit=""),
    ]


async def run(options: Options) -> list[Figure]:
    """Every event. Ends with a sentence when nothing can be run here."""
    if reason := why_not():
        raise SystemExit(f"scripts/bench roaming: {reason}")
    async with topology() as world:
        bench = Bench(options, world)
        await bench.path()
        await bench.service()
        await bench.many()
    rolling = [figure for report in bench.rolling for figure in rolling_figures(report)]
    return [*figures_of(bench.gaps), *rolling]
