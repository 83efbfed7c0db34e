"""What the kernel says of this process's threads."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TASKS = Path("/proc/self/task")


def real_time_threads() -> set[int]:
    """Thread ids of this process whose policy is a real-time one; none where Linux is not."""
    if not _TASKS.is_dir() or not hasattr(os, "sched_getscheduler"):
        return set()
    found = set()
    for task in _TASKS.iterdir():
        thread = int(task.name)
        with contextlib.suppress(OSError):  # it may have ended
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(thread)
    return found
