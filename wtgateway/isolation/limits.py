"""What the process of a source may use: set by itself, before it touches anything from outside. Linux."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

FILES = 512  # a demuxer that leaks them shall meet its own bound, not the gateway's
NICE = 2  # viewers are served first: a frame that is late for all is worse than one that is late for some
KILLED_BEFORE_OTHERS = 500  # of 1000: when memory is short, the gateway is the last that should go


def apply(memory_bytes: int) -> None:
    """Bound this process; ``memory_bytes`` of address space, 0: no bound."""
    _lower(resource.RLIMIT_NOFILE, FILES)
    if memory_bytes:
        _lower(resource.RLIMIT_AS, memory_bytes)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    with contextlib.suppress(OSError):  # where /proc is not mounted, or somebody forbids it
        Path("/proc/self/oom_score_adj").write_text(str(KILLED_BEFORE_OTHERS), encoding="ascii")


def _lower(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (bound, bound))
