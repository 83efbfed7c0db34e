"""Control messages (docs/protocol.md, "Control messages"): msgpack maps, length-prefixed.

Each kind is a frozen dataclass; :func:`pack` gives the bytes with their 32-bit length before them,
:class:`MessageReader` takes a stream's bytes apart. Unknown fields are ignored, an unknown kind is
a ProtocolError (UNKNOWN_MESSAGE), a field of the wrong type a ProtocolError (MALFORMED).
"""

from __future__ import annotations

import dataclasses
import math
import struct
import types
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Union

import msgpack

from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Kind, Rendition, Track
from wtgateway.protocol.codes import CloseCode

MAX_MESSAGE_BYTES = 64 * 1024
MAX_ACCESS_TOKEN_CHARACTERS = 4096
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all control messages."""

    kind: ClassVar[str] = ""


# --- gateway to viewer ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(Message):
    """First message on the control stream.

    Sessions of one broadcast with the same ``instance`` count groups and frames alike and have the same
    gateway clock; it is made anew whenever a gateway starts. ``node`` is the gateway's name among others.
    """

    kind: ClassVar[str] = "welcome"
    version: int
    session: str
    broadcast: str
    server: str
    time_us: int
    instance: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogMessage(Message):
    """What the broadcast offers; sent at the start and whenever it changes."""

    kind: ClassVar[str] = "catalog"
    revision: int
    tracks: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class State(Message):
    """State of the broadcast (a BroadcastState value) in machine and human words."""

    kind: ClassVar[str] = "state"
    state: str
    reason: str = ""
    retry_in_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates(Message):
    """The hashes a page needs to reconnect, now and after the next rotation.

    Each is {"algorithm": "sha-256", "value": bytes(32), "notBefore": str, "notAfter": str}
    with RFC 3339 times.
    """

    kind: ClassVar[str] = "certificates"
    hashes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed(Message):
    """Which rendition the gateway sends for a track, and how; sent when its first frame follows.

    ``rendition`` -1: none for now, because the viewer has no use for any (see Viewport).
    """

    kind: ClassVar[str] = "subscribed"
    track: int
    rendition: int
    delivery: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Message):
    """Answer to Ping; times as in NTP."""

    kind: ClassVar[str] = "pong"
    id: int
    client_us: int
    received_us: int
    sent_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics(Message):
    """The gateway's side of the session, about once a second; all counts since its start."""

    kind: ClassVar[str] = "statistics"
    rtt_us: int = 0
    congestion_window_bytes: int = 0
    in_flight_bytes: int = 0
    queue_frames: int = 0
    queue_bytes: int = 0
    queue_us: int = 0  # time the last frame waited between hub and transport
    frames_sent: int = 0
    frames_dropped: int = 0
    streams_reset: int = 0
    lost_packets: int = 0
    delivery_reason: str = ""  # why the last picture travelled as it did, in words
    loss_ppm: int = 0  # of the packets of the last seconds
    estimate_bps: int = 0  # what the path is taken to carry
    fec_share_ppm: int = 0  # parity, of all pieces sent in datagrams
    fragments_sent: int = 0
    repeats_sent: int = 0  # frames of sound sent once more, against loss
    nacks_answered: int = 0  # fragments sent again
    frames_late: int = 0  # given up in the middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Message):
    """With ``token`` in its CONNECT another session takes this one's place; the last one told counts.

    Valid once, for ``valid_ms`` from now, at any node of the cluster (see resume.py).
    """

    kind: ClassVar[str] = "resume"
    token: str
    valid_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Message):
    """The gateway is about to go: open another session meanwhile, and close this one when that delivers.

    In ``within_ms`` it will be gone.
    """

    kind: ClassVar[str] = "drain"
    within_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Message):
    """What the viewer may do: after the opening, after each Authenticate, and some time before it is over.

    ``expires_in_ms`` 0: never. ``actions`` are names such as "read" and "control".
    """

    kind: ClassVar[str] = "access"
    granted: bool
    expires_in_ms: int = 0
    actions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Error(Message):
    """Something the viewer asked for cannot be had; the session goes on unless it is closed."""

    kind: ClassVar[str] = "error"
    code: int
    message: str


# --- both directions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye(Message):
    """The sender closes the session in order. ``retry_after_ms`` -1: do not come back."""

    kind: ClassVar[str] = "goodbye"
    code: int
    reason: str = ""
    retry_after_ms: int = 0


# --- viewer to gateway ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """First message of a viewer; optional when the CONNECT query already said it."""

    kind: ClassVar[str] = "hello"
    version: int
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticate(Message):
    """An access token of at most MAX_ACCESS_TOKEN_CHARACTERS: the first one, or one that follows the last."""

    kind: ClassVar[str] = "authenticate"
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Message):
    """Over a WebSocket: so many bytes of frame messages have come since the session began.

    The newest of them ``waited_us`` ago.
    """

    kind: ClassVar[str] = "progress"
    bytes: int
    waited_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe(Message):
    """Wish for a track; a second one for the same track replaces the first.

    ``rendition`` -1: the gateway chooses. ``deadline_ms`` 0: the gateway's default.
    """

    kind: ClassVar[str] = "subscribe"
    track: int
    rendition: int = -1
    delivery: str = "stream"
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities(Message):
    """What the viewer has proven to decode, in the form of abilities.py; replaces what it said before."""

    kind: ClassVar[str] = "abilities"
    codecs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe(Message):
    """No more of that track."""

    kind: ClassVar[str] = "unsubscribe"
    track: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport(Message):
    """What the viewer has use for: device pixels of the element with the picture (0 by 0: it does not know).

    ``visible`` 0: nobody sees it. ``bitrate_bps`` is the most that pictures may take, 0: any.
    """

    kind: ClassVar[str] = "viewport"
    width: int = 0
    height: int = 0
    visible: int = 1
    bitrate_bps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyframeRequest(Message):
    """A keyframe is needed: ``reason`` is "gap", "decoder" or "start"."""

    kind: ClassVar[str] = "keyframe"
    track: int
    reason: str = "gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """Clock probe; ``client_us`` comes back in Pong."""

    kind: ClassVar[str] = "ping"
    id: int
    client_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback(Message):
    """A viewer's report on one track, a few times a second; counts since the session's start."""

    kind: ClassVar[str] = "feedback"
    track: int
    group: int = 0  # newest frame received
    index: int = 0
    arrival_us: int = 0  # when, in gateway time as the viewer estimates it
    frames_received: int = 0
    frames_decoded: int = 0
    frames_dropped: int = 0
    frames_painted: int = 0
    decode_queue: int = 0
    latency_us: int = 0  # median of capture to paint since the last report; 0: unknown
    jitter_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace(Message):
    """Where the time of some frames went, once a second; each is a map of traces.TracedFrame's fields."""

    kind: ClassVar[str] = "trace"
    frames: list[dict[str, Any]]


_MESSAGES: dict[str, type[Message]] = {
    m.kind: m
    for m in (
        Welcome, CatalogMessage, State, Certificates, Subscribed, Pong, Statistics, Resume, Drain, Access,
        Error, Goodbye, Hello, Authenticate, Progress, Subscribe, Abilities, Unsubscribe, Viewport,
        KeyframeRequest, Ping, Feedback, Trace,
    )
}  # fmt: skip


def pack(message: Message) -> bytes:
    """The message's bytes: 32-bit big-endian length, then a msgpack map with "kind" first."""
    body = {"kind": message.kind} | {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    data: bytes = msgpack.packb(body)
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a {message.kind} message of {len(data)} bytes is over the limit")
    return _LENGTH.pack(len(data)) + data


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, h) for h in typing.get_args(hint))
    if origin is list:
        (item,) = typing.get_args(hint)
        return isinstance(value, list) and all(_fits(v, item) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(k, str) for k in value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint)


_HINTS: dict[str, dict[str, Any]] = {
    kind: {f.name: typing.get_type_hints(cls)[f.name] for f in dataclasses.fields(cls)}
    for kind, cls in _MESSAGES.items()
}


def unpack(data: bytes | bytearray | memoryview) -> Message:
    """One message from its msgpack bytes (without the length)."""
    try:
        body = msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=True)
    except Exception as error:  # msgpack raises a dozen unrelated types
        raise ProtocolError(CloseCode.MALFORMED, "a control message is not msgpack") from error
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        raise ProtocolError(CloseCode.MALFORMED, 'a control message is not a map with a "kind"')
    kind = body["kind"]
    cls = _MESSAGES.get(kind)
    if cls is None:
        raise ProtocolError(CloseCode.UNKNOWN_MESSAGE, f"unknown control message {kind[:40]!r}")
    known = {}
    for name, hint in _HINTS[kind].items():
        if name in body:
            if not _fits(body[name], hint):
                raise ProtocolError(CloseCode.MALFORMED, f"field {name!r} of {kind!r} has a wrong type")
            known[name] = body[name]
    try:
        return cls(**known)
    except TypeError as error:
        raise ProtocolError(CloseCode.MALFORMED, f"a {kind!r} message lacks a field") from error


@dataclass(slots=True)
class MessageReader:
    """Takes the bytes of a control stream apart; holds at most one unfinished message."""

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by ``data``; raises ProtocolError as :func:`unpack`."""
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if size > MAX_MESSAGE_BYTES:
                raise ProtocolError(
                    CloseCode.TOO_LARGE, f"a control message of {size} bytes is over the limit"
                )
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                break
            messages.append(unpack(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return messages


def catalog_message(catalog: Catalog) -> CatalogMessage:
    """The control message that describes a catalog."""
    return CatalogMessage(
        revision=catalog.revision,
        tracks=[
            {
                "id": track.id,
                "kind": str(track.kind),
                "renditions": [dataclasses.asdict(r) for r in track.renditions],
            }
            for track in catalog.tracks
        ],
    )


_RENDITION_HINTS = typing.get_type_hints(Rendition)


def _rendition(fields: dict[str, Any]) -> Rendition:
    known = {name: value for name, value in fields.items() if name in _RENDITION_HINTS}
    if not all(_fits(value, _RENDITION_HINTS[name]) for name, value in known.items()):
        raise TypeError("a rendition's field has a wrong type")
    return Rendition(**known)


def catalog_from_message(message: CatalogMessage) -> Catalog:
    """The catalog of a control message; raises ProtocolError (MALFORMED)."""
    try:
        return Catalog(
            revision=message.revision,
            tracks=tuple(
                Track(
                    id=track["id"],
                    kind=Kind(track["kind"]),
                    renditions=tuple(_rendition(r) for r in track["renditions"]),
                )
                for track in message.tracks
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(CloseCode.MALFORMED, "a catalog is not well formed") from error
