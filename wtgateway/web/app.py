"""The ASGI application: pages, API, health, client files. See :func:`create_app`.

Everything it says comes from a :class:`~wtgateway.web.view.GatewayView`; it holds no state but the
client's files. Imports media, errors and the web room only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, Router, WebSocketRoute

from wtgateway.web import metrics, pages
from wtgateway.web.access_api import Revoking
from wtgateway.web.api_routes import STARTING, api_routes
from wtgateway.web.assets import Assets, find_client_dir
from wtgateway.web.control import GatewayControl
from wtgateway.web.cross_origin import CrossOrigin
from wtgateway.web.forwarded import Network
from wtgateway.web.headers import SECURITY_HEADERS, SELF, SecurityHeaders
from wtgateway.web.hosts import OwnNames
from wtgateway.web.operations import Granted, Guard, Rules
from wtgateway.web.patience import Patience
from wtgateway.web.proxies import WEBSOCKETS, BehindProxies
from wtgateway.web.sse import Streams
from wtgateway.web.view import BroadcastSummary, GatewayView, is_broadcast_name
from wtgateway.web.websocket import PATH, Serve, WebSockets

__all__ = ["BroadcastSummary", "GatewayView", "create_app", "find_client_dir"]

_NO_CACHE = {"cache-control": "no-cache"}
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
_ANY_ORIGIN = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}


class _Web:
    """The routes' functions, bound to one gateway and its client files."""

    def __init__(self, view: GatewayView, assets: Assets, *, open_access: bool, guard: Guard) -> None:
        self._view = view
        self._assets = assets
        self._guard = guard
        self.control: GatewayControl | None = None
        # A page of any origin may read where to connect and with which hashes only where whoever
        # reaches the gateway may watch anyway. On loopback it must not: the hashes are what keeps a
        # web site out of the screen or camera that the visitor's own gateway shows.
        self.open = _NO_CACHE | (_ANY_ORIGIN if open_access else {})

    async def healthz(self, _: Request) -> Response:
        if dead := self._view.health().dead:
            return PlainTextResponse(f"not alive: {dead}\n", 503, headers=_NO_CACHE)
        return PlainTextResponse("ok\n", headers=_NO_CACHE)

    async def readyz(self, _: Request) -> Response:
        health = self._view.health()
        short = "".join(f"short of {what}\n" for what in health.short_of)
        if health.unready:
            return PlainTextResponse(f"not ready: {health.unready}\n{short}", 503, headers=_NO_CACHE)
        return PlainTextResponse(f"ready\n{short}", headers=_NO_CACHE)

    async def metrics(self, request: Request) -> Response:
        await self._guard(request, "metrics", "*")
        text = metrics.exposition(metrics.families(self._view, self.control))
        return Response(text, media_type=metrics.MEDIA_TYPE, headers=_NO_CACHE)

    async def certificate(self, _: Request) -> Response:
        hashes = self._view.certificate_hashes()
        if not hashes:
            raise HTTPException(503, STARTING, {"retry-after": "1"})
        return PlainTextResponse(hashes[0]["value"].hex(), headers=self.open)

    async def client_file(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        snapshot, caching = self._assets.snapshot, _NO_CACHE
        tag = ""
        if path.startswith("@"):
            tag, _, path = path[1:].partition("/")
        if tag == snapshot.digest:
            caching = _FOR_EVER  # what was asked for is in memory: no look at the disk, no thread
        else:  # a page of before an update gets the new file, not for ever
            snapshot = await self._assets.refresh()
            caching = _FOR_EVER if tag == snapshot.digest else _NO_CACHE
        joined = path.startswith("+/")
        path = path.removeprefix("+/")
        if path not in snapshot.files:
            raise HTTPException(404, f"There is no client file {path!r}.")
        asset = snapshot.joined.get(path) if joined else snapshot.files[path]
        if asset is None:
            asset = await asyncio.to_thread(snapshot.linked, path)
        packed = bool(asset.packed) and _takes_gzip(request.headers.get("accept-encoding", ""))
        etag = f'{asset.etag[:-1]}-gzip"' if packed else asset.etag  # one tag for each form of the bytes
        headers = caching | _ANY_ORIGIN | {"etag": etag}  # published source code: for any page
        if asset.packed:
            headers["vary"] = "accept-encoding"
        known = request.headers.get("if-none-match", "")
        if etag in (tag.strip().removeprefix("W/") for tag in known.split(",")) or known == "*":
            return Response(status_code=304, headers=headers)
        headers["content-type"] = asset.media_type
        if packed:
            headers["content-encoding"] = "gzip"
        return Response(asset.packed if packed else asset.data, headers=headers)

    async def icon(self, _: Request) -> Response:
        asset = (await self._assets.refresh()).files.get("icons/favicon.svg")
        if asset is None:
            raise HTTPException(404)
        return Response(asset.data, media_type=asset.media_type, headers=_NO_CACHE | {"etag": asset.etag})

    async def index(self, request: Request) -> Response:
        status, granted = await self._judged(request, "")
        snapshot = await self._assets.refresh()
        page = pages.list_page(snapshot, self._view, _base(request), granted, status)
        return HTMLResponse(page, headers=_NO_CACHE)

    async def _judged(self, request: Request, name: str) -> tuple[int, Granted | None]:
        """200 and what whoever asks may do; or the status of the answer no.

        A page is shown in either case, and says itself what is lacking: without a grant nothing is in it that
        another page would not have.
        """
        try:
            return 200, await self._guard(request, "read", name)
        except HTTPException as refused:
            return refused.status_code, None

    async def monitor(self, request: Request) -> Response:
        page = pages.monitor_page(await self._assets.refresh(), _base(request))
        return HTMLResponse(page, headers=_NO_CACHE)

    async def watch(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        name = path.rstrip("/")
        if not is_broadcast_name(name):
            raise HTTPException(404)
        if name != path:
            return RedirectResponse(_base(request) + name, 308)
        host = request.headers.get("host", "")
        status, granted = await self._judged(request, name)
        snapshot = await self._assets.refresh()
        if granted is None:
            page = pages.closed_page(snapshot, name, _base(request), status)
            return HTMLResponse(page, status, headers=_NO_CACHE)
        page, known = pages.watch_page(
            snapshot, self._view, name, host, _base(request), request.scope.get(WEBSOCKETS, "")
        )
        return HTMLResponse(page, 200 if known else 404, headers=_NO_CACHE)

    async def on_http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = _NO_CACHE | dict(error.headers or {})
        path = request.url.path
        if path == "/api" or path.startswith("/api/"):
            detail = f"There is no {path}." if error.detail == "Not Found" else error.detail
            return JSONResponse({"error": detail, "status": error.status_code}, error.status_code, headers)
        if error.status_code != 404 or path.startswith(pages.CLIENT):
            return PlainTextResponse(f"{error.detail}\n", error.status_code, headers)
        page = pages.error_page(
            self._assets.snapshot,
            "There is nothing here",
            "A broadcast's name has letters, digits and . _ ~ - between its slashes.",
            _base(request),
        )
        return HTMLResponse(page, 404, headers)

    async def on_bug(self, request: Request, _: Exception) -> Response:
        """Answer without a word of the inside; the server logs what it was."""
        headers = _NO_CACHE | SECURITY_HEADERS  # the outermost layer: the middleware is not passed
        text = "Something went wrong in the gateway; its log says what."
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": text, "status": 500}, 500, headers)
        return PlainTextResponse(f"{text}\n", 500, headers)


def _base(request: Request) -> str:
    """The relative address of the list page from this one."""
    return pages.way_up(request.scope.get("raw_path") or request.scope["path"].encode())


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named and not refused by ``q=0`` (RFC 9110, section 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding == "gzip":
            return not any(re.fullmatch(r"q=0(\.0{0,3})?", p) for p in parameters)
    return False


def create_app(
    view: GatewayView,
    client_dir: Path,
    *,
    open_access: bool = False,
    trusted_proxies: Collection[Network] = (),
    public_path: str = "/",
    public_url: str = "",
    serve: Serve | None = None,
    control: GatewayControl | None = None,
    streams: Streams | None = None,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    revoking: Revoking | None = None,
    frame_ancestors: Sequence[str] = SELF,
    own_names: Collection[str] | None = None,
) -> Starlette:
    """The application for ``view``, with the client's files from ``client_dir``.

    ``open_access``: pages of any origin may read the API (for ``Player`` embedded elsewhere); for a
    gateway whose broadcasts are public. ``trusted_proxies``: whose ``X-Forwarded-*`` hold. ``public_path``:
    under which a proxy shows the pages, with a slash at both ends, of ``public_url`` where that is known.
    ``serve`` serves viewers over WebSockets; None: there are none. ``control`` and ``streams``: with them the
    API has more than what pages need; ``rules``: who may ask it; ``revoking``: takes tokens back.
    ``frame_ancestors``: who may show pages in a frame; ``own_names``: the only names to answer under (None:
    any). Raises ConfigError when ``client_dir`` is not a client.
    """
    behind = Middleware(
        BehindProxies,
        trusted=trusted_proxies,
        prefix=public_path,
        public_url=public_url,
        websockets=serve is not None,
        is_known=lambda name: any(broadcast.name == name for broadcast in view.broadcasts()),
    )
    web = _Web(view, Assets(client_dir), open_access=open_access, guard=rules.guard)
    web.control = control
    api = Router(
        api_routes(view, control, streams, headers=web.open, rules=rules, revoking=revoking),
        redirect_slashes=False,
    )
    app = Starlette(
        routes=[
            Route("/", web.index),
            Route("/healthz", web.healthz),
            Route("/readyz", web.readyz),
            Route("/metrics", web.metrics),
            Route("/certificate.sha256", web.certificate),
            Route("/favicon.ico", web.icon),
            Route("/_monitor", web.monitor),
            Mount("/api", app=api),
            Route("/_client/{path:path}", web.client_file),
            *([] if serve is None else [WebSocketRoute(f"{PATH}{{path:path}}", WebSockets(serve))]),
            Route("/{path:path}", web.watch),
        ],
        middleware=[
            Middleware(SecurityHeaders, frame_ancestors=frame_ancestors),
            *([] if own_names is None else [Middleware(OwnNames, names=own_names, trusted=trusted_proxies)]),
            Middleware(Patience),
            behind,
            *([Middleware(CrossOrigin)] if open_access else []),
        ],
        exception_handlers={HTTPException: web.on_http_error, Exception: web.on_bug},
    )
    app.router.redirect_slashes = False
    return app
