"""Composition root: builds every room, owns the task group, shuts down in order.

Order of the end: not ready any more, viewers told, QUIC closed, pipelines stopped, web closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wtgateway.cluster import ClusterSecret
from wtgateway.config.balancing import HIDDEN, LbFile, load_lb_file, own_server_id
from wtgateway.errors import ConfigError
from wtgateway.events import Events
from wtgateway.hub import Hub
from wtgateway.log import redact_url
from wtgateway.pipeline.recipe import check_sources, policy_of
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import steering
from wtgateway.transport.connection_ids import MAX_WORKERS, LbIdentity
from wtgateway.transport.endpoint import QuicEndpoint, ServerCertificate
from wtgateway.transport.identity import Identity
from wtgateway.web.app import create_app
from wtgateway.web.view import (
    BroadcastSummary,
    NodeSummary,
    SessionSummary,
    TargetSummary,
    WorkerSummary,
)
from wtgateway.web.where import quic_url
from wtgateway.workers import messages
from wtgateway.workers.draining import drain
from wtgateway.workers.pool import WorkerPool
from wtgateway.workers.resuming import Member
from wtgateway.workers.service import ViewerService

if TYPE_CHECKING:
    from wtgateway.certs import Certificate, CertificateManager, CertificateSet
    from wtgateway.config import GatewayConfig
    from wtgateway.pipeline import Pipeline
    from wtgateway.transport.session import ViewerSession

log = logging.getLogger("wtgateway")

RETRY_AFTER_RESTART_MS = 500


class Gateway:
    """One gateway, with its workers. Make it inside a running loop, then ``await run()``."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.hub = Hub()
        self.events = Events()
        self.quic_addresses: list[tuple[str, int]] = []
        self.web_address: tuple[str, int] | None = None
        self.pipelines: dict[str, Pipeline] = {}
        self.cluster_secret: ClusterSecret | None = None  # known from run() on
        self.lb_file: LbFile | None = None  # the same
        self.identity = Identity()  # the same
        self._certificates: CertificateManager | None = None
        self._service: ViewerService | None = None  # with one worker, which is this process
        self._pool: WorkerPool | None = None  # with several
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._member = Member(name=config.node)
        self._ready = self._draining = False
        self._started = time.monotonic()

    # --- what the web shows (GatewayView) --------------------------------------------------------

    def ready(self) -> bool:
        """Whether viewers are served."""
        return self._ready

    def broadcasts(self) -> list[BroadcastSummary]:
        """All broadcasts as the API shows them."""
        return [
            BroadcastSummary(
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
            )
            for broadcast in self.hub
            if (pipeline := self.pipelines.get(broadcast.name)) is not None
        ]

    def transport_url(self, host_header: str) -> str:
        """The WebTransport URL for a page that was reached under ``host_header``."""
        config = self.config
        bound = self.quic_addresses or [config.bind]
        return quic_url(host_header, bound, advertise=config.advertise, public_host=config.public_host)

    def certificate_hashes(self) -> list[dict[str, Any]]:
        """Hashes of the current and the next certificate."""
        return _hashes(self._certificate_set())

    def node_summary(self) -> NodeSummary:
        """This gateway as one of several."""
        viewers, lb = self._pool or self._service, self.identity.lb
        return NodeSummary(
            node=self.config.node,
            server_id=lb.server_id.hex() if lb is not None else "",
            instance=self._member.instance,
            draining=self._draining,
            viewers=viewers.session_count if viewers is not None else 0,
            lb_config=self.lb_file.fingerprint if self.lb_file is not None else "",
        )

    def session_summaries(self) -> list[SessionSummary]:
        """All viewers' sessions, whichever worker serves them."""
        if self._pool is not None:
            return self._pool.session_summaries()
        return self._service.summaries() if self._service is not None else []

    def worker_summaries(self) -> list[WorkerSummary]:
        """All workers."""
        if self._pool is not None:
            return self._pool.worker_summaries()
        return [self._service.worker_summary()] if self._service is not None else []

    @property
    def sessions(self) -> dict[str, ViewerSession]:
        """The sessions of this process, by their id."""
        return self._service.sessions if self._service is not None else {}

    @property
    def pool(self) -> WorkerPool | None:
        """The workers, if there are several."""
        return self._pool

    @property
    def certificate(self) -> Certificate:
        """The certificate that new connections get."""
        return self._certificate_set().current

    # --- life ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin the orderly end; a second time: do not wait any longer for viewers to go elsewhere."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, announce: Callable[[Gateway], None] = lambda _: None) -> None:
        """Serve until :meth:`stop`; raises WtgatewayError when something cannot be started."""
        async with contextlib.AsyncExitStack() as stack:
            if self.config.cluster.secret is not None:
                self.cluster_secret = await asyncio.to_thread(ClusterSecret.load, self.config.cluster.secret)
                log.info("cluster secret fingerprint=%s", self.cluster_secret.fingerprint)
                self._member = replace(self._member, resume_key=self.cluster_secret.key("resume"))
            self.identity = await self._identify()
            log.info("node=%s instance=%s", self._member.name or "-", self._member.instance)
            # Together: loading FFmpeg and making keys both take their time in threads.
            await asyncio.gather(
                self._start_certificates(stack),
                asyncio.to_thread(check_sources, self.config.broadcasts, "configuration"),
            )
            await self._start_quic(stack)
            await self._start_web(stack)
            await self._start_pipelines(stack)
            self._admit()
            self._ready = True
            announce(self)
            await self._stop.wait()
            self._ready = False
            await self._drain()
            log.info("stopping viewers=%d", sum(broadcast.viewers for broadcast in self.hub))

    async def _identify(self) -> Identity:
        """What this node shares with others, and what it is to a balancer. Raises ConfigError."""
        settings = self.config.lb
        if settings.config is None:
            return Identity.of_cluster(self.cluster_secret)
        lb = self.lb_file = await asyncio.to_thread(load_lb_file, settings.config)
        server_id = own_server_id(lb, settings.server_id, self.config.node)
        log.info("balancing fingerprint=%s server_id=%s", lb.fingerprint, server_id.hex())
        if self.cluster_secret is None:
            log.warning(
                "without --cluster-secret other nodes behind the balancer do not know this one's Retry "
                "tokens: a new viewer whose packets change nodes has to begin again"
            )
        return Identity.of_cluster(self.cluster_secret, LbIdentity(lb.active, server_id))

    async def _drain(self) -> None:
        """Give the viewers the time that they need to go elsewhere."""
        viewers = self._pool or self._service
        if viewers is None or not self.config.drain_s:
            return
        self._draining = True
        await drain(viewers, self.config.drain_s, self._hurry, now=time.monotonic)

    def _admit(self) -> None:
        if self._service is not None:
            self._service.admitting = True
        if self._pool is not None:
            self._pool.admit()

    async def _start_certificates(self, stack: contextlib.AsyncExitStack) -> None:
        from wtgateway.certs import CertificateManager, certificate_source

        config = self.config
        source = await asyncio.to_thread(
            certificate_source,
            self.cluster_secret,
            config.certs_dir,
            config.cert_rotate_s,
            host=config.bind.host,
            public_hosts=config.public_hosts,
        )
        self._certificates = CertificateManager(source, on_change=self._certificates_changed)
        await self._certificates.start()
        stack.push_async_callback(self._certificates.close)

    def _certificates_changed(self, certificates: CertificateSet) -> None:
        if self._service is not None:
            self._service.use_certificate(_server_certificate(certificates), _hashes(certificates))
        if self._pool is not None:
            self._pool.use_certificate(_certificate_message(certificates))

    def _certificate_set(self) -> CertificateSet:
        assert self._certificates is not None
        return self._certificates.certificates

    async def _start_quic(self, stack: contextlib.AsyncExitStack) -> None:
        for config in self.config.broadcasts:
            self.hub.add(config.name).policy = policy_of(config)
        workers = worker_count(self.config.workers)
        if workers > 1 and (why := steering.why_not()):
            log.warning("one worker instead of %d: %s", workers, why)
            workers = 1
        if not self.config.workers:
            workers = self.identity.most_workers(workers)
        self.identity.check(workers)
        host, port = self.config.bind
        settings = _endpoint_settings(self.config, workers, self.lb_file)
        if workers == 1:
            service = self._service = ViewerService(
                self.hub.get,
                _server_certificate(self._certificate_set()),
                self.certificate_hashes(),
                make_endpoint=functools.partial(
                    QuicEndpoint,
                    connection_ids=self.identity.connection_ids(),
                    secret=self.identity.retry_secret,
                    **settings,
                ),
                member=self._member,
            )
            stack.push_async_callback(self._close_quic, service)
            addresses = await service.endpoint.start(host, port)
            service.start()
        else:
            pool = self._pool = WorkerPool(
                workers,
                list(self.hub),
                _certificate_message(self._certificate_set()),
                json_log=self.config.json_log,
                log_level=self.config.log_level,
                settings=settings,
                identity=self.identity,
                member=self._member,
            )
            stack.push_async_callback(self._close_quic, pool)
            addresses = await pool.start(host, port)
        self.quic_addresses = [(a[0], a[1]) for a in addresses]

    async def _close_quic(self, viewers: ViewerService | WorkerPool) -> None:
        await viewers.close(CloseCode.GOING_AWAY, "the gateway is restarting", RETRY_AFTER_RESTART_MS)

    async def _start_web(self, stack: contextlib.AsyncExitStack) -> None:
        from wtgateway.web import assets, server

        config = self.config
        cert, key = config.web_tls_cert, config.web_tls_key
        if config.public and cert is None:
            cert = key = await asyncio.to_thread(_page_certificate, config)
        shutdown = asyncio.Event()
        bound: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            server.serve(
                create_app(
                    self,
                    assets.find_client_dir(),
                    open_access=config.public,
                    trusted_proxies=config.trusted_proxies,
                    public_path=config.public_path,
                ),
                host=config.web[0],
                port=config.web[1],
                tls_cert=cert,
                tls_key=key,
                shutdown=shutdown,
                started=bound.set_result,
            )
        )
        either: set[asyncio.Future[Any]] = {task, bound}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()  # raises what kept it from starting
        self.web_address = bound.result()[0]

        async def close() -> None:
            shutdown.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, 5)

        stack.push_async_callback(close)

    async def _start_pipelines(self, stack: contextlib.AsyncExitStack) -> None:
        from wtgateway.pipeline import Pipeline

        tasks = []
        for config in self.config.broadcasts:
            broadcast = self.hub.get(config.name)
            assert broadcast is not None
            pipeline = Pipeline(config, broadcast)
            self.pipelines[config.name] = pipeline
            tasks.append(asyncio.create_task(pipeline.run(), name=f"pipeline:{config.name}"))
        stack.push_async_callback(_cancel, *tasks)


def _targets(pipeline: Pipeline) -> tuple[TargetSummary, ...]:
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


def worker_count(configured: int) -> int:
    """How many workers there are to be; 0 (auto): one for each core but that of sources and encoders."""
    if configured:
        return configured
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, usable - 1), MAX_WORKERS)


def _hashes(certificates: CertificateSet) -> list[dict[str, Any]]:
    return [dict(entry) for entry in certificates.hashes()]


def _certificate_message(certificates: CertificateSet) -> messages.Certificate:
    current = certificates.current
    key = current.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return messages.Certificate(current.cert.public_bytes(Encoding.DER), key, _hashes(certificates))


def _endpoint_settings(config: GatewayConfig, workers: int, lb: LbFile | None) -> dict[str, Any]:
    """What each worker's endpoint is told; new connections are spread evenly over them."""
    per_address = config.transport.half_open_per_address
    if lb is not None and lb.client_addresses == HIDDEN:
        log.info("no limits per viewer's address: all come from the balancer's (client_addresses: hidden)")
        per_address = 0
    return {"retry_above": config.transport.retry_above / workers, "half_open_per_address": per_address}


def _server_certificate(certificates: CertificateSet) -> ServerCertificate:
    return ServerCertificate(certificates.current.cert, certificates.current.key)


def _page_certificate(config: GatewayConfig) -> Path:
    from wtgateway.certs import make_page_certificate, subject_names

    names = subject_names([config.bind.host, config.web.host, *config.public_hosts])
    return make_page_certificate(config.certs_dir, names, time.time())


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- the command ------------------------------------------------------------------------------------


async def _main(config: GatewayConfig, announce: Callable[[Gateway], None]) -> None:
    gateway = Gateway(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, gateway.stop)
    await gateway.run(announce)


def run_gateway(config: GatewayConfig, announce: Callable[[Gateway], None]) -> int:
    """Run until SIGINT or SIGTERM; the exit code. Raises WtgatewayError when it cannot start.

    ``announce`` is called once, when viewers are served.
    """
    if not config.broadcasts:
        raise ConfigError("broadcasts", "", "", "at least one broadcast")
    try:
        import uvloop
    except ImportError:  # none for this platform: asyncio's own loop does as well, more slowly
        asyncio.run(_main(config, announce))
    else:
        uvloop.run(_main(config, announce))
    return 0
