"""One process of ours, as the main process sees it: started, talked to, noticed when it is gone.

Its death is noticed at once by its pidfd, whatever it died of; a channel that breaks ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import wtgateway
from wtgateway.workers import messages
from wtgateway.workers.channel import Channel

_ROOT = str(Path(wtgateway.__file__).resolve().parents[1])


class Stage(enum.Enum):
    """How far it has come."""

    STARTING = enum.auto()  # loads its modules
    WARM = enum.auto()  # stands by
    ASSIGNED = enum.auto()  # reads what the bus holds
    READY = enum.auto()  # serves viewers
    GONE = enum.auto()


class WorkerProcess:
    """``on_message`` gets what it says, ``on_gone`` is called once with how it ended, in words."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_message: Callable[[WorkerProcess, messages.Message], None],
        on_gone: Callable[[WorkerProcess, str], None],
        module: str = "wtgateway.workers",
        decode: Callable[[bytes], messages.Message] = messages.decode,
        stderr: int | None = None,
    ) -> None:
        """``module`` is what it runs, ``decode`` reads what it says, ``stderr`` (a file descriptor) is where
        its standard error goes: by default where ours does.
        """
        self.stage = Stage.STARTING
        self.heard = True  # since the watchdog looked last
        self.silent = 0  # how often it looked in vain
        self.over = asyncio.Event()  # the process is gone
        self._loop, self._on_gone = loop, on_gone
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                self._process = _start(module, theirs.fileno(), stderr)
            except BaseException:
                ours.close()
                raise
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError:  # no file descriptor is left
            ours.close()
            self._process.kill()
            self._process.wait()
            raise
        loop.add_reader(self._pidfd, self._exited)
        self._channel = Channel(
            ours,
            on_message=lambda message: on_message(self, message),
            on_lost=self.kill,
            loop=loop,
            decode=decode,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, message: messages.Message, fds: Sequence[int] = ()) -> None:
        """Say something; nothing happens if it is gone."""
        try:
            self._channel.send(message, fds)
        except OSError:  # it died just now: its pidfd will tell
            self.kill()

    def kill(self) -> None:
        """End it at once; ``on_gone`` follows."""
        if self.stage is not Stage.GONE:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        self._channel.close()
        self.stage = Stage.GONE
        self.over.set()
        self._on_gone(self, f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")


def _start(module: str, fd: int, stderr: int | None) -> subprocess.Popen[bytes]:
    # From the main thread: the child asks to die with the thread that made it.
    path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", module, str(fd)],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        process_group=0,  # a terminal's Ctrl-C is for the main process alone
        env=os.environ | {"PYTHONPATH": path},
    )
