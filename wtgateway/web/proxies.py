"""ASGI middleware for a gateway behind reverse proxies: whose request it is, and under which path.

What trusted proxies say (:mod:`wtgateway.web.forwarded`) takes the place of what the connection says, so that
all that follows sees the client's address, scheme and host. The path of the public URL is taken away where
the proxy has left it. Pages hold no absolute path, so nothing has to be put back. Imports the web room only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wtgateway.web.api import clean_host
from wtgateway.web.forwarded import Network, Origin, origin
from wtgateway.web.where import websocket_url

_log = logging.getLogger(__name__)

WEBSOCKETS = "wtgateway.websockets"  # in a scope: where they are, as the client sees it


class BehindProxies:
    """``trusted``: proxies whose headers hold. ``prefix``: the public URL's path, with a slash at both ends.

    ``public_url`` is all of it, or empty. ``websockets``: whether there are any, for who asks where.

    ``is_known`` tells whether a path, without its first slash, names a broadcast: such a one keeps a prefix
    that is its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        trusted: Collection[Network] = (),
        prefix: str = "/",
        is_known: Callable[[str], bool] = lambda _: False,
        public_url: str = "",
        websockets: bool = False,
    ) -> None:
        self._app, self._trusted, self._is_known = app, tuple(trusted), is_known
        self._prefix = prefix.rstrip("/")
        self._public, self._websockets = urlsplit(public_url), websockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        peer = scope.get("client")
        told = origin(peer[0], scope["headers"], self._trusted) if peer else Origin()
        _adopt(scope, told)
        if self._websockets:
            scope[WEBSOCKETS] = self._where(scope, told)
        is_page = scope["type"] == "http"
        if is_page and _log.isEnabledFor(logging.DEBUG):
            send = _logged(scope, send)
        if self._prefix and told.prefix is None and self._remove_prefix(scope) and is_page:
            # relative, for the host may be known to the proxy alone
            await RedirectResponse(f"{self._prefix.rpartition('/')[2]}/", 308)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _where(self, scope: Scope, told: Origin) -> str:
        """What the proxy tells, else what is configured, else what the client said to us."""
        prefix = self._prefix if told.prefix is None else told.prefix
        if self._public.hostname and not told.host:
            return websocket_url(self._public.scheme, self._public.netloc, prefix)
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        return websocket_url(scope["scheme"], clean_host(host), prefix)

    def _remove_prefix(self, scope: Scope) -> bool:
        """True: the path is the prefix without its last slash: relative addresses would lead elsewhere."""
        prefix = self._prefix.encode()
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if self._is_known(scope["path"].strip("/")):
            return False
        if raw.startswith(prefix + b"/"):
            scope["path"], scope["raw_path"] = scope["path"][len(prefix) :], raw[len(prefix) :]
        return raw == prefix


def _adopt(scope: Scope, told: Origin) -> None:
    """In place, so that what answers for errors around the application sees it as well."""
    if told.client is not None:
        scope["client"] = (str(told.client), 0)
    if told.scheme:
        secure, is_page = told.scheme == "https", scope["type"] == "http"
        scope["scheme"] = told.scheme if is_page else "wss" if secure else "ws"
    if told.host:
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"] = [*others, (b"host", told.host.encode("ascii"))]


def _logged(scope: Scope, send: Send) -> Send:
    path: bytes = (
        scope.get("raw_path") or scope["path"].encode()
    )  # raw: no line of it can look like another's
    client = (scope.get("client") or ("unknown",))[0]

    async def logging_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            _log.debug(
                "request method=%s path=%s status=%d client=%s scheme=%s",
                scope["method"],
                path.decode("ascii", "backslashreplace"),
                message["status"],
                client,
                scope["scheme"],
            )
        await send(message)

    return logging_send
