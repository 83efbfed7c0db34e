"""The frames of a decrypted 1-RTT packet (RFC 9000 section 19, RFC 9221), as far as a receiver needs them.

Pure, and strict: whatever is no frame, or is cut short, raises FrameError.
"""

from __future__ import annotations

from typing import NamedTuple

_NOT_ELICITING = frozenset((0x00, 0x02, 0x03, 0x1C, 0x1D))  # PADDING, ACK, CONNECTION_CLOSE
# Frame types of nothing but so many variable-length integers.
_INTEGERS = {
    **dict.fromkeys((0x01, 0x1E, 0x1F), 0),
    **dict.fromkeys((0x10, 0x12, 0x13, 0x14, 0x16, 0x17, 0x19), 1),
    **dict.fromkeys((0x05, 0x11, 0x15), 2),
    **dict.fromkeys((0x04,), 3),
    **dict.fromkeys((0x24, 0xAF), 4),  # RESET_STREAM_AT, ACK_FREQUENCY
}
_PATH_DATA_BYTES = 8
_RESET_TOKEN_BYTES = 16


class FrameError(ValueError):
    """Bytes that are no QUIC frames."""


class StreamPart(NamedTuple):
    """A STREAM frame."""

    stream_id: int
    offset: int
    data: bytes
    fin: bool


class Packet:
    """What a packet held that matters here."""

    __slots__ = ("acknowledged", "challenges", "close", "datagrams", "eliciting", "streams")

    def __init__(self) -> None:
        self.streams: list[StreamPart] = []
        self.datagrams: list[bytes] = []
        self.acknowledged = -1  # the largest packet number that an ACK frame named
        self.challenges: list[bytes] = []
        self.close: tuple[int, str] | None = None  # error code and reason
        self.eliciting = False


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer (RFC 9000 section 16) and where it ends. Raises FrameError."""
    try:
        first = data[at]
    except IndexError:
        raise FrameError("cut short") from None
    size = 1 << (first >> 6)
    if size == 1:
        return first, at + 1
    end = at + size
    if end > len(data):
        raise FrameError("cut short")
    return int.from_bytes(data[at:end], "big") & ((1 << (8 * size - 2)) - 1), end


def encode_varint(value: int) -> bytes:
    """The shortest encoding. Raises OverflowError beyond 62 bits."""
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if value >> 62:
        raise OverflowError(f"{value} does not fit a variable-length integer")
    return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")


def parse(data: bytes) -> Packet:
    """All frames of a packet's plaintext. Raises FrameError."""
    packet = Packet()
    if not data:
        raise FrameError("a packet without frames")
    at, end = 0, len(data)
    while at < end:
        kind = data[at]
        if kind == 0:
            at += 1
            while at < end and data[at] == 0:
                at += 1
            continue
        kind, at = varint(data, at)
        if kind not in _NOT_ELICITING:
            packet.eliciting = True
        if 0x08 <= kind <= 0x0F:
            at = _stream(packet, kind, data, at)
        elif kind in (0x30, 0x31):
            at = _datagram(packet, kind, data, at)
        else:
            at = _other(packet, kind, data, at)
    return packet


def _bytes(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise FrameError("cut short")
    return data[at : at + size], at + size


def _stream(packet: Packet, kind: int, data: bytes, at: int) -> int:
    stream_id, at = varint(data, at)
    offset, at = varint(data, at) if kind & 0x04 else (0, at)
    size, at = varint(data, at) if kind & 0x02 else (len(data) - at, at)
    part, at = _bytes(data, at, size)
    packet.streams.append(StreamPart(stream_id, offset, part, bool(kind & 0x01)))
    return at


def _datagram(packet: Packet, kind: int, data: bytes, at: int) -> int:
    size, at = varint(data, at) if kind & 0x01 else (len(data) - at, at)
    part, at = _bytes(data, at, size)
    packet.datagrams.append(part)
    return at


def _other(packet: Packet, kind: int, data: bytes, at: int) -> int:
    if kind in _INTEGERS:
        for _ in range(_INTEGERS[kind]):
            _, at = varint(data, at)
        return at
    if kind in (0x02, 0x03):
        return _ack(packet, kind, data, at)
    if kind in (0x1C, 0x1D):
        return _close(packet, kind, data, at)
    if kind in (0x1A, 0x1B):
        challenge, at = _bytes(data, at, _PATH_DATA_BYTES)
        if kind == 0x1A:
            packet.challenges.append(challenge)
        return at
    if kind in (0x06, 0x07):  # CRYPTO, NEW_TOKEN
        if kind == 0x06:
            _, at = varint(data, at)
        size, at = varint(data, at)
        return _bytes(data, at, size)[1]
    if kind == 0x18:  # NEW_CONNECTION_ID
        for _ in range(2):
            _, at = varint(data, at)
        length, at = _bytes(data, at, 1)
        return _bytes(data, at, length[0] + _RESET_TOKEN_BYTES)[1]
    raise FrameError(f"a frame of unknown type {kind:#x}")


def _ack(packet: Packet, kind: int, data: bytes, at: int) -> int:
    largest, at = varint(data, at)
    _, at = varint(data, at)
    count, at = varint(data, at)
    if count > len(data):
        raise FrameError("more ACK ranges than bytes")
    for _ in range(1 + 2 * count + (3 if kind == 0x03 else 0)):
        _, at = varint(data, at)
    packet.acknowledged = max(packet.acknowledged, largest)
    return at


def _close(packet: Packet, kind: int, data: bytes, at: int) -> int:
    code, at = varint(data, at)
    if kind == 0x1C:
        _, at = varint(data, at)
    size, at = varint(data, at)
    reason, at = _bytes(data, at, size)
    packet.close = (code, reason.decode(errors="replace"))
    return at
