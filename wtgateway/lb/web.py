"""What the reference forwarder says of itself: ``/healthz``, ``/readyz``, ``/metrics``. Pure ASGI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from wtgateway.lb.checks import NodeChecks, claims
from wtgateway.lb.routing import DROPS, NodeState
from wtgateway.web.metrics import MEDIA_TYPE, Family, exposition

PREFIX = "wtgateway_lb_"
_TEXT = "text/plain; charset=utf-8"
_COUNTERS = {
    **DROPS,
    "routed_by_server_id": "Datagrams that went to the node that their connection ID names",
    "routed_by_address": "Datagrams that went where their address and port hash to, or went before",
    "datagrams_in": "UDP datagrams received, of viewers and of nodes",
    "datagrams_out": "UDP datagrams sent",
    "send_dropped": "UDP datagrams dropped because the kernel's buffer stayed full",
    "refused": "ICMP errors: a node's port is closed",
    "flows_opened": "Sockets opened towards nodes",
    "flows_idle": "Sockets closed because they were unused",
    "flows_displaced": "Sockets closed because there were too many",
    "flows_failed": "Sockets that could not be opened",
    "flows_of_other_family": "Viewers that cannot be shown to a node of the other IP version",
}

Scope = Mapping[str, Any]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]


class View(Protocol):
    """What there is to show."""

    counters: Counter[str]

    @property
    def flows(self) -> int:
        """Sockets towards nodes now."""


def families(view: View, checks: Sequence[NodeChecks]) -> list[Family]:
    """All figures."""
    found = []
    for name in sorted(view.counters):
        text = _COUNTERS.get(name, name.replace("_", " ").capitalize())
        found.append(Family(f"{PREFIX}{name}_total", "counter", text))
        found[-1].add(view.counters[name])
    flows = Family(f"{PREFIX}flows", "gauge", "Sockets towards nodes now")
    flows.add(view.flows)
    return [*found, flows, *_of_nodes(checks)]


def _of_nodes(checks: Sequence[NodeChecks]) -> list[Family]:
    state = Family(f"{PREFIX}node_state", "gauge", "1 for the state that the node is in")
    misnamed = Family(f"{PREFIX}node_misnamed", "gauge", "Whether its server ID is not that of the LB file")
    foreign = Family(f"{PREFIX}node_foreign_config", "gauge", "Whether it goes by another LB file")
    checked = Family(f"{PREFIX}node_checks_total", "counter", "Health checks by what they found")
    conflicts = Family(f"{PREFIX}server_id_conflicts", "gauge", "Server IDs that several nodes claim")
    for check in checks:
        for one in NodeState:
            state.add(check.node.state is one, node=check.node.name, state=one.value)
        misnamed.add(check.health.misnamed, node=check.node.name)
        foreign.add(check.foreign_config, node=check.node.name)
        for name, count in sorted(check.counters.items()):
            checked.add(count, node=check.node.name, result=name.removeprefix("checks_"))
    conflicts.add(len(claims(checks)))
    return [state, misnamed, foreign, checked, conflicts]


def create_app(view: View, checks: Sequence[NodeChecks]) -> App:
    """The application."""

    def answer(path: str) -> tuple[int, str, str]:
        if path == "/metrics":
            return 200, MEDIA_TYPE, exposition(families(view, checks))
        if path == "/healthz":
            return 200, _TEXT, "ok\n"
        if path == "/readyz":
            up = [check.node.name for check in checks if check.node.state is NodeState.UP]
            return (
                (200, _TEXT, f"nodes: {', '.join(up)}\n") if up else (503, _TEXT, "no node takes viewers\n")
            )
        return 404, _TEXT, "there are /healthz, /readyz and /metrics\n"

    async def app(scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            status, kind, text = answer(scope["path"])
            body = text.encode()
            headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        else:
            await send({"type": "websocket.close"})

    return app


async def _lifespan(receive: Any, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
