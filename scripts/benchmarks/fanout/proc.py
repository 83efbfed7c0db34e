"""What a process and its children take: processor time in ns, resident memory, the core it may run on."""

from __future__ import annotations

import os
import time
from pathlib import Path

_PROF_CLOCK = 2  # CPUCLOCK_SCHED: user and system time of all threads, ended ones included


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far (clock_getcpuclockid(3)). Raises OSError when it is gone."""
    return time.clock_gettime((~pid << 3) | _PROF_CLOCK)


def family_cpu_seconds(pid: int) -> dict[int, float]:
    """The same for the process and its children, by process."""
    return {each: cpu_seconds(each) for each in family(pid)}


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children, summed: differences are what counts here.

    Not the proportional set, which changes with whoever else maps the same libraries.
    """
    total = 0
    for each in family(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
    return total


def pin(core: int) -> None:
    """Run this process on one core, where the machine has that many."""
    if core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})
