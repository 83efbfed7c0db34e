"""Processor time of running processes, and what one more of something costs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
FULL = 0.9  # of all cores: beyond, a process does less than it should, and slopes are wrong


def cpu_seconds(stat: str) -> float:
    """User and system time of all threads, of the text of /proc/PID/stat (proc(5))."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def percent_of_core(pid: int, seconds: float) -> float:
    """How much of one core a process takes, in percent, over the next ``seconds``."""
    stat = Path(f"/proc/{pid}/stat")
    began, used = time.monotonic(), cpu_seconds(stat.read_text())
    await asyncio.sleep(seconds)
    return 100 * (cpu_seconds(stat.read_text()) - used) / (time.monotonic() - began)


def slope(points: Sequence[tuple[int, float]], cores: int) -> float | None:
    """What one more costs, by least squares over (how many, percent of a core).

    None where there are not two different numbers of them, or where the machine was full.
    """
    if len({count for count, _ in points}) < 2:
        return None
    if any(percent > FULL * 100 * cores for _, percent in points):
        return None
    mean_count = sum(count for count, _ in points) / len(points)
    mean = sum(percent for _, percent in points) / len(points)
    rise = sum((count - mean_count) * (percent - mean) for count, percent in points)
    return rise / sum((count - mean_count) ** 2 for count, _ in points)


def keeps_up(frames: int, seconds: float, fps: float) -> bool:
    """Whether so many frames in that time are what a source of ``fps`` gives, give or take a tenth."""
    return abs(frames - seconds * fps) <= max(2.0, 0.1 * seconds * fps)
