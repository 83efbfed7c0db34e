"""The broadcasts of a running gateway: each with its pipeline, which may be added, changed and removed.

Everything belongs to the event loop's thread; changes are made one after the other. What is changed keeps its
viewers: another source goes on with the next group, which is what viewers know of a source that was away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from wtgateway.events import Events
from wtgateway.hub import Broadcast, Hub
from wtgateway.media import BroadcastState
from wtgateway.pipeline.recipe import policy_of

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.isolation import IsolatedPipeline, SourceProcesses
    from wtgateway.pipeline import Pipeline

    AnyPipeline: TypeAlias = Pipeline | IsolatedPipeline

log = logging.getLogger("wtgateway")


class Audience(Protocol):
    """Whoever serves viewers, and has to know what there is to be watched."""

    def add_broadcast(self, broadcast: Broadcast) -> None:
        """Another one may be watched from now on. Raises WtgatewayError."""

    def change_broadcast(self, broadcast: Broadcast) -> None:
        """Its viewers adapt in another way from now on."""

    def remove_broadcast(self, broadcast: Broadcast) -> None:
        """It is there no more: its viewers are told."""


def make_pipeline(config: BroadcastConfig, broadcast: Broadcast, processes: SourceProcesses) -> AnyPipeline:
    """The pipeline that ``config`` asks for, not yet running: here, or in one of the processes."""
    from wtgateway.isolation import make_pipeline

    return make_pipeline(config, broadcast, processes)


@dataclass(slots=True)
class _Running:
    pipeline: AnyPipeline
    task: asyncio.Task[None]


class Broadcasts:
    """All broadcasts of ``hub``. First :meth:`prepare`, so that viewers can find them, then :meth:`start`."""

    def __init__(self, hub: Hub, audience: Audience, events: Events) -> None:
        self.hub = hub
        self._audience, self._events = audience, events
        self._running: dict[str, _Running] = {}
        self._one_change = asyncio.Lock()
        self._source_processes: SourceProcesses | None = None

    @property
    def pipelines(self) -> dict[str, AnyPipeline]:
        """The pipelines by name of their broadcast."""
        return {name: running.pipeline for name, running in self._running.items()}

    @property
    def configs(self) -> tuple[BroadcastConfig, ...]:
        """What runs now, in the order in which it came."""
        return tuple(running.pipeline.config for running in self._running.values())

    @property
    def alive(self) -> bool:
        """Whether each pipeline is looked after; one whose source came to its end in order is over."""
        return all(
            not running.task.done() or broadcast.status.state is BroadcastState.ENDED
            for name, running in self._running.items()
            if (broadcast := self.hub.get(name)) is not None
        )

    def __iter__(self) -> Iterator[tuple[Broadcast, AnyPipeline]]:
        """Each broadcast that runs, and its pipeline."""
        for broadcast in self.hub:
            if (running := self._running.get(broadcast.name)) is not None:
                yield broadcast, running.pipeline

    def prepare(self, configs: Iterable[BroadcastConfig]) -> None:
        """Make them known; nothing runs yet."""
        for config in configs:
            self.hub.add(config.name).policy = policy_of(config)

    def start(self, configs: Iterable[BroadcastConfig]) -> None:
        """Let those run that are known."""
        for config in configs:
            broadcast = self.hub.get(config.name)
            assert broadcast is not None
            self._run(config, broadcast)

    async def put(self, config: BroadcastConfig) -> bool:
        """Add a broadcast, or change it if it is another than before; True: it is new.

        Raises WtgatewayError where viewers cannot be told of one more; nothing has changed then.
        """
        async with self._one_change:
            running = self._running.get(config.name)
            if running is None:
                self._add(config)
            elif running.pipeline.config != config:
                await self._replace(config, running)
                self._events.publish("broadcast.changed", broadcast=config.name, source=config.source)
            return running is None

    async def remove(self, name: str) -> bool:
        """Its viewers are told, then its source is closed; False: there is none."""
        async with self._one_change:
            running, broadcast = self._running.pop(name, None), self.hub.remove(name)
            if broadcast is None:
                return False
            self._audience.remove_broadcast(broadcast)
            if running is not None:
                await _stop(running)
            log.info("broadcast removed broadcast=%s", name)
            self._events.publish("broadcast.removed", broadcast=name)
            return True

    async def restart(self, name: str) -> bool:
        """Close its source and open it again; viewers stay. False: there is none."""
        async with self._one_change:
            running = self._running.get(name)
            if running is not None:
                await self._replace(running.pipeline.config, running)
                log.info("broadcast restarted broadcast=%s", name)
            return running is not None

    async def close(self) -> None:
        """Stop all pipelines; their threads and processes are over when this returns."""
        async with self._one_change:
            running, self._running = list(self._running.values()), {}
            await asyncio.gather(*map(_stop, running))
            if self._source_processes is not None:
                await self._source_processes.close()
                self._source_processes = None

    def _add(self, config: BroadcastConfig) -> None:
        broadcast = self.hub.add(config.name)
        broadcast.policy = policy_of(config)
        try:
            self._audience.add_broadcast(broadcast)
        except BaseException:
            self.hub.remove(config.name)
            raise
        self._run(config, broadcast)
        log.info("broadcast added broadcast=%s source=%s", config.name, config.source)
        self._events.publish("broadcast.added", broadcast=config.name, source=config.source)

    async def _replace(self, config: BroadcastConfig, running: _Running) -> None:
        """Another pipeline for the same broadcast; the old one lets go of the source first."""
        await _stop(running)
        broadcast = self.hub.get(config.name)
        assert broadcast is not None
        broadcast.policy = policy_of(config)
        self._audience.change_broadcast(broadcast)
        self._run(config, broadcast)

    def _run(self, config: BroadcastConfig, broadcast: Broadcast) -> None:
        if self._source_processes is None:
            from wtgateway.isolation import SourceProcesses

            self._source_processes = SourceProcesses(self._died)
        pipeline = make_pipeline(config, broadcast, self._source_processes)
        # A pipeline learns by what changes: viewers who are there already are no change.
        pipeline.demand_changed(broadcast.viewers)
        pipeline.wanted_changed(broadcast.wanted)
        pipeline.wishes_changed()
        task = asyncio.create_task(pipeline.run(), name=f"pipeline:{config.name}")
        task.add_done_callback(_say_why)
        self._running[config.name] = _Running(pipeline, task)

    def _died(self, broadcast: str, how: str) -> None:
        self._events.publish("source.died", broadcast=broadcast, how=how)


async def _stop(running: _Running) -> None:
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)


def _say_why(task: asyncio.Task[None]) -> None:
    """A pipeline looks after all that can go wrong with a source: what it ends of is a defect."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a pipeline has ended task=%s", task.get_name(), exc_info=error)
