"""The broadcasts of a running gateway: each with its pipeline, which may be added, changed and removed.

Everything belongs to the event loop's thread; changes are made one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wtgateway.hub import Broadcast, Hub
from wtgateway.pipeline.recipe import policy_of

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.pipeline import Pipeline

log = logging.getLogger("wtgateway")


def make_pipeline(config: BroadcastConfig, broadcast: Broadcast) -> Pipeline:
    """The pipeline that ``config`` asks for, not yet running."""
    from wtgateway.pipeline import Pipeline

    return Pipeline(config, broadcast)


@dataclass(slots=True)
class _Running:
    pipeline: Pipeline
    task: asyncio.Task[None]


class Broadcasts:
    """All broadcasts of ``hub``. First :meth:`prepare`, so that viewers can find them, then :meth:`start`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._running: dict[str, _Running] = {}

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipelines by name of their broadcast."""
        return {name: running.pipeline for name, running in self._running.items()}

    def __iter__(self) -> Iterator[tuple[Broadcast, Pipeline]]:
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

    async def close(self) -> None:
        """Stop all pipelines; their threads are over when this returns."""
        running, self._running = list(self._running.values()), {}
        for each in running:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in running), return_exceptions=True)

    def _run(self, config: BroadcastConfig, broadcast: Broadcast) -> None:
        pipeline = make_pipeline(config, broadcast)
        task = asyncio.create_task(pipeline.run(), name=f"pipeline:{config.name}")
        self._running[config.name] = _Running(pipeline, task)
