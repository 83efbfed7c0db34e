"""What somebody shows to be let in, and the answer no. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wtgateway.access.permissions import Action

MAX_TOKEN_CHARACTERS = 4096
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750, section 2.1, b64token
NEEDS_TOKEN = "a token is needed here"  # noqa: S105 - words
NOT_ALLOWED = "this token is not for that"
ONLY_HERE = "without access control this is for the gateway's own machine alone"
SLOW_DOWN = "too many attempts; try again later"
NOT_NOW = "access cannot be checked at the moment; try again"
OTHER_ORIGIN = "pages of this origin may not connect"


_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class Refused(Exception):
    """No: an HTTP status (401, 403, 429; 503: nobody can tell now), and words, never why in detail."""

    def __init__(self, status: int, words: str, retry_after_s: float = 0.0) -> None:
        self.status, self.words, self.retry_after_s = status, words, retry_after_s
        super().__init__(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who asks for what. ``address`` is an IP; ``local``: this machine's own, through no stranger's proxy.

    ``user`` is that of HTTP Basic (the password is then in ``token``), else empty.
    """

    token: str = field(default="", repr=False)
    user: str = ""
    address: str = ""
    local: bool = False
    action: Action = Action.READ
    broadcast: str = ""
    origin: str = ""
    transport: str = "http"  # or "webtransport" or "websocket"

    def to_row(self) -> list[Any]:
        """As it travels between processes."""
        asked = (self.token, self.user, self.address, self.local, self.action.value, self.broadcast)
        return [*asked, self.origin, self.transport]

    @classmethod
    def from_row(cls, row: list[Any]) -> Credentials:
        """The same when it has arrived."""
        token, user, address, local, action, broadcast, origin, transport = row
        return cls(
            token=token, user=user, address=address, local=local, action=Action(action),
            broadcast=broadcast, origin=origin, transport=transport,
        )  # fmt: skip


def is_token(text: str) -> bool:
    """Whether it could be a token at all."""
    return 0 < len(text) <= MAX_TOKEN_CHARACTERS and _TOKEN.fullmatch(text) is not None


def parse_authorization(value: str) -> tuple[str, str]:
    """User and token of an Authorization header: Bearer (RFC 6750), or Basic (RFC 7617) with its password.

    ("", "") where there is none. A token that cannot be one is kept as "!": it is to be refused, not ignored.
    """
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return "", rest if is_token(rest) else "!"
    if scheme.lower() == "basic":
        return _basic(rest)
    return "", "!" if scheme else ""


def _basic(text: str) -> tuple[str, str]:
    if len(text) > MAX_TOKEN_CHARACTERS:
        return "", "!"
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", "!"
    if not user or not colon or not password or not user.isprintable():
        return "", "!"
    return user, password


def is_local(address: str, headers: Mapping[str, str], reached: str = "") -> bool:
    """Whether a request is this machine's own: nobody speaks for another one. Names in lower case.

    ``reached`` is the address at which it came: no other machine's packets have that one as their source,
    since kernels take none from outside that has an address of their own (RFC 1812, section 5.3.7).
    """
    own = is_loopback(address) or (bool(address) and address == reached)
    return own and not any(name in headers for name in _FORWARDING)


def is_loopback(address: str) -> bool:
    """Whether an IP is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
