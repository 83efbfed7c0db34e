"""What processes take of the machine, as Linux tells under /proc; zero where it does not tell.

Blocks for less than a millisecond a process: called in a thread. Imports the web's values.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wtgateway.web.control import ProcessFigures

_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class _Stat:
    cpu_s: float
    threads: int
    rss_bytes: int


class Processes:
    """Looks at processes again and again; keeps what it saw last, for shares of the time between."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, float]] = {}  # by pid: when, CPU seconds

    def look(self, pids: Mapping[str, int], lags_us: Mapping[str, int] | None = None) -> list[ProcessFigures]:
        """The figures of these processes, by name; those that are gone are left out."""
        found = []
        now = time.monotonic()
        for name, pid in pids.items():
            stat = read_stat(pid)
            if stat is None:
                continue
            at, cpu_s = self._before.get(pid, (now, stat.cpu_s))
            share = (stat.cpu_s - cpu_s) / (now - at) if now > at else 0.0
            self._before[pid] = now, stat.cpu_s
            found.append(
                ProcessFigures(
                    name=name,
                    rss_bytes=stat.rss_bytes,
                    open_fds=count_fds(pid),
                    max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                    cpu_s=stat.cpu_s,
                    cpu_share=max(0.0, share),
                    threads=stat.threads,
                    loop_lag_us=(lags_us or {}).get(name, 0),
                )
            )
        self._forget(pids.values())
        return found

    def _forget(self, alive: Iterable[int]) -> None:
        for pid in self._before.keys() - set(alive):
            del self._before[pid]


def read_stat(pid: int) -> _Stat | None:
    """proc_pid_stat(5); None: it is gone, or there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return parse_stat(text)
    except (OSError, ValueError, IndexError):
        return _own() if pid == os.getpid() and not sys.platform.startswith("linux") else None


def parse_stat(text: str) -> _Stat:
    """The line of /proc/PID/stat. Raises ValueError, IndexError. The name may hold blanks and brackets."""
    fields = text[text.rindex(")") + 2 :].split()  # from the third on
    return _Stat((int(fields[11]) + int(fields[12])) / _TICKS, int(fields[17]), int(fields[21]) * _PAGE)


def count_fds(pid: int) -> int:
    """How many file descriptors a process has open; 0: not known."""
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        return sum(1 for _ in entries)
    return 0


def _own() -> _Stat:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return _Stat(usage.ru_utime + usage.ru_stime, 0, 0)
