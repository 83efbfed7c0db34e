"""One running command: in a process group of its own, its output in the log, ended with all that it started.

A thread starts it, reads it and waits for it, and so holds the event loop up for nothing. Where util-linux is
there (`setpriv`), the command dies with the gateway whatever ends that. May import config and the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import IO, Final

from wtgateway.config.hooks_model import HookConfig

log = logging.getLogger("wtgateway.hooks")

PATIENCE_S: Final = 5.0  # between SIGTERM and SIGKILL
READ_PATIENCE_S: Final = 1.0
MAX_LINE: Final = 1000
MAX_LINES: Final = 200  # of one run's output that are logged; the rest is read and left out
_VARIABLE = re.compile(r"\$(?:\{(WTG_[A-Z_]+)\}|(WTG_[A-Z_]+))")


class HookProcess:
    """``on_exit`` is called on the loop, once, with the exit code; None: it could not be started."""

    def __init__(
        self,
        name: str,
        hook: HookConfig,
        variables: Mapping[str, str],
        on_exit: Callable[[HookProcess, int | None], None],
    ) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._argv = arguments(hook, variables)
        self._environment = environment(os.environ, variables)
        self._stopping = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killer: asyncio.TimerHandle | None = None
        self.over = asyncio.Event()
        # A daemon: a command that ignores all signals but the last keeps no gateway from ending.
        threading.Thread(target=self._run, name=f"hook:{name}", daemon=True).start()

    def stop(self) -> None:
        """Ask it to end (SIGTERM to its group), and end it some seconds later."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self._signal(signal.SIGTERM)
        self._killer = self._loop.call_later(PATIENCE_S, self.kill)

    def kill(self) -> None:
        """End it, and its group, at once."""
        with self._lock:
            self._stopping = True
        self._signal(signal.SIGKILL)

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping

    def _signal(self, number: signal.Signals) -> None:
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process is not None and self._process.returncode is None:
                os.killpg(self._process.pid, number)

    def _run(self) -> None:
        code: int | None = None
        try:
            process = self._start()
            if process is not None:
                code = self._wait(process)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is over
                self._loop.call_soon_threadsafe(self._exited, code)

    def _start(self) -> subprocess.Popen[bytes] | None:
        try:
            process = subprocess.Popen(
                [*_with_parent(), *self._argv],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            log.warning("hook cannot be started hook=%s why=%s", self.name, error)
            return None
        with self._lock:
            self._process = process
            too_late = self._stopping
        if too_late:
            self._signal(signal.SIGTERM)
        return process

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code. What the command left behind in its group ends with it."""
        assert process.stdout is not None
        reader = threading.Thread(target=_log_output, args=(self.name, process.stdout), daemon=True)
        reader.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its number is still its own
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with self._lock:
            code = process.wait()
        reader.join(READ_PATIENCE_S)  # who left the group may hold the pipe for ever
        return code

    def _exited(self, code: int | None) -> None:
        if self._killer is not None:
            self._killer.cancel()
        self.over.set()
        self._on_exit(self, code)


def arguments(hook: HookConfig, variables: Mapping[str, str]) -> list[str]:
    """The command and its arguments. `$WTG_NAME` and `${WTG_NAME}` stand for their values within an argument.

    With a shell they are the shell's business, which finds them in its environment: so no value is ever code.
    """
    if hook.shell:
        return ["/bin/sh", "-c", hook.command[0]]
    return [_VARIABLE.sub(lambda m: variables.get(m[1] or m[2], ""), word) for word in hook.command]


def environment(inherited: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """The gateway's own without its settings, which may hold secrets, and what is to be known."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("WTG_")}
    return kept | {name: value.replace("\0", " ") for name, value in variables.items()}


@functools.cache
def _with_parent() -> tuple[str, ...]:
    """What has a command die with this process; nothing where that is not to be had."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _log_output(name: str, stream: IO[bytes]) -> None:
    count = 0
    with stream:
        while line := stream.readline(MAX_LINE):
            count += 1
            if count <= MAX_LINES:
                log.info("hook output hook=%s line=%s", name, line.decode(errors="replace").rstrip())
    if count > MAX_LINES:
        log.info("hook output hook=%s lines_left_out=%d", name, count - MAX_LINES)
