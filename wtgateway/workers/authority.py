"""The one authority of a gateway, as its workers have it: the main process is asked over their channel.

So there is one count of bad tokens, one memory of good ones, and one list of what was taken back. May import
access.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from wtgateway.access.authority import OPEN, Anonymous, Authority, granted_at_once
from wtgateway.access.credentials import NOT_NOW, Credentials, Refused
from wtgateway.access.origins import Origins
from wtgateway.access.permissions import Grant
from wtgateway.workers import messages
from wtgateway.workers.entrance import ANY_ORIGIN

MOST_ANSWERING = 1024  # questions of all workers under way


class FarAuthority:
    """In a worker: ``send`` leads to the main process, which answers with :meth:`answered`.

    ``row``: what :meth:`AuthorityDesk.row` gave.
    """

    def __init__(self, row: list[Any], send: Callable[[messages.AccessAsked], None]) -> None:
        self.use(row or [False, OPEN.to_row(), ANY_ORIGIN.to_row()])
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Grant]] = {}

    def use(self, row: list[Any]) -> None:
        """What holds from now on."""
        takes_tokens, anonymous, origins = row
        self.origins = Origins.from_row(origins)
        self._takes_tokens: bool = takes_tokens
        self._anonymous = Anonymous.from_row(anonymous)

    def check_now(self, credentials: Credentials) -> Grant | None:
        """The grant where nobody has to be asked; else None."""
        return granted_at_once(credentials, self._anonymous, takes_tokens=self._takes_tokens)

    async def check(self, credentials: Credentials) -> Grant:
        """Ask. Raises Refused; for how long is waited is the caller's to say."""
        number = next(self._numbers)
        future: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._send(messages.AccessAsked(number, credentials.to_row()))
            return await future
        finally:
            del self._waiting[number]

    def answered(self, message: messages.AccessAnswered) -> None:
        """An answer has come; one that nobody waits for any more is nothing."""
        future = self._waiting.get(message.number)
        if future is None or future.done():
            return
        if message.grant:
            future.set_result(Grant.from_row(message.grant))
        else:
            status, words, retry_after_s = message.refusal
            future.set_exception(Refused(status, words, retry_after_s))


class AuthorityDesk:
    """In the main process: answers what workers ask."""

    def __init__(self, authority: Authority | None = None, origins: Origins = ANY_ORIGIN) -> None:
        self._authority, self._origins = authority or Authority(), origins
        self._answering: set[asyncio.Task[None]] = set()

    def use_origins(self, origins: Origins) -> None:
        """Whose pages may connect from now on."""
        self._origins = origins

    def row(self) -> list[Any]:
        """What a worker has to know to answer by itself where nobody need be asked."""
        return [self._authority.takes_tokens, self._authority.anonymous.to_row(), self._origins.to_row()]

    def asked(self, message: messages.AccessAsked, send: Callable[[messages.AccessAnswered], None]) -> None:
        """Have a question answered."""
        if len(self._answering) >= MOST_ANSWERING:
            send(_refused(message.number, Refused(503, NOT_NOW)))
            return
        task = asyncio.create_task(self._answer(message, send), name="access of a worker")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(
        self, message: messages.AccessAsked, send: Callable[[messages.AccessAnswered], None]
    ) -> None:
        try:
            grant = await self._authority.check(Credentials.from_row(message.row))
        except Refused as refused:
            send(_refused(message.number, refused))
        else:
            send(messages.AccessAnswered(message.number, grant.to_row()))

    def close(self) -> None:
        """Answer nothing more."""
        for task in list(self._answering):
            task.cancel()


def _refused(number: int, refused: Refused) -> messages.AccessAnswered:
    return messages.AccessAnswered(number, [], [refused.status, refused.words, refused.retry_after_s])
