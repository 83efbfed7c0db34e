"""Sources in processes of their own, as real processes: what a crash costs whom, and what is left of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.isolation.sources import GROUP, scripted
from wtgateway import clock
from wtgateway.config import BroadcastConfig, RenditionConfig, VideoConfig
from wtgateway.hub import Broadcast, Status
from wtgateway.isolation import IsolatedPipeline, SourceProcesses, processes, run
from wtgateway.isolation.choice import why_not
from wtgateway.media import BroadcastState, Catalog, Frame, Kind
from wtgateway.pipeline import supervision
from wtgateway.protocol.targets import Wish
from wtgateway.protocol.wire import encode_frame

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it waits after a death is no matter here."""
    monkeypatch.setattr(supervision, "BACKOFF_FIRST_S", 0.05)
    monkeypatch.setattr("wtgateway.workers.standby.SPARE_AFTER_S", 600.0)  # starting one costs others time


@dataclass(eq=False)
class Watcher:
    """A viewer that writes down what it is told."""

    frames: list[Frame] = field(default_factory=list)
    catalogs: list[Catalog] = field(default_factory=list)
    states: list[Status] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
        assert data == encode_frame(frame), "as it was cut"
        self.frames.append(frame)
        self.changed.set()

    def on_catalog(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)
        self.changed.set()

    def on_state(self, status: Status) -> None:
        self.states.append(status)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def more(self, count: int) -> None:
        """So many frames more."""
        enough = len(self.frames) + count
        await self.until(lambda: len(self.frames) >= enough)

    def assert_whole(self) -> None:
        """Every frame of every group, and no group twice."""
        seen = [(f.group, f.index) for f in self.frames]
        for before, after in itertools.pairwise(seen):
            assert after in ((before[0], before[1] + 1), (before[0] + 1, 0)), (before, after)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class World:
    """Some isolated broadcasts, and what the tests tell their sources."""

    directory: Path
    processes: SourceProcesses
    deaths: list[tuple[str, str]]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def add(
        self, name: str, *, coded: bool = False, viewer: bool = True, **settings: object
    ) -> tuple[IsolatedPipeline, Broadcast, Watcher]:
        options = {"dir": str(self.directory), "coded": "yes" if coded else "no"}
        config = BroadcastConfig(name=name, source="test:", options=options, audio=None, **settings)
        broadcast, watcher = Broadcast(name), Watcher()
        if viewer:
            broadcast.attach(watcher)
            broadcast.want(watcher, frozenset({(0, 0)}))
        pipeline = IsolatedPipeline(config, broadcast, self.processes, scripted)
        self.tasks.append(asyncio.create_task(pipeline.run()))
        return pipeline, broadcast, watcher

    def tell(self, name: str, word: str) -> None:
        """Have a source do something, once."""
        written = self.directory / f".{name}"
        written.write_text(word)
        written.rename(self.directory / name)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.processes.close()


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    deaths: list[tuple[str, str]] = []
    made = World(tmp_path, SourceProcesses(lambda name, how: deaths.append((name, how))), deaths)
    before = _ours()
    try:
        yield made
    finally:
        await made.stop()
    assert children() == []
    assert _ours() == before, "no memory, no eventfd, no pidfd, no pipe"


def _ours() -> set[Path]:
    """File descriptors of this process, by their links, that would be left of a process of a source."""
    words = ("memfd", "eventfd", "pidfd", "pipe")
    return {fd for fd in Path("/proc/self/fd").iterdir() if any(word in _link(fd) for word in words)}


def _link(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except FileNotFoundError:
        return ""


def children() -> list[int]:
    """Processes of sources that are children of this one."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if b"wtgateway.isolation" in command_line(int(pid))]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def alive(pid: int) -> bool:
    return bool(command_line(pid))


@pytest.mark.parametrize(
    ("coded", "ways"),
    [
        (False, {"read": "SIGSEGV", "kill": "SIGKILL"}),
        (True, {"abort": "SIGABRT", "segv": "SIGSEGV"}),
    ],
    ids=["encoded", "forwarded"],
)
async def test_a_crash_costs_the_others_nothing_and_its_own_viewers_little(
    tmp_path: Path, coded: bool, ways: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path) as here:
        sick, broadcast, own = here.add("sick", coded=coded)
        _, _, other = here.add("well", coded=coded)
        await own.until(lambda: len(own.frames) > 5)
        await other.until(lambda: len(other.frames) > 5)
        for number, (way, how) in enumerate(ways.items(), 1):
            pid, last, lived = sick.pid, own.frames[-1].group, len(own.states)
            assert pid is not None
            if way == "kill":
                os.kill(pid, signal.SIGKILL)
            else:
                here.tell("sick", way)
            await until(lambda pid=pid: sick.pid not in (None, pid))
            await own.until(lambda last=last: own.frames[-1].group > last)
            await own.more(10)
            retrying = next(s for s in own.states[lived:] if s.state is BroadcastState.RETRYING)
            assert (retrying.reason, retrying.retry_in_ms > 0) == (f"the source's process died ({how})", True)
            assert broadcast.status.state is BroadcastState.LIVE
            assert not alive(pid)
            assert (sick.stats.process_deaths, sick.stats.restarts) == (number, number)
        own.assert_whole()
        assert all(f.keyframe for f in own.frames if f.index == 0)
        await other.more(5)
        other.assert_whole()
        assert {s.state for s in other.states} == {BroadcastState.CONNECTING, BroadcastState.LIVE}
        assert here.deaths == [("sick", how) for how in ways.values()]
        if coded:  # the payload has the number that the source gave it
            numbers = [int(f.payload.split()[0]) for f in other.frames]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    lines = [r.getMessage() for r in caplog.records if "source process died" in r.getMessage()]
    assert len(lines) == len(ways)
    for line, how in zip(lines, ways.values(), strict=True):
        assert line.startswith(f"source process died: {how} broadcast=sick pid=")
    assert coded or "in string_at" in lines[0]


async def test_gateway_time_over_there_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where ours is an hour off the wall clock, as after a step of that."""
    monkeypatch.setattr(clock, "_EPOCH_OFFSET_NS", clock.epoch_offset_ns() + 3_600_000_000_000)
    async with world(tmp_path) as here:
        before_us = clock.now_us()
        _, _, watcher = here.add("one")
        await watcher.until(lambda: len(watcher.frames) > 3)
        after_us = clock.now_us()
        for frame in watcher.frames:
            assert before_us < frame.capture_us <= frame.encoded_us < after_us


async def test_keyframes_renditions_and_what_viewers_can_take_come_through(tmp_path: Path) -> None:
    video = VideoConfig(
        renditions=(RenditionConfig(bitrate_bps=2_000_000), RenditionConfig(bitrate_bps=500_000))
    )
    async with world(tmp_path) as here:
        pipeline, broadcast, watcher = here.add("one", video=video)
        await watcher.until(lambda: len(watcher.frames) > 3)
        group = watcher.frames[-1].group
        broadcast.request_keyframe(0, 0, clock.now_us())
        await watcher.until(lambda: watcher.frames[-1].group == group + 1)
        assert {f.rendition for f in watcher.frames} == {0}
        broadcast.want(watcher, frozenset({(0, 1)}))
        await watcher.until(lambda: watcher.frames[-1].rendition == 1)
        broadcast.wish(watcher, Wish(0, 1, bitrate_bps=200_000))
        await until(
            lambda: 1 in pipeline.adapting.targets and pipeline.adapting.targets[1].bitrate_bps < 210_000
        )
        assert pipeline.adapting.nominals[1].bitrate_bps == 500_000
        assert pipeline.adapting.changes >= 1
        assert pipeline.info is not None
        assert pipeline.info.fps == 50


async def test_on_demand_a_process_lives_while_somebody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LINGER_S", 0.05)
    async with world(tmp_path) as here:
        pipeline, broadcast, watcher = here.add("one", viewer=False, on_demand=True)
        await until(lambda: broadcast.status.state is BroadcastState.IDLE)
        assert pipeline.pid is None
        for _ in range(2):
            broadcast.attach(watcher)
            broadcast.want(watcher, frozenset({(0, 0)}))
            await watcher.more(3)
            pid = pipeline.pid
            assert pid is not None
            broadcast.detach(watcher)
            await until(lambda: broadcast.status.state is BroadcastState.IDLE)
            assert not alive(pid)
            assert pipeline.pid is None
        watcher.assert_whole()
        assert pipeline.stats.process_deaths == 0


async def test_a_source_that_is_lost_over_there_keeps_its_process_and_one_that_ends_does_not(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        pipeline, _, watcher = here.add("one", loop=False)
        await watcher.until(lambda: len(watcher.frames) > 3)
        pid = pipeline.pid
        here.tell("one", "lose")
        await watcher.until(lambda: any(s.reason == "cable pulled" for s in watcher.states))
        await watcher.more(3)
        assert pipeline.pid == pid
        await until(lambda: pipeline.stats.restarts == 1)
        here.tell("one", "end")
        await watcher.until(lambda: watcher.states[-1].state is BroadcastState.ENDED)
        await until(lambda: not alive(pid or 0))
        assert here.deaths == []
        watcher.assert_whole()


async def test_one_whose_loop_stands_still_is_ended_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "WATCH_EVERY_S", 0.3)
    async with world(tmp_path) as here:
        pipeline, _, watcher = here.add("one")
        await watcher.until(lambda: len(watcher.frames) > 3)
        pid = pipeline.pid
        here.tell("one", "hang")
        await watcher.until(lambda: any(s.state is BroadcastState.RETRYING for s in watcher.states))
        await watcher.more(3)
        assert pipeline.pid != pid
        assert here.deaths[0][1].startswith("hung: no sign of life for")


async def test_one_that_writes_nonsense_is_ended_and_replaced(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        _, _, watcher = here.add("one")
        await watcher.until(lambda: len(watcher.frames) > 3)
        here.tell("one", "mad")
        await watcher.until(lambda: any(s.state is BroadcastState.RETRYING for s in watcher.states))
        await watcher.more(3)
        watcher.assert_whole()
        assert here.deaths == [("one", "what it wrote made no sense")]


async def test_what_the_main_process_does_not_take_in_time_is_counted_and_whole_groups_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RING_BYTES", 16 << 10)  # room for some frames of 1 KB
    async with world(tmp_path) as here:
        pipeline, _, watcher = here.add("one", coded=True)
        await watcher.until(lambda: len(watcher.frames) > GROUP)
        time.sleep(1)  # the loop stands still
        seen = len(watcher.frames)
        await watcher.more(GROUP * 2)
        pairs = [
            ((a.group, a.index), (b.group, b.index))
            for a, b in zip(watcher.frames, watcher.frames[1:], strict=False)
        ]
        gaps = [(a, b) for a, b in pairs if b not in ((a[0], a[1] + 1), (a[0] + 1, 0))]
        assert len(gaps) == 1
        assert gaps[0][1][1] == 0, "it goes on with a keyframe"
        await until(lambda: pipeline.stats.source_lost > 0)
        assert seen < len(watcher.frames)


async def test_what_is_logged_and_found_over_there_is_known_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "WATCH_EVERY_S", 0.05)
    monkeypatch.setattr(processes, "MOST_SILENT", 1000)
    caplog.set_level(logging.INFO, "wtgateway")
    async with world(tmp_path) as here:
        pipeline, _, watcher = here.add("one", coded=True)
        await watcher.until(lambda: len(watcher.frames) > 3)
        await until(lambda: any("hold pictures back" in r.getMessage() for r in caplog.records))
        record = next(r for r in caplog.records if "hold pictures back" in r.getMessage())
        assert (record.levelno, record.name) == (logging.WARNING, "wtgateway.pipeline")
        assert vars(record)["broadcast"] == "one"
        await until(lambda: pipeline.coded is not None)
        assert pipeline.coded is not None
        assert pipeline.coded.findings == ("B-frames: 2 pictures",)
        assert pipeline.uptime_s > 0
        here.tell("one", "lose")
        await watcher.until(lambda: any(s.reason == "cable pulled" for s in watcher.states))
        assert not any(r.levelno == logging.DEBUG and r.name == "wtgateway.tests" for r in caplog.records)
        caplog.set_level(logging.DEBUG, "wtgateway")
        await until(lambda: any(r.getMessage() == "a picture broadcast=one" for r in caplog.records))


async def test_a_process_is_bounded_and_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        pipeline, _, watcher = here.add("one", isolate_memory_bytes=8_000_000_000)
        await watcher.until(lambda: len(watcher.frames) > 3)
        pid = pipeline.pid
        assert pid is not None
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        found = {" ".join(line.split()[:3]): line.split()[3] for line in limits}
        assert found["Max address space"] == "8000000000"
        assert found["Max open files"] == "512"
        assert os.getpgid(pid) == pid, "a terminal's Ctrl-C is for the main process"
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        await watcher.more(10)
        assert pipeline.pid == pid
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)


async def test_stopping_while_a_process_starts_or_a_source_opens_leaves_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        here.add("starts")
        while not here.processes.process_ids:  # it loads its modules for longer than that takes
            await asyncio.sleep(0)
    async with world(tmp_path) as here:
        here.tell("refuses", "refuse")
        _, _, watcher = here.add("refuses")
        await watcher.until(lambda: any(s.reason == "the test says no" for s in watcher.states))


MAIN = """
import asyncio, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.isolation.test_really import World
from wtgateway.isolation import SourceProcesses
from wtgateway.workers import standby
async def main():
    here = World(Path({directory!r}), SourceProcesses(), [])
    pipeline, _, watcher = here.add("one")
    await watcher.until(lambda: len(watcher.frames) > 3)
    while len(here.processes.process_ids) < 2:
        await asyncio.sleep(0.01)
    print(*here.processes.process_ids, flush=True)
    await asyncio.sleep(600)
standby.SPARE_AFTER_S = 0.0
asyncio.run(main())
"""


async def test_nothing_is_left_of_a_main_process_that_was_killed(tmp_path: Path) -> None:
    code = MAIN.format(root=str(Path(__file__).resolve().parents[2]), directory=str(tmp_path))
    gateway = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    try:
        assert gateway.stdout is not None
        pids = [int(word) for word in (await gateway.stdout.readline()).split()]
        assert len(pids) == 2, "that of the source, and the one that stands by"
    finally:
        gateway.kill()
        await gateway.wait()
    await until(lambda: not any(alive(pid) for pid in pids))
    assert not [file for file in Path("/dev/shm").iterdir() if "wtgateway" in file.name]
