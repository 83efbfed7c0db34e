"""What the JSON API can be asked: one table, of which routes, access, OpenAPI and tests are made.

An :class:`Operation` says who may ask (`action`, and of which broadcast), what may be sent, and what comes
back. Its handler is called only after the access rule and, where something is changed, the rule against
requests forged by other sites. Imports errors and this room's pure parts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wtgateway.web import forged
from wtgateway.web.view import is_broadcast_name

MAX_BODY_BYTES: Final = 64 << 10
PREFIX: Final = "/api"
_NO_CACHE = {"cache-control": "no-cache"}

Schema = Mapping[str, Any]


class _Broadcast(StringConvertor):
    """A broadcast's name with its slashes, without one at either end."""

    regex = r"[^/]+(?:/[^/]+)*"


register_url_convertor("broadcast", _Broadcast())


class Granted(Protocol):
    """What somebody may do, as the access rule found."""

    def allows(self, action: str, broadcast: str = "") -> bool:
        """Whether that is among it; without a broadcast: of any."""


class Everything:
    """What anybody may do where nobody has to prove anything."""

    def allows(self, action: str, broadcast: str = "") -> bool:
        """Always."""
        return True


Guard = Callable[[HTTPConnection, str, str], Awaitable[Granted]]
"""The access rule: who asks, for which action, of which broadcast ("": any, "*": the gateway as a whole).

Raises HTTPException 401, 403 or 429.
"""


async def no_guard(connection: HTTPConnection, action: str, broadcast: str) -> Granted:
    """The rule where there is none."""
    return Everything()


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation, after all rules have passed it."""

    request: Request
    granted: Granted
    body: Any = None  # JSON value

    @property
    def parameters(self) -> Mapping[str, str]:
        """Of the path."""
        return dict(self.request.path_params)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One in the query."""

    name: str
    schema: Schema
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """``path`` as Starlette and OpenAPI write it, below /api. ``answers``: schema of the body by status.

    ``action``: read, control, api or metrics; empty: anybody may ask. ``of``: the broadcast that it is asked
    for: "" any, "*" the gateway as a whole, "{name}" the path's, "?broadcast" the
    query's, "{id}" that of the session.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Call], Awaitable[Response]]
    action: str = "api"
    of: str = ""
    query: tuple[Parameter, ...] = ()
    takes: Schema | None = None
    answers: Mapping[int, Schema | None] = field(default_factory=dict)
    media_type: str = "application/json"

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method not in ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How requests are judged. ``broadcast_of`` gives the broadcast of a session; None: there is none."""

    guard: Guard = no_guard
    origins: frozenset[str] = frozenset()  # whose pages may change things, besides the gateway's own
    hosts: frozenset[str] = frozenset()  # the names of this gateway, besides addresses and localhost
    broadcast_of: Callable[[str], str | None] = lambda session_id: None


def routes(operations: Iterable[Operation], rules: Rules) -> list[Route]:
    """One route for each path; that of a broadcast, which matches what is below it as well, comes last."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    ordered = sorted(by_path, key=lambda path: path.endswith("{name:broadcast}"))
    return [
        Route(path, _endpoint(by_path[path], rules), methods=sorted(_methods(by_path[path])))
        for path in ordered
    ]


def _methods(table: Mapping[str, Operation]) -> set[str]:
    return {*table, *(["HEAD"] if "GET" in table else [])}


def _endpoint(table: Mapping[str, Operation], rules: Rules) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = table["GET" if request.method == "HEAD" else request.method]
        return await _answer(operation, request, rules)

    return endpoint


async def _answer(operation: Operation, request: Request, rules: Rules) -> Response:
    name = request.path_params.get("name")
    if name is not None and not is_broadcast_name(name):
        raise HTTPException(404, f"No broadcast can have the name {name!r}.")
    of = _concerned(operation, request, rules)
    granted: Granted = Everything()
    if operation.action:
        granted = await rules.guard(request, operation.action, of)
    body = None
    if operation.changes:
        if why := forged.why(request.headers, request.url.scheme, rules.origins, rules.hosts):
            raise HTTPException(403, why)
        body = await _body(request, operation)
    return await operation.handler(Call(request, granted, body))


def _concerned(operation: Operation, request: Request, rules: Rules) -> str:
    """The broadcast that an operation is asked for; that of no session: the gateway as a whole."""
    match operation.of:
        case "{name}":
            return str(request.path_params["name"])
        case "{id}":
            return rules.broadcast_of(request.path_params["id"]) or "*"
        case "?broadcast":
            return request.query_params.get("broadcast", "")
        case of:
            return of


async def _body(request: Request, operation: Operation) -> Any:
    """The JSON value that was sent; an operation that takes none ignores an empty one."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise HTTPException(413, f"At most {MAX_BODY_BYTES >> 10} KiB are taken.")
    if operation.takes is None:
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "The body has to be JSON: content-type: application/json.")
    return parse_json(bytes(data))


def parse_json(data: bytes) -> Any:
    """A JSON value (RFC 8259). Raises HTTPException 400, also for NaN, and for names given twice."""
    try:
        return json.loads(data, parse_constant=_no_number, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        words = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise HTTPException(400, f"The body is no JSON: {words[:200]}") from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return value


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that no cache keeps."""
    return JSONResponse(value, status, _NO_CACHE | dict(headers or {}))
