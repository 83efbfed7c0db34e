"""The operations of the API that change something; each is logged.

Imports this room's values and errors only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from wtgateway.errors import ConfigError
from wtgateway.log import redact_url
from wtgateway.protocol.codes import CloseCode
from wtgateway.web.api import broadcast_value
from wtgateway.web.control import LOG_LEVELS, GatewayControl, Unavailable
from wtgateway.web.operations import Call, Operation, json_answer
from wtgateway.web.reading import Reading, certificate_value, no_broadcast, no_session
from wtgateway.web.schemas import listing, ref
from wtgateway.web.view import GatewayView

log = logging.getLogger("wtgateway.api")

MAX_REASON: Final = 200
MAX_DEPTH: Final = 6
KICKED: Final = "the operator ended this session"
_ERROR = ref("Error")


class Changing:
    """The handlers, bound to one gateway."""

    def __init__(self, view: GatewayView, control: GatewayControl, reading: Reading) -> None:
        self._view, self._control, self._reading = view, control, reading

    # --- broadcasts --------------------------------------------------------------------------------

    async def put(self, call: Call) -> Response:
        return await self._put(call.parameters["name"], call.body)

    async def patch(self, call: Call) -> Response:
        name = call.parameters["name"]
        present = self._control.broadcast_document(name)
        if present is None:
            raise no_broadcast(name)
        if not isinstance(call.body, dict):
            raise HTTPException(400, "A change is an object.")
        return await self._put(name, merged(present, call.body))

    async def _put(self, name: str, document: Any) -> Response:
        if not isinstance(document, dict) or too_deep(document, MAX_DEPTH):
            raise HTTPException(400, 'A broadcast is an object of settings, such as {"source": "test:"}.')
        try:
            new = await self._control.put_broadcast(name, document)
        except ConfigError as error:
            raise HTTPException(400, redact_url(str(error))) from None
        log.info("broadcast %s by the API broadcast=%s", "added" if new else "changed", name)
        for summary in self._view.broadcasts():
            if summary.name == name:
                return json_answer(broadcast_value(summary), 201 if new else 200)
        raise HTTPException(409, "It was removed meanwhile.")

    async def remove(self, call: Call) -> Response:
        name = call.parameters["name"]
        if not await self._control.remove_broadcast(name):
            raise no_broadcast(name)
        log.info("broadcast removed by the API broadcast=%s", name)
        return Response(status_code=204)

    async def restart(self, call: Call) -> Response:
        name = call.parameters["name"]
        if not await self._control.restart_broadcast(name):
            raise no_broadcast(name)
        log.info("source restarted by the API broadcast=%s", name)
        return Response(status_code=204)

    # --- sessions ----------------------------------------------------------------------------------

    async def kick(self, call: Call) -> Response:
        session_id = call.parameters["id"]
        reason = call.request.query_params.get("reason") or KICKED
        if len(reason) > MAX_REASON or not reason.isprintable():
            raise HTTPException(400, f"A reason is a line of at most {MAX_REASON} signs.")
        if not await self._control.kick(session_id, int(CloseCode.KICKED), reason):
            raise no_session(session_id)
        log.info("session ended by the API session=%s", session_id)
        return Response(status_code=204)

    async def keyframe(self, call: Call) -> Response:
        if not await self._control.request_keyframe(call.parameters["id"]):
            raise no_session(call.parameters["id"])
        return Response(status_code=204)

    async def start_qlog(self, call: Call) -> Response:
        try:
            known = await self._control.start_qlog(call.parameters["id"])
        except Unavailable as error:
            raise HTTPException(409, str(error)) from None
        if not known:
            raise no_session(call.parameters["id"])
        log.info("qlog begun session=%s", call.parameters["id"])
        return Response(status_code=204)

    async def stop_qlog(self, call: Call) -> Response:
        if not await self._control.stop_qlog(call.parameters["id"]):
            raise HTTPException(404, f"Nothing is noted of a session {call.parameters['id']!r}.")
        return Response(status_code=204)

    # --- the gateway -------------------------------------------------------------------------------

    async def rotate(self, _: Call) -> Response:
        try:
            await self._control.rotate_certificates()
        except Unavailable as error:
            raise HTTPException(409, str(error)) from None
        log.info("certificate rotated by the API")
        return json_answer([certificate_value(each) for each in self._control.certificates()])

    async def log_level(self, call: Call) -> Response:
        level = call.body.get("level") if isinstance(call.body, dict) else None
        if level not in LOG_LEVELS or set(call.body) != {"level"}:
            raise HTTPException(400, f"The level is one of {', '.join(LOG_LEVELS)}.")
        await self._control.set_log_level(level)
        return json_answer({"level": self._control.log_level()})


def operations(changing: Changing) -> list[Operation]:
    """The part of the table that changes something."""
    broadcast, session = "/v1/broadcasts/{name:broadcast}", "/v1/sessions/{id}"
    return [
        Operation(
            method="PUT", path=broadcast, summary="Add a broadcast, or give it these settings",
            handler=changing.put, action="control", of="{name}", takes=ref("Settings"),
            answers={200: ref("Broadcast"), 201: ref("Broadcast"), 400: _ERROR, 404: _ERROR, 409: _ERROR},
        ),
        Operation(
            method="PATCH", path=broadcast, summary="Change some of its settings (RFC 7396)",
            handler=changing.patch, action="control", of="{name}", takes=ref("Settings"),
            answers={200: ref("Broadcast"), 400: _ERROR, 404: _ERROR, 409: _ERROR},
        ),
        Operation(
            method="DELETE", path=broadcast, summary="Remove it; its viewers are told",
            handler=changing.remove, action="control", of="{name}", answers={204: None, 404: _ERROR},
        ),
        Operation(
            method="POST", path=f"{broadcast}/restart", summary="Open its source anew",
            handler=changing.restart, action="control", of="{name}", answers={204: None, 404: _ERROR},
        ),
        Operation(
            method="DELETE", path=session, summary="End it; the viewer is told",
            handler=changing.kick, action="control", of="{id}", answers={204: None, 400: _ERROR, 404: _ERROR},
        ),
        Operation(
            method="POST", path=f"{session}/keyframe", summary="Ask for a keyframe of the pictures it gets",
            handler=changing.keyframe, action="control", of="{id}", answers={204: None, 404: _ERROR},
        ),
        Operation(
            method="POST", path=f"{session}/qlog", summary="Begin to note what its connection does",
            handler=changing.start_qlog, action="control", of="{id}",
            answers={204: None, 404: _ERROR, 409: _ERROR},
        ),
        Operation(
            method="DELETE", path=f"{session}/qlog", summary="Note nothing more, and forget what was noted",
            handler=changing.stop_qlog, action="control", of="{id}", answers={204: None, 404: _ERROR},
        ),
        Operation(
            method="POST", path="/v1/certificates/rotate", summary="Make a certificate that takes over soon",
            handler=changing.rotate, of="*", answers={200: listing(ref("Certificate")), 409: _ERROR},
        ),
        Operation(
            method="PUT", path="/v1/log-level", summary="Log more or less, until the next start",
            handler=changing.log_level, of="*", takes=ref("LogLevel"),
            answers={200: ref("LogLevel"), 400: _ERROR},
        ),
    ]  # fmt: skip


def merged(target: Any, patch: Any) -> Any:
    """A JSON merge patch applied (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    value = dict(target) if isinstance(target, Mapping) else {}
    for name, change in patch.items():
        if change is None:
            value.pop(name, None)
        else:
            value[name] = merged(value.get(name), change)
    return value


def too_deep(value: Any, most: int) -> bool:
    """Whether objects and lists are nested deeper than that."""
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return most < 0 or any(too_deep(each, most - 1) for each in inside)
