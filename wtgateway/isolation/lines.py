"""What a source's process writes to its standard error, on its way into our log.

The process logs JSON lines into a pipe; what native libraries print on their own, last words before an
abort or the traceback of a crash, goes the same way. The pipe never keeps the process waiting: what does not
fit is lost.
Imports the log only.
"""

from __future__ import annotations

import json
import logging
import os
import re
from asyncio import AbstractEventLoop
from collections import deque
from pathlib import Path

from wtgateway.log import JsonFormatter

log = logging.getLogger("wtgateway.isolation")

LINES_PER_LOOK = 100  # :meth:`Lines.look` is called once a second; what a process says more is counted only
MOST_UNFINISHED = 16 << 10
_READ_BYTES = 64 << 10
MOST_FIELDS = 32
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# what a line has of its own, and what a record must not be given anew
_NOT_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"time", "level", "room", "message", "exception"}
_KEPT = 64  # of what was no line of our log, for its last words
# faulthandler's traceback of the thread that crashed
_TRACEBACK = re.compile(
    r"^(Fatal Python error:|Stack \(|Current thread |Thread 0x|  File \"|Extension modules:|\s*$)"
)
_PLACE = re.compile(r"^  File \"([^\"]{1,500})\", line (\d{1,9}) in (\S{1,200})$")


class PipeHandler(logging.Handler):
    """In the source's process: one JSON line a record, in one piece or not at all."""

    def __init__(self, fd: int = 2) -> None:
        super().__init__()
        self._fd = fd
        self.lost = 0
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, unless the pipe is full."""
        try:
            os.write(self._fd, self.format(record).encode(errors="replace") + b"\n")
        except OSError:
            self.lost += 1


class Lines:
    """The reading end of such a pipe, on the event loop; takes over ``fd``, which does not block."""

    def __init__(self, fd: int, loop: AbstractEventLoop) -> None:
        self.broadcast = ""  # once it is known whose it is
        self._fd, self._loop = fd, loop
        self._unfinished = b""
        self._strange: deque[str] = deque(maxlen=_KEPT)
        self._left, self._lost = LINES_PER_LOOK, 0
        self._closed = False
        loop.add_reader(fd, self._readable)

    def look(self) -> None:
        """A second is over: so many more lines may come."""
        lost, self._lost, self._left = self._lost, 0, LINES_PER_LOOK
        if lost:
            log.warning("source process says too much broadcast=%s lines_lost=%d", self.broadcast, lost)

    def close(self) -> None:
        """Take what is there, then close."""
        while not self._closed and self._readable():
            pass
        self._close()

    def crashed_at(self) -> str:
        """Where Python was when the process crashed, if it could say: ``sources/reader.py:120 in read``."""
        for line in self._strange:
            if place := _PLACE.match(line):
                path, number, function = place.groups()
                return f"{'/'.join(Path(path).parts[-2:])}:{number} in {function}"
        return ""

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            os.close(self._fd)

    def _readable(self) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if len(self._unfinished) > MOST_UNFINISHED or (self._unfinished and not data):
            lines, self._unfinished = [*lines, self._unfinished], b""
        for line in lines:
            self._take(line)
        if not data:
            self._close()
        return bool(data)

    def _take(self, line: bytes) -> None:
        if self._left <= 0:
            self._lost += 1
            return
        self._left -= 1
        text = line.decode(errors="replace")
        record = _record(text, self.broadcast)
        if record is not None:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
            return
        self._strange.append(text)
        if text.strip():
            level = logging.DEBUG if _TRACEBACK.match(text) else logging.WARNING
            log.log(level, "source process says broadcast=%s text=%s", self.broadcast, text)


def _record(text: str, broadcast: str) -> logging.LogRecord | None:
    """The log record that a line is, with the broadcast's name; None: it is none."""
    if not text.startswith("{"):
        return None
    try:
        entry = json.loads(text)
        level = logging.getLevelNamesMapping()[str(entry["level"]).upper()]
        room, message = str(entry["room"]), str(entry["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not room.startswith("wtgateway."):
        room = "wtgateway.isolation"
    named = {
        name: value
        for name, value in list(entry.items())[:MOST_FIELDS]
        if name not in _NOT_FIELDS and _NAME.fullmatch(name) and isinstance(value, str | int | float | None)
    }
    if "exception" in entry:
        message += f" exception={entry['exception']}"
    # What it says is a value and no template, whose kinds of lines are bounded in number and rate.
    named_already = f"broadcast={broadcast}" in message
    return logging.makeLogRecord(
        named
        | {"name": room, "levelno": level, "levelname": logging.getLevelName(level), "broadcast": broadcast}
        | {"msg": "%s" if named_already else "%s broadcast=%s"}
        | {"args": (message,) if named_already else (message, broadcast)}
    )
