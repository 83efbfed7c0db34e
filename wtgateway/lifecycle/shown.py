"""What a gateway shows of itself to its pages and its API: the values of :mod:`wtgateway.web.view`.

All methods answer at once, from memory.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from wtgateway.log import redact_url
from wtgateway.web.view import (
    BroadcastSummary,
    Health,
    NodeSummary,
    SessionSummary,
    TargetSummary,
    WorkerSummary,
)
from wtgateway.web.where import quic_url

if TYPE_CHECKING:
    from wtgateway.certs import CertificateSet
    from wtgateway.config import GatewayConfig
    from wtgateway.config.balancing import LbFile
    from wtgateway.hub import Broadcast
    from wtgateway.lifecycle.broadcasts import AnyPipeline, Broadcasts
    from wtgateway.lifecycle.shortages import Shortages
    from wtgateway.lifecycle.viewers import Viewers
    from wtgateway.transport.identity import Identity
    from wtgateway.workers.resuming import Member


class Shown:
    """The GatewayView half of a gateway; the other half fills in what stands here."""

    config: GatewayConfig
    broadcasts_running: Broadcasts
    viewers: Viewers
    identity: Identity
    lb_file: LbFile | None
    quic_addresses: list[tuple[str, int]]
    _member: Member
    _ready: bool
    _draining: bool
    _stopping: bool
    shortages: Shortages

    def _certificate_set(self) -> CertificateSet:
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether viewers are served."""
        return self._ready

    def health(self) -> Health:
        """How the gateway is, to whoever restarts it or sends viewers to it."""
        dead = "" if self.alive() else "a broadcast is not looked after any more; the log says why"
        return Health(dead=dead, unready=self._unready(), short_of=tuple(self.shortages.present))

    def alive(self) -> bool:
        """Whether all that has to go on goes on: asked by a task, so the event loop does."""
        return self.broadcasts_running.alive

    def _unready(self) -> str:
        if self._draining:
            return "viewers are sent to other nodes"
        if not self._ready:
            return "the gateway is stopping" if self._stopping else "the gateway is starting"
        pool = self.viewers.pool
        if pool is not None and not any(worker.up for worker in pool.worker_summaries()):
            return "no worker serves viewers"
        return ""

    def broadcasts(self) -> list[BroadcastSummary]:
        """All broadcasts as the API shows them."""
        return [_summary(broadcast, pipeline) for broadcast, pipeline in self.broadcasts_running]

    def transport_url(self, host_header: str) -> str:
        """The WebTransport URL for a page that was reached under ``host_header``."""
        config = self.config
        bound = self.quic_addresses or [config.bind]
        return quic_url(host_header, bound, advertise=config.advertise, public_host=config.public_host)

    def certificate_hashes(self) -> list[dict[str, Any]]:
        """Hashes of the current and the next certificate."""
        return [dict(entry) for entry in self._certificate_set().hashes()]

    def node_summary(self) -> NodeSummary:
        """This gateway as one of several."""
        lb = self.identity.lb
        return NodeSummary(
            node=self.config.node,
            server_id=lb.server_id.hex() if lb is not None else "",
            instance=self._member.instance,
            draining=self._draining,
            viewers=self.viewers.session_count,
            lb_config=self.lb_file.fingerprint if self.lb_file is not None else "",
        )

    def session_summaries(self) -> list[SessionSummary]:
        """All viewers' sessions, whichever worker serves them."""
        return self.viewers.summaries()

    def worker_summaries(self) -> list[WorkerSummary]:
        """All workers."""
        return self.viewers.worker_summaries()


def _summary(broadcast: Broadcast, pipeline: AnyPipeline) -> BroadcastSummary:
    return BroadcastSummary(
        name=broadcast.name,
        state=broadcast.status.state,
        reason=broadcast.status.reason,
        retry_in_ms=broadcast.status.retry_in_ms,
        catalog=broadcast.catalog,
        viewers=broadcast.viewers,
        source=redact_url(pipeline.config.source),
        uptime_s=pipeline.uptime_s,
        findings=pipeline.coded.findings if pipeline.coded else (),
        frames_published=broadcast.frames_published,
        keyframe_requests=broadcast.keyframe_requests,
        targets=_targets(pipeline),
        target_changes=pipeline.adapting.changes,
        source_counters=dataclasses.asdict(pipeline.stats),
    )


def _targets(pipeline: AnyPipeline) -> tuple[TargetSummary, ...]:
    """What the encoders of a broadcast are to do."""
    nominals = pipeline.adapting.nominals
    return tuple(
        TargetSummary(
            rendition=number,
            bitrate_bps=target.bitrate_bps,
            nominal_bps=nominals[number].bitrate_bps,
            scale=target.scale,
            fps=nominals[number].fps / target.every,
            reason=target.reason,
        )
        for number, target in sorted(pipeline.adapting.targets.items())
        if number in nominals
    )
