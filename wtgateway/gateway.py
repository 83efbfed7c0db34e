"""Composition root: builds every room, owns the task group, shuts down in order.

Order of the end: not ready any more, viewers told, QUIC closed, pipelines stopped, web closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wtgateway import __version__, clock
from wtgateway.errors import ConfigError, ProtocolError
from wtgateway.hub import Hub
from wtgateway.log import redact_url
from wtgateway.pipeline.recipe import check_sources
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import ServerSession, SessionLimits, parse_connect_path
from wtgateway.transport.endpoint import QuicEndpoint, ServerCertificate
from wtgateway.transport.session import ViewerSession
from wtgateway.transport.webtransport import Refusal, SessionHandler, SessionRequest
from wtgateway.web.app import create_app
from wtgateway.web.view import BroadcastSummary

if TYPE_CHECKING:
    from wtgateway.certs import Certificate, CertificateManager, CertificateSet
    from wtgateway.config import GatewayConfig
    from wtgateway.pipeline import Pipeline

log = logging.getLogger("wtgateway")

TICK_S = 0.25
GOODBYE_PATIENCE_S = 0.5
RETRY_AFTER_RESTART_MS = 500
MAX_SESSIONS = 1000


class Gateway:
    """One gateway process. Make it inside a running loop, then ``await run()``."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.hub = Hub()
        self.sessions: dict[str, ViewerSession] = {}
        self.quic_addresses: list[tuple[str, int]] = []
        self.web_address: tuple[str, int] | None = None
        self.pipelines: dict[str, Pipeline] = {}
        self._certificates: CertificateManager | None = None
        self._endpoint: QuicEndpoint | None = None
        self._stop = asyncio.Event()
        self._ready = False
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
            )
            for broadcast in self.hub
            if (pipeline := self.pipelines.get(broadcast.name)) is not None
        ]

    def transport_url(self, host_header: str) -> str:
        """The WebTransport URL for a page that was reached under ``host_header``."""
        host, port = _host_of(host_header), self.config.bind.port
        if self.quic_addresses:
            port = self.quic_addresses[0][1]
            if host == "localhost" and len(self.quic_addresses) == 1:
                # The page's "localhost" may be ::1 where only 127.0.0.1 listens, or the reverse.
                address = self.quic_addresses[0][0]
                host = {"::": host, "0.0.0.0": host}.get(address, _in_url(address))  # noqa: S104
        return f"https://{host}:{port}"

    def certificate_hashes(self) -> list[dict[str, Any]]:
        """Hashes of the current and the next certificate."""
        return [dict(entry) for entry in self._certificate_set().hashes()]

    @property
    def certificate(self) -> Certificate:
        """The certificate that new connections get."""
        return self._certificate_set().current

    # --- life ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin the orderly end."""
        self._stop.set()

    async def run(self, announce: Callable[[Gateway], None] = lambda _: None) -> None:
        """Serve until :meth:`stop`; raises WtgatewayError when something cannot be started."""
        async with contextlib.AsyncExitStack() as stack:
            # Together: loading FFmpeg and making keys both take their time in threads.
            await asyncio.gather(
                self._start_certificates(stack),
                asyncio.to_thread(check_sources, self.config.broadcasts, "configuration"),
            )
            await self._start_quic(stack)
            await self._start_web(stack)
            await self._start_pipelines(stack)
            ticker = asyncio.create_task(self._tick())
            stack.push_async_callback(_cancel, ticker)
            self._ready = True
            announce(self)
            await self._stop.wait()
            self._ready = False
            log.info("stopping viewers=%d", len(self.sessions))

    async def _start_certificates(self, stack: contextlib.AsyncExitStack) -> None:
        from wtgateway.certs import CertificateManager, CertificateStore, subject_names

        names = await asyncio.to_thread(subject_names, [self.config.bind.host])
        store = CertificateStore(self.config.certs_dir, self.config.cert_rotate_s, names)
        self._certificates = CertificateManager(store, on_change=self._certificates_changed)
        await self._certificates.start()
        stack.push_async_callback(self._certificates.close)

    def _certificates_changed(self, certificates: CertificateSet) -> None:
        if self._endpoint is not None:
            self._endpoint.use_certificate(_server_certificate(certificates))
        hashes = self.certificate_hashes()
        for session in list(self.sessions.values()):
            session.set_certificates(hashes)

    def _certificate_set(self) -> CertificateSet:
        assert self._certificates is not None
        return self._certificates.certificates

    async def _start_quic(self, stack: contextlib.AsyncExitStack) -> None:
        certificate = _server_certificate(self._certificate_set())
        endpoint = QuicEndpoint(on_request=self._on_request, certificate=certificate)
        self._endpoint = endpoint
        host, port = self.config.bind
        self.quic_addresses = [(a[0], a[1]) for a in await endpoint.start(host, port)]
        stack.push_async_callback(self._close_quic)

    async def _close_quic(self) -> None:
        for session in list(self.sessions.values()):
            session.goodbye(CloseCode.GOING_AWAY, "the gateway is restarting", RETRY_AFTER_RESTART_MS)
        # A close overtakes what was said before it, so first let the words arrive.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_PATIENCE_S):
                while not all(s.told for s in self.sessions.values()):  # noqa: ASYNC110 - once a life
                    await asyncio.sleep(0.005)
        assert self._endpoint is not None
        await self._endpoint.close(CloseCode.GOING_AWAY, "the gateway is restarting", 1.0)

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
                create_app(self, assets.find_client_dir(), open_access=config.public),
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
            broadcast = self.hub.add(config.name)
            pipeline = Pipeline(config, broadcast)
            self.pipelines[config.name] = pipeline
            tasks.append(asyncio.create_task(pipeline.run(), name=f"pipeline:{config.name}"))
        stack.push_async_callback(_cancel, *tasks)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            for session in list(self.sessions.values()):
                session.tick(now)

    # --- viewers -----------------------------------------------------------------------------------

    def _on_request(self, request: SessionRequest) -> SessionHandler | Refusal:
        if not self._ready:
            return Refusal(503, "the gateway is starting or stopping; try again in a moment")
        if len(self.sessions) >= MAX_SESSIONS:
            return Refusal(503, "the gateway has as many viewers as it takes; try again later")
        try:
            query = parse_connect_path(request.path)
        except ProtocolError as error:
            return Refusal(421 if error.code == CloseCode.VERSION else 400, str(error))
        broadcast = self.hub.get(query.broadcast)
        if broadcast is None:
            return Refusal(404, f"there is no broadcast named {query.broadcast!r} here")
        core = ServerSession(
            session_id=secrets.token_hex(6),
            broadcast=broadcast.name,
            query=query,
            limits=SessionLimits(),
            now_us=clock.now_us(),
            server=f"wtgateway/{__version__}",
        )
        session = ViewerSession(
            core,
            broadcast,
            certificates=self.certificate_hashes(),
            on_closed=self._session_closed,
        )
        self.sessions[session.id] = session
        return session

    def _session_closed(self, session: ViewerSession) -> None:
        self.sessions.pop(session.id, None)


def _server_certificate(certificates: CertificateSet) -> ServerCertificate:
    return ServerCertificate(certificates.current.cert, certificates.current.key)


def _page_certificate(config: GatewayConfig) -> Path:
    from wtgateway.certs import make_page_certificate, subject_names

    names = subject_names([config.bind.host, config.web.host])
    return make_page_certificate(config.certs_dir, names, time.time())


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _host_of(host_header: str) -> str:
    """The host of a Host header without its port; IPv6 addresses keep their brackets."""
    host = host_header.strip()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.rsplit(":", 1)[0] if ":" in host else host or "localhost"


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
