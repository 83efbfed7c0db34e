"""All viewers of a gateway behind one face: served in this process, or by workers.

Knows how to make what serves them out of the configuration, and how to tell it of certificates.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wtgateway.access.origins import Origins
from wtgateway.access.revocations import Revocation
from wtgateway.config.balancing import HIDDEN, LbFile
from wtgateway.hub import Broadcast, Hub
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import steering
from wtgateway.transport.connection_ids import MAX_WORKERS
from wtgateway.transport.endpoint import QuicEndpoint, ServerCertificate
from wtgateway.transport.identity import Identity
from wtgateway.web.view import SessionSummary, WorkerSummary
from wtgateway.web.websocket import Upgrade
from wtgateway.workers import desk, messages
from wtgateway.workers.authority import AuthorityDesk
from wtgateway.workers.entrance import ANY_ORIGIN
from wtgateway.workers.limiting import Publish, limits_to_row
from wtgateway.workers.pool import WorkerPool
from wtgateway.workers.resuming import Member
from wtgateway.workers.service import ViewerService

if TYPE_CHECKING:
    from wtgateway.access.control import AccessControl
    from wtgateway.certs import CertificateSet
    from wtgateway.config import BroadcastConfig, GatewayConfig, LimitsConfig

log = logging.getLogger("wtgateway")

RETRY_AFTER_RESTART_MS = 500


@dataclass(slots=True)
class Viewers:
    """Those of this process (``service``), of workers (``pool``), or none yet."""

    service: ViewerService | None = None
    pool: WorkerPool | None = None

    @property
    def _all(self) -> list[ViewerService | WorkerPool]:
        return [each for each in (self.service, self.pool) if each is not None]

    @property
    def session_count(self) -> int:
        """How many viewers' sessions there are."""
        return sum(each.session_count for each in self._all)

    def summaries(self) -> list[SessionSummary]:
        """All viewers' sessions, whichever worker serves them."""
        of_workers = self.pool.session_summaries() if self.pool is not None else []
        return [*of_workers, *(self.service.summaries() if self.service is not None else [])]

    def worker_summaries(self) -> list[WorkerSummary]:
        """All workers; this process where there are none."""
        if self.pool is not None:
            main = [] if self.service is None else [self.service.worker_summary()]
            return [*self.pool.worker_summaries(), *main]
        return [self.service.worker_summary()] if self.service is not None else []

    def use_certificates(self, certificates: CertificateSet) -> None:
        """New connections get the current one; viewers are told the hashes."""
        if self.service is not None:
            self.service.use_certificate(server_certificate(certificates), hashes(certificates))
        if self.pool is not None:
            self.pool.use_certificate(certificate_message(certificates))

    def use_limits(
        self, limits: LimitsConfig, configs: Iterable[BroadcastConfig], lb: LbFile | None, publish: Publish
    ) -> None:
        """What viewers may have from now on; ``publish`` is told when that is not enough."""
        if lb is not None and lb.client_addresses == HIDDEN:  # all come from the balancer's
            limits = replace(limits, sessions_per_address=0)
        broadcasts = {config.name: config.limits for config in configs}
        if self.service is not None:
            self.service.limiting.use(limits, broadcasts)
            self.service.limiting.publish = publish
        if self.pool is not None:
            self.pool.use_limits(limits_to_row(limits, broadcasts))

    def use_origins(self, origins: Origins) -> None:
        """Who may watch is judged anew, and whose pages may connect."""
        if self.service is not None:
            self.service.entrance.use_origins(origins)
        if self.pool is not None:
            self.pool.use_origins(origins)

    def set_log_level(self, level: str) -> None:
        """How much workers log from now on."""
        if self.pool is not None:
            self.pool.set_log_level(level)

    def add_broadcast(self, broadcast: Broadcast) -> None:
        """Another one may be watched from now on. Raises WtgatewayError."""
        if self.pool is not None:
            self.pool.add_broadcast(broadcast)

    def change_broadcast(self, broadcast: Broadcast) -> None:
        """Its viewers adapt in another way from now on."""
        if self.pool is not None:
            self.pool.change_broadcast(broadcast)

    def remove_broadcast(self, broadcast: Broadcast) -> None:
        """It is there no more: its viewers are told."""
        for each in self._all:
            each.remove_broadcast(broadcast)

    async def ask(self, what: str, session: str, *arguments: Any) -> Any:
        """Have whoever serves a session do something (:mod:`wtgateway.workers.desk`); None: nobody does.

        Raises Unavailable, in words.
        """
        if self.service is not None and session in self.service.sessions:
            return desk.ask(self.service.sessions, what, session, arguments)
        return await self.pool.ask(what, session, *arguments) if self.pool is not None else None

    async def serve_websocket(self, upgrade: Upgrade) -> None:
        """Serve a viewer who comes over a WebSocket, until it is gone."""
        assert self.service is not None
        await self.service.websockets.serve(upgrade)

    def revoke(self, revocation: Revocation) -> None:
        """End the sessions of a token or an identity that was taken back."""
        for each in self._all:
            each.revoke(revocation)

    def admit(self) -> None:
        """Take viewers in from now on."""
        if self.service is not None:
            self.service.admitting = True
        if self.pool is not None:
            self.pool.admit()

    def drain(self, within_s: float, reason: str) -> None:
        """Take nobody in any more, and send the viewers elsewhere."""
        for each in self._all:
            each.drain(within_s, reason)

    async def close(self) -> None:
        """Tell all viewers that the gateway restarts, and close."""
        for each in self._all:
            await each.close(CloseCode.GOING_AWAY, "the gateway is restarting", RETRY_AFTER_RESTART_MS)


@dataclass(frozen=True, slots=True)
class Serving:
    """What it takes to serve viewers: ``certificates`` gives the set in use."""

    config: GatewayConfig
    hub: Hub
    identity: Identity
    member: Member
    lb: LbFile | None
    certificates: Callable[[], CertificateSet]
    publish: Callable[..., None] = lambda kind, **fields: None
    access: AccessControl | None = None

    async def start(self, viewers: Viewers) -> list[tuple[Any, ...]]:
        """Bind, and serve as ``viewers``; the bound addresses. Raises TransportError, ConfigError."""
        workers = self._workers()
        self.identity.check(workers)
        host, port = self.config.bind
        settings = _endpoint_settings(self.config, workers, self.lb)
        if workers == 1:
            service = viewers.service = self._service(settings)
            addresses = await service.endpoint.start(host, port)
            service.start()
            return addresses
        viewers.pool = self._pool(workers, settings)
        viewers.pool.publish = self.publish
        addresses = await viewers.pool.start(host, port)
        if (
            self.config.websocket
        ):  # pages are this process's, and so are WebSockets; it binds nothing for QUIC
            viewers.service = self._service({}, worker=workers, on_used=viewers.pool.note_used)
            viewers.pool.on_used = viewers.service.resuming.note_used
            viewers.service.limiting.tell = viewers.pool.note_occupied
            viewers.pool.on_occupied = viewers.service.limiting.others
            viewers.service.start()
        return addresses

    def _workers(self) -> int:
        workers = worker_count(self.config.workers)
        if workers > 1 and (why := steering.why_not()):
            log.warning("one worker instead of %d: %s", workers, why)
            workers = 1
        return workers if self.config.workers else self.identity.most_workers(workers)

    def _service(
        self,
        settings: dict[str, Any],
        worker: int = 0,
        on_used: Callable[[bytes, int], None] = lambda number, expires_us: None,
    ) -> ViewerService:
        certificates, access = self.certificates(), self.access
        return ViewerService(
            self.hub.get,
            server_certificate(certificates),
            hashes(certificates),
            make_endpoint=functools.partial(
                QuicEndpoint,
                connection_ids=self.identity.connection_ids(),
                secret=self.identity.retry_secret,
                **settings,
            ),
            worker=worker,
            member=self.member,
            publish=self.publish,
            on_used=on_used,
            authority=access.authority if access is not None else None,
            origins=access.origins if access is not None else ANY_ORIGIN,
        )

    def _pool(self, workers: int, settings: dict[str, Any]) -> WorkerPool:
        return WorkerPool(
            workers,
            list(self.hub),
            certificate_message(self.certificates()),
            json_log=self.config.logs_json(sys.stderr.isatty()),
            log_level=self.config.log_level,
            settings=settings,
            identity=self.identity,
            member=self.member,
            access=AuthorityDesk(self.access.authority, self.access.origins) if self.access else None,
        )


def worker_count(configured: int) -> int:
    """How many workers there are to be; 0 (auto): one for each core but that of sources and encoders."""
    if configured:
        return configured
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, usable - 1), MAX_WORKERS)


def hashes(certificates: CertificateSet) -> list[dict[str, Any]]:
    """Of the current certificate, the next, and any that another node may present."""
    return [dict(entry) for entry in certificates.hashes()]


def certificate_message(certificates: CertificateSet) -> messages.Certificate:
    """The current certificate as workers are told it."""
    current = certificates.current
    key = current.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return messages.Certificate(current.cert.public_bytes(Encoding.DER), key, hashes(certificates))


def server_certificate(certificates: CertificateSet) -> ServerCertificate:
    """The current certificate as an endpoint takes it."""
    return ServerCertificate(certificates.current.cert, certificates.current.key)


def _endpoint_settings(config: GatewayConfig, workers: int, lb: LbFile | None) -> dict[str, Any]:
    """What each worker's endpoint is told; new connections are spread evenly over them."""
    per_address = config.transport.half_open_per_address
    if lb is not None and lb.client_addresses == HIDDEN:
        log.info("no limits per viewer's address: all come from the balancer's (client_addresses: hidden)")
        per_address = 0
    return {"retry_above": config.transport.retry_above / workers, "half_open_per_address": per_address}
