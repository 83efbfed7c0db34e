"""The web server of a gateway, from its first answer to its last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wtgateway.web.access import AccessRule
from wtgateway.web.app import create_app
from wtgateway.web.control import GatewayControl
from wtgateway.web.operations import Rules
from wtgateway.web.sse import Streams
from wtgateway.web.view import GatewayView
from wtgateway.web.websocket import Serve

if TYPE_CHECKING:
    from wtgateway.access.control import AccessControl
    from wtgateway.config import GatewayConfig

CLOSE_PATIENCE_S = 5.0


class Operable(GatewayView, GatewayControl, Protocol):
    """A gateway that can be looked at and told what to do."""


class Pages:
    """Pages and API. ``address`` is known from :meth:`start` on."""

    def __init__(self) -> None:
        self.address: tuple[str, int] | None = None
        self._shutdown = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._streams: Streams | None = None

    async def start(
        self,
        config: GatewayConfig,
        view: Operable,
        serve: Serve | None = None,
        access: AccessControl | None = None,
    ) -> None:
        """Bind and answer; ``serve`` serves viewers over WebSockets, ``access`` says who may ask.

        Raises ConfigError.
        """
        from wtgateway.web import assets, server

        cert, key = config.web_tls_cert, config.web_tls_key
        if config.public and cert is None:
            cert = key = await asyncio.to_thread(_page_certificate, config)
        self._streams = Streams(view.events, view.node_summary().instance)
        app = create_app(
            view,
            assets.find_client_dir(),
            open_access=config.public,
            trusted_proxies=config.trusted_proxies,
            public_path=config.public_path,
            public_url=config.public_url,
            serve=serve,
            control=view,
            streams=self._streams,
            rules=_rules(config, access),
            revoking=access,
            frame_ancestors=config.frame_ancestors,
            own_names=config.public_hosts if config.web.is_loopback else None,
        )
        bound: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
        task = self._task = asyncio.create_task(
            server.serve(
                app,
                host=config.web[0],
                port=config.web[1],
                tls_cert=cert,
                tls_key=key,
                shutdown=self._shutdown,
                started=bound.set_result,
            ),
            name="web",
        )
        either: set[asyncio.Future[Any]] = {task, bound}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            self._task = None
            task.result()  # raises what kept it from starting
        self.address = bound.result()[0]

    async def close(self) -> None:
        """Let open answers end, and close."""
        if self._streams is not None:
            self._streams.close()  # whose answers would not end by themselves
        self._shutdown.set()
        task, self._task = self._task, None
        if task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, CLOSE_PATIENCE_S)


def _rules(config: GatewayConfig, access: AccessControl | None) -> Rules:
    """Whose requests are answered."""
    hosts = frozenset(config.public_hosts)
    if access is None:
        return Rules(hosts=hosts)
    return Rules(guard=AccessRule(access.authority, hosts), hosts=hosts)


def _page_certificate(config: GatewayConfig) -> Path:
    from wtgateway.certs import make_page_certificate, subject_names

    names = subject_names([config.bind.host, config.web.host, *config.public_hosts])
    return make_page_certificate(config.certs_dir, names, time.time())
