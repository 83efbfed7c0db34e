"""The machine misbehaves: its clock is stepped by an hour both ways, its disk is full, its files run out.

What must hold each time: who watches goes on and loses no frame; what does not work for the time being is
said in a line of the log, and works again by itself when it is over. The clock is that of the gateway's
process alone (libfaketime), the disk a small one made for it (root), the files its limit of 64.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import resource
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from scripts.storms.control import Controls, controls
from scripts.storms.frame import Course, Findings, Options, StormFailed, progress
from scripts.storms.observed import ObservedGateway, until

WHOLE = 5  # steps: the clock ahead and back, the disk full, files gone, and all of it over
FILES = 64
HOUR = 3600
_SOURCE = ("test:?size=320x180", "--video-bitrate", "500k")
_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
)


def libfaketime() -> Path | None:
    """The library that shows a process another time; None where it is not installed."""
    for folder in _LIBRARIES:
        found = Path(folder) / "libfaketimeMT.so.1"
        if found.exists():
            return found
    return None


async def run(options: Options, findings: Findings) -> None:
    """All of it, one after the other; whatever cannot be made here is said, and the rest is made."""
    course = Course(WHOLE, options, "steps")
    unmade: list[str] = []
    for name, storm in (("clock", clock), ("disk", disk), ("files", files)):
        progress(f"  {name}")
        with tempfile.TemporaryDirectory(dir=options.directory) as folder:
            try:
                course.done += await storm(Path(folder), findings)
            except StormFailed as error:
                unmade.append(str(error))
                progress(f"  {name}: not possible here: {error}")
    if not course.done:
        raise StormFailed("; ".join(unmade))
    findings.course(course)


# --- the clock ---------------------------------------------------------------------------------------


async def clock(folder: Path, findings: Findings) -> int:
    """An hour ahead, then an hour behind, then right again; three steps."""
    library = libfaketime()
    if library is None:
        raise StormFailed("needs Debian's libfaketime")
    shown = folder / "offset"
    shown.write_text("+0")
    env = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(shown),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    gateway = ObservedGateway(*_SOURCE, "--cert-rotate", "10s", directory=folder, env=env)
    async with gateway, controls(f"{gateway.url}/test") as watching:
        await watching.more_frames(30)
        for hours in (1, -1, 0):
            shown.write_text(f"{hours * HOUR:+d}")
            await until(lambda hours=hours: _skew(gateway) == hours, "the step in the gateway", 30)  # type: ignore[misc]
            await watching.more_frames(150)
            await _newcomer(gateway, findings, f"clock {hours:+d} h")
        await watching.judge(findings)
        findings.must(
            max(watching.latencies_ms, default=0) < HOUR * 500,
            "a step of the clock shows in frames' timestamps",
        )
        gateway.judge_log(findings)
    return 3


def _skew(gateway: ObservedGateway) -> int:
    """Hours by which the gateway's log is ahead of us: its wall clock, rounded."""
    with urllib.request.urlopen(f"{gateway.url}/healthz", timeout=10) as answer:
        date = answer.headers["date"]
    return round((email.utils.parsedate_to_datetime(date).timestamp() - time.time()) / HOUR)


# --- the disk ----------------------------------------------------------------------------------------


async def disk(folder: Path, findings: Findings) -> int:
    """Full while certificates are due, then free again; one step."""
    with _small_disk(folder / "disk") as small:
        gateway = ObservedGateway(*_SOURCE, "--cert-rotate", "2s", directory=small)
        async with gateway, controls(f"{gateway.url}/test") as watching:
            await watching.more_frames(30)
            ballast = small / "ballast"
            _fill(ballast)
            await until(lambda: _said(gateway, "in memory"), "a line that says so", 30)
            first = _certificate(gateway)
            await until(lambda: _certificate(gateway) != first, "certificates that rotate all the same", 30)
            await _newcomer(gateway, findings, "disk full")
            ballast.unlink()
            await until(lambda: _said(gateway, "works again"), "a line that it is over", 60)
            await watching.more_frames(60)
            await watching.judge(findings)
            findings.holds("lines about the full disk", len(_lines(gateway, "in memory")), goal=2)
            gateway.judge_log(findings)
    return 1


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        raise StormFailed(f"a small disk cannot be mounted: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(4096))


def _certificate(gateway: ObservedGateway) -> str:
    return str(gateway.get("/api/v1/transport")["certificateHashes"][0]["value"])


def _lines(gateway: ObservedGateway, words: str) -> list[str]:
    return [line for line in gateway.messages if words in line]


def _said(gateway: ObservedGateway, words: str) -> bool:
    return bool(_lines(gateway, words))


# --- files -------------------------------------------------------------------------------------------


async def files(folder: Path, findings: Findings) -> int:
    """64 at most, and more connections than that to the pages; then they go; one step."""
    gateway = ObservedGateway(*_SOURCE, directory=folder)
    async with gateway, controls(f"{gateway.url}/test") as watching:
        await watching.more_frames(30)
        before = await gateway.quiet(2)
        former = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (FILES, former[1]))
        held = await asyncio.to_thread(_connections, gateway.web_port, 2 * FILES)
        try:
            await until(lambda: _open_files(gateway.pid) >= FILES - 4, "files that run out", 30)
            await watching.more_frames(300)
            findings.note("files open at the limit", _open_files(gateway.pid))
            findings.must(bool(_lines(gateway, "file")), "no line of the log tells that files have run out")
            findings.holds("errors in the log while files were out", len(gateway.errors), goal=5)
        finally:
            for each in held:
                each.close()
        await _newcomer(gateway, findings, "files there again")
        after = await gateway.quiet(2)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, former)
        await watching.judge(findings)
        findings.holds("files more than before", max(0, after.fds - before.fds), goal=8)
        gateway.judge_log(findings)
    return 1


def _connections(port: int, count: int) -> list[socket.socket]:
    """Connections that say nothing, as many as can be had."""
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", port), timeout=2))
    return held


def _open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def _newcomer(gateway: ObservedGateway, findings: Findings, when: str) -> None:
    """Whoever comes now gets in and sees something."""
    try:
        async with controls(f"{gateway.url}/test", 1) as fresh:
            await _plays(fresh)
    except Exception as error:
        findings.must(False, f"{when}: a newcomer sees nothing: {error}")


async def _plays(fresh: Controls) -> None:
    await fresh.more_frames(15)
