"""The time between the wish to end and the end: viewers are sent elsewhere, and waited for.

May import asyncio only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("wtgateway")

REASON = "the gateway is about to restart"
LOOK_S = 0.05
TELL_S = 5.0  # how often the log says how far it is


class Viewers(Protocol):
    """Those of one process, or of all workers."""

    @property
    def session_count(self) -> int:
        """How many sessions there are."""

    def drain(self, within_s: float, reason: str) -> None:
        """Take nobody in any more, and send the viewers elsewhere."""


async def drain(viewers: Viewers, within_s: float, hurry: asyncio.Event, *, now: Callable[[], float]) -> None:
    """Return when no viewer is left, ``within_s`` is over, or ``hurry`` is set."""
    deadline = now() + within_s
    viewers.drain(within_s, REASON)
    tell_at = now()
    while viewers.session_count and (left := deadline - now()) > 0 and not hurry.is_set():
        if now() >= tell_at:
            log.info("draining viewers=%d left=%.0fs", viewers.session_count, left)
            tell_at += TELL_S
        try:
            await asyncio.wait_for(hurry.wait(), min(LOOK_S, left))
        except TimeoutError:
            continue
    log.info("drained viewers=%d after=%.1fs", viewers.session_count, now() - deadline + within_s)
