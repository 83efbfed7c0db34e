"""What an operator can see of a gateway and have it do: the values of :mod:`wtgateway.web.control`.

All that is answered at once comes from memory, where :class:`Operation` puts it once a second.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from wtgateway.config.template import document_of
from wtgateway.hooks.listener import Listener
from wtgateway.lifecycle.settings_shown import shown
from wtgateway.log import redact_url
from wtgateway.monitoring.loop_lag import LoopLag
from wtgateway.monitoring.processes import Processes
from wtgateway.monitoring.sampler import Sampler
from wtgateway.web.control import CertificateFacts, ProcessFigures, Unavailable
from wtgateway.web.view import SessionSummary
from wtgateway.workers.messages import Lag

if TYPE_CHECKING:
    from wtgateway.access.control import AccessControl
    from wtgateway.certs import CertificateManager
    from wtgateway.config import BroadcastConfig, GatewayConfig
    from wtgateway.config.hooks_model import Hooks
    from wtgateway.events import Events
    from wtgateway.hub import Hub
    from wtgateway.lifecycle.broadcasts import Broadcasts
    from wtgateway.lifecycle.viewers import Viewers
    from wtgateway.workers.resuming import Member

ROTATE_IN_S: Final = 60.0  # pages that fetched the hashes until then know the new one

Labels = tuple[tuple[str, str], ...]


class Operation:
    """What runs beside a gateway so that an operator sees it: samples, and the loop's own lateness."""

    def __init__(self, hub: Hub, viewers: Viewers, listener: Listener) -> None:
        self._hub, self._viewers, self.listener = hub, viewers, listener
        self.lag = LoopLag(asyncio.get_running_loop())
        self.sampler = Sampler(
            sessions=self._sessions,
            sources=self._sources,
            pids=self._pids,
            lags=self._lags,
            look=Processes().look,
        )
        self._task: asyncio.Task[None] | None = None

    def start(self, config: GatewayConfig) -> None:
        """Begin; hooks hear of what happens from now on."""
        self.listener.start(config.webhooks)
        self.lag.start()
        self._task = asyncio.create_task(self.sampler.run(), name="samples")

    async def close(self) -> None:
        """End; nothing is sampled any more."""
        self.lag.stop()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close_hooks(self) -> None:
        """After all else has ended: hooks still hear of that."""
        await self.listener.close()

    def lags(self) -> dict[str, list[int]]:
        """LoopLag.rows() of each process, by name."""
        return {"main": self.lag.rows(), **{name: lag.rows for name, lag in self._workers().items()}}

    def tasks(self) -> dict[str, int]:
        """asyncio's tasks in each process that has viewers, by name."""
        workers = {name: lag.tasks for name, lag in self._workers().items()}
        return {"main": len(asyncio.all_tasks()), **workers}

    def _sessions(self) -> Iterator[SessionSummary]:
        """All sessions; those of this process are looked at as they are asked for."""
        if self._viewers.pool is not None:
            yield from self._viewers.pool.session_summaries()
        if self._viewers.service is not None:
            yield from self._viewers.service.each_summary()

    def _sources(self) -> dict[str, tuple[int, int]]:
        """Of each broadcast its viewers, and the bits a second of its renditions."""
        return {
            broadcast.name: (
                broadcast.viewers,
                sum(broadcast.rate_bps(t.id, r.id) for t in broadcast.catalog.tracks for r in t.renditions),
            )
            for broadcast in self._hub
        }

    def _pids(self) -> dict[str, int]:
        pool = self._viewers.pool
        pids = {"main": os.getpid()}
        for number, pid in enumerate(pool.process_ids() if pool is not None else ()):
            if pid is not None:
                pids[f"worker-{number}"] = pid
        return pids

    def _lags(self) -> dict[str, int]:
        worst = {name: lag.worst_us for name, lag in self._workers().items()}
        return {"main": self.lag.take_worst_us(), **worst}

    def _workers(self) -> dict[str, Lag]:
        """What each worker told last of its event loop, by its name as a process."""
        pool = self._viewers.pool
        return {f"worker-{n}": lag for n, lag in pool.lags().items()} if pool is not None else {}


def make_listener(gateway: Operated) -> Listener:
    """Hooks and webhooks of a gateway, by the configuration that holds when something happens."""

    def config_of(name: str) -> BroadcastConfig | None:
        return next((each for each in gateway.broadcasts_running.configs if each.name == name), None)

    def hooks_of(name: str) -> Hooks:
        found = config_of(name)
        return {**gateway.config.hooks, **(found.hooks if found is not None else {})}

    def source_of(name: str) -> str:
        found = config_of(name)
        return redact_url(found.source) if found is not None else ""

    return Listener(
        gateway.events,
        hooks_of,
        source_of,
        node=gateway.config.node,
        instance=gateway._member.instance,
    )


class Operated:
    """The GatewayControl half of a gateway; the other half fills in what stands here."""

    config: GatewayConfig
    events: Events
    viewers: Viewers
    operation: Operation
    broadcasts_running: Broadcasts
    _started: float
    _member: Member
    access: AccessControl | None
    _certificates: CertificateManager | None

    def uptime_s(self) -> float:
        """Since the gateway was made."""
        return time.monotonic() - self._started

    def processes(self) -> list[ProcessFigures]:
        """As of the last second."""
        return self.operation.sampler.processes

    def loop_lags(self) -> Mapping[str, list[int]]:
        """How late event loops are, by process: LoopLag.rows() of each."""
        return self.operation.lags()

    def tasks(self) -> Mapping[str, int]:
        """asyncio's tasks, by process; to be asked on the loop."""
        return self.operation.tasks()

    def session_history(self, session_id: str) -> list[Mapping[str, Any]]:
        """The last two minutes of a session."""
        history = self.operation.sampler.of_sessions.get(session_id)
        return history.values() if history is not None else []

    def broadcast_history(self, name: str) -> list[Mapping[str, Any]]:
        """The last two minutes of a broadcast."""
        history = self.operation.sampler.of_broadcasts.get(name)
        return history.values() if history is not None else []

    def gateway_history(self) -> list[Mapping[str, Any]]:
        """The last two minutes of all."""
        return self.operation.sampler.of_gateway.values()

    def counters(self) -> Mapping[str, Mapping[Labels, int]]:
        """What has happened, by kind of event."""
        listener = self.operation.listener
        of_webhooks = listener.counters + sum((w.counters for w in listener.webhooks), Counter())
        return {
            "hooks": {(("outcome", name),): count for name, count in listener.commands.counters.items()},
            "webhooks": {(("outcome", name),): count for name, count in of_webhooks.items()},
            "access": {(("outcome", name),): count for name, count in self._access_counters().items()},
            "events": {(("kind", kind),): count for kind, count in self.events.counts.items()},
        }

    def _access_counters(self) -> Mapping[str, int]:
        return self.access.authority.counters if self.access is not None else {}

    def broadcast_document(self, name: str) -> Mapping[str, Any] | None:
        """The settings of a broadcast, passwords included."""
        found = (each for each in self.broadcasts_running.configs if each.name == name)
        return next((document_of(config) for config in found), None)

    async def kick(self, session_id: str, code: int, reason: str) -> bool:
        """Close a viewer's session; False: there is none of that id."""
        return bool(await self.viewers.ask("kick", session_id, code, reason))

    async def request_keyframe(self, session_id: str) -> bool:
        """Ask for a keyframe of the pictures that a session gets; False: there is none of that id."""
        return bool(await self.viewers.ask("keyframe", session_id))

    async def start_qlog(self, session_id: str) -> bool:
        """Begin to note what a session's connection does. Raises Unavailable."""
        return bool(await self.viewers.ask("start-qlog", session_id))

    async def qlog(self, session_id: str) -> bytes | None:
        """What was noted so far; None: nothing is."""
        noted: bytes | None = await self.viewers.ask("qlog", session_id)
        return noted

    async def stop_qlog(self, session_id: str) -> bool:
        """Note no more, and forget; False: nothing was noted."""
        return bool(await self.viewers.ask("stop-qlog", session_id))

    def certificates(self) -> list[CertificateFacts]:
        """The one in use first."""
        if self._certificates is None:
            return []
        current = self._certificates.certificates.current
        return [
            CertificateFacts(
                sha256=entry["value"].hex(),
                not_before=entry["notBefore"],
                not_after=entry["notAfter"],
                current=entry["value"] == current.fingerprint,
            )
            for entry in self._certificates.certificates.hashes()
        ]

    async def rotate_certificates(self) -> None:
        """Make one that takes over in a minute. Raises Unavailable."""
        if self._certificates is None or not await self._certificates.rotate(ROTATE_IN_S):
            raise Unavailable("these certificates come from the cluster's secret and change with the clock")

    def config_document(self) -> Mapping[str, Any]:
        """All settings that hold, without secrets; broadcasts as they run now."""
        return shown(self.config, self.broadcasts_running.configs)
