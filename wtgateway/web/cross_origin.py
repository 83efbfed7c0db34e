"""What a page of another origin may ask of the API: the CORS protocol of the Fetch standard (section 3.2).

A Player that is embedded elsewhere asks where to connect, and shows its token. For that header a browser asks
first; and it shows the page no answer, not even a refusal, that does not allow it. Imports starlette only.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS: Final = frozenset({"/api/v1/transport", "/api/v1/broadcasts"})  # what a Player asks
_ALLOWED: Final = {"access-control-allow-origin": "*", "access-control-expose-headers": "retry-after"}
_PREFLIGHT: Final = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET",
    "access-control-allow-headers": "authorization",
    "access-control-max-age": "7200",  # as long as Chromium remembers at most
}


def _is_preflight(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return scope["method"] == "OPTIONS" and {"origin", "access-control-request-method"} <= set(headers)


class CrossOrigin:
    """ASGI middleware. No credentials of a browser's own are among it: a token is shown or is not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def allow(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_ALLOWED)
            await send(message)

        if scope["type"] != "http" or scope["path"] not in PATHS:
            await self._app(scope, receive, send)
        elif _is_preflight(scope):
            await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, send)
        else:
            await self._app(scope, receive, allow)
