"""Processes that have loaded their modules before they are needed: one stands by for the next death."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from wtgateway.workers import messages
from wtgateway.workers.process import Stage, WorkerProcess

log = logging.getLogger("wtgateway.workers")

SPARE_AFTER_S = 1.0  # after a death the machine has better to do than to load modules
BACKOFF_FIRST_S, BACKOFF_LIMIT_S = 0.25, 10.0


def backoff(failures: int) -> float:
    """How long to wait after so many failures in a row, in s."""
    return float(min(BACKOFF_LIMIT_S, BACKOFF_FIRST_S * 2 ** max(0, failures)))


class Standby:
    """Starts processes and keeps those that nobody has taken yet.

    ``on_message`` and ``on_gone`` are told of those that were taken. ``on_change`` is called when one can be
    taken, and some time after one died in here.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_message: Callable[[WorkerProcess, messages.Message], None],
        on_gone: Callable[[WorkerProcess, str], None],
        on_change: Callable[[], None],
        make: Callable[..., WorkerProcess] = WorkerProcess,
        what: str = "worker",
    ) -> None:
        """``make`` starts a process, given ``on_message`` and ``on_gone``; ``what`` it is for, in words."""
        self.failures = 0  # processes that died before they were of use, one after the other
        self._loop, self._make, self._what = loop, make, what
        self._on_message, self._on_gone, self._on_change = on_message, on_gone, on_change
        self._starting: set[WorkerProcess] = set()
        self._spare: WorkerProcess | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._closing = self._trying_again = False

    @property
    def processes(self) -> list[WorkerProcess]:
        """All that nobody has taken."""
        return [*self._starting, *([self._spare] if self._spare else [])]

    def start(self, count: int) -> None:
        """See to it that ``count`` are about to be warm."""
        for _ in range(count - len(self._starting)):
            try:
                process = self._make(self._loop, on_message=self._said, on_gone=self._gone)
            except OSError as error:  # no file descriptor, process or memory is left, for now
                self._not_started(error)
                return
            self._starting.add(process)

    def take(self) -> WorkerProcess | None:
        """The one that stands by, if there is one."""
        spare, self._spare = self._spare, None
        return spare

    def keep_one(self) -> None:
        """See to it, soon, that one stands by."""
        self.later(SPARE_AFTER_S, self._keep_one)

    def failed(self, how: str) -> None:
        """A process has died before it was of use."""
        self.failures += 1
        if not self._closing:
            log.warning("a process for a %s died before it served how=%s", self._what, how)
            self.later(backoff(self.failures - 1), self._on_change)

    def _not_started(self, error: OSError) -> None:
        """Try again later, however many ask for that."""
        self.failures += 1
        if not self._closing and not self._trying_again:
            self._trying_again = True
            log.warning("a process for a %s cannot be started why=%s", self._what, error.strerror or error)
            self.later(backoff(self.failures - 1), self._try_again)

    def _try_again(self) -> None:
        self._trying_again = False
        self._on_change()

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call it then, unless all is over by then."""

        def due() -> None:
            self._timers.discard(timer)
            call()

        timer = self._loop.call_later(delay_s, due)
        self._timers.add(timer)

    def close(self) -> None:
        """Start nothing any more."""
        self._closing = True
        for timer in self._timers:
            timer.cancel()

    def _keep_one(self) -> None:
        if self._spare is None:
            self.start(1)

    def _said(self, process: WorkerProcess, message: messages.Message) -> None:
        if not isinstance(message, messages.Warm):
            self._on_message(process, message)
        elif self._spare is not None or self._closing:  # one is enough
            process.kill()
        else:
            self._starting.discard(process)
            process.stage = Stage.WARM
            self._spare = process
            self._on_change()

    def _gone(self, process: WorkerProcess, how: str) -> None:
        if process is self._spare:
            self._spare = None
        elif process in self._starting:
            self._starting.discard(process)
        else:
            self._on_gone(process, how)
            return
        self.failed(how)
