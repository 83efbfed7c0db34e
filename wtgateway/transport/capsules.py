"""Capsules of a WebTransport session (RFC 9297, section 3.2; draft-ietf-webtrans-http3-16).

Pure: bytes in, values out. A session's CONNECT stream carries them. A capsule of unknown type is
skipped without buffering; one of known type is never buffered beyond its greatest legal length.
Imports only the error tree and the protocol's codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport.drafts import MAX_STREAMS
from wtgateway.transport.varint import decode_varint, encode_varint

CLOSE_SESSION = 0x2843
DRAIN_SESSION = 0x78AE
MAX_DATA = 0x190B4D3D
MAX_STREAM_DATA = 0x190B4D3E  # of WebTransport over HTTP/2; not allowed here
MAX_STREAMS_BIDI = 0x190B4D3F
MAX_STREAMS_UNI = 0x190B4D40
DATA_BLOCKED = 0x190B4D41
STREAM_DATA_BLOCKED = 0x190B4D42  # of WebTransport over HTTP/2; not allowed here
STREAMS_BLOCKED_BIDI = 0x190B4D43
STREAMS_BLOCKED_UNI = 0x190B4D44

MAX_REASON_BYTES = 1024
MAX_IDLE = 256  # capsules of a session that change nothing: unknown ones, and words of being blocked
_VARINT_BYTES = 8
_SESSION = {CLOSE_SESSION: 4 + MAX_REASON_BYTES, DRAIN_SESSION: 4 + MAX_REASON_BYTES}
_FORBIDDEN = (MAX_STREAM_DATA, STREAM_DATA_BLOCKED)
_FLOW_CONTROL = dict.fromkeys(
    (MAX_DATA, MAX_STREAMS_BIDI, MAX_STREAMS_UNI, DATA_BLOCKED, STREAMS_BLOCKED_BIDI, STREAMS_BLOCKED_UNI),
    _VARINT_BYTES,
)


class FlowControlError(ProtocolError):
    """The peer broke the session's flow control: WT_FLOW_CONTROL_ERROR."""

    def __init__(self, message: str) -> None:
        super().__init__(CloseCode.MALFORMED, message)


@dataclass(frozen=True, slots=True)
class CloseSession:
    """The peer ended the session: a 32-bit application code and words."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class DrainSession:
    """The peer would like the session to end soon."""


@dataclass(frozen=True, slots=True)
class MaxData:
    """So many bytes of stream bodies may be sent in the session, from its beginning."""

    maximum: int


@dataclass(frozen=True, slots=True)
class MaxStreams:
    """So many streams of a kind may be opened in the session, from its beginning."""

    maximum: int
    unidirectional: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """The peer would send more, or open more streams, than the limit ``type`` of a capsule allows."""

    type: int
    maximum: int


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A capsule of a type that means nothing to us."""


Capsule = CloseSession | DrainSession | MaxData | MaxStreams | Blocked


def encode_close(code: int, reason: str) -> bytes:
    """A WT_CLOSE_SESSION capsule; a reason over 1024 bytes is cut at a character's border."""
    words = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    payload = (code & 0xFFFFFFFF).to_bytes(4, "big") + words
    return encode_varint(CLOSE_SESSION) + encode_varint(len(payload)) + payload


def encode_drain() -> bytes:
    """A WT_DRAIN_SESSION capsule."""
    return encode_varint(DRAIN_SESSION) + b"\x00"


def encode_limit(kind: int, maximum: int) -> bytes:
    """A flow control capsule of the type ``kind``; all of them hold one number."""
    payload = encode_varint(maximum)
    return encode_varint(kind) + encode_varint(len(payload)) + payload


class CapsuleParser:
    """Capsules out of a byte stream that arrives in pieces of any size.

    Without ``flow_control`` the flow control capsules mean nothing and are skipped like unknown ones.
    """

    def __init__(self, *, flow_control: bool = False) -> None:
        self._known = _SESSION | _FLOW_CONTROL if flow_control else _SESSION
        self._forbidden = _FORBIDDEN if flow_control else ()
        self._buffer = bytearray()
        self._skip = 0
        self._closed = False
        self._idle = 0

    def feed(self, data: bytes) -> list[Capsule]:
        """The capsules that ``data`` completes.

        Raises ProtocolError (MALFORMED, TOO_LARGE) for what no peer may send, FlowControlError for a
        limit that cannot be; the parser is of no use after that.
        """
        capsules: list[Capsule] = []
        self._buffer += data
        while self._skip_unknown() and self._buffer:
            if self._closed:
                raise ProtocolError(CloseCode.MALFORMED, "bytes after WT_CLOSE_SESSION")
            found = self._next()
            if found is None:
                break
            if not isinstance(found, _Unknown):
                capsules.append(found)
            if isinstance(found, _Unknown | DrainSession | Blocked):
                self._idle += 1
                if self._idle > MAX_IDLE:
                    raise ProtocolError(CloseCode.FLOOD, "too many capsules that say nothing")
        return capsules

    @property
    def in_capsule(self) -> bool:
        """Whether a capsule has begun and not ended: then the stream must not end."""
        return bool(self._buffer) or self._skip > 0

    def _skip_unknown(self) -> bool:
        drop = min(self._skip, len(self._buffer))
        del self._buffer[:drop]
        self._skip -= drop
        return self._skip == 0

    def _next(self) -> Capsule | _Unknown | None:
        """The next capsule, its bytes consumed; None when it is not all there."""
        kind = decode_varint(self._buffer, 0)
        length = decode_varint(self._buffer, kind[1]) if kind is not None else None
        if kind is None or length is None:
            return None
        size, start = length
        if kind[0] in self._forbidden:
            raise FlowControlError("a capsule of WebTransport over HTTP/2")
        limit = self._known.get(kind[0])
        if limit is None:
            del self._buffer[:start]
            self._skip = size
            return _Unknown()
        if size > limit:
            raise ProtocolError(CloseCode.TOO_LARGE, f"a capsule of {size} bytes is over its limit")
        if len(self._buffer) < start + size:
            return None
        payload = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return self._parse(kind[0], payload)

    def _parse(self, kind: int, payload: bytes) -> Capsule:
        if kind == DRAIN_SESSION:
            return DrainSession()
        if kind == CLOSE_SESSION:
            self._closed = True
            return _parse_close(payload)
        return _parse_limit(kind, payload)


def _parse_close(payload: bytes) -> CloseSession:
    if len(payload) < 4:
        raise ProtocolError(CloseCode.MALFORMED, "a close capsule without its code")
    try:
        reason = payload[4:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(CloseCode.MALFORMED, "a close reason that is not UTF-8") from None
    return CloseSession(int.from_bytes(payload[:4], "big"), reason)


def _parse_limit(kind: int, payload: bytes) -> Capsule:
    found = decode_varint(payload, 0)
    if found is None or found[1] != len(payload):
        raise ProtocolError(CloseCode.MALFORMED, "a flow control capsule is not one number")
    maximum = found[0]
    if kind not in (MAX_DATA, DATA_BLOCKED) and maximum > MAX_STREAMS:
        raise FlowControlError("a limit on streams is over 2^60")
    if kind == MAX_DATA:
        return MaxData(maximum)
    if kind in (MAX_STREAMS_UNI, MAX_STREAMS_BIDI):
        return MaxStreams(maximum, kind == MAX_STREAMS_UNI)
    return Blocked(kind, maximum)
