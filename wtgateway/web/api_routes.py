"""The API put together: one table of operations, the routes and the document made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from wtgateway.web import access_api, changing, reading
from wtgateway.web.api import node_value, transport_value
from wtgateway.web.control import GatewayControl
from wtgateway.web.operations import Call, Operation, Parameter, Rules, json_answer, routes
from wtgateway.web.proxies import WEBSOCKETS
from wtgateway.web.schemas import listing, ref
from wtgateway.web.sse import Streams
from wtgateway.web.view import GatewayView

STARTING = "the gateway is starting"


class _OfPages:
    """What pages and balancers ask. ``headers``: whether pages of other origins may."""

    def __init__(self, view: GatewayView, headers: Mapping[str, str]) -> None:
        self._view, self._headers = view, headers

    async def broadcasts(self, call: Call) -> Response:
        return json_answer(reading.broadcasts_answer(self._view, call), headers=self._headers)

    async def node(self, _: Call) -> Response:
        """For balancers, and for whoever runs the gateway."""
        return json_answer(node_value(self._view.node_summary()))

    async def sessions(self, call: Call) -> Response:
        """For whoever runs the gateway: not for pages of other origins, even where the rest is open."""
        return json_answer(reading.sessions_answer(self._view, call))

    async def transport(self, call: Call) -> Response:
        # While viewers are sent elsewhere it is still true: what is told leads to the other nodes, too.
        if not (self._view.ready() or self._view.node_summary().draining):
            raise HTTPException(503, STARTING, {"retry-after": "1"})
        value = transport_value(
            self._view, call.request.headers.get("host", ""), call.request.scope.get(WEBSOCKETS, "")
        )
        return json_answer(value, headers=self._headers)

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET", path="/v1/broadcasts", summary="Broadcasts that may be watched",
                handler=self.broadcasts, action="read", answers={200: listing(ref("Broadcast"))},
            ),
            Operation(
                method="GET", path="/v1/node", summary="The gateway as one of several, for balancers",
                handler=self.node, action="", answers={200: ref("Node")},
            ),
            Operation(
                method="GET", path="/v1/transport", summary="Where and with which certificates pages connect",
                handler=self.transport, action="read", of="?broadcast",
                query=(
                    Parameter(
                        name="broadcast", schema={"type": "string"},
                        help="Asked for, so that the answer says whether it may be watched",
                    ),
                ),
                answers={200: ref("Transport"), 503: ref("Error")},
            ),
            Operation(
                method="GET", path="/v1/sessions", summary="Sessions, the oldest first; pages of them by id",
                handler=self.sessions,
                query=(
                    Parameter(name="broadcast", schema={"type": "string"}, help="Only of this one"),
                    Parameter(
                        name="limit", schema={"type": "integer", "minimum": 1, "maximum": reading.MAX_LIMIT},
                        help="So many at most",
                    ),
                    Parameter(name="after", schema={"type": "string"}, help="Only ids behind this one"),
                ),
                answers={200: listing(ref("Session")), 400: ref("Error")},
            ),
        ]  # fmt: skip


def table(
    view: GatewayView,
    control: GatewayControl | None,
    streams: Streams | None,
    headers: Mapping[str, str],
    revoking: access_api.Revoking | None = None,
) -> list[Operation]:
    """All operations; without ``control`` those of pages alone, without ``revoking`` none of access."""
    operations = _OfPages(view, headers).operations()
    if control is None or streams is None:
        return operations
    looking = reading.Reading(view, control, streams)
    operations += reading.operations(looking)
    operations += access_api.operations(revoking) if revoking is not None else []
    operations += changing.operations(changing.Changing(view, control, looking))
    looking.describe(operations)
    return operations


def api_routes(
    view: GatewayView,
    control: GatewayControl | None,
    streams: Streams | None,
    *,
    headers: Mapping[str, str],
    rules: Rules,
    revoking: access_api.Revoking | None = None,
) -> list[Route]:
    """The API's routes, below /api. ``headers`` are those of what any page may ask."""

    def broadcast_of(session_id: str) -> str | None:
        found = (each.broadcast for each in view.session_summaries() if each.id == session_id)
        return next(found, None)

    return routes(table(view, control, streams, headers, revoking), replace(rules, broadcast_of=broadcast_of))
