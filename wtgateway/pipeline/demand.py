"""Which encoded renditions of a broadcast are to run: those that viewers get, and those that are to be known.

Lives on the event loop; only ``wanted`` is asked from other threads. Imports nothing of the project.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LINGER_S = 5.0  # a rendition outlives its last viewer by this
FORWARDING_PATIENCE_S = 2.0  # for the first keyframe of what is to be forwarded


class Demand:
    """``changed`` is called whenever ``wanted`` may have."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
        self._loop, self._changed = loop, changed
        self._demanded: frozenset[int] = frozenset()
        self._lingering: dict[int, asyncio.TimerHandle] = {}
        self._shown: int | None = None  # runs though nobody watches
        self._timer: asyncio.TimerHandle | None = None

    def wanted(self) -> set[int]:
        """Ids of what is to run. From any thread."""
        shown = () if self._shown is None else (self._shown,)
        return {*self._demanded, *tuple(self._lingering), *shown}

    def follow(self, demanded: frozenset[int]) -> None:
        """Viewers get these; what none gets any more goes on for a little longer."""
        for gone in self._demanded - demanded - self._lingering.keys():
            self._lingering[gone] = self._loop.call_later(LINGER_S, self._let_go, gone)
        for back in demanded & self._lingering.keys():
            self._lingering.pop(back).cancel()
        self._demanded = demanded
        self._changed()

    def foresee(self, rendition: int) -> None:
        """From any thread: what is about to be shown, so that it misses no picture."""
        self._shown = rendition

    def show(self, rendition: int) -> None:
        """Run it for a while, so that there is something to offer."""
        self._cancel()
        self._shown = rendition
        self._timer = self._loop.call_later(LINGER_S, self._hide)
        self._changed()

    def show_unless(self, forwarded: Callable[[], bool], rendition: int) -> None:
        """The same, if nothing is forwarded in time: a source may have no keyframe to begin with."""
        self._cancel()
        self._shown = None
        self._timer = self._loop.call_later(
            FORWARDING_PATIENCE_S, lambda: None if forwarded() else self.show(rendition)
        )

    def end_run(self) -> None:
        """The source is gone, and with it what was to be shown of it; viewers are still there."""
        self._cancel()
        self._shown = None

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hide(self) -> None:
        self._shown = None
        self._changed()

    def _let_go(self, rendition: int) -> None:
        self._lingering.pop(rendition, None)
        self._changed()
