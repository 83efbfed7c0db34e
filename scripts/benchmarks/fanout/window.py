"""One window of the bench `fanout`: a server, its load, perhaps a flood; the report or what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from scripts.benchmarks.fanout.load import PLAYING
from scripts.benchmarks.fanout.proc import family
from scripts.benchmarks.fanout.quota import NoQuota, limited
from scripts.benchmarks.fanout.report import Report
from scripts.benchmarks.fanout.servers import Server, serving
from scripts.support.processes import ProgramFailed, running

FLOOD_RATE = 2000  # forged Initials a second


async def load(
    folder: Path,
    server: Server,
    *arguments: str,
    mode: str = "streams",
    extra: tuple[str, ...] = (),
    pinned: bool = True,
    flood: bool = False,
    share: float = 0.0,
) -> Report | str:
    """One window, or why there is none. ``share``: of a core, what each process of the server gets."""
    try:
        async with serving(server, folder, mode=mode, pinned=pinned, extra=extra) as (
            program,
            port,
        ):
            ends = ("--port", str(port), "--pid", str(program.process.pid))
            command = (*server.load, *ends, *server.arguments, *arguments)
            async with contextlib.AsyncExitStack() as playing:

                async def begin() -> None:
                    if flood:
                        await playing.enter_async_context(_flooding(port))
                    if share:
                        playing.enter_context(limited(family(program.process.pid), share))

                return await _played(command, begin)
    except (ProgramFailed, NoQuota) as error:
        return str(error)


async def _played(command: tuple[str, ...], begin: Callable[[], Awaitable[None]]) -> Report | str:
    """A load to its end; its report, or what it says instead. ``begin`` is called when all viewers play."""
    lines: list[str] = []
    async with running(*command) as program:
        program.on_line = lines.append
        while program.running and PLAYING not in lines:
            await asyncio.sleep(0.01)
        if program.running:
            await begin()
        await program.wait()
    for line in lines:
        if line.startswith("{"):
            values = json.loads(line)
            return str(values["error"]) if "error" in values else Report.from_json(values)
    return "the load ended without a word:\n" + "\n".join(lines[-20:])


@contextlib.asynccontextmanager
async def _flooding(port: int) -> AsyncIterator[None]:
    ends = ("--port", str(port), "--rate", str(FLOOD_RATE), "--seconds", "0.5")
    lines: list[str] = []
    async with running(sys.executable, "-u", "-m", "scripts.benchmarks.fanout.flood", *ends) as program:
        program.on_line = lines.append
        await program.until(lambda: "flooding" in lines, "start of the flood")
        yield


def checked(what: str, report: Report | str, *, full_rate: bool = True) -> Report | None:
    """The report if it measured the server; otherwise the reason is told."""
    problems = [report] if isinstance(report, str) else report.problems(full_rate=full_rate)
    if problems:
        print(f"{what}: {'; '.join(problems)}", file=sys.stderr, flush=True)
    return report if isinstance(report, Report) and not problems else None


def progress(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)
