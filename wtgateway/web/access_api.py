"""The operations of the API that take tokens and identities back (docs/access.md). May import access."""

from __future__ import annotations

import datetime
from typing import Any, Final, Protocol

from starlette.exceptions import HTTPException
from starlette.responses import Response

from wtgateway import clock
from wtgateway.access.revocations import Revocation, RevocationsFullError
from wtgateway.errors import ConfigError
from wtgateway.web.operations import Call, Operation, Parameter, json_answer
from wtgateway.web.schemas import Schema, listing, ref

PATH: Final = "/v1/access/revocations"
_TEXT: Schema = {"type": "string"}
_UNTIL: Schema = {"type": ["string", "null"], "description": "RFC 3339; null: for ever"}
_REVOCATION: Schema = {
    "type": "object",
    "properties": {"tokenId": _TEXT, "identity": _TEXT, "until": _UNTIL},
    "additionalProperties": False,
}


class Revoking(Protocol):
    """Who takes back."""

    def revocations(self) -> list[Revocation]:
        """Those that hold."""

    async def revoke(self, revocation: Revocation) -> None:
        """Take back, and end the sessions. Raises RevocationsFullError, OSError, ConfigError."""

    async def restore(self, token_id: str, identity: str) -> bool:
        """Have it good again; False: it was not taken back. Raises OSError, ConfigError."""


class _Handlers:
    def __init__(self, revoking: Revoking) -> None:
        self._revoking = revoking

    async def list(self, _: Call) -> Response:
        return json_answer([revocation_value(each) for each in self._revoking.revocations()])

    async def add(self, call: Call) -> Response:
        revocation = parse_revocation(call.body, clock.now_us())
        try:
            await self._revoking.revoke(revocation)
        except RevocationsFullError:
            raise HTTPException(409, "There is no room for more; let some end, or change the key.") from None
        except (OSError, ConfigError) as error:
            raise _unwritten(error) from None
        return json_answer(revocation_value(revocation), 201)

    async def remove(self, call: Call) -> Response:
        query = call.request.query_params
        token_id, identity = query.get("tokenId", ""), query.get("identity", "")
        if bool(token_id) == bool(identity):
            raise HTTPException(400, "One of tokenId and identity is needed, in the query.")
        try:
            if not await self._revoking.restore(token_id, identity):
                raise HTTPException(404, "That was not taken back, or its time is over.")
        except (OSError, ConfigError) as error:
            raise _unwritten(error) from None
        return Response(status_code=204)


def _unwritten(error: OSError | ConfigError) -> HTTPException:
    why = getattr(error, "strerror", None) or error
    return HTTPException(500, f"It holds here, but could not be written yet: {why}. That is tried again.")


def operations(revoking: Revoking) -> list[Operation]:
    """The part of the table that is about access."""
    handlers = _Handlers(revoking)
    return [
        Operation(
            method="GET", path=PATH, summary="Tokens and identities that were taken back",
            handler=handlers.list, of="*", answers={200: listing(_REVOCATION)},
        ),
        Operation(
            method="POST", path=PATH, summary="Take a token or an identity back, and end its sessions",
            handler=handlers.add, of="*", takes=_REVOCATION,
            answers={201: _REVOCATION, 400: ref("Error"), 409: ref("Error")},
        ),
        Operation(
            method="DELETE", path=PATH, summary="Let what was taken back be good again",
            handler=handlers.remove, of="*",
            query=(
                Parameter(name="tokenId", schema=_TEXT, help="A token's id; this or identity"),
                Parameter(name="identity", schema=_TEXT, help="Whose tokens; this or tokenId"),
            ),
            answers={204: None, 400: ref("Error"), 404: ref("Error")},
        ),
    ]  # fmt: skip


def revocation_value(revocation: Revocation) -> dict[str, Any]:
    """As the API shows it."""
    name = {"tokenId": revocation.token_id} if revocation.token_id else {"identity": revocation.identity}
    until = None
    if revocation.until_us:
        moment = datetime.datetime.fromtimestamp(revocation.until_us / 1e6, datetime.UTC)
        until = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**name, "until": until}


def parse_revocation(body: Any, now_us: int) -> Revocation:
    """``{"tokenId": ..., "until": ...}`` or with ``identity``. Raises HTTPException 400."""
    if not isinstance(body, dict) or set(body) - {"tokenId", "identity", "until"}:
        raise HTTPException(400, 'A revocation is an object such as {"tokenId": "...", "until": null}.')
    token_id, identity, until = body.get("tokenId", ""), body.get("identity", ""), body.get("until")
    try:
        until_us = 0 if until is None else _moment_us(until)
        revocation = Revocation.from_row([token_id, identity, until_us])
    except (TypeError, ValueError, OverflowError):
        words = "One of tokenId and identity is needed, and until is a time such as 2027-01-01T00:00:00Z."
        raise HTTPException(400, words) from None
    if not revocation.holds(now_us):
        raise HTTPException(400, "That time is over already.")
    return revocation


def _moment_us(text: object) -> int:
    if not isinstance(text, str):
        raise TypeError("no time")
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return round(moment.timestamp() * 1_000_000)
