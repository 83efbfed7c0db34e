"""Which sources the API may add: rules, and the check of an address against them.

A source makes the gateway open connections and files of its own machine and network, so whoever may name one
may reach what the gateway reaches (server-side request forgery). What the configuration names is its owner's
choice; what comes over the API has to be allowed by a rule:

    rtsp://*.cams.example       a host, with * for any characters; public addresses only
    rtsp://192.168.1.0/24       addresses, written as such or what a name leads to; private ones if named so
    http://media.example:8080   one port only
    file:/srv/media/*           what is in that folder and below, symbolic links followed first
    test:                       the test picture

Commands and devices (lavfi, x11, v4l2, alsa) cannot be allowed at all: a filter graph reads any file.

FFmpeg and this module must never read an address differently, so only one narrow form of it is taken. Pure
but for ``resolve`` and ``real``, which look up a name and follow links; both may block: call it in a thread.
Imports errors and this room.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from wtgateway.errors import ConfigError

NETWORK: Final = ("http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt")
_EXPECTED = (
    "rules such as rtsp://*.cams.example, rtsp://192.168.1.0/24, file:/srv/media/* or test: "
    f"(schemes: {', '.join(NETWORK)}, file, test)"
)
_RULE = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._*-]+)(?P<rest>/\d{1,3}|:\d{1,5})?"
)
# One user, one host, one port, visible ASCII: nothing that two parsers could cut at different places.
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z]+)://(?:[^\x00-\x20\x7f-\uffff/?#@\\]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>\d{1,5}))?(?P<path>[/?][!-~]*)?"
)
_TEST = re.compile(r"test:(?:\?size=(?P<width>\d{1,4})x(?P<height>\d{1,4})(?:&fps=\d{1,3})?)?")
_MOST_PIXELS = 3840 * 2160
_FORBIDDEN_IN_PATH = re.compile(r"[\\#]")
# What an API may set of FFmpeg's options: none that names a protocol, a file or a header.
_OPTIONS = frozenset(
    {"analyzeduration", "buffer_size", "fflags", "max_delay", "probesize", "reorder_queue_size"}
    | {"rtsp_transport", "user_agent"}
)

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """One rule. ``host``: a pattern; ``network``: addresses; ``path``: of files, below it if ``below``."""

    scheme: str
    host: str = ""
    port: int = 0  # 0: any
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    path: str = ""
    below: bool = False


SourceRules = tuple[SourceRule, ...]


def parse_rules(text: str) -> SourceRules:
    """Rules with commas between them. Raises :exc:`ConfigError`."""
    return tuple(_rule(part.strip()) for part in text.split(",") if part.strip())


def _rule(text: str) -> SourceRule:
    if text == "test:":
        return SourceRule(scheme="test")
    if text.startswith("file:"):
        return _file_rule(text)
    match = _RULE.fullmatch(text.lower())
    if match is None or match["scheme"] not in NETWORK:
        raise ConfigError("api", "allowed_sources", text, _EXPECTED)
    host, rest = match["host"].strip("[]"), match["rest"] or ""
    try:
        network = ipaddress.ip_network(host + (rest if rest.startswith("/") else ""))
    except ValueError:
        network = None
    if network is None and (rest.startswith("/") or ":" in host):
        raise ConfigError("api", "allowed_sources", text, "a network such as 192.168.1.0/24 behind the //")
    port = int(rest[1:]) if rest.startswith(":") else 0
    if port > 65535:
        raise ConfigError("api", "allowed_sources", text, "a port up to 65535")
    return SourceRule(scheme=match["scheme"], host="" if network else host, port=port, network=network)


def _file_rule(text: str) -> SourceRule:
    path = text.removeprefix("file:").removeprefix("//")
    below = path.endswith("/*")
    path = path.removesuffix("/*") or "/"
    if not path.startswith("/") or "*" in path or "\0" in path or path == "/":
        raise ConfigError("api", "allowed_sources", text, "file:/folder/* or file:/folder/name, absolute")
    return SourceRule(scheme="file", path=path, below=below)


def check_source(
    uri: str,
    rules: SourceRules,
    *,
    options: Mapping[str, str] | None = None,
    resolve: Resolve | None = None,
    real: Callable[[str], str] = os.path.realpath,
) -> tuple[str, dict[str, str]]:
    """The source and options to open where ``rules`` allow it; else raises :exc:`ConfigError`.

    What comes back is what was checked: a path without links, and options that keep FFmpeg from going on to
    another host. The words of a refusal never tell what a name leads to, or whether a file is there.
    """
    allowed = dict(options or {})
    for name, value in allowed.items():
        if name not in _OPTIONS or not value.isascii() or not value.isprintable():
            raise ConfigError("api", "options", name, f"options among {', '.join(sorted(_OPTIONS))}")
    if uri.startswith("test:") and any(rule.scheme == "test" for rule in rules) and _is_modest(uri):
        return uri, allowed
    if uri.startswith("file:") or uri.startswith("/"):
        return _check_file(uri, rules, real), allowed
    match = _ADDRESS.fullmatch(uri)
    if match is None or match["scheme"] not in NETWORK or _FORBIDDEN_IN_PATH.search(match["path"] or ""):
        raise _refusal(uri)
    port = int(match["port"] or 0)
    host = match["host"].strip("[]").lower().rstrip(".")
    mine = [rule for rule in rules if rule.scheme == match["scheme"] and rule.port in (0, port)]
    if port > 65535 or not mine or not _host_allowed(host, mine, resolve or _look_up):
        raise _refusal(uri)
    if match["scheme"] == "srt" and "mode=listener" in unquote(match["path"] or "").lower():
        raise _refusal(uri)
    if match["scheme"] in ("http", "https"):
        allowed["max_redirects"] = "0"  # wherever they led, nobody has checked it
    return uri, allowed


def _is_modest(uri: str) -> bool:
    """Whether a test picture is one that a gateway can make: its size is the memory that it takes."""
    match = _TEST.fullmatch(uri)
    return match is not None and int(match["width"] or 0) * int(match["height"] or 0) <= _MOST_PIXELS


def _refusal(uri: str) -> ConfigError:
    scheme = uri.split(":", 1)[0][:16] if ":" in uri else "file"
    shown = f"{scheme}:..." if scheme.isalnum() else "..."
    return ConfigError("api", "source", shown, "a source that api.allowed_sources allows")


def _check_file(uri: str, rules: SourceRules, real: Callable[[str], str]) -> str:
    path = uri
    if uri.startswith("file:"):
        path = unquote(re.sub(r"^//(localhost)?(?=/)", "", uri.removeprefix("file:")))
    if not path.startswith("/") or any(ord(sign) < 32 for sign in path):
        raise _refusal(uri)
    found = Path(real(path))
    for rule in rules:
        if rule.scheme != "file":
            continue
        top = Path(real(rule.path))
        if found == top if not rule.below else top in found.parents:
            return "file:" + str(found).replace("%", "%25")
    raise _refusal(uri)


def _host_allowed(host: str, rules: Sequence[SourceRule], resolve: Resolve) -> bool:
    """Whether each address of the host may be reached: public ones of an allowed name, or allowed ones."""
    literal = _literal(host)
    named = literal is None and any(rule.host and _matches(host, rule.host) for rule in rules)
    anything = any(rule.host == "*" for rule in rules)
    if literal is not None:
        return _address_allowed(literal, rules, public=anything)
    try:
        addresses = [ipaddress.ip_address(found.split("%")[0]) for found in resolve(host)]
    except (OSError, ValueError, UnicodeError):
        return False
    return bool(addresses) and all(_address_allowed(a, rules, public=named) for a in addresses)


def _literal(host: str) -> Ip | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _matches(host: str, pattern: str) -> bool:
    """``*`` stands for any characters; the rest is as it is written."""
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, host) is not None


def _address_allowed(address: Ip, rules: Sequence[SourceRule], *, public: bool) -> bool:
    inner = _embedded(address)
    if any(rule.network is not None and inner in rule.network for rule in rules):
        return True
    return public and inner.is_global and not inner.is_multicast and not inner.is_reserved


def _embedded(address: Ip) -> Ip:
    """The IPv4 address that an IPv6 address leads to: mapped, 6to4, Teredo, or by NAT64 (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in ipaddress.ip_network("64:ff9b::/96") or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if int(address) > 1 else address
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def _look_up(host: str) -> list[str]:
    """All addresses of a name, as FFmpeg's own look-up gives them. Blocks."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]
