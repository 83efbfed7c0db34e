"""Texts to values: durations, bit rates, addresses, sizes, broadcast names.

Every setting is a text first (a flag, a variable, a YAML scalar), so one parser serves all layers.
A text that does not fit raises :exc:`ConfigError` that says what was expected; the caller adds where
it was written (:func:`wtgateway.config.load.load`). Pure; imports only errors and the model.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from wtgateway.config.model import Address
from wtgateway.errors import ConfigError

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
PREFIXES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
RESERVED_NAMES = frozenset({"api", "healthz", "readyz", "metrics", "favicon.ico", "certificate.sha256"})
MAX_NAME_LENGTH = 128

DURATION_HINT = "a duration such as 500ms, 90s, 1h30m or 13d"
BITRATE_HINT = "a bit rate such as 4M, 2.5M or 800k (bits a second)"
ADDRESS_HINT = "HOST:PORT such as localhost:4433, 0.0.0.0:4433, '[::]:4433' or ':4433' (all addresses)"
SIZE_HINT = "WIDTHxHEIGHT in even numbers from 16 to 8192, such as 1280x720"
BOOL_HINT = "true or false"
NAME_HINT = (
    "a name of letters, digits, '.', '_', '~' and '-', with '/' between parts, at most "
    f"{MAX_NAME_LENGTH} characters; it may not begin with '_' or with {', '.join(sorted(RESERVED_NAMES))}"
)

N = TypeVar("N", int, float)

_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d|w)")
_PLAIN = re.compile(_NUMBER)
_BITRATE = re.compile(rf"({_NUMBER})\s*([kKmMgG]?)(?:bps|bit/s)?")
_SIZE = re.compile(r"([0-9]{1,5})[x×]([0-9]{1,5})")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\.?")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


def parse_duration(text: str) -> float:
    """``1h30m`` to seconds; a bare number is seconds. Raises :exc:`ConfigError`."""
    stripped = text.strip().lower()
    if _PLAIN.fullmatch(stripped):
        return float(stripped)
    total, position = 0.0, 0
    while match := _DURATION_PART.match(stripped, position):
        total += float(match[1]) * UNITS_S[match[2]]
        position = match.end()
    if not stripped or position != len(stripped):
        raise ConfigError("duration", "", text, DURATION_HINT)
    return total


def format_duration(seconds: float) -> str:
    """The shortest exact text for :func:`parse_duration`, to the millisecond: ``1h30m``, ``13d``, ``0s``."""
    left, parts = round(seconds * 1000), []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, round(UNITS_S[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_bitrate(text: str) -> int:
    """``4M`` to bits a second (decimal prefixes). Raises :exc:`ConfigError`."""
    match = _BITRATE.fullmatch(text.strip())
    if not match:
        raise ConfigError("bit rate", "", text, BITRATE_HINT)
    return round(float(match[1]) * PREFIXES[match[2].lower()])


def parse_address(text: str) -> Address:
    """``[::]:4433`` to an :class:`Address`; an empty host or ``*`` is ``::``. Raises :exc:`ConfigError`."""
    host, colon, port = text.strip().rpartition(":")
    if not (colon and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= 65535):
        raise ConfigError("address", "", text, ADDRESS_HINT)
    if host in ("", "*"):
        return Address("::", int(port))
    return Address(parse_host(host, text), int(port))


def parse_host(host: str, text: str) -> str:
    """A name in lower case, or an IP without brackets. Raises :exc:`ConfigError` about the whole ``text``."""
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        # digits and dots alone are a mistyped IPv4 address, never a name
        if not bracketed and _HOST_NAME.fullmatch(host) and not re.fullmatch(r"[0-9.]+", host):
            return host.lower()
    else:
        if bracketed == (address.version == 6):
            return str(address)
    raise ConfigError("address", "", text, ADDRESS_HINT)


def parse_bool(text: str) -> bool:
    """``true/yes/on/1`` and ``false/no/off/0``. Raises :exc:`ConfigError`."""
    word = text.strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ConfigError("switch", "", text, BOOL_HINT)


def parse_size(text: str) -> tuple[int, int]:
    """``1280x720`` to (width, height) in pixels. Raises :exc:`ConfigError`."""
    match = _SIZE.fullmatch(text.strip().lower())
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(16 <= side <= 8192 and side % 2 == 0 for side in size):
        raise ConfigError("size", "", text, SIZE_HINT)
    return size


def parse_name(text: str) -> str:
    """A broadcast name, without a leading slash. Raises :exc:`ConfigError`."""
    name = text.strip().removeprefix("/")
    segments = name.split("/")
    good = len(name) <= MAX_NAME_LENGTH and all(
        _SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments
    )
    if not good or name.startswith("_") or segments[0] in RESERVED_NAMES:
        raise ConfigError("broadcast name", "", text, NAME_HINT)
    return name


def between(parse: Callable[[str], N], low: N, high: N, expected: str) -> Callable[[str], N]:
    """A parser that also demands ``low <= value <= high``."""

    def bounded(text: str) -> N:
        try:
            value = parse(text)
        except (ValueError, ConfigError):
            value = None
        if value is None or not low <= value <= high:
            raise ConfigError("number", "", text, expected)
        return value

    return bounded


def one_of(*words: str) -> Callable[[str], str]:
    """A parser that takes one of ``words``, in any case."""

    def chosen(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ConfigError("choice", "", text, "one of " + ", ".join(words))
        return word

    return chosen
