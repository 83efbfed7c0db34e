"""Which transport a session opens over: WebTransport first, a WebSocket beside it when that takes long.

The first to open is used (docs/protocol.md, "Both"). Imports errors and the transport's interface.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from wtgateway.errors import SessionRefused, TransportError
from wtgateway.transport.webtransport import SessionHandler

HEAD_START_S = 0.5

Open = Callable[[SessionHandler], Awaitable[Any]]
Close = Callable[[Any], Awaitable[None]]


class _Entrant:
    """A SessionHandler that hands on what comes, once it has won."""

    def __init__(self, race: Race) -> None:
        self._race = race
        self._to: SessionHandler | None = None

    def opened(self, session: Any) -> None:
        if self._race.claim(self):
            self._to = self._race.handler
            self._to.opened(session)

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        if self._to is not None:
            self._to.stream_data(stream_id, data, fin)

    def stream_reset(self, stream_id: int, code: int) -> None:
        if self._to is not None:
            self._to.stream_reset(stream_id, code)

    def stop_sending(self, stream_id: int, code: int) -> None:
        if self._to is not None:
            self._to.stop_sending(stream_id, code)

    def datagram(self, data: bytes) -> None:
        if self._to is not None:
            self._to.datagram(data)

    def writable(self) -> None:
        if self._to is not None:
            self._to.writable()

    def closed(self, code: int, reason: str) -> None:
        if self._to is not None:
            self._to.closed(code, reason)


class Race:
    """One race for ``handler``; ``close`` closes a session that came second."""

    def __init__(self, handler: SessionHandler, close: Close) -> None:
        self.handler = handler
        self._close = close
        self._winner: _Entrant | None = None

    def claim(self, entrant: _Entrant) -> bool:
        """Whether this one has won."""
        self._winner = self._winner or entrant
        return self._winner is entrant

    async def run(self, first: Open, second: Open, head_start_s: float = HEAD_START_S) -> Any:
        """The session that opened first.

        A refusal of either is the gateway's word, and ends it: raises SessionRefused. Raises what ``first``
        raised when there is no connection over either.
        """
        tasks = [self._enter(first)]
        try:
            await asyncio.wait(tasks, timeout=head_start_s)
            if not self._over(tasks):
                tasks.append(self._enter(second))
            while not self._over(tasks) and not all(task.done() for task in tasks):
                running = [task for task in tasks if not task.done()]
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            return self._result(tasks)
        finally:
            await self._leave([task for task in tasks if not self._won(task)])

    def _enter(self, open_: Open) -> asyncio.Task[Any]:
        entrant = _Entrant(self)

        async def enter() -> tuple[_Entrant, Any]:
            return entrant, await open_(entrant)

        return asyncio.create_task(enter())

    def _won(self, task: asyncio.Task[Any]) -> bool:
        done = task.done() and not task.cancelled() and task.exception() is None
        return done and task.result()[0] is self._winner

    def _over(self, tasks: list[asyncio.Task[Any]]) -> bool:
        done = [task for task in tasks if task.done() and not task.cancelled()]
        return any(self._won(task) or isinstance(task.exception(), SessionRefused) for task in done)

    def _result(self, tasks: list[asyncio.Task[Any]]) -> Any:
        for task in tasks:
            if self._won(task):
                return task.result()[1]
        for task in tasks:
            if task.done() and isinstance(task.exception(), SessionRefused):
                return task.result()
        for task in tasks:
            if isinstance(task.exception(), TransportError):
                return task.result()
        return tasks[0].result()

    async def _leave(self, losers: list[asyncio.Task[Any]]) -> None:
        """Nobody waits for those who lost, and none of them stays open."""
        for task in losers:
            task.cancel()
        for ended in await asyncio.gather(*losers, return_exceptions=True):
            if not isinstance(ended, BaseException):
                await self._close(ended[1])
