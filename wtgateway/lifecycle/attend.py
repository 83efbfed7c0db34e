"""A gateway as a service of its system: signals, the service manager, the configuration's file, shortages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from wtgateway.events import Events
from wtgateway.lifecycle.difference import Difference
from wtgateway.lifecycle.notify import Notifier
from wtgateway.lifecycle.reload import Reloader, watch_file
from wtgateway.lifecycle.shortages import Shortages, raise_descriptor_limit, watch_descriptors

if TYPE_CHECKING:
    from wtgateway.config import GatewayConfig

log = logging.getLogger("wtgateway")

TELL_EVERY_S = 1.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Attended(Protocol):
    """The gateway, as what keeps it company sees it."""

    config: GatewayConfig
    events: Events
    shortages: Shortages

    def stop(self) -> None:
        """Begin the end; a second time: without waiting for viewers."""

    async def apply(self, config: GatewayConfig) -> Difference:
        """Take another configuration over. Raises ConfigError."""

    def alive(self) -> bool:
        """Whether all that has to go on goes on."""

    def status_words(self) -> str:
        """How it is, in a line."""


class Signals:
    """The first SIGTERM or SIGINT begins the end, the second hurries it, the third does not wait for it.

    SIGHUP has the configuration read again where it has a file; without one it is the terminal that closed.
    """

    def __init__(self, gateway: Attended, notifier: Notifier, reload: Callable[[], None] | None) -> None:
        self._gateway, self._notifier = gateway, notifier
        self._reload = reload
        self._stops = 0

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on."""
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop, number)
        if hasattr(signal, "SIGHUP"):
            again = self._reload
            on_hangup = again if again is not None else lambda: self.stop(signal.SIGTERM)
            loop.add_signal_handler(signal.SIGHUP, on_hangup)

    def stop(self, number: signal.Signals) -> None:
        """One of STOP_SIGNALS came."""
        self._stops += 1
        if self._stops > 2:
            log.error("stopped at once by a third signal: viewers may not have been told")
            os._exit(128 + number)
        self._notifier.stopping()
        self._gateway.stop()


async def attend(gateway: Attended, serve: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
    """Let the gateway serve, and keep it company meanwhile. Raises what ``serve`` raises.

    ``serve`` runs the gateway to its end; it calls what it is given when viewers are served.
    """
    config, loop = gateway.config, asyncio.get_running_loop()
    raise_descriptor_limit()
    notifier = Notifier.from_environment(os.environ, os.getpid())
    origin = config.origin
    reloader = None
    if origin is not None and origin.file is not None:
        reloader = Reloader(origin.load, gateway.apply, gateway.events, notifier)
    Signals(gateway, notifier, reloader.ask if reloader is not None else None).install(loop)
    tasks: list[asyncio.Task[None]] = []

    def start(name: str, body: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(body, name=name))

    def ready() -> None:
        notifier.status(gateway.status_words())  # before, so that nobody reads "starting" of what is ready
        notifier.ready()
        start("descriptors", watch_descriptors(gateway.shortages))
        if notifier.listens:
            start("status", _tell(gateway, notifier))
        if notifier.listens and notifier.watchdog_s:
            start("watchdog", _watchdog(gateway, notifier))
        if reloader is not None and origin is not None and origin.file is not None:
            start("reload", reloader.run())
            if config.watch:
                start("watch", watch_file(origin.file, origin.mark, reloader.ask))

    notifier.status("starting")
    try:
        await serve(ready)
    finally:
        notifier.stopping()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_EVERY_S):
                await asyncio.gather(*tasks, return_exceptions=True)
        notifier.close()


async def _tell(gateway: Attended, notifier: Notifier) -> None:
    while True:
        notifier.status(gateway.status_words())
        await asyncio.sleep(TELL_EVERY_S)


async def _watchdog(gateway: Attended, notifier: Notifier) -> None:
    """From the very loop that serves: where it stands still nothing is said. Twice as often as asked for."""
    was_alive = True
    while True:
        alive = gateway.alive()
        if alive:
            notifier.alive()
        elif was_alive:
            log.error("a part of the gateway has ended: the service manager is told nothing any more")
        was_alive = alive
        await asyncio.sleep(notifier.watchdog_s / 2)
