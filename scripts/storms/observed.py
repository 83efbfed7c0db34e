"""A gateway under observation: its processes, memory, files, threads and shared memory, and its log.

Linux: all of it is read from /proc, so nothing is asked of the one observed, but for what only it knows: the
tasks of its event loops, of which its /metrics tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.fanout.proc import family
from scripts.storms.frame import Findings
from scripts.support.gateway import Gateway

_TASKS = re.compile(r"^wtgateway_process_tasks\{[^}]*\} ([0-9]+)$", re.MULTILINE)
_NAMED = re.compile(r"(/dev/shm/\S+)$", re.MULTILINE)
_POOL = min(
    32, (os.cpu_count() or 1) + 4
)  # threads of asyncio's pool, which begin when they are first needed
_KEPT_ALIVE = 8
_SETTLE_SECONDS = 90.0  # a viewer that vanished is noticed by its silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process and all below it hold at one moment; memory in bytes."""

    at: float
    rss: int
    pss: int
    fds: int
    threads: int
    processes: int
    shared_memory: int  # mappings of memfd and /dev/shm
    tasks: int  # of asyncio, over all processes that have viewers


def sample(pid: int, tasks: int = 0) -> Sample:
    """Of the process and its descendants, and what it says of tasks. Raises OSError when it is gone."""
    sums = dict.fromkeys(("rss", "pss", "fds", "threads", "shared_memory"), 0)
    processes = 0
    for each in family(pid):
        try:
            found = _one(Path(f"/proc/{each}"))
        except OSError:
            if each == pid:
                raise
            continue  # a child that has just ended
        processes += 1
        for name, value in found.items():
            sums[name] += value
    return Sample(at=time.monotonic(), processes=processes, tasks=tasks, **sums)


def _one(process: Path) -> dict[str, int]:
    found = {"fds": _count(process / "fd"), "threads": _count(process / "task")}
    for line in (process / "smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("Rss", "Pss"):
            found[name.lower()] = int(value.split()[0]) * 1024
    maps = (process / "maps").read_text().splitlines()
    found["shared_memory"] = sum("/memfd:" in line or "/dev/shm/" in line for line in maps)
    return found


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def named_shared_memory(pids: Iterable[int]) -> set[str]:
    """Files in /dev/shm that those processes have mapped: what is left there outlives them."""
    found: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.update(_NAMED.findall(Path(f"/proc/{pid}/maps").read_text()))
    return found


class ObservedGateway(Gateway):
    """A gateway of which tracebacks and errors in the log are kept, and every line by request."""

    tracebacks: list[str]
    errors: list[str]
    messages: list[str]

    async def start(self, seconds: float = 60.0) -> None:
        """As :class:`Gateway`; the books begin anew."""
        self.tracebacks, self.errors, self.messages = [], [], []
        await super().start(seconds)

    def _on_line(self, line: str) -> None:
        super()._on_line(line)
        if "Traceback (most recent call last)" in line:
            self.tracebacks.append(line)
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "message" in entry:
                self.messages.append(str(entry["message"]))
                del self.messages[:-2000]
                if entry.get("level") == "error":
                    self.errors.append(str(entry["message"]))

    def text(self, path: str) -> str:
        """A text of its web side (blocking; loopback)."""
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return str(answer.read().decode())

    def viewers(self) -> int:
        """Viewers of all broadcasts, as the API says (blocking)."""
        return sum(int(each["viewers"]) for each in self.get("/api/v1/broadcasts"))

    def sample(self) -> Sample:
        """Now (blocking)."""
        tasks = sum(int(float(found)) for found in _TASKS.findall(self.text("/metrics")))
        return sample(self.pid, tasks)

    async def quiet(self, viewers: int = 0, like: Sample | None = None) -> Sample:
        """Wait until there are ``viewers`` and what they left has settled; what it holds then.

        ``like``: until it holds no more than then. What does not come about in a minute and a half is left.
        """
        await until(lambda: self.viewers() <= viewers, f"no more than {viewers} viewers", _SETTLE_SECONDS)
        before = await asyncio.to_thread(self.sample)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            await asyncio.sleep(2.0)  # as long as a process that stands by may be busy with its modules
            now = await asyncio.to_thread(self.sample)
            moving = any(getattr(now, name) != getattr(before, name) for name in ("fds", "processes"))
            more = any(excess(like, now).values()) if like is not None else moving
            if not more or time.monotonic() > deadline:
                return now
            before = now

    def judge_log(self, findings: Findings) -> None:
        """No storm may make a traceback."""
        findings.holds("tracebacks in the log", len(self.tracebacks))
        for traceback in self.tracebacks[:3]:
            findings.must(False, f"the log has a traceback: {traceback[-1500:]}")

    async def judge_end(self, findings: Findings) -> None:
        """End it in order: nothing that it started or made may stay."""
        pids = await asyncio.to_thread(family, self.pid)
        named = await asyncio.to_thread(named_shared_memory, pids)
        code = await self.stop()
        findings.must(code == 0, f"the gateway ended with exit code {code}")
        left = [pid for pid in pids if _alive(pid)]
        findings.holds("processes left behind", len(left))
        findings.holds("shared memory left behind", sum(Path(name).exists() for name in named))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until(condition: Callable[[], bool], what: str, seconds: float = 30.0, every: float = 0.25) -> None:
    """Ask again and again, in a thread; TimeoutError in words when it does not come to hold."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if await asyncio.to_thread(condition):
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(every)


def excess(before: Sample, after: Sample) -> dict[str, int]:
    """How much more there is of each, beyond what may come and stay.

    Threads of pools begin when they are first needed; whoever asked the web side last may keep alive.
    """
    room = {"fds": _KEPT_ALIVE, "tasks": _KEPT_ALIVE, "threads": _POOL, "processes": 0, "shared_memory": 0}
    return {name: max(0, getattr(after, name) - getattr(before, name) - more) for name, more in room.items()}


def judge_leaks(findings: Findings, before: Sample, after: Sample) -> None:
    """Nothing is left of what came and went."""
    for name, more in excess(before, after).items():
        findings.holds(f"{name.replace('_', ' ')} more than before", more)
