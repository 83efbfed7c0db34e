"""Runs an ASGI application on hypercorn (HTTP/1.1 and HTTP/2) in the loop that calls it.

We bind the sockets ourselves, so that a taken port is an error in words, port 0 is possible and its
number known. Imports errors, protocol and the web room.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wtgateway.errors import ConfigError
from wtgateway.protocol.websocket_messages import MOST_VIEWER_BYTES
from wtgateway.web import connections
from wtgateway.web.websocket import Connections

_BACKLOG = 128
_GRACE_S = 2.0
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_NOTSENT_BYTES = 32 * 1024  # more that TCP cannot send yet would only wait where nothing can overtake it
_PASSING = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS}
_MISSING_FAMILY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_log = logging.getLogger(__name__)

Address = tuple[str, int]


def _listen(family: int, address: tuple[Any, ...], *, dual_stack: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by what is accepted. A frame must not wait for the acknowledgement of the one before it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # Linux and macOS have it
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _NOTSENT_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _unusable(host: str, port: int, error: OSError) -> ConfigError:
    reasons = {
        errno.EADDRINUSE: "an address that no other program uses (try another port)",
        errno.EACCES: "a port this user may use (1024 or above)",
        errno.EADDRNOTAVAIL: "an address of this machine",
    }
    expected = reasons.get(error.errno or 0, f"an address to listen on ({error.strerror or error})")
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ConfigError("--web", "", shown, expected, passing=error.errno in _PASSING)


async def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on all addresses of ``host``; "::" listens on both families.

    Port 0: a free port, the same on all addresses. Raises ConfigError.
    """
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _unusable(host, port, error) from error
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys((info[0], info[4]) for info in infos):
        if sockets:
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_listen(family, address, dual_stack=address[0] == "::"))
        except OSError as error:
            if error.errno in _MISSING_FAMILY:  # "localhost" on a machine without IPv6
                missing = error
                continue
            for sock in sockets:
                sock.close()
            raise _unusable(host, port, error) from error
    if not sockets:
        raise _unusable(host, port, missing or OSError("no address"))
    return sockets


def _hypercorn_config(tls_cert: Path | None, tls_key: Path | None) -> Any:
    from hypercorn.config import Config  # takes a tenth of a second that other commands do not need

    connections.install()
    config = Config()
    config.gate = connections.Gate(connections.own_limit())  # type: ignore[attr-defined]
    config.accesslog = None
    config.errorlog = logging.getLogger("wtgateway.web.hypercorn")
    config.errorlog.setLevel(logging.WARNING)
    config.include_server_header = False
    config.graceful_timeout = _GRACE_S
    config.keep_alive_timeout = 30  # also until a request's headers are complete
    config.ssl_handshake_timeout = 10
    config.h11_max_incomplete_size = 32 * 1024
    config.h2_max_header_list_size = 32 * 1024
    config.h2_max_concurrent_streams = 64
    config.keep_alive_max_requests = 1000  # of a connection, those that are reset at once included
    config.backlog = _BACKLOG
    config.websocket_max_message_size = MOST_VIEWER_BYTES
    if tls_cert is not None or tls_key is not None:
        config.certfile, config.keyfile = str(tls_cert or ""), str(tls_key or tls_cert)
        try:
            config.create_ssl_context()
        except (OSError, ssl.SSLError) as error:
            shown = f"{tls_cert} and {tls_key}"
            expected = f"a certificate and its key as PEM files ({error.strerror or error})"
            raise ConfigError("--web-tls-cert, --web-tls-key", "", shown, expected) from error
    return config


async def serve(
    app: Any,
    *,
    host: str,
    port: int,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    shutdown: asyncio.Event,
    started: Callable[[list[Address]], None] | None = None,
) -> None:
    """Serve until ``shutdown`` is set; open answers get 2 s more.

    ``started`` is called once, with the bound (host, port) pairs, when connections are accepted.
    ``tls_cert`` and ``tls_key`` (PEM) make it HTTPS. Raises ConfigError before ``started``.
    """
    config = _hypercorn_config(tls_cert, tls_key)
    from hypercorn.asyncio import serve as hypercorn_serve

    sockets = await bind_sockets(host, port)
    addresses: list[Address] = [sock.getsockname()[:2] for sock in sockets]
    config.bind = [f"fd://{sock.detach()}" for sock in sockets]
    if started is not None:
        started(addresses)  # the kernel accepts from now on; hypercorn takes them within this turn
    task = asyncio.current_task()
    connected: Any = Connections(app)
    try:
        await hypercorn_serve(connected, config, shutdown_trigger=shutdown.wait)
    except asyncio.CancelledError:
        # hypercorn lets its own cancellation of unfinished answers out when the grace is over
        if task is None or task.cancelling() or not shutdown.is_set():
            raise
        _log.info("web: unfinished answers were cut off at shutdown")
    finally:
        with contextlib.suppress(RuntimeError):
            await asyncio.sleep(0)  # let closed transports run their last callbacks
