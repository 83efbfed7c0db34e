"""Connections of the pages' server: so many at most, and each is over when its peer has gone.

hypercorn alone takes as many as there are file descriptors, so that none is left for sources and workers, and
keeps a connection whose peer has closed it as long as one that is idle.
"""

from __future__ import annotations

import logging
import time
from typing import Any

log = logging.getLogger(__name__)

LEAST, MOST = 8, 8192
SAY_AGAIN_S = 60.0


class Gate:
    """Counts the open connections of one server; ``most`` of them there may be."""

    def __init__(self, most: int) -> None:
        self.most, self.open, self.refused = most, 0, 0
        self._said_at: float | None = None

    def enter(self) -> bool:
        """One more; False: there are enough."""
        if self.open >= self.most:
            self.refused += 1
            self._say()
            return False
        self.open += 1
        return True

    def leave(self) -> None:
        """One of those that entered is over."""
        self.open -= 1

    def _say(self) -> None:
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= SAY_AGAIN_S:
            self._said_at = now
            log.warning("web: %d connections are open, more are closed at once", self.open)


def most_connections(descriptors: int) -> int:
    """How many there may be where the process may have so many file descriptors: half of them."""
    return max(LEAST, min(MOST, descriptors // 2))


def own_limit() -> int:
    """The same for this process."""
    try:
        import resource
    except ImportError:  # not a Unix
        return MOST
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if soft == resource.RLIM_INFINITY else most_connections(soft)


def install() -> None:
    """Have hypercorn make its connections as described; those whose configuration has a ``gate``."""
    from hypercorn.asyncio import run
    from hypercorn.asyncio.tcp_server import TCPServer

    if getattr(vars(run)["TCPServer"], "wtgateway", False):
        return

    class Connection(TCPServer):
        """hypercorn's, between the gate's two doors."""

        wtgateway = True

        async def run(self) -> None:
            gate: Any = getattr(self.config, "gate", None)
            if gate is None:
                await super().run()
            elif gate.enter():
                try:
                    await super().run()
                finally:
                    gate.leave()
            else:
                self.writer.transport.abort()

        async def _read_data(self) -> None:
            await super()._read_data()
            await self.idle_task.stop()  # the peer has gone: nobody is waited for

    vars(run)["TCPServer"] = Connection
