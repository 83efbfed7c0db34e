"""The operations of the API that only look: what each answers. Imports this room's values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from wtgateway import __version__
from wtgateway.media import BroadcastState
from wtgateway.web import openapi
from wtgateway.web.api import broadcast_value, session_value
from wtgateway.web.control import CertificateFacts, GatewayControl, ProcessFigures
from wtgateway.web.operations import Call, Operation, Parameter, json_answer
from wtgateway.web.schemas import listing, ref
from wtgateway.web.sse import Streams, TooMany
from wtgateway.web.view import GatewayView, SessionSummary, WorkerSummary

MAX_LIMIT: Final = 10_000
_ERROR = ref("Error")


class Reading:
    """The handlers, bound to one gateway."""

    def __init__(self, view: GatewayView, control: GatewayControl, streams: Streams) -> None:
        self._view, self._control, self._streams = view, control, streams
        self._all: Sequence[Operation] = ()

    def describe(self, operations: Sequence[Operation]) -> None:
        """These are all that the OpenAPI document is to describe."""
        self._all = operations

    async def openapi(self, _: Call) -> Response:
        return json_answer(openapi.document(self._all))

    async def overview(self, _: Call) -> Response:
        view, control = self._view, self._control
        node, broadcasts = view.node_summary(), view.broadcasts()
        history = list(control.gateway_history())
        value = {
            "version": __version__,
            "node": node.node,
            "instance": node.instance,
            "uptimeS": round(control.uptime_s(), 1),
            "ready": view.ready(),
            "draining": node.draining,
            "broadcasts": {
                "total": len(broadcasts),
                "live": sum(each.state is BroadcastState.LIVE for each in broadcasts),
            },
            "sessions": node.viewers,
            "rateBps": history[-1]["rateBps"] if history else 0,
            "workers": [worker_value(each) for each in view.worker_summaries()],
            "processes": [process_value(each) for each in control.processes()],
            "history": history,
        }
        return json_answer(value)

    async def broadcast(self, call: Call) -> Response:
        name = call.parameters["name"]
        for summary in self._view.broadcasts():
            if summary.name == name:
                return json_answer(
                    broadcast_value(summary) | {"history": list(self._control.broadcast_history(name))}
                )
        raise no_broadcast(name)

    async def session(self, call: Call) -> Response:
        summary = self.find(call.parameters["id"])
        history = list(self._control.session_history(summary.id))
        return json_answer(session_value(summary) | {"history": history})

    async def certificates(self, _: Call) -> Response:
        return json_answer([certificate_value(each) for each in self._control.certificates()])

    async def log_level(self, _: Call) -> Response:
        return json_answer({"level": self._control.log_level()})

    async def config(self, _: Call) -> Response:
        return json_answer(dict(self._control.config_document()))

    async def events(self, call: Call) -> Response:
        query, headers = call.request.query_params, call.request.headers
        kinds = [kind for kind in query.get("kinds", "").split(",") if kind]
        try:
            return self._streams.answer(kinds, headers.get("last-event-id") or query.get("after", ""))
        except TooMany:
            raise HTTPException(503, "As many listen as may; try again.", {"retry-after": "5"}) from None

    async def qlog(self, call: Call) -> Response:
        session_id = call.parameters["id"]
        data = await self._control.qlog(session_id)
        if data is None:
            raise HTTPException(404, f"Nothing is noted of a session {session_id!r}.")
        headers = {
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{session_id}.sqlog"',
        }
        return Response(data, media_type="application/qlog+json-seq", headers=headers)

    def find(self, session_id: str) -> SessionSummary:
        """A session. Raises HTTPException 404."""
        for summary in self._view.session_summaries():
            if summary.id == session_id:
                return summary
        raise no_session(session_id)


def operations(reading: Reading) -> list[Operation]:
    """The part of the table that only looks, besides what pages need (:mod:`wtgateway.web.app`)."""
    return [
        Operation(
            method="GET", path="/v1/openapi.json", summary="This document", handler=reading.openapi,
            action="", answers={200: {"type": "object"}},
        ),
        Operation(
            method="GET", path="/v1/overview", summary="The gateway as a whole", handler=reading.overview,
            answers={200: ref("Overview")},
        ),
        Operation(
            method="GET", path="/v1/broadcasts/{name:broadcast}",
            summary="One broadcast and its last two minutes",
            handler=reading.broadcast, of="{name}", answers={200: ref("BroadcastDetails"), 404: _ERROR},
        ),
        Operation(
            method="GET", path="/v1/sessions/{id}", summary="One session and its last two minutes",
            handler=reading.session, of="{id}", answers={200: ref("SessionDetails"), 404: _ERROR},
        ),
        Operation(
            method="GET", path="/v1/sessions/{id}/qlog", summary="What was noted of its connection (qlog)",
            handler=reading.qlog, media_type="application/qlog+json-seq",
            answers={200: {"type": "string"}, 404: _ERROR},
        ),
        Operation(
            method="GET", path="/v1/certificates", summary="Certificates of the QUIC endpoint",
            handler=reading.certificates, answers={200: listing(ref("Certificate"))},
        ),
        Operation(
            method="GET", path="/v1/log-level", summary="How much is logged", handler=reading.log_level,
            answers={200: ref("LogLevel")},
        ),
        Operation(
            method="GET", path="/v1/config", summary="All settings that hold, without secrets",
            handler=reading.config, answers={200: ref("Configuration")},
        ),
        Operation(
            method="GET", path="/v1/events", summary="What happens, as server-sent events (data: Event)",
            handler=reading.events, media_type="text/event-stream",
            query=(
                Parameter(
                    name="kinds", schema={"type": "string"},
                    help="Patterns with commas between them, such as broadcast.*,degraded",
                ),
                Parameter(
                    name="after", schema={"type": "string"},
                    help="As Last-Event-ID, for what cannot send headers; 0: all that is kept",
                ),
            ),
            answers={200: {"type": "string"}, 503: _ERROR},
        ),
    ]  # fmt: skip


def worker_value(summary: WorkerSummary) -> dict[str, Any]:
    """A worker as the overview shows it."""
    return {
        "worker": summary.worker,
        "up": summary.up,
        "restarts": summary.restarts,
        "connections": summary.connections,
        "sessions": summary.sessions,
    }


def process_value(figures: ProcessFigures) -> dict[str, Any]:
    """A process as the overview shows it."""
    return {
        "name": figures.name,
        "rssBytes": figures.rss_bytes,
        "openFds": figures.open_fds,
        "maxFds": figures.max_fds,
        "cpuS": round(figures.cpu_s, 2),
        "cpuShare": round(figures.cpu_share, 3),
        "threads": figures.threads,
        "loopLagUs": figures.loop_lag_us,
    }


def certificate_value(facts: CertificateFacts) -> dict[str, Any]:
    """A certificate."""
    names = {"sha256": "sha256", "not_before": "notBefore", "not_after": "notAfter", "current": "current"}
    return {names[name]: value for name, value in dataclasses.asdict(facts).items()}


def broadcasts_answer(view: GatewayView, call: Call) -> list[dict[str, Any]]:
    """Those broadcasts of which the caller may read something."""
    return [broadcast_value(b) for b in view.broadcasts() if call.granted.allows("read", b.name)]


def sessions_answer(view: GatewayView, call: Call) -> list[dict[str, Any]]:
    """Sessions as the query wants them. Raises HTTPException 400."""
    query = call.request.query_params
    wanted, after = query.get("broadcast"), query.get("after", "")
    limit = _limit(query.get("limit"))
    found = [
        s
        for s in view.session_summaries()
        if s.id > after and wanted in (None, s.broadcast) and call.granted.allows("api", s.broadcast)
    ]
    if "limit" in query or after:  # so that the next page begins where this one ends, whoever left meanwhile
        found.sort(key=lambda session: session.id)
    return [session_value(s) for s in found[:limit]]


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise HTTPException(400, f"limit is a number from 1 to {MAX_LIMIT}.")
    return int(text)


def no_broadcast(name: str) -> HTTPException:
    """The answer where there is none of that name."""
    return HTTPException(404, f"There is no broadcast {name!r}.")


def no_session(session_id: str) -> HTTPException:
    """The answer where there is none of that id."""
    return HTTPException(404, f"There is no session {session_id!r}.")
