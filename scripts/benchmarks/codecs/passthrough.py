"""What a broadcast of a coded file costs: forwarded, encoded again, and served by aiortc.

The processor time is the server's alone; receivers are processes of their own. A figure counts only if
the pictures came at the source's rate meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from scripts.benchmarks.codecs.cost import keeps_up, percent_of_core, slope
from scripts.benchmarks.codecs.encoding import progress
from scripts.benchmarks.codecs.pictures import FPS, write_y4m
from scripts.benchmarks.report import Figure, Options
from scripts.benchmarks.systems.aiortc import REQUIREMENTS
from scripts.benchmarks.systems.environments import environment
from scripts.support.gateway import Gateway
from scripts.support.processes import Program, ProgramFailed, free_port, running
from wtgateway.pipeline.demand import FORWARDING_PATIENCE_S, LINGER_S

SIZE = (1280, 720)
BITRATE_BPS = 4_000_000
BROADCASTS = (2, 12)
GOAL_PERCENT = 0.5  # of a core, for a broadcast that nobody watches
FILE_SECONDS = 5
FILE_REPEATS = 23  # two minutes in all: aiortc's MediaPlayer does not keep its pace when it loops
SECONDS, QUICK_SECONDS = 20.0, 4.0
SETTLE_SECONDS = 3.0  # the start of a session is nobody's figure
# Nor is that of a broadcast, which may encode for some seconds so that there is something to offer.
LIVE_SECONDS = LINGER_S + FORWARDING_PATIENCE_S + 1


async def write_file(folder: Path) -> Path:
    """The file: H.264 of 4 Mbit/s without B-frames, a keyframe each second, as MPEG-TS that all can read."""
    pictures, once, movie = (folder / name for name in ("movie.y4m", "once.ts", "movie.ts"))
    await asyncio.to_thread(write_y4m, pictures, "camera", SIZE, FILE_SECONDS * FPS)
    rate = str(BITRATE_BPS)
    coding = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", str(FPS), "-pix_fmt", "yuv420p")
    rates = ("-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate)
    await _ffmpeg("-i", str(pictures), *coding, *rates, str(once))
    pictures.unlink()
    await _ffmpeg("-stream_loop", str(FILE_REPEATS), "-i", str(once), "-c", "copy", str(movie))
    return movie


async def _ffmpeg(*arguments: str) -> None:
    command = ("ffmpeg", "-nostdin", "-loglevel", "error", "-y", *arguments)
    await asyncio.to_thread(subprocess.run, command, check=True)


async def figures(options: Options) -> list[Figure]:
    """Slopes without viewers, and the whole of a server with one."""
    movie = await write_file(options.directory)
    seconds = QUICK_SECONDS if options.quick else SECONDS
    found = [
        Figure(name="file rate", value=round(movie.stat().st_size * 8e-6 / _duration(), 2), unit="Mbit/s"),
    ]
    for name, arguments, goal in (
        ("forwarded", (), GOAL_PERCENT),
        ("reencode always", ("--reencode", "always"), None),
    ):
        value = await _slope(name, movie, arguments, seconds, options.directory)
        found.append(
            Figure(name=f"{name}, of one broadcast unwatched", value=value, unit="% of a core", goal=goal)
        )
    peers = await _peers(movie, seconds) if options.peers else {}
    for name, arguments in (("forwarded", ()), ("reencode always", ("--reencode", "always"))):
        name = f"{name}, server with one viewer"
        value = await _watched(name, movie, arguments, seconds, options.directory)
        found.append(Figure(name=name, value=value, unit="% of a core", peers=peers))
    progress("")
    return found


def _duration() -> int:
    return FILE_SECONDS * (FILE_REPEATS + 1)


@contextlib.asynccontextmanager
async def _broadcasting(
    movie: Path, count: int, arguments: Sequence[str], folder: Path
) -> AsyncIterator[Gateway]:
    """So many broadcasts of the same file, all of them live."""
    names = [word for number in range(count) for word in ("--name", f"b{number}")]
    sources = [str(movie)] * count
    async with Gateway(*sources, *names, *arguments, "--no-audio", directory=folder) as gateway:

        def live() -> bool:
            listed = gateway.get("/api/v1/broadcasts")
            return len(listed) == count and all(b["state"] == "live" and b["tracks"] for b in listed)

        await gateway.program.until(live, f"{count} live broadcasts", 60)
        await asyncio.sleep(LIVE_SECONDS)
        yield gateway


async def _slope(
    name: str, movie: Path, arguments: Sequence[str], seconds: float, folder: Path
) -> float | None:
    points = []
    for count in BROADCASTS:
        progress(f"{name}, {count} broadcasts")
        try:
            async with _broadcasting(movie, count, arguments, folder) as gateway:
                points.append((count, await percent_of_core(gateway.pid, seconds)))
        except (ProgramFailed, OSError) as error:
            return _without(name, str(error))
    cores = len(os.sched_getaffinity(0))
    value = slope(points, cores)
    if value is None:
        used = ", ".join(f"{count}: {percent:.0f} %" for count, percent in points)
        return _without(name, f"the processors are full ({used} of {cores} cores), so no slope says anything")
    return round(value, 2)


async def _watched(
    name: str, movie: Path, arguments: Sequence[str], seconds: float, folder: Path
) -> float | None:
    progress(name)
    try:
        async with _broadcasting(movie, 1, arguments, folder) as gateway:
            viewer = (sys.executable, "-u", "-m", "scripts.benchmarks.codecs.watch", f"{gateway.url}/b0")
            return await _received(name, gateway.program, viewer, seconds)
    except (ProgramFailed, OSError) as error:
        return _without(name, str(error))


async def _peers(movie: Path, seconds: float) -> dict[str, float | None]:
    """aiortc, in both ways that it has."""
    python = environment("aiortc", *REQUIREMENTS) / "python"
    found: dict[str, float | None] = {}
    for name, how in (("aiortc", ("--decode",)), ("aiortc packets", ())):
        progress(name)
        port = free_port()
        server = (
            *(python, "-u", "-m", "scripts.peers.aiortc.file_server", "--http", str(port)),
            *("--bitrate", str(BITRATE_BPS), *how, movie),
        )
        receiver = (
            python,
            "-u",
            "-m",
            "scripts.peers.aiortc.file_receiver",
            f"http://127.0.0.1:{port}/offer",
        )
        lines: list[str] = []
        try:
            async with running(*server) as program:
                program.on_line = lines.append
                await program.until(lambda lines=lines: "ready" in lines, "ready line")  # type: ignore[misc]
                found[name] = await _received(name, program, receiver, seconds)
        except (ProgramFailed, OSError) as error:
            found[name] = _without(name, str(error))
    return found


async def _received(
    name: str, server: Program, receiver: Sequence[str | Path], seconds: float
) -> float | None:
    """Percent of a core that the server takes while that receiver gets its pictures."""
    frames = 0

    def count(line: str) -> None:
        nonlocal frames
        word, _, number = line.partition(" ")
        if word == "frames" and number.isdigit():
            frames = int(number)

    async with running(*receiver) as program:
        program.on_line = count
        await program.until(lambda: frames > FPS, "pictures at the receiver", 60)
        await asyncio.sleep(SETTLE_SECONDS)
        before, began = frames, time.monotonic()
        percent = await percent_of_core(server.process.pid, seconds)
        came, passed = frames - before, time.monotonic() - began
    if not keeps_up(came, passed, FPS):
        return _without(name, f"{came / passed:.1f} pictures a second came, not {FPS}")
    return round(percent, 1)


def _without(name: str, why: str) -> float | None:
    """No figure, and the reason."""
    print(f"{name}: {why}", file=sys.stderr)
    return None
