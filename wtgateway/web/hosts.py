"""Under which names a gateway on loopback answers: no web site whose name is made to lead here reads it.

A page of evil.example whose name is changed to 127.0.0.1 once it is loaded (DNS rebinding) is of the same
origin as what it then fetches, so CORS does not keep it out of the gateway of whoever looks at it; its name
stands in its requests. Addresses cannot be changed that way, and are taken. Where a trusted proxy asks,
the name is the proxy's business. Imports the web room only.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from wtgateway.web.forged import is_own_name
from wtgateway.web.forwarded import Network, is_trusted, parse_address

# Of the process and of published source code: nothing of what is shown.
_FOR_ANYBODY = ("/healthz", "/readyz", "/_client/")
WORDS = (
    "This gateway answers under localhost, an address, or its public name. Behind a proxy give it "
    "--public-url, or the proxy's address as --trusted-proxy."
)


class OwnNames:
    """ASGI middleware; ``names``: of the gateway, besides addresses and localhost. ``trusted``: proxies."""

    def __init__(self, app: ASGIApp, names: Collection[str], trusted: Collection[Network] = ()) -> None:
        self._app, self._names, self._trusted = app, frozenset(names), tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._may(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse(f"{WORDS}\n", 421, {"cache-control": "no-store"})(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not a name of this gateway"})

    def _may(self, scope: Scope) -> bool:
        if scope["path"].startswith(_FOR_ANYBODY):
            return True
        peer = parse_address((scope.get("client") or ("",))[0])
        if peer is not None and is_trusted(peer, self._trusted):
            return True
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and is_own_name(hosts[0].decode("latin-1"), self._names)
