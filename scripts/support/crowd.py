"""Speaks to scripts.benchmarks.roaming.crowd, or another such program: many native viewers in one process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from scripts.support.processes import Program, ProgramFailed, running

_LEAVING_SECONDS = 10.0


class Crowd:
    """The running program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._lines: list[str] = []
        program.on_line = self._lines.append

    async def playing(self) -> None:
        """Wait until all have pictures."""
        await self._program.until(lambda: "playing" in self._lines, "pictures for all", 60)

    async def leave(self) -> None:
        """Have all say goodbye; who does not is ended."""
        assert self._program.process.stdin is not None
        self._program.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS):
                await self._program.wait()

    def output(self) -> str:
        """Its last lines, for the message of a failure."""
        return self._program.output()

    async def more_frames(self, count: int, seconds: float = 30.0) -> None:
        """Wait until each has got so many more; ProgramFailed with what they say when time is up."""
        wanted = [viewer["frames"] + count for viewer in await self.report()]
        deadline = time.monotonic() + seconds
        while any(
            viewer["frames"] < least for viewer, least in zip(await self.report(), wanted, strict=True)
        ):
            if time.monotonic() > deadline:
                raise ProgramFailed(f"not {count} more frames for all within {seconds:g} s:\n{self.output()}")
            await asyncio.sleep(0.05)

    async def report(self) -> list[dict[str, Any]]:
        """What each has seen since the last report."""
        before = len(self._lines)
        await self._program.write("report\n")
        found: list[str] = []

        def answered() -> bool:
            found[:] = [line for line in self._lines[before:] if line.startswith("[{")]
            return bool(found)

        await self._program.until(answered, "report")
        report: list[dict[str, Any]] = json.loads(found[0])
        return report


@contextlib.asynccontextmanager
async def crowd(
    prefix: Sequence[str],
    url: str,
    count: int,
    *,
    stay: bool = False,
    module: str = "scripts.benchmarks.roaming.crowd",
    options: Sequence[str] = (),
) -> AsyncIterator[Crowd]:
    """``count`` viewers of ``url``, started behind ``prefix`` (a namespace's), all of them playing.

    ``stay``: none of them ever opens another session. ``module``: another program, and its ``options``.
    """
    words = (*(("--stay",) if stay else ()), *options)
    command = (*prefix, sys.executable, "-u", "-m", module, *words, url, str(count))
    async with running(*command, stdin=asyncio.subprocess.PIPE) as program:
        made = Crowd(program)
        await made.playing()
        try:
            yield made
        finally:
            await made.leave()
