"""Where pages are told that QUIC is: what is advertised, else the page's own host with the bound port.

WebSockets are where the page is.

Pure. Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_EVERYWHERE = {"::", "0.0.0.0"}  # noqa: S104 - compared, not bound


class Named(Protocol):
    """A host, and a port or 0."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


def quic_url(
    page_host: str, bound: Sequence[tuple[str, int]], *, advertise: Named | None = None, public_host: str = ""
) -> str:
    """``https://host:port`` for a page that was reached under ``page_host`` (a Host header).

    ``bound``: the addresses that are listened on, at least one. ``advertise`` wins over ``public_host``, the
    host of the public URL, and that over the page's own.
    """
    address, port = bound[0]
    if advertise is not None:
        return f"https://{in_url(advertise.host)}:{advertise.port or port}"
    host = in_url(public_host) if public_host else host_of(page_host)
    if host == "localhost" and len(bound) == 1 and address not in _EVERYWHERE:
        # The page's "localhost" may be ::1 where only 127.0.0.1 listens, or the reverse.
        host = in_url(address)
    return f"https://{host}:{port}"


def websocket_url(scheme: str, host: str, prefix: str) -> str:
    """``ws(s)://host[:port]<prefix>/_ws/`` of a page that was reached so; ``prefix`` ends without a slash."""
    return f"{'wss' if scheme in ('https', 'wss') else 'ws'}://{host}{prefix}/_ws/"


def in_url(address: str) -> str:
    """An IPv6 address in brackets, anything else as it is."""
    return f"[{address}]" if ":" in address else address


def host_of(host_header: str) -> str:
    """The host of a Host header without its port; IPv6 addresses keep their brackets."""
    host = host_header.strip()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.rsplit(":", 1)[0] if ":" in host else host or "localhost"
