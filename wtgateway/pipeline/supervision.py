"""When a broadcast's source runs: while it is wanted, and again after it was lost, with back-off.

Lives on the event loop. May import config, hub, media and errors. The rule: what a run consists of, threads
here or a process of its own, is the business of who derives from :class:`Supervised`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from wtgateway.errors import SourceEnded, WtgatewayError
from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState
from wtgateway.pipeline.queues import PipelineStats

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig

log = logging.getLogger("wtgateway.pipeline")

BACKOFF_FIRST_S, BACKOFF_LIMIT_S = 0.5, 10.0
BACKOFF_FORGIVEN_AFTER_S = 10.0
RECENT_S, RECENT_LIMIT_S = 60.0, 0.5  # what was live so shortly ago is likely restarting: viewers wait for it
LINGER_S = 10.0  # an on-demand source outlives its last viewer by this, so that a reload is quick
OPENING = Status(BroadcastState.CONNECTING, "the source is being opened")
ENDED = Status(BroadcastState.ENDED, "the source came to its end")


class Supervised(ABC):
    """A source while it is wanted: opened, opened again after a pause, stopped when nobody watches."""

    def __init__(self, config: BroadcastConfig, broadcast: Broadcast) -> None:
        self.config, self.broadcast, self.stats = config, broadcast, PipelineStats()
        self._loop = asyncio.get_running_loop()
        self._wanted, self._unwanted = asyncio.Event(), asyncio.Event()
        self._unwanted_timer: asyncio.TimerHandle | None = None
        self._live_since: float | None = None
        self._live_until: float | None = None
        self._demand(0)

    @property
    def uptime_s(self) -> float:
        """Seconds since the broadcast last became live; 0: it is not."""
        live = self.broadcast.status.state is BroadcastState.LIVE and self._live_since is not None
        return self._loop.time() - (self._live_since or 0.0) if live else 0.0

    def demand_changed(self, viewers: int) -> None:
        """Start at the first viewer; stop some time after the last, when on demand."""
        self._demand(viewers)

    async def run(self) -> None:
        """Until cancelled, or until a source that is not looped has ended in order."""
        failures = 0
        while True:
            if not self._wanted.is_set():
                self.broadcast.set_status(Status(BroadcastState.IDLE, "starts with its first viewer"))
                await self._wanted.wait()
            self._live_since = None
            self.broadcast.set_status(OPENING)
            error = await self._run_once()
            if error is None:
                continue  # nobody watches
            if isinstance(error, SourceEnded) and not self.config.loop:
                log.info("source ended broadcast=%s", self.config.name)
                self.broadcast.set_status(ENDED)
                return
            if self._live_since is not None:
                self._live_until = self._loop.time()
                if self._live_until - self._live_since > BACKOFF_FORGIVEN_AFTER_S:
                    failures = 0
            await self._pause(failures, error)
            failures += 1

    @abstractmethod
    async def _run_once(self) -> BaseException | None:
        """Run the source until it fails (the error) or is no longer wanted (None)."""

    def _became_live(self) -> None:
        """The first frame of a run is there."""
        self._live_since = self._loop.time()
        log.info("broadcast is live broadcast=%s", self.config.name)

    def _lost(self, error: BaseException, delay_s: float) -> None:
        """Say that the source is lost, and when it is tried again."""
        log.warning(
            "source lost broadcast=%s retry_in=%.1fs reason=%s", self.config.name, delay_s, _one_line(error)
        )

    async def _pause(self, failures: int, error: BaseException) -> None:
        since_live_s = None if self._live_until is None else self._loop.time() - self._live_until
        delay_s = pause_s(failures, since_live_s)
        self.stats.restarts += 1
        self._lost(error, delay_s)
        reason = _one_line(error) if isinstance(error, WtgatewayError) else "the source broke"
        self.broadcast.set_status(Status(BroadcastState.RETRYING, reason, round(delay_s * 1000)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._unwanted.wait(), delay_s)

    def _demand(self, viewers: int) -> None:
        if self._unwanted_timer is not None:
            self._unwanted_timer.cancel()
            self._unwanted_timer = None
        if viewers or not self.config.on_demand:
            self._unwanted.clear()
            self._wanted.set()
        elif self._wanted.is_set():
            self._unwanted_timer = self._loop.call_later(LINGER_S, self._give_up)

    def _give_up(self) -> None:
        self._wanted.clear()
        self._unwanted.set()


def pause_s(failures: int, since_live_s: float | None) -> float:
    """How long to wait after so many failures in a row; ``since_live_s`` ago it was live, None: never."""
    recent = since_live_s is not None and since_live_s < RECENT_S
    limit_s = RECENT_LIMIT_S if recent else BACKOFF_LIMIT_S
    return min(BACKOFF_FIRST_S * (1 << min(failures, 10)), limit_s)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
