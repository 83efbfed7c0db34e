"""How long a peer of the pages' server may take: with what it asks, and with what it is answered.

A request whose body comes a byte a minute, or an answer that is read as slowly, would keep a connection and
a task for as long as its peer likes. Headers are the server's (``keep_alive_timeout`` is the time until a
request is complete), bodies and answers are bounded here. Imports starlette only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

BODY_S: Final = 15.0  # for all of a body
BODY_BYTES: Final = 1 << 20  # of any request; what the API takes is less
PIECE_S: Final = 120.0  # for one piece of an answer, the largest being a file of the client


class TooSlow(Exception):
    """The peer does not read its answer: the connection is given up."""


class Patience:
    """ASGI middleware: what is beyond the bounds ends the request, with 408 or 413 where it can be said."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        until, got, complete = loop.time() + BODY_S, 0, False

        async def bounded_receive() -> Message:
            nonlocal got, complete
            if complete:  # nothing but the peer's leaving is left, for which streams of events wait
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body took too long.", {"connection": "close"}) from None
            got += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if got > BODY_BYTES:
                raise HTTPException(413, "The body is too large.", {"connection": "close"})
            return message

        async def bounded_send(message: Message) -> None:
            try:
                async with asyncio.timeout(PIECE_S):
                    await send(message)
            except TimeoutError:
                raise TooSlow("an answer is not read") from None

        try:
            await self._app(scope, bounded_receive, bounded_send)
        except TooSlow as error:  # the server closes what an application has left unfinished
            log.debug("request given up: %s client=%s", error, (scope.get("client") or ("?",))[0])
