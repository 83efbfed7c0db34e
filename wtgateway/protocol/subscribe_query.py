"""What a viewer says in the path of its CONNECT (docs/protocol.md, "Opening").

Imports media and errors only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from wtgateway.errors import ProtocolError
from wtgateway.media import Kind
from wtgateway.protocol.abilities import ASSUMED, Abilities, parse_abilities
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.wire import PROTOCOL_VERSION

DELIVERY_MODES = ("stream", "datagram", "auto")
MAX_PATH_CHARACTERS = 8192  # with an access token of 4096
MAX_DEADLINE_MS = 60_000
MAX_POSITIONS = 8
_LARGEST = (255, 255, (1 << 32) - 1, (1 << 32) - 1)  # of a position's numbers
_NAME = re.compile(r"[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True)
class Position:
    """The newest frame of a track that a viewer has."""

    track: int
    rendition: int
    group: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeQuery:
    """The first wishes of a viewer. ``deadline_ms`` 0: the gateway's default.

    ``resume`` is the token of a session whose place this one takes, as it came; ``after`` where it goes on.
    ``said`` has the names of the parameters that were given.
    """

    broadcast: str
    version: int = PROTOCOL_VERSION
    kinds: tuple[Kind, ...] = ()
    delivery: str = "stream"
    deadline_ms: int = 0
    abilities: Abilities = ASSUMED
    resume: str = ""
    after: tuple[Position, ...] = ()
    token: str = field(default="", repr=False)  # for access
    later: bool = False  # that one comes in the first message
    said: frozenset[str] = field(default=frozenset(), compare=False)


def version_words(version: int) -> str:
    """What a viewer that speaks another version is told."""
    return (
        f"this gateway speaks version {PROTOCOL_VERSION} of the protocol, the viewer version {version}; "
        + ("reload the page" if version < PROTOCOL_VERSION else "update the gateway")
    )


def parse_connect_path(path: str) -> SubscribeQuery:
    """Parse ``/name?v=1&subscribe=video,audio&delivery=stream&deadline=500&codecs=avc1,vp09``.

    With ``resume=<token>&after=0.0.17.203,1.0.40.12`` it takes another session's place. Unknown parameters
    are ignored. Raises ProtocolError: VERSION for a version that the gateway does not speak, NOT_FOUND for a
    path that cannot name a broadcast, MALFORMED for anything else.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        raise _malformed(f"a path of {len(path)} characters is over {MAX_PATH_CHARACTERS}")
    place, _, query = path.partition("?")
    name = unquote(place.removeprefix("/"))
    if not place.startswith("/") or not _NAME.fullmatch(name) or _climbs(name):
        raise ProtocolError(CloseCode.NOT_FOUND, f"{place[:80]!r} does not name a broadcast")
    values = _parameters(query)
    version = _number("v", values.get("v", str(PROTOCOL_VERSION)), 1 << 31)
    if version != PROTOCOL_VERSION:
        raise ProtocolError(CloseCode.VERSION, version_words(version))
    delivery = values.get("delivery", "stream")
    if delivery not in DELIVERY_MODES:
        raise _malformed(f"delivery {delivery[:40]!r} is none of {', '.join(DELIVERY_MODES)}")
    if values.get("auth", "later") != "later":
        raise _malformed("auth= is later, or it is not there")
    codecs = values.get("codecs")
    return SubscribeQuery(
        broadcast=name,
        version=version,
        kinds=_kinds(values.get("subscribe", "")),
        delivery=delivery,
        deadline_ms=_number("deadline", values.get("deadline", "0"), MAX_DEADLINE_MS),
        abilities=ASSUMED if codecs is None else parse_abilities(codecs),
        resume=values.get("resume", ""),
        after=_positions(values.get("after", "")),
        token=values.get("token", ""),
        later="auth" in values,
        said=frozenset(values),
    )


def _climbs(name: str) -> bool:
    return any(part in (".", "..") for part in name.split("/"))


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=16, errors="strict")
    except ValueError as error:
        raise _malformed("the query cannot be parsed") from error
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _malformed("a parameter is given twice")
    return values


def _number(name: str, text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= limit):
        raise _malformed(f"{name}={text[:40]!r} is not a whole number from 0 to {limit}")
    return int(text)


def _kinds(text: str) -> tuple[Kind, ...]:
    kinds: list[Kind] = []
    for word in filter(None, text.split(",")):
        try:
            kind = Kind(word)
        except ValueError:
            raise _malformed(f"subscribe={word[:40]!r} is none of {', '.join(Kind)}") from None
        if kind not in kinds:
            kinds.append(kind)
    return tuple(kinds)


def _positions(text: str) -> tuple[Position, ...]:
    words = text.split(",") if text else []
    if len(words) > MAX_POSITIONS:
        raise _malformed(f"after= has {len(words)} positions, {MAX_POSITIONS} are possible")
    positions = tuple(_position(word) for word in words)
    if len({position.track for position in positions}) != len(positions):
        raise _malformed("after= has two positions of one track")
    return positions


def _position(word: str) -> Position:
    numbers = word.split(".")
    if len(numbers) != len(_LARGEST):
        raise _malformed(f"after={word[:60]!r} is not track.rendition.group.index")
    track, rendition, group, index = map(_number, ("after",) * 4, numbers, _LARGEST)
    return Position(track, rendition, group, index)


def _malformed(message: str) -> ProtocolError:
    return ProtocolError(CloseCode.MALFORMED, message)
