"""How viewers reach a gateway behind other things: public URL, advertised address, trusted proxies.

Texts to values as in :mod:`wtgateway.config.values`: what does not fit raises :exc:`ConfigError` that says
what was expected. Pure; imports only errors and this room.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TypeAlias
from urllib.parse import urlsplit

from wtgateway.config.model import Address
from wtgateway.config.values import parse_host
from wtgateway.errors import ConfigError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

ADVERTISE_HINT = (
    "HOST or HOST:PORT that viewers reach, such as media.example, media.example:443, 203.0.113.9 or "
    "'[2001:db8::1]:4433'"
)
ANCESTORS_HINT = "self, none, or origins such as https://intranet.example and https://*.example, with commas"
_ANCESTOR = re.compile(r"https?://(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::\d{1,5})?")
PUBLIC_URL_HINT = "the address of the pages as viewers see it, such as https://cams.example/live/"
NETWORKS_HINT = "addresses or networks such as 10.0.0.0/8, 192.0.2.7 or fd00::/8, with commas between them"

_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


def parse_advertise(text: str) -> Address:
    """``media.example`` to an :class:`Address`; port 0: the one that is bound. Raises :exc:`ConfigError`."""
    given = text.strip()
    host, port = given, "0"
    if not given.endswith("]") and (given.count(":") == 1 or "]:" in given):
        host, _, port = given.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not host or (given != host and not 0 < int(port) <= 65535):
        raise ConfigError("address", "", text, ADVERTISE_HINT)
    try:
        address = Address(parse_host(host, text), int(port))
        unspecified = ipaddress.ip_address(address.host).is_unspecified
    except ConfigError:
        raise ConfigError("address", "", text, ADVERTISE_HINT) from None
    except ValueError:  # a name
        unspecified = False
    if unspecified:
        raise ConfigError("address", "", text, ADVERTISE_HINT)
    return address


def parse_public_url(text: str) -> str:
    """``https://cams.example/live`` with a slash at the end. Raises :exc:`ConfigError`.

    The path is a prefix under which a proxy shows the pages: segments of unreserved characters (RFC 3986).
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
        bracketed = f"[{host}]" if ":" in host else host
        parse_host(bracketed, text)
    except (ValueError, ConfigError):
        raise ConfigError("URL", "", text, PUBLIC_URL_HINT) from None
    path = parts.path.strip("/")
    segments = path.split("/") if path else []
    good = all(_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments)
    if (
        parts.scheme not in ("http", "https")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or not good
    ):
        raise ConfigError("URL", "", text, PUBLIC_URL_HINT)
    authority = bracketed if port is None else f"{bracketed}:{port}"
    return f"{parts.scheme}://{authority}/" + (f"{path}/" if path else "")


def parse_frame_ancestors(text: str) -> tuple[str, ...]:
    """``self, https://intranet.example`` to sources of CSP's frame-ancestors. Raises :exc:`ConfigError`."""
    words = [word for word in re.split(r"[,\s]+", text.strip().lower()) if word]
    quoted = tuple(f"'{word}'" if word in ("self", "none") else word for word in words)
    good = all(word in ("'self'", "'none'") or _ANCESTOR.fullmatch(word) for word in quoted)
    if not quoted or not good or ("'none'" in quoted and len(quoted) > 1):
        raise ConfigError("frame_ancestors", "", text, ANCESTORS_HINT)
    return quoted


def parse_networks(text: str) -> tuple[Network, ...]:
    """``10.0.0.0/8, ::1`` to networks. Raises :exc:`ConfigError`."""
    try:
        return tuple(ipaddress.ip_network(word) for word in re.split(r"[,\s]+", text.strip()) if word)
    except ValueError:
        raise ConfigError("networks", "", text, NETWORKS_HINT) from None
