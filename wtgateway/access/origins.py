"""Which pages may connect: the Origin (RFC 6454) of a WebTransport CONNECT or a WebSocket upgrade. Pure.

Viewers that are no browsers send none and are let in: it protects a visitor's browser, not the gateway.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

ANY = "*"
_PATTERN = re.compile(r"(?:\*|https?)://[A-Za-z0-9.*_:\[\]-]{1,255}")
_MAX_ORIGIN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """``allowed``: patterns such as ``https://*.example.com``, or ``*``. Empty: the page's own host alone.

    ``hosts``: names of this gateway, whose pages are its own.
    """

    allowed: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def allows(self, origin: str, authority: str) -> bool:
        """Whether a page of ``origin`` may connect to ``authority`` (a host with an optional port)."""
        if not origin or ANY in self.allowed:
            return True
        if len(origin) > _MAX_ORIGIN:
            return False
        if any(fnmatchcase(origin.lower(), pattern) for pattern in self.allowed):
            return True
        host = host_of_origin(origin)
        return bool(host) and _is_own(host, _host_of_authority(authority), self.hosts)

    def to_row(self) -> list[Any]:
        """As it travels between processes."""
        return [list(self.allowed), list(self.hosts)]

    @classmethod
    def from_row(cls, row: list[Any]) -> Origins:
        """The same when it has arrived."""
        allowed, hosts = row
        return cls(allowed=tuple(allowed), hosts=tuple(hosts))


def parse_origin_pattern(text: str) -> str:
    """``https://*.example.com:8443`` or ``*``, in lower case. Raises ValueError."""
    text = text.strip().rstrip("/").lower()
    if text != ANY and not _PATTERN.fullmatch(text):
        raise ValueError("no origin")
    # An IPv6 address has brackets, which a pattern would read as a choice of characters.
    return text.replace("[", "[[]") if "[" in text else text


def host_of_origin(origin: str) -> str:
    """The host of ``http(s)://host[:port]`` in lower case; empty for "null" and anything else."""
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises for one that is none
    except ValueError:
        return ""
    plain = parts.scheme in ("http", "https") and not parts.path and not parts.query and not parts.fragment
    return host if plain and "@" not in parts.netloc else ""


def is_loopback_host(host: str) -> bool:
    """Whether a name (no port, no brackets) always means this machine (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of_authority(authority: str) -> str:
    return host_of_origin(f"https://{authority}")


def host_of_header(value: str) -> str:
    """The host of a Host header, without port and brackets; empty where there is none."""
    return _host_of_authority(value)


def _is_own(host: str, asked: str, hosts: Collection[str]) -> bool:
    if host == asked or host in hosts:
        return True
    return is_loopback_host(host) and is_loopback_host(asked)
