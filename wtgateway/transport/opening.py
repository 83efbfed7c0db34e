"""The short path for what viewers mostly send: 1-RTT packets of acknowledgements and datagrams.

Such a packet is unprotected, read and applied without aioquic building anything for it. Frames taken
are ACK, PADDING, PING, MAX_DATA, MAX_STREAM_DATA and MAX_STREAMS (RFC 9000, section 19) and DATAGRAM
(RFC 9221); at the first other one, at anything malformed and at anything that would change path, keys
or connection ID the packet is left to aioquic, untouched. :func:`read_frames` is pure. Imports aioquic's
types only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aioquic.quic.crypto import CryptoContext
from cryptography.exceptions import InvalidTag

from wtgateway.transport.sealing import TAG_BYTES, masks

MAX_RANGES = 256  # of an ACK frame on the short path
_PADDING, _PING, _ACK, _MAX_DATA, _MAX_STREAM_DATA = 0x00, 0x01, 0x02, 0x10, 0x11
_MAX_STREAMS_BIDI, _MAX_STREAMS_UNI = 0x12, 0x13
_DATAGRAM, _DATAGRAM_WITH_LENGTH = 0x30, 0x31
_LIMITS = (_MAX_DATA, _MAX_STREAMS_BIDI, _MAX_STREAMS_UNI)
_MAX_STREAMS = 1 << 60
_RESERVED_BITS, _KEY_PHASE_BIT, _SPIN_BIT = 0x18, 0x04, 0x20


Opened = tuple[int, bool, bytes]  # packet number, spin bit, payload
Range = tuple[int, int]  # of packet numbers: first and last
Limit = tuple[int, int, int]  # frame type, stream id (or 0), value
Frames = tuple[list[Range], int, list[Limit], list[bytes], bool]
"""What a packet says: ranges acknowledged, from the highest down (none without ACK), the delay as
encoded, limits raised, datagrams, and whether it wants to be acknowledged itself."""


class Unreadable(Exception):
    """The packet does not open with these keys, whoever sent it."""


class Opener:
    """Unprotects short-header packets with the keys as they are now; to be made anew when they change."""

    __slots__ = ("_decrypt", "_iv", "_phase", "_protection")

    def __init__(self, keys: CryptoContext) -> None:
        aead: Any = keys.aead
        self._decrypt: Callable[[bytes, bytes, bytes], bytes] = aead._aead.decrypt
        self._iv: int = aead._iv
        self._phase = keys.key_phase << 2
        self._protection = keys.hp

    def open(self, data: bytes, cid_bytes: int, expected: int) -> Opened | None:
        """None: aioquic has to look (other key phase, reserved bits).

        ``expected`` is the next packet number (RFC 9000, appendix A.3). Raises Unreadable.
        """
        at = 1 + cid_bytes
        if len(data) < at + 4 + TAG_BYTES:
            return None
        mask = masks(self._protection, data[at + 4 : at + 20])
        first = data[0] ^ (mask[0] & 0x1F)
        if first & _RESERVED_BITS or first & _KEY_PHASE_BIT != self._phase:
            return None
        length = (first & 0x03) + 1
        end = at + length
        truncated = int.from_bytes(data[at:end], "big") ^ int.from_bytes(mask[1 : 1 + length], "big")
        header = b"%c%b%b" % (first, data[1:at], truncated.to_bytes(length, "big"))
        number = _whole_number(truncated, 8 * length, expected)
        try:
            payload = self._decrypt((self._iv ^ number).to_bytes(12, "big"), data[end:], header)
        except InvalidTag:
            raise Unreadable from None
        return number, bool(first & _SPIN_BIT), payload


def _whole_number(truncated: int, bits: int, expected: int) -> int:
    """RFC 9000, appendix A.3."""
    window = 1 << bits
    half = window >> 1
    candidate = (expected & -window) | truncated
    if candidate <= expected - half and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


def read_frames(payload: bytes) -> Frames | None:
    """The frames of a packet; None unless all are well-formed and of the kinds of the short path."""
    ranges: list[Range] = []
    limits: list[Limit] = []
    datagrams: list[bytes] = []
    delay = 0
    ack_eliciting = False
    at, end = 0, len(payload)
    if not end:
        return None
    try:
        while at < end:
            kind = payload[at]
            at += 1
            if kind == _ACK:
                if ranges:
                    return None
                at, delay = _read_ack(payload, at, ranges)
            elif kind == _PING:
                ack_eliciting = True
            elif kind in _LIMITS:
                value, at = _varint(payload, at)
                if kind != _MAX_DATA and value > _MAX_STREAMS:
                    return None
                limits.append((kind, 0, value))
                ack_eliciting = True
            elif kind == _MAX_STREAM_DATA:
                stream_id, at = _varint(payload, at)
                value, at = _varint(payload, at)
                limits.append((kind, stream_id, value))
                ack_eliciting = True
            elif kind in (_DATAGRAM, _DATAGRAM_WITH_LENGTH):
                size, at = _varint(payload, at) if kind == _DATAGRAM_WITH_LENGTH else (end - at, at)
                if size > end - at:
                    return None
                datagrams.append(payload[at : at + size])
                at += size
                ack_eliciting = True
            elif kind != _PADDING:
                return None
    except (IndexError, ValueError):
        return None
    return ranges, delay, limits, datagrams, ack_eliciting


def _read_ack(payload: bytes, at: int, ranges: list[Range]) -> tuple[int, int]:
    """RFC 9000, section 19.3; the offset behind it and the delay. Raises IndexError, ValueError."""
    fields: list[int] = []
    wanted = 4  # largest, delay, count, first range
    while len(fields) < wanted:
        first = payload[at]
        if first < 0x40:  # the common sizes here, without a call
            fields.append(first)
            at += 1
        elif first < 0x80:
            fields.append((first & 0x3F) << 8 | payload[at + 1])
            at += 2
        else:
            value, at = _varint(payload, at)
            fields.append(value)
        if len(fields) == 3:
            if fields[2] > MAX_RANGES:
                raise ValueError("too many ranges")
            wanted += 2 * fields[2]
    high = fields[0]
    low = high - fields[3]
    ranges.append((low, high))
    for index in range(4, wanted, 2):
        high = low - fields[index] - 2
        low = high - fields[index + 1]
        ranges.append((low, high))
    if low < 0:
        raise ValueError("a negative packet number")
    return at, fields[1]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """RFC 9000, section 16: the value and the offset behind it. Raises IndexError."""
    first = data[at]
    kind = first >> 6
    if kind == 0:
        return first, at + 1
    if kind == 1:
        return (first & 0x3F) << 8 | data[at + 1], at + 2
    end = at + (4 if kind == 2 else 8)
    if end > len(data):
        raise IndexError
    return int.from_bytes(data[at:end], "big") & ((1 << 8 * (end - at) - 2) - 1), end
