"""Capsules of a WebTransport session (RFC 9297 section 3.2; draft-ietf-webtrans-http3 section 6).

Pure: bytes in, values out. A session's CONNECT stream carries them. A capsule of unknown type is
skipped without buffering; one of known type is never buffered beyond its greatest legal length.
Imports only the error tree and the protocol's codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode

CLOSE_SESSION = 0x2843
DRAIN_SESSION = 0x78AE
MAX_REASON_BYTES = 1024
_MAX_KNOWN_BYTES = 4 + MAX_REASON_BYTES


@dataclass(frozen=True, slots=True)
class CloseSession:
    """The peer ended the session: a 32-bit application code and words."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class DrainSession:
    """The peer would like the session to end soon."""


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A capsule of a type that means nothing to us."""


Capsule = CloseSession | DrainSession


def encode_varint(value: int) -> bytes:
    """RFC 9000 section 16; raises ValueError beyond 62 bits."""
    for length, prefix in ((1, 0x00), (2, 0x40), (4, 0x80), (8, 0xC0)):
        if 0 <= value < 1 << (8 * length - 2):
            encoded = value.to_bytes(length, "big")
            return bytes((encoded[0] | prefix,)) + encoded[1:]
    raise ValueError(f"{value} does not fit a variable-length integer")


def decode_varint(data: bytes | bytearray, offset: int) -> tuple[int, int] | None:
    """Value and the offset behind it, or None when ``data`` ends before it does."""
    if offset >= len(data):
        return None
    length = 1 << (data[offset] >> 6)
    end = offset + length
    if end > len(data):
        return None
    value = int.from_bytes(data[offset:end], "big") & ((1 << (8 * length - 2)) - 1)
    return value, end


def encode_close(code: int, reason: str) -> bytes:
    """A CLOSE_WEBTRANSPORT_SESSION capsule; a reason over 1024 bytes is cut at a character's border."""
    words = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    payload = (code & 0xFFFFFFFF).to_bytes(4, "big") + words
    return encode_varint(CLOSE_SESSION) + encode_varint(len(payload)) + payload


def encode_drain() -> bytes:
    """A DRAIN_WEBTRANSPORT_SESSION capsule."""
    return encode_varint(DRAIN_SESSION) + b"\x00"


class CapsuleParser:
    """Capsules out of a byte stream that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0
        self._closed = False

    def feed(self, data: bytes) -> list[Capsule]:
        """The capsules that ``data`` completes.

        Raises ProtocolError (MALFORMED, TOO_LARGE) for what no peer may send; the parser is of no
        use after that.
        """
        capsules: list[Capsule] = []
        self._buffer += data
        while self._skip_unknown() and self._buffer:
            if self._closed:
                raise ProtocolError(CloseCode.MALFORMED, "bytes after CLOSE_WEBTRANSPORT_SESSION")
            found = self._next()
            if found is None:
                break
            if not isinstance(found, _Unknown):
                capsules.append(found)
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
        if kind[0] not in (CLOSE_SESSION, DRAIN_SESSION):
            del self._buffer[:start]
            self._skip = size
            return _Unknown()
        if size > _MAX_KNOWN_BYTES:
            raise ProtocolError(CloseCode.TOO_LARGE, f"a capsule of {size} bytes is over its limit")
        if len(self._buffer) < start + size:
            return None
        payload = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return self._parse(kind[0], payload)

    def _parse(self, kind: int, payload: bytes) -> Capsule:
        if kind == DRAIN_SESSION:
            return DrainSession()
        if len(payload) < 4:
            raise ProtocolError(CloseCode.MALFORMED, "a close capsule without its code")
        try:
            reason = payload[4:].decode()
        except UnicodeDecodeError:
            raise ProtocolError(CloseCode.MALFORMED, "a close reason that is not UTF-8") from None
        self._closed = True
        return CloseSession(int.from_bytes(payload[:4], "big"), reason)
