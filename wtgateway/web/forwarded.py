"""What proxies in front say of a request: ``Forwarded`` (RFC 7239) and the ``X-Forwarded-*`` headers.

Whoever connects may write these headers, so only those of a trusted peer are read, and of those only what
trusted proxies have added: the way back from the peer ends at the first address that is not trusted, which is
the client. Where both kinds are there, ``X-Forwarded-For`` holds, because that is the one most proxies write
themselves. Pure: headers in, values out; anything that makes no sense is left out. Imports nothing of the
project.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

MAX_HOPS = 32  # of proxies one behind the other; the rest of a longer header is a stranger's
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_PAIR = re.compile(
    r"""\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|"""
    r"""(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]+))\s*(?P<end>[;,]|$)"""
)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy tells of the request that it got; empty: it does not say."""

    client: str = ""  # who connected to it: an address, perhaps with a port, or a word such as "unknown"
    scheme: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """A request as the client made it, as far as that is known; None or empty: as it came here."""

    client: IpAddress | None = None
    scheme: str = ""
    host: str = ""
    prefix: str | None = None  # of its path, that a proxy has taken away; without a slash at the end


def origin(peer: str, headers: Headers, trusted: Collection[Network]) -> Origin:
    """What the headers of a request from ``peer`` (an IP) tell, if that is among ``trusted``."""
    address = parse_address(peer)
    if address is None or not is_trusted(address, trusted):
        return Origin()
    found = _fields(headers)
    hops = _x_forwarded(found) if "x-forwarded-for" in found else _forwarded(found)
    client, seen = address, Hop()
    for hop in reversed(hops[-MAX_HOPS:]):
        seen = Hop(hop.client, hop.scheme or seen.scheme, hop.host or seen.host)
        following = parse_address(hop.client)
        if following is None:  # "unknown", "_hidden", or nothing that could be one
            break
        client = following
        if not is_trusted(client, trusted):
            break
    if not hops:
        seen = _described(found)
    prefix = _last(found.get("x-forwarded-prefix", ""))
    return Origin(
        client,
        seen.scheme if seen.scheme in ("http", "https") else "",
        seen.host if _HOST.fullmatch(seen.host) else "",
        prefix.rstrip("/") if prefix and _PREFIX.fullmatch(prefix) else None,
    )


def is_trusted(address: IpAddress, trusted: Collection[Network]) -> bool:
    """Whether one of the networks has it."""
    return any(address in network for network in trusted)


def parse_address(text: str) -> IpAddress | None:
    """The address of ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``.

    IPv4 as IPv6 (``::ffff:192.0.2.1``, of sockets for both) is IPv4.
    """
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _fields(headers: Headers) -> dict[str, str]:
    """Headers by name in lower case; several of one name are one list (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name == "forwarded" or name.startswith("x-forwarded-"):
            value = raw_value.decode("latin-1")
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _described(found: dict[str, str]) -> Hop:
    """Scheme and host of proxies that do not name their client."""
    scheme, host = (_last(found.get(f"x-forwarded-{name}", "")) for name in ("proto", "host"))
    return Hop("", scheme.lower(), host)


def _x_forwarded(found: dict[str, str]) -> list[Hop]:
    """One hop for each client; scheme and host belong to the last, or one to each where there are as many."""
    clients = [part.strip() for part in found["x-forwarded-for"].split(",")]
    schemes, hosts = (
        [part.strip() for part in found.get(f"x-forwarded-{name}", "").split(",")]
        for name in ("proto", "host")
    )
    count = len(clients)
    lined_up = [
        values if len(values) == count else [*[""] * (count - 1), values[-1]] for values in (schemes, hosts)
    ]
    return [
        Hop(client, scheme.lower(), host) for client, scheme, host in zip(clients, *lined_up, strict=True)
    ]


def _forwarded(found: dict[str, str]) -> list[Hop]:
    """The elements of ``Forwarded`` (RFC 7239, section 4); none when it is malformed anywhere."""
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    for name, value, end in _pairs(found.get("forwarded", "")):
        if not end:
            return []
        pairs.setdefault(name, value)
        if end != ";":
            hops.append(Hop(pairs.get("for", ""), pairs.get("proto", "").lower(), pairs.get("host", "")))
            pairs = {}
    return hops


def _pairs(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, value and what ends it (";", "," or "\\n" for the end); an empty end: not to be understood."""
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            yield "", "", ""
            return
        quoted = match["quoted"]
        value = match["token"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        yield match["name"].lower(), value, match["end"] or "\n"
        position = match.end()


def _last(text: str) -> str:
    return text.rpartition(",")[2].strip()
