"""Where a viewer connects to: a page's address is resolved to the QUIC address and its hashes.

Blocking; call it in a thread. Imports errors only.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from wtgateway.errors import ConfigError, SessionRefused, TransportError
from wtgateway.viewer.token import headers_of

API_PATH = "/api/v1/transport"
MAX_ANSWER_BYTES = 64 * 1024
PATIENCE_S = 5.0
MAX_PREFIX_SEGMENTS = 4  # of the path under which a proxy may show the pages


class NoGatewayError(TransportError):
    """Something answers there, but no gateway."""


@dataclass(frozen=True, slots=True)
class Address:
    """A QUIC address ``https://host:port``, and the hashes of the certificates it may show.

    ``websockets`` is where they are; empty: there are none, or that is not known.
    """

    base: str
    broadcast: str
    hashes: tuple[bytes, ...] | None  # None: verify by the system's CAs
    insecure: bool = False
    websockets: str = ""

    def url(
        self,
        kinds: tuple[str, ...],
        version: int,
        *,
        websocket: bool = False,
        delivery: str = "stream",
        deadline_ms: int = 0,
        resume: str = "",
        after: Sequence[tuple[int, int, int, int]] = (),
    ) -> str:
        """The CONNECT address of docs/protocol.md; ``deadline_ms`` 0: the gateway's default.

        ``resume`` is the token of the session whose place is taken, ``after`` the newest frame of each track.
        """
        words: dict[str, str | int] = {"v": version, "subscribe": ",".join(kinds), "codecs": "all"}
        if delivery != "stream":
            words["delivery"] = delivery
        if deadline_ms:
            words["deadline"] = deadline_ms
        if resume:
            words["resume"] = resume
            words["after"] = ",".join(".".join(map(str, position)) for position in after)
        query = urlencode(words, safe=",")
        base = self.websockets.rstrip("/") if websocket else self.base
        return f"{base}/{quote(self.broadcast, safe='/~')}?{query}"


def resolve(url: str, *, hashes: tuple[bytes, ...] = (), insecure: bool = False, token: str = "") -> Address:
    """Find out where to connect for ``url``.

    ``http://`` is a page; ``https://`` with hashes the QUIC address itself; ``https://`` without is
    asked for the API like a page, and taken for the QUIC address if nothing answers there. A proxy may show
    the pages under a path of its own, so each beginning of the path is asked in turn. ``token`` is shown to
    them. Raises ConfigError for an address that cannot be, SessionRefused where the token is lacking or no
    good, TransportError if the page does not answer.
    """
    parts = urlsplit(url)
    name = parts.path.strip("/")
    if parts.scheme not in ("http", "https") or not parts.hostname or not name:
        raise ConfigError("command line", "URL", url, "http(s)://host:port/name or https://host:4433/name")
    base = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme == "https" and hashes:
        return Address(base, name, hashes)
    try:
        target, offered, websockets, name = _find(base, name, insecure, token)
        return Address(target, name, hashes or offered or None, insecure, websockets)
    except SessionRefused:
        raise
    except TransportError:
        if parts.scheme == "http":
            raise
        return Address(base, name, None, insecure)


def _find(base: str, path: str, insecure: bool, token: str) -> tuple[str, tuple[bytes, ...], str, str]:
    """What the gateway says that is under the shortest beginning of ``path``, and the rest: its broadcast."""
    segments = path.split("/")
    problems: list[NoGatewayError] = []
    for length in range(min(len(segments), MAX_PREFIX_SEGMENTS + 1)):
        prefix = "".join(f"/{quote(segment, safe='%~')}" for segment in segments[:length])
        try:
            return (*_ask(base + prefix, insecure, token), "/".join(segments[length:]))
        except NoGatewayError as error:
            problems.append(error)
    raise problems[0]


def _raise_refusal(error: urllib.error.HTTPError) -> None:
    """Raise SessionRefused where a gateway has said no, and in its words; others say no in other words."""
    if error.code not in (401, 403, 429):
        return
    try:
        body = json.loads(error.read(MAX_ANSWER_BYTES))
        words = str(body["error"]) if body["status"] == error.code else None
    except (OSError, KeyError, TypeError, ValueError):
        return
    if words is not None:
        error.close()
        raise SessionRefused(error.code, words) from None


def _ask(base: str, insecure: bool, token: str) -> tuple[str, tuple[bytes, ...], str]:
    """What GET /api/v1/transport says."""
    context = None
    if base.startswith("https:"):
        context = ssl.create_default_context()
        if insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        request = urllib.request.Request(base + API_PATH, headers=headers_of(token))  # noqa: S310 - the scheme was checked
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as answer:  # noqa: S310
            body = json.loads(answer.read(MAX_ANSWER_BYTES))
        url, websockets = body["url"], body.get("webSocketUrl", "")
        hashes = tuple(base64.b64decode(entry["value"], validate=True) for entry in body["certificateHashes"])
    except urllib.error.HTTPError as error:
        _raise_refusal(error)
        error.close()
        raise NoGatewayError(f"{base}{API_PATH} answers {error.code}: is this a wtgateway?") from error
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise TransportError(f"{base} does not answer: {reason}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise NoGatewayError(f"{base}{API_PATH} says something else than a wtgateway would") from error
    if not isinstance(url, str) or urlsplit(url).scheme != "https":
        raise TransportError(f"{base}{API_PATH} names no QUIC address")
    if not isinstance(websockets, str) or urlsplit(websockets).scheme not in ("ws", "wss"):
        websockets = ""
    return url.rstrip("/"), hashes, websockets
