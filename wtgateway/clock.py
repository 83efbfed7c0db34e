"""The gateway's one clock: microseconds since the Unix epoch that never jump.

The wall clock is read once; from then on the monotonic clock carries it, so that a step of the
wall clock (NTP, an operator) does not tear a timeline. This room imports nothing of the project.
"""

from __future__ import annotations

import time

_EPOCH_OFFSET_NS = time.time_ns() - time.monotonic_ns()


def epoch_offset_ns() -> int:
    """What lies between this process's gateway time and the monotonic clock, for :func:`follow`."""
    return _EPOCH_OFFSET_NS


def follow(offset_ns: int) -> None:
    """Show the gateway time of another process of this machine; before anything was stamped."""
    global _EPOCH_OFFSET_NS
    _EPOCH_OFFSET_NS = offset_ns


def now_us() -> int:
    """Gateway time in µs since the Unix epoch; monotonic within the process."""
    return (time.monotonic_ns() + _EPOCH_OFFSET_NS) // 1000


def stepped_us() -> int:
    """By how much the wall clock was stepped since the process started, in whole seconds, in µs.

    For what others have dated (tokens): it is judged by the time of day, and carried on in gateway time.
    """
    step_ns = time.time_ns() - time.monotonic_ns() - _EPOCH_OFFSET_NS
    return round(step_ns / 1e9) * 1_000_000


def from_wall_us(wall_us: int) -> int:
    """Map a wall-clock reading of now-ish (a device's or FFmpeg's) to gateway time.

    The two differ only by what the wall clock was stepped since the process started.
    """
    step_us = (time.time_ns() - time.monotonic_ns() - _EPOCH_OFFSET_NS) // 1000
    return wall_us - step_us
