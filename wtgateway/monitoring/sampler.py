"""Takes a sample a second of all sessions, all broadcasts, and the gateway.

A rate is the difference of two readings over the time between them as the session's own age tells it, since a
worker's reading is some tenths of a second old when it is seen. Nothing new read: no sample. Imports the
web's values and this room.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from wtgateway.monitoring.history import (
    MAX_SESSIONS,
    BroadcastHistory,
    GatewayHistory,
    SessionHistory,
    keep_only,
)
from wtgateway.web.control import ProcessFigures
from wtgateway.web.view import SessionSummary

EVERY_S: Final = 1.0
SESSIONS_PER_TURN: Final = 64  # then others have their turn of the loop
log = logging.getLogger("wtgateway.monitoring")


class Sampler:
    """``sessions`` gives all, one by one; ``sources`` each broadcast's viewers, and what its renditions take.

    ``look`` gives the figures of all processes, in a thread; ``lags`` how late their loops were, by name.
    """

    def __init__(
        self,
        *,
        sessions: Callable[[], Iterable[SessionSummary]],
        sources: Callable[[], Mapping[str, tuple[int, int]]],
        pids: Callable[[], Mapping[str, int]],
        lags: Callable[[], Mapping[str, int]],
        look: Callable[[Mapping[str, int], Mapping[str, int]], list[ProcessFigures]],
    ) -> None:
        self._sessions, self._sources = sessions, sources
        self._pids, self._lags, self._look = pids, lags, look
        self.of_sessions: dict[str, SessionHistory] = {}
        self.of_broadcasts: dict[str, BroadcastHistory] = {}
        self.of_gateway = GatewayHistory()
        self.processes: list[ProcessFigures] = []
        self._before: dict[str, SessionSummary] = {}
        self._rates: dict[str, tuple[str, int]] = {}  # of sessions: the broadcast, bits a second

    async def run(self) -> None:
        """Until cancelled. A sample that fails is left out: the next may do better."""
        while True:
            try:
                await self.sample(round(time.time() * 1000))
            except Exception:
                log.exception("a sample could not be taken")
            await asyncio.sleep(EVERY_S)

    async def sample(self, at_ms: int) -> None:
        """One of everything."""
        self.processes = await asyncio.to_thread(self._look, self._pids(), self._lags())
        alive, sessions = set(), 0
        for session in self._sessions():
            sessions += 1
            if sessions % SESSIONS_PER_TURN == 0:
                await asyncio.sleep(0)
            if sessions <= MAX_SESSIONS:
                alive.add(session.id)
                self._sample_session(session, at_ms)
        for kept in (self.of_sessions, self._before, self._rates):
            keep_only(kept, alive)
        self._sample_broadcasts(at_ms)
        self.of_gateway.add(
            at_ms,
            rate_bps=sum(rate for _, rate in self._rates.values()),
            sessions=sessions,
            rss_bytes=sum(each.rss_bytes for each in self.processes),
            cpu_share=sum(each.cpu_share for each in self.processes),
            loop_lag_us=max((each.loop_lag_us for each in self.processes), default=0),
        )

    def _sample_session(self, session: SessionSummary, at_ms: int) -> None:
        before = self._before.get(session.id)
        if before is not None and session.age_s <= before.age_s:
            return  # the same reading once more
        self._before[session.id] = session
        if before is None:
            return
        rate = round((session.bytes_sent - before.bytes_sent) * 8 / (session.age_s - before.age_s))
        self._rates[session.id] = session.broadcast, rate
        self.of_sessions.setdefault(session.id, SessionHistory()).add(
            at_ms,
            rate_bps=rate,
            loss=session.loss,
            rtt_us=session.rtt_us,
            queueing_us=session.queueing_us,
            queued_bytes=session.queued_bytes,
            frames_sent=session.frames_sent - before.frames_sent,
            frames_dropped=session.frames_dropped - before.frames_dropped,
            stages_us=session.stages_us,
        )

    def _sample_broadcasts(self, at_ms: int) -> None:
        sources = self._sources()
        keep_only(self.of_broadcasts, sources)
        sent: Counter[str] = Counter()
        for broadcast, rate in self._rates.values():
            sent[broadcast] += rate
        for name, (viewers, source_bps) in sources.items():
            history = self.of_broadcasts.setdefault(name, BroadcastHistory())
            history.add(at_ms, rate_bps=sent[name], source_bps=source_bps, viewers=viewers)
