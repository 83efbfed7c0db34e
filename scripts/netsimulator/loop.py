"""Waits for packets and for what is due, punctually: the one place that looks at the clock."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable

from scripts.netsimulator.path import DrivenTime

_PR_SET_TIMERSLACK = 29
_EARLY_S = 0.0001  # the last of a wait is spent awake: waking takes about as long
LATE_S = 0.001
_AT_MOST_S = 0.5  # so that a signal's flag is seen


def be_punctual() -> None:
    """Timers to the microsecond and, as root, before everybody else: a network does not wait for a processor.

    What we start does not inherit it (SCHED_RESET_ON_FORK).
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except (OSError, AttributeError):  # not root, or not Linux
        return


class Loop:
    """Calls readers when their descriptor has something, and keeps ``path_time`` at the time it is."""

    def __init__(self, path_time: DrivenTime) -> None:
        self._time = path_time
        self._readers: dict[int, Callable[[], None]] = {}
        self.running = True
        self.late_longest_s = 0.0  # how late something that was due was done, at most
        self.done = self.done_late = 0  # times that something was due, and that it was done late

    def add(self, descriptor: int, read: Callable[[], None]) -> None:
        """``read`` takes what there is, without waiting."""
        self._readers[descriptor] = read

    def remove(self, descriptor: int) -> None:
        """Listen to it no longer."""
        del self._readers[descriptor]

    def turn(self) -> None:
        """Wait for one thing, do it."""
        ready = select.select([*self._readers], [], [], self._wait())[0]
        self._reach()
        for descriptor in ready:
            if read := self._readers.get(descriptor):
                read()
        self._reach()  # what goes on at once

    def run(self) -> None:
        """Until :attr:`running` is false."""
        while self.running:
            self.turn()

    def _wait(self) -> float:
        due = self._time.next_due
        if due is None:
            return _AT_MOST_S
        left = due - time.monotonic()
        return min(_AT_MOST_S, left - _EARLY_S) if left > _EARLY_S else 0.0

    def _reach(self) -> None:
        now, due = time.monotonic(), self._time.next_due
        if due is not None and now > due:
            self.late_longest_s = max(self.late_longest_s, now - due)
            self.done += 1
            self.done_late += now - due > LATE_S
        self._time.reach(now)
