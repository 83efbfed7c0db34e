"""Keeps libraries from taking the machine: no thread that they make gets a real-time priority.

Imports nothing of the project. Why: libsvtav1, when it may, gives its threads and the one that opened
it the highest real-time priority (SCHED_FIFO, 99). What the gateway then starts inherits that, and on
a small machine one busy thread of it stops everything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterator

# linux/capability.h
_VERSION = 0x20080522
_SYS_NICE = 1 << 23


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextlib.contextmanager
def without_real_time() -> Iterator[None]:
    """Neither this thread nor those it starts may become real-time ones.

    Capabilities are a thread's own (capabilities(7)) and those it starts have what it had, for good;
    its own come back afterwards. A user's right to such priorities (RLIMIT_RTPRIO) is left alone: it
    was given on purpose. Does nothing where there are no capabilities.
    """
    taken = _set_effective(lambda now: now & ~_SYS_NICE)
    try:
        yield
    finally:
        if taken & _SYS_NICE:
            _set_effective(lambda now: now | _SYS_NICE)


def _set_effective(change: Callable[[int], int]) -> int:
    """Change this thread's first 32 effective capabilities; those it had, 0 where it cannot be known."""
    libc = _libc()
    if libc is None:
        return 0
    header, data = _Header(_VERSION, 0), (_Data * 2)()
    if libc.capget(ctypes.byref(header), data):
        return 0
    had: int = data[0].effective
    data[0].effective = change(had)
    libc.capset(ctypes.byref(header), data)  # only what is permitted is asked for; it cannot fail
    return had


@functools.cache
def _libc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "capset") else None
