"""The viewers that come over WebSockets: asked for and judged as any others, each with a session of its own.

May import transport, web and protocol.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from wtgateway.protocol.codes import SUBPROTOCOL, CloseCode
from wtgateway.transport.websocket import WebSocketSession
from wtgateway.transport.webtransport import Refusal, SessionHandler, SessionRequest
from wtgateway.web.websocket import Upgrade

log = logging.getLogger("wtgateway.web")

Answer = SessionHandler | Refusal
OnRequest = Callable[[SessionRequest], Answer | Awaitable[Answer]]

CLOSE_PATIENCE_S = 2.5  # a session's own patience, and a look at it


class WebSocketSessions:
    """``on_request`` says who is let in, as for a CONNECT."""

    def __init__(self, on_request: OnRequest) -> None:
        self.counters: Counter[str] = Counter()  # websocket_sessions, websockets_refused
        self._on_request = on_request
        self._running: dict[WebSocketSession, asyncio.Task[None]] = {}

    @property
    def open(self) -> int:
        """How many there are now."""
        return len(self._running)

    async def serve(self, upgrade: Upgrade) -> None:
        """Answer a viewer, and carry its session until the end."""
        request = SessionRequest(
            path=upgrade.path,
            authority=upgrade.headers.get("host", ""),
            origin=upgrade.headers.get("origin", ""),
            headers=upgrade.headers,
            remote=upgrade.remote,
            protocols=upgrade.protocols,
            transport="websocket",
        )
        answer = await self._answer(request)
        if isinstance(answer, Refusal):
            self.counters["websockets_refused"] += 1
            later = {"retry-after": str(answer.retry_after_s)} if answer.retry_after_s else {}
            await upgrade.refuse(answer.status, answer.reason, later)
            return
        log.debug("viewer comes over a WebSocket broadcast=%s http=%s", upgrade.name, upgrade.http_version)
        session = WebSocketSession(upgrade, request, answer)
        task = asyncio.ensure_future(self._carry(upgrade, session))
        self._running[session] = task
        try:
            await task
        finally:
            del self._running[session]

    async def _answer(self, request: SessionRequest) -> Answer:
        if request.protocols and SUBPROTOCOL not in request.protocols:
            return Refusal(400, f"the sub-protocol here is {SUBPROTOCOL}")
        answer = self._on_request(request)
        return await answer if inspect.isawaitable(answer) else answer

    async def _carry(self, upgrade: Upgrade, session: WebSocketSession) -> None:
        self.counters["websocket_sessions"] += 1
        try:
            await upgrade.accept()
        finally:  # the handler is told of its end in any case
            await session.run()

    async def close(self, code: CloseCode, reason: str) -> None:
        """End all sessions, and wait until they are over."""
        for session in list(self._running):
            session.close(code, reason)
        if self._running:
            await asyncio.wait(self._running.values(), timeout=CLOSE_PATIENCE_S)
