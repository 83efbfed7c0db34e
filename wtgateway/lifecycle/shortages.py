"""What the machine runs short of: said once when it begins, once when it is over, and shown meanwhile.

A gateway goes on with less for as long as it lasts. Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from wtgateway.events import Events

log = logging.getLogger("wtgateway")

LOOK_EVERY_S = 1.0
SAY_AGAIN_S = 60.0  # a shortage that comes and goes is said so often at most
FDS = "file descriptors"
CERTIFICATES = "room for certificates"
FDS_LEFT_LEAST, FDS_LEFT_ENOUGH = 8, 16  # free ones: fewer begin a shortage, so many end it
FDS_WANTED = 65_536
_FD_DIRECTORY = Path("/proc/self/fd")


class Shortages:
    """``now`` gives monotonic seconds."""

    def __init__(self, events: Events, now: Callable[[], float] = time.monotonic) -> None:
        self._events, self._now = events, now
        self._present: dict[str, str] = {}
        self._said_at: dict[str, float] = {}
        self._told: set[str] = set()  # whose end is to be said as well

    @property
    def present(self) -> Mapping[str, str]:
        """What is short now, each with why in words."""
        return MappingProxyType(self._present)

    def note(self, what: str, why: str) -> None:
        """``why`` in words: it is short of that; empty: it is not, or not any more."""
        before = self._present.get(what, "")
        if why:
            self._present[what] = why
            if not before:
                self._begin(what, why)
        elif before:
            del self._present[what]
            if what in self._told:
                self._told.discard(what)
                log.info("recovered what=%s", what)
                self._events.publish("recovered", what=what)

    def _begin(self, what: str, why: str) -> None:
        said_at = self._said_at.get(what)
        if said_at is not None and self._now() - said_at < SAY_AGAIN_S:
            return
        self._said_at[what] = self._now()
        self._told.add(what)
        log.error("degraded what=%s why=%s", what, why)
        self._events.publish("degraded", what=what, why=why)


def descriptors_short(used: int | None, limit: int, was_short: bool) -> str:
    """Why file descriptors are short; empty: they are not. ``used`` None: none is left to count them with."""
    left = 0 if used is None else limit - used
    if left >= (FDS_LEFT_ENOUGH if was_short else FDS_LEFT_LEAST):
        return ""
    return (
        f"{limit - left} of {limit} are in use: pages, sources and workers cannot be opened; raise the limit "
        "(LimitNOFILE, ulimit -n)"
    )


def raise_descriptor_limit() -> None:
    """Take as many as the system lets us have: the lower limit is there for programs that use select(2)."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FDS_WANTED if hard == resource.RLIM_INFINITY else min(hard, FDS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems say one limit and mean another
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def count_descriptors() -> int | None:
    """How many file descriptors this process has; None: no one more can be opened. Raises OSError."""
    try:
        return len(list(_FD_DIRECTORY.iterdir())) - 1  # without the one that lists them
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return None
        raise


async def watch_descriptors(shortages: Shortages) -> None:
    """Look after the number of file descriptors until cancelled; returns where the system does not tell."""
    import resource

    while True:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            used = await asyncio.to_thread(count_descriptors)
        except OSError:
            return  # no /proc
        if limit != resource.RLIM_INFINITY:
            shortages.note(FDS, descriptors_short(used, limit, FDS in shortages.present))
        await asyncio.sleep(LOOK_EVERY_S)
