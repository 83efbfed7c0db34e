"""The gateway as a subprocess: free ports, its ready line parsed, restarts on the same ports."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.support.processes import Program, free_port, start

Json = Any


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class Gateway:
    """``async with Gateway("test:", directory=tmp_path) as gateway``: running and ready.

    ``arguments`` go to ``wtgateway run``. Certificates live in ``directory``, so that a restart on
    the same instance keeps them. ``host`` is the address of QUIC and page; ``web_host`` differs only
    when a relay takes the gateway's place on another loopback address. In a network namespace ``prefix``
    enters it, and ports are given: there are no others' to be avoided.
    """

    def __init__(
        self,
        *arguments: str | Path,
        directory: Path,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        host: str = "127.0.0.1",
        web_host: str | None = None,
        web_arguments: bool = True,
        prefix: Sequence[str] = (),
        quic_port: int = 0,
        web_port: int = 0,
    ) -> None:
        self.arguments, self.directory, self.python = arguments, directory, python
        self.env = dict(env or {})
        self.host, self.web_host = host, web_host or host
        self.quic_port = quic_port or free_port(socket.SOCK_DGRAM, host)
        self.web_port = web_port or free_port(socket.SOCK_STREAM, self.web_host)
        self._prefix = tuple(prefix)
        self.events: list[dict[str, Json]] = []
        self.ready: dict[str, Json] = {}
        self.seconds_to_ready = 0.0
        self._web_arguments = web_arguments
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """Base URL of the pages."""
        return f"http://{_bracketed(self.web_host)}:{self.web_port}"

    @property
    def program(self) -> Program:
        """The running process."""
        assert self._program is not None, "the gateway is not running"
        return self._program

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.program.process.pid

    def command(self) -> list[str]:
        """The whole command line."""
        web = ["--web", f"{_bracketed(self.web_host)}:{self.web_port}"] if self._web_arguments else []
        return [
            *(*self._prefix, self.python, "-m", "wtgateway", "run"),
            *("--bind", f"{_bracketed(self.host)}:{self.quic_port}"),
            *web,
            *("--certs-dir", str(self.directory / "certs"), "--json-log"),
            *map(str, self.arguments),
        ]

    async def start(self, seconds: float = 30.0) -> None:
        """Start it and wait for its ready line; raises ``ProgramFailed`` with its output otherwise."""
        self.ready = {}
        began = time.monotonic()
        self._program = program = await start(*self.command(), env={"PYTHONUNBUFFERED": "1", **self.env})
        program.on_line = self._on_line
        try:
            await program.until(lambda: bool(self.ready), "ready line", seconds)
        except BaseException:
            await program.stop()
            raise
        self.seconds_to_ready = self.ready["_at"] - began

    def _on_line(self, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if isinstance(event, dict):
            self.events.append(event)
            if event.get("event") == "ready":
                self.ready = {**event, "_at": time.monotonic()}

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; the exit code."""
        return await self.program.stop(number)

    async def restart(self, *, kill: bool = False) -> None:
        """End it and start it again on the same ports with the same certificates."""
        await self.stop(signal.SIGKILL if kill else signal.SIGTERM)
        await self.start()

    def get(self, path: str) -> Json:
        """A JSON answer of its API (blocking), asked on its own machine: others are not told all of it."""
        host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(self.web_host, self.web_host)
        with urllib.request.urlopen(f"http://{_bracketed(host)}:{self.web_port}{path}", timeout=10) as answer:
            return json.load(answer)

    async def __aenter__(self) -> Gateway:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._program is not None:
            await self._program.stop()
