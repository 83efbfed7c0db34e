"""Programs in sessions of their own, ended with everything they started; free ports; files of output.

The rule kept here: a program is started once, its output is kept for the error message, and leaving
the ``async with`` block ends its whole process group, whatever happened inside.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 5.0


class ProgramFailed(RuntimeError):
    """A program ended early or did not do what was waited for; carries its last output."""


class Program:
    """One running program: its lines of output as they come, and its end.

    ``on_line`` is called on the loop with each line (stdout and stderr together).
    """

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.process, self.name = process, name
        self.started_at = time.monotonic()
        self.on_line: Callable[[str], None] = lambda line: None
        self._lines: collections.deque[str] = collections.deque(maxlen=400)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while raw := await self.process.stdout.readline():
            line = raw.decode(errors="replace").rstrip("\n")
            self._lines.append(line)
            self.on_line(line)

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return self.process.returncode is None

    def output(self, lines: int = 40) -> str:
        """Its last lines, for error messages."""
        return "\n".join(list(self._lines)[-lines:])

    def send(self, number: int) -> None:
        """Send a signal to the whole process group; silent when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    async def write(self, text: str) -> None:
        """Give it input; it was started with ``stdin=PIPE``."""
        assert self.process.stdin is not None, "started without a pipe"
        self.process.stdin.write(text.encode())
        await self.process.stdin.drain()

    async def wait(self) -> int:
        """The exit code, once all output has been read."""
        code = await self.process.wait()
        await self._reader
        return code

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End the group in order, by force after some seconds; returns the exit code."""
        if self.running:
            self.send(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        self.send(signal.SIGKILL)
        return await self.wait()

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Wait until ``condition`` holds; raises :exc:`ProgramFailed` when it ends or time is up first."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.running:
                raise ProgramFailed(f"{self.name} ended before {what}:\n{self.output()}")
            if time.monotonic() > deadline:
                raise ProgramFailed(f"{self.name}: no {what} within {seconds:g} s:\n{self.output()}")
            await asyncio.sleep(0.02)


async def start(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    stdin: int = asyncio.subprocess.DEVNULL,
) -> Program:
    """Start a program in a session of its own; ``env`` is added to ours."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=1 << 20,
    )
    return Program(process, Path(str(command[0])).name)


@contextlib.asynccontextmanager
async def running(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    stdin: int = asyncio.subprocess.DEVNULL,
) -> AsyncIterator[Program]:
    """A program that lives as long as the block."""
    program = await start(*command, env=env, cwd=cwd, stdin=stdin)
    try:
        yield program
    finally:
        await program.stop()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """A port nobody holds now; the caller takes it soon."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts TCP connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
