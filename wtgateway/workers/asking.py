"""Questions to workers that are waited for, and their answers; a worker that dies has none."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

from wtgateway.web.control import Unavailable
from wtgateway.workers.messages import Ask, Told

PATIENCE_S: Final = 5.0
Send = Callable[[Ask], None]


class Asking:
    """All questions that are open."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Told | None]] = {}

    async def ask(self, sends: Sequence[Send], what: str, session: str, arguments: Sequence[Any]) -> Any:
        """Ask all, since nobody knows whose a session is now; the value of whoever has it, or None.

        Raises Unavailable with the words of whoever refused.
        """
        answers = await asyncio.gather(
            *(self._ask_one(send, what, session, list(arguments)) for send in sends)
        )
        for told in answers:
            if told is not None and told.refusal:
                raise Unavailable(told.refusal)
        return next((told.value for told in answers if told is not None and told.value is not None), None)

    def told(self, message: Told) -> None:
        """An answer has come; one that nobody waits for any more is nothing."""
        future = self._open.get(message.number)
        if future is not None and not future.done():
            future.set_result(message)

    async def _ask_one(self, send: Send, what: str, session: str, arguments: list[Any]) -> Told | None:
        number = next(self._numbers)
        future = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            send(Ask(number, what, session, arguments))
            return await asyncio.wait_for(future, PATIENCE_S)
        except TimeoutError:
            return None
        finally:
            del self._open[number]
