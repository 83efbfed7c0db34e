"""The processes of all isolated sources: started, handed out, watched. One more than needed stands by.

Lives on the event loop of the main process; Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

from wtgateway.isolation import messages
from wtgateway.isolation.lines import Lines
from wtgateway.workers.messages import Message
from wtgateway.workers.process import Stage, WorkerProcess
from wtgateway.workers.standby import Standby

log = logging.getLogger("wtgateway.isolation")

WATCH_EVERY_S = 1.0
MOST_SILENT = 8  # looks of the watchdog without a word from a process: it hangs


class Owner(Protocol):
    """Who has taken a process."""

    def on_message(self, message: Message) -> None:
        """What it says."""

    def on_gone(self, how: str) -> None:
        """It is gone; how, in words."""

    def on_look(self) -> None:
        """The watchdog looks after it, once a second."""


class SourceProcess(WorkerProcess):
    """One process for a source."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_message: Callable[[WorkerProcess, Message], None],
        on_gone: Callable[[WorkerProcess, str], None],
    ) -> None:
        self.owner: Owner | None = None
        self.killed_for = ""
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.lines = Lines(read, loop)

        def gone(process: WorkerProcess, how: str) -> None:
            self.lines.close()
            on_gone(process, self.killed_for or how.removeprefix("signal "))

        try:
            super().__init__(
                loop,
                on_message=on_message,
                on_gone=gone,
                module="wtgateway.isolation",
                decode=messages.decode_in_parent,
                stderr=write,
            )
        except BaseException:
            self.lines.close()
            raise
        finally:
            os.close(write)

    def end_for(self, reason: str) -> None:
        """End it at once, and say why."""
        self.killed_for = self.killed_for or reason
        self.kill()


class SourceProcesses:
    """All of a gateway. ``on_died`` is told the broadcast and how its source's process died."""

    def __init__(self, on_died: Callable[[str, str], None] = lambda broadcast, how: None) -> None:
        self.on_died = on_died
        self._loop = asyncio.get_running_loop()
        self._standby = Standby(
            self._loop,
            on_message=_said,
            on_gone=self._gone,
            on_change=self._fill,
            make=SourceProcess,
            what="source",
        )
        self._waiting: deque[asyncio.Future[SourceProcess]] = deque()
        self._taken: set[SourceProcess] = set()
        self._watchdog: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def process_ids(self) -> list[int]:
        """Of all, whether they have a source or stand by."""
        return [process.pid for process in (*self._taken, *self._standby.processes)]

    def prepare(self) -> None:
        """A source will need a process: see to it that one stands by."""
        if not self._closing:
            self._standby.keep_one()

    async def take(self) -> SourceProcess:
        """A process that is warm, in the order of asking. Who has it names itself its owner at once."""
        waiting: asyncio.Future[SourceProcess] = self._loop.create_future()
        self._waiting.append(waiting)
        self._fill()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                waiting.result().kill()
            raise

    async def close(self) -> None:
        """End all that are left."""
        self._closing = True
        self._standby.close()
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        for waiting in self._waiting:
            waiting.cancel()
        processes = [*self._taken, *self._standby.processes]
        for process in processes:
            process.kill()
        await asyncio.gather(*(process.over.wait() for process in processes))

    def _fill(self) -> None:
        """Hand out what stands by, and have started what is missing."""
        if self._closing:
            return
        while self._waiting and self._waiting[0].done():  # given up
            self._waiting.popleft()
        if self._waiting and (process := self._standby.take()) is not None:
            assert isinstance(process, SourceProcess)
            process.stage, self._standby.failures = Stage.ASSIGNED, 0
            self._taken.add(process)
            self._waiting.popleft().set_result(process)
            if self._watchdog is None:
                self._watchdog = self._loop.create_task(self._watch(), name="source processes")
        self._standby.start(len([w for w in self._waiting if not w.done()]))
        self._standby.keep_one()

    def _gone(self, process: WorkerProcess, how: str) -> None:
        assert isinstance(process, SourceProcess)
        self._taken.discard(process)
        if process.owner is not None:
            process.owner.on_gone(how)

    async def _watch(self) -> None:
        """A process whose loop stands still is as good as dead. It counts looks: we may stand still, too."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            for process in list(self._taken):
                process.lines.look()
                process.silent = 0 if process.heard else process.silent + 1
                process.heard = False
                if process.silent >= MOST_SILENT:
                    process.end_for(f"hung: no sign of life for {process.silent * WATCH_EVERY_S:.0f} s")
                elif process.owner is not None:
                    process.owner.on_look()


def _said(process: WorkerProcess, message: Message) -> None:
    assert isinstance(process, SourceProcess)
    process.heard = True
    if process.owner is None:
        return
    try:
        process.owner.on_message(message)
    except Exception as error:  # it may have lost its senses before it crashes
        log.debug("source process talks nonsense broadcast=%s", process.lines.broadcast, exc_info=error)
        with contextlib.suppress(OSError):
            process.end_for("what it said made no sense")
