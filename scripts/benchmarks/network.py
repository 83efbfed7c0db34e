"""`scripts/netsim` for the benchmarks: in a process of its own, so that nobody's event loop delays it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.support.processes import Program, ProgramFailed, running

_COMMAND = (sys.executable, "-u", "-m", "scripts.netsimulator")
_BETWEEN = re.compile(r"relaying between (\S+) \(here\) and (\S+)")
_ENTER = re.compile(r"enter the far side: (.*) COMMAND")
_CHANGED = re.compile(r"changed at (\d+\.\d+): ")
_ANSWER_SECONDS = 10.0


@contextlib.asynccontextmanager
async def relaying(
    listen: tuple[str, int],
    target: tuple[str, int],
    *,
    delay_ms: float,
    loss_percent: float = 0,
    seed: int = 1,
) -> AsyncIterator[None]:
    """A UDP relay with a delay each way, and loss towards the viewer."""
    options = (
        "--delay",
        f"{delay_ms:g}ms",
        "--down-loss",
        f"{loss_percent:g}%",
        "--seed",
        str(seed),
        "--quiet",
    )
    ends = (f"{listen[0]}:{listen[1]}", f"{target[0]}:{target[1]}")
    lines: list[str] = []
    async with running(*_COMMAND, *options, *ends) as program:
        program.on_line = lines.append
        await program.until(lambda: any(line.startswith("relaying") for line in lines), "start of the relay")
        yield


@dataclass(slots=True)
class Network:
    """Two addresses with a network between: servers are at ``near``, ``enter`` starts browsers at ``far``."""

    near: str
    far: str
    enter: tuple[str, ...]
    report: Path
    program: Program
    lines: list[str]

    async def become(self, options: Sequence[str]) -> float:
        """Other conditions, as on the command line of ``scripts/netsim``; from when on, in epoch ms."""
        self.lines.clear()
        await self.program.write(" ".join(options) + "\n")
        await self.program.until(lambda: bool(self._answer()), "answer", _ANSWER_SECONDS)
        if (changed := _CHANGED.match(self._answer())) is None:
            raise ProgramFailed(self._answer())
        return 1000 * float(changed[1])

    def _answer(self) -> str:
        return next((line for line in self.lines if line.startswith(("changed at ", "error: "))), "")

    async def figures(self) -> dict[str, Any]:
        """End it; its report."""
        await self.program.stop(signal.SIGTERM)
        figures: dict[str, Any] = json.loads(self.report.read_text())
        return figures


@contextlib.asynccontextmanager
async def network(report: Path, options: Sequence[str], *, every_ms: int = 100) -> AsyncIterator[Network]:
    """A network at IP level (root, Linux) with figures every ``every_ms`` in ``report`` at its end."""
    lines: list[str] = []
    recording = ("--tun", "--control", "--quiet", "--every", f"{every_ms}ms", "--json", report)
    async with running(*_COMMAND, *recording, *options, stdin=asyncio.subprocess.PIPE) as program:
        program.on_line = lines.append
        await program.until(lambda: any(_ENTER.match(line) for line in lines), "network")
        between = next(match for line in lines if (match := _BETWEEN.match(line)))
        enter = next(match for line in lines if (match := _ENTER.match(line)))
        yield Network(between[1], between[2], tuple(enter[1].split()), report, program, lines)
