"""What stands in the main process for a pipeline that runs in a process of its own.

It has the surface of :class:`wtgateway.pipeline.Pipeline`: who shows it, or gives it wishes, need not know
which of the two it is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wtgateway.errors import SourceEnded
from wtgateway.hub import Broadcast, Status
from wtgateway.isolation.messages import Figures
from wtgateway.isolation.processes import SourceProcess, SourceProcesses
from wtgateway.isolation.run import Run, SourceDied
from wtgateway.media import BroadcastState
from wtgateway.pipeline import recipe
from wtgateway.pipeline.queues import PipelineStats
from wtgateway.pipeline.supervision import Supervised
from wtgateway.protocol.targets import EncoderTarget, Nominal

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.sources.base import CodedFormat, Source, SourceInfo

log = logging.getLogger("wtgateway.isolation")


@dataclass(slots=True)
class Adapted:
    """What the encoders over there do, as they said last."""

    targets: Mapping[int, EncoderTarget] = field(default_factory=dict)
    nominals: Mapping[int, Nominal] = field(default_factory=dict)
    changes: int = 0


class IsolatedPipeline(Supervised):
    """A broadcast's source and encoders, in a process of their own while they are wanted."""

    def __init__(
        self,
        config: BroadcastConfig,
        broadcast: Broadcast,
        processes: SourceProcesses,
        make_source: Callable[[BroadcastConfig], Source] = recipe.make_source,
    ) -> None:
        """``make_source`` is called over there, so it has to be a module's."""
        super().__init__(config, broadcast)
        self.info: SourceInfo | None = None
        self.coded: CodedFormat | None = None  # of the video that is forwarded
        self.adapting = Adapted()
        self._processes, self._make_source = processes, make_source
        self._run: Run | None = None
        self._before = PipelineStats()  # of processes that are over
        self._changes_before = 0
        self._figures: Figures | None = None
        processes.prepare()
        broadcast.bind(self)

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._run.pid if self._run is not None else None

    # --- the hub's wishes (Producer) ---------------------------------------------------------

    def request_keyframe(self, track: int) -> None:
        """Make the next picture a keyframe."""
        if self._run is not None:
            self._run.want_keyframe(track)

    def demand_changed(self, viewers: int) -> None:
        """Start at the first viewer; stop some time after the last, when on demand."""
        super().demand_changed(viewers)
        self.wishes_changed()

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None:
        """Encode what viewers get."""
        self.wishes_changed()

    def wishes_changed(self) -> None:
        """Encoders follow what viewers can take."""
        if self._run is not None:
            self._run.audience_changed()

    # --- a run ---------------------------------------------------------------------------------

    async def _run_once(self) -> BaseException | None:
        unwanted = asyncio.ensure_future(self._unwanted.wait())
        taking = asyncio.ensure_future(self._processes.take())
        try:
            await _first(taking, unwanted)
            if not taking.done():
                return None
            over = self._begin(taking.result()).over
            await _first(over, unwanted)
            return over.result() if over.done() else None
        finally:
            unwanted.cancel()
            await asyncio.shield(self._close(taking))

    def _begin(self, process: SourceProcess) -> Run:
        config = dataclasses.replace(self.config, on_demand=False)  # that is decided here
        self._run = Run(process, config, self._make_source, self.broadcast, self)
        log.info("source has a process broadcast=%s pid=%d", self.config.name, process.pid)
        return self._run

    async def _close(self, taking: asyncio.Future[SourceProcess]) -> None:
        run, self._run = self._run, None
        if run is None:
            taking.cancel()
            if taking.done() and not taking.cancelled() and taking.exception() is None:
                taking.result().kill()
            return
        await run.close()
        self._count(run.lost)
        self._before, self._changes_before = self.stats, self.adapting.changes
        self._figures = None
        self.adapting = Adapted(changes=self._changes_before)

    def _lost(self, error: BaseException, delay_s: float) -> None:
        if not isinstance(error, SourceDied):
            super()._lost(error, delay_s)
            return
        self.stats.process_deaths += 1
        at = f" at={error.at}" if error.at else ""
        log.warning(
            "source process died: %s broadcast=%s pid=%d%s retry_in=%.1fs",
            error.how, self.config.name, error.pid, at, delay_s,
        )  # fmt: skip
        self._processes.on_died(self.config.name, error.how)

    # --- what comes from there (Listener) ------------------------------------------------------

    def on_status(self, status: Status) -> None:
        """The state over there is the one here, but for when it runs at all, which is decided here."""
        if status.state is BroadcastState.IDLE:
            return
        if status.state is BroadcastState.ENDED:
            if self._run is not None:
                self._run.end(SourceEnded(status.reason))
            return
        if status.state is BroadcastState.LIVE and self.broadcast.status.state is not BroadcastState.LIVE:
            self._live_since = self._loop.time()  # it is logged over there
        self.broadcast.set_status(status)

    def on_report(self, figures: Figures | None) -> None:
        """What is counted over there is shown here."""
        if figures is not None:
            self._figures, self.coded, self.info = figures, figures.coded, figures.info
            changes = self._changes_before + figures.changes
            self.adapting = Adapted(figures.targets, figures.nominals, changes)
        self._count(self._run.lost if self._run is not None else 0)

    def _count(self, lost: int) -> None:
        now = self._figures.stats if self._figures is not None else PipelineStats()
        both = {
            f.name: getattr(self._before, f.name) + getattr(now, f.name)
            for f in dataclasses.fields(PipelineStats)
        }
        self.stats = PipelineStats(**both)
        self.stats.source_lost += lost


async def _first(*ends: asyncio.Future[Any]) -> None:
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
