"""Logging: one line an event, text for people or JSON for machines, and never a secret.

Every line passes :func:`redact_url` on its way out, so that a password in a source's address cannot slip
into a log through a message of FFmpeg or of a peer. Imports nothing of the project.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TextIO

MAX_LINE = 4096
MAX_KINDS = 512

# a user and password in front of a host; the password may hold "/" or "@", a port in front of a path is none
_USER = re.compile(
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,31}://)(?:[^\s/?#'\"]*@|[^\s/@:'\"]*:(?!\d+/)[^\s'\"]*@)"
)
_SECRET = re.compile(
    r"(?P<key>[?&;](?:[A-Za-z_-]*(?:token|secret|passphrase|password|passwd|signature)|pass|pwd|key|api_?key|sig"
    r"|auth)=)[^&;#\s'\"]+",
    re.IGNORECASE,
)
# what an Authorization header shows, a JSON Web Token wherever it stands, and tokens of static users
_SHOWN = re.compile(r"\b(?P<scheme>Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|\bwtg_[\w-]{16,}")
_PLACE = re.compile(r"%%|(?:(?P<name>[a-z][a-z0-9_]*)=)?%(?:\([^)]*\))?[#0\- +]*(?:\d+)?(?:\.\d+)?[a-zA-Z]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact_url(text: str) -> str:
    """``text`` (an address, or any text with addresses in it) without user, password and tokens."""
    if "://" in text:
        text = _USER.sub(r"\g<scheme>***@", text)
    text = _SECRET.sub(r"\g<key>***", text)
    return _TOKEN.sub("***", _SHOWN.sub(r"\g<scheme> ***", text))


class TextFormatter(logging.Formatter):
    """``12:34:56.789 WARNING sources: message worker=1``; the time is UTC, ``fields`` go to the end."""

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._fields = "".join(f" {name}={value}" for name, value in (fields or {}).items())

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback, which only a defect of ours leaves, follows on its own lines."""
        at = _utc(record).strftime("%H:%M:%S.%f")[:-3]
        room = record.name.removeprefix("wtgateway.")
        more = f" ({vars(record)['suppressed']} more suppressed)" if "suppressed" in vars(record) else ""
        line = f"{at} {record.levelname:<7} {room}: {_one_line(record.getMessage())}{self._fields}{more}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact_url(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, room, message, ``fields``, and those of ``extra=``.

    What a message names (``session=%s``) is a field of its own as well. Names come from the code alone, so
    nothing that a peer chose can pass for one.
    """

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry: dict[str, object] = {
            "time": _utc(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "room": record.name,
            "message": redact_url(_one_line(record.getMessage())),
            **self._fields,
        }
        for name, value in named_values(record).items():
            if name not in entry:
                entry[name] = redact_url(_one_line(value)) if isinstance(value, str) else value
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in entry:
                entry[name] = redact_url(value) if isinstance(value, str) else value
        if record.exc_info:
            entry["exception"] = redact_url(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False, default=lambda value: redact_url(str(value)))


def named_values(record: logging.LogRecord) -> dict[str, str | int | float | bool | None]:
    """The values that a message's template names: ``"left session=%s code=%d"`` names two."""
    if not isinstance(record.msg, str) or not isinstance(record.args, tuple):
        return {}
    places = [match for match in _PLACE.finditer(record.msg) if match[0] != "%%"]
    if len(places) != len(record.args):
        return {}
    plain = (str, int, float, bool, type(None))
    return {
        match["name"]: value if isinstance(value, plain) else str(value)
        for match, value in zip(places, record.args, strict=True)
        if match["name"]
    }


class Limiter(logging.Filter):
    """Lines of one kind (one place of the code) come at a bounded rate; how many did not is said afterwards.

    What strangers provoke would fill disks and hide what matters. Errors always come, and debugging is
    whoever's own choice.
    """

    def __init__(
        self,
        *,
        per_second: float = 20.0,
        at_once: float = 200.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._per_second, self._at_once, self._clock = per_second, at_once, clock
        self._kinds: OrderedDict[tuple[str, object], list[float]] = OrderedDict()  # tokens, when, left out

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line comes; with it stands how many like it did not."""
        if record.levelno >= logging.ERROR or record.levelno <= logging.DEBUG:
            return True
        kind, now = (record.name, record.msg), self._clock()
        state = self._kinds.setdefault(kind, [self._at_once, now, 0])
        self._kinds.move_to_end(kind)
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)
        state[0] = min(self._at_once, state[0] + (now - state[1]) * self._per_second)
        state[1] = now
        if state[0] < 1:
            state[2] += 1
            return False
        state[0] -= 1
        left_out, state[2] = state[2], 0
        if left_out:
            vars(record)["suppressed"] = int(left_out)
        return True


def setup(
    *,
    json_log: bool = False,
    level: str = "info",
    stream: TextIO | None = None,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Log to ``stream`` (standard error); ``level`` is debug, info, warning or error. May be called again.

    ``fields`` are added to every line (the number of a worker).
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(fields) if json_log else TextFormatter(fields))
    root = logging.getLogger()
    for old in list(root.handlers):
        if getattr(old, "wtgateway", False):
            root.removeHandler(old)
    vars(handler)["wtgateway"] = True
    handler.addFilter(Limiter())
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # other packages
    set_level(level)
    logging.raiseExceptions = False  # a closed terminal is no reason for a traceback


def set_level(level: str) -> None:
    """How much is logged from now on: debug, info, warning or error."""
    logging.getLogger("wtgateway").setLevel(level.upper())


def _utc(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


def _one_line(message: str) -> str:
    """Without control characters (a peer may have chosen the text) and not without end."""
    clean = "".join(sign if sign.isprintable() else " " for sign in message)
    return clean if len(clean) <= MAX_LINE else clean[: MAX_LINE - 1] + "…"
