"""Quantities as people write them: ``40ms``, ``5%``, ``4M``, ``256K``, ``10s+1s``. Pure.

Each function raises :exc:`ValueError` with a sentence that names the text and what was expected.
"""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-zµ%/]*)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_BITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_BYTES = {"": 1.0, "b": 1.0, "k": 1024.0, "kb": 1024.0, "kib": 1024.0, "m": 1048576.0, "mb": 1048576.0}
_LONGEST_S = 86_400.0
_FASTEST_BPS = 100e9
_LARGEST_QUEUE_BYTES = 1 << 30


def _split(text: str, expected: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not usable; expected {expected}")
    return float(match[1]), match[2]


def seconds(text: str) -> float:
    """``40ms``, ``1.5s``, ``500us``; a bare number other than 0 is refused, since ms and s are both usual."""
    expected = "a time such as 40ms or 1.5s"
    value, unit = _split(text, expected)
    if unit in _SECONDS:
        value *= _SECONDS[unit]
    elif value or unit:
        raise ValueError(f"{text!r} is not usable; expected {expected} (with its unit)")
    if value > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than a day")
    return value


def share(text: str) -> float:
    """``5%`` or ``0.05``; 0 to 1."""
    expected = "a share such as 5% or 0.05"
    value, unit = _split(text, expected)
    if unit == "%":
        value /= 100
    elif unit:
        raise ValueError(f"{text!r} is not usable; expected {expected}")
    if value > 1:
        raise ValueError(f"{text!r} is more than everything; expected {expected}")
    return value


def bits_per_second(text: str) -> float:
    """``4M``, ``800k``, ``4Mbit/s``: decimal. 0 is without limit."""
    expected = "a rate in bits a second such as 4M or 800k"
    value, unit = _split(text, expected)
    unit = re.sub(r"(bit/s|bps|bit)$", "", unit.lower())
    if unit not in _BITS:
        raise ValueError(f"{text!r} is not usable; expected {expected}")
    value *= _BITS[unit]
    if value > _FASTEST_BPS or 0 < value < 1:
        raise ValueError(f"{text!r} is out of range; expected {expected}")
    return value


def rate_steps(text: str) -> tuple[tuple[float, float], ...]:
    """``8M`` or ``8M@0,1M@10s,8M@20s``: (seconds from the start, bits a second), times rising from 0.

    A bare number after ``@`` is seconds here: nothing else is usual.
    """
    steps: list[tuple[float, float]] = []
    for part in text.split(","):
        rate, at, when = part.partition("@")
        moment = _moment(when) if at else 0.0
        if steps and moment <= steps[-1][0]:
            raise ValueError(f"{text!r}: the times after @ must rise")
        if not steps and moment:
            raise ValueError(f"{text!r}: the first rate must hold from the start (@0)")
        steps.append((moment, bits_per_second(rate)))
    if len(steps) > 1 and not all(rate for _, rate in steps):
        raise ValueError(f"{text!r}: a rate of 0 is without limit, which cannot be a step; use --blackout")
    return tuple(steps)


def _moment(text: str) -> float:
    try:
        return float(_plain(text))
    except ValueError:
        return seconds(text)


def _plain(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        raise ValueError(text)
    return text


def blackouts(text: str) -> tuple[tuple[float, float], ...]:
    """``10s+1s`` or ``10s+1s,20s+500ms``: (seconds from the start, duration), not overlapping, rising."""
    spans: list[tuple[float, float]] = []
    for part in text.split(","):
        start, plus, length = part.partition("+")
        if not plus:
            raise ValueError(f"{text!r} is not usable; expected start+length such as 10s+1s")
        span = (_moment(start), seconds(length))
        if spans and span[0] < sum(spans[-1]):
            raise ValueError(f"{text!r}: blackouts must follow each other")
        if not span[1]:
            raise ValueError(f"{text!r}: a blackout must have a length")
        spans.append(span)
    return tuple(spans)


def burst(text: str) -> tuple[int, int]:
    """``5-20`` or ``8``: least and most packets that are lost together."""
    match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not usable; expected packets such as 5-20 or 8")
    least, most = int(match[1]), int(match[2] or match[1])
    if not 1 <= least <= most:
        raise ValueError(f"{text!r} is not usable; expected at least 1 packet, the smaller number first")
    return least, most


def queue(text: str) -> tuple[int, float]:
    """``256K`` (bytes, 0 seconds) or ``500ms`` (0 bytes, seconds at the highest rate)."""
    expected = "a length such as 256K (bytes) or 500ms"
    value, unit = _split(text, expected)
    if unit in _SECONDS:
        return 0, seconds(text)
    if unit.lower() not in _BYTES:
        raise ValueError(f"{text!r} is not usable; expected {expected}")
    size = math.floor(value * _BYTES[unit.lower()])
    if not 1 <= size <= _LARGEST_QUEUE_BYTES:
        raise ValueError(f"{text!r} is out of range; expected 1 byte to 1 GiB")
    return size, 0.0


def address(text: str) -> tuple[str, int]:
    """``4433``, ``localhost:4433``, ``192.0.2.1:4433``, ``[::1]:4433``; without a host 127.0.0.1."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not usable; an IPv6 address needs brackets: [::1]:4433")
    if not port.isdecimal() or not 0 <= int(port) <= 65535 or (colon and not host):
        raise ValueError(f"{text!r} is not usable; expected a port or host:port")
    return host or "127.0.0.1", int(port)
