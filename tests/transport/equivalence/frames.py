"""QUIC frames as bytes: an own parser and writer after RFC 9000 section 19 and RFC 9221 section 4.

Shares nothing with aioquic or wtgateway, so that a mistake made in one is not made again in the other.
``parse`` is strict: what a receiver may refuse as malformed raises :class:`FrameError`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

VARINT_MAX = (1 << 62) - 1
MAX_STREAM_COUNT = 1 << 60


class FrameError(ValueError):
    """Bytes that are no frame, or a frame with an illegal field."""


@dataclass(frozen=True, slots=True)
class Padding:
    size: int


@dataclass(frozen=True, slots=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True)
class Ack:
    """``ranges``: (first, last) packet numbers, both included, greatest first; ``delay`` as encoded."""

    delay: int
    ranges: tuple[tuple[int, int], ...]
    ecn: tuple[int, int, int] | None = None

    @property
    def largest(self) -> int:
        return self.ranges[0][1]

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class ResetStream:
    stream_id: int
    error_code: int
    final_size: int


@dataclass(frozen=True, slots=True)
class StopSending:
    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True)
class Crypto:
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class NewToken:
    token: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    stream_id: int
    offset: int
    data: bytes
    fin: bool

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class MaxData:
    limit: int


@dataclass(frozen=True, slots=True)
class MaxStreamData:
    stream_id: int
    limit: int


@dataclass(frozen=True, slots=True)
class MaxStreams:
    limit: int
    unidirectional: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """DATA_BLOCKED, STREAM_DATA_BLOCKED and STREAMS_BLOCKED: ``stream_id`` where there is one."""

    kind: int
    limit: int
    stream_id: int | None = None


@dataclass(frozen=True, slots=True)
class NewConnectionId:
    sequence: int
    retire_prior_to: int
    cid: bytes
    reset_token: bytes


@dataclass(frozen=True, slots=True)
class RetireConnectionId:
    sequence: int


@dataclass(frozen=True, slots=True)
class PathChallenge:
    data: bytes


@dataclass(frozen=True, slots=True)
class PathResponse:
    data: bytes


@dataclass(frozen=True, slots=True)
class ConnectionClose:
    """``frame_type`` None: an application's close (0x1d)."""

    error_code: int
    frame_type: int | None
    reason: bytes


@dataclass(frozen=True, slots=True)
class HandshakeDone:
    pass


@dataclass(frozen=True, slots=True)
class Datagram:
    data: bytes


Frame = (
    Padding
    | Ping
    | Ack
    | ResetStream
    | StopSending
    | Crypto
    | NewToken
    | Stream
    | MaxData
    | MaxStreamData
    | MaxStreams
    | Blocked
    | NewConnectionId
    | RetireConnectionId
    | PathChallenge
    | PathResponse
    | ConnectionClose
    | HandshakeDone
    | Datagram
)
NOT_ELICITING = (Ack, Padding, ConnectionClose)  # RFC 9002 section 2
NOT_IN_FLIGHT = (Ack, ConnectionClose)


class Reader:
    """Bytes, read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """So many bytes, or a FrameError."""
        if size > self.left:
            raise FrameError(f"{size} bytes wanted at {self.at}, {self.left} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        """An integer of so many bytes, in network order."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """A variable-length integer (RFC 9000 section 16)."""
        first = self.number(1)
        value = first & 0x3F
        for byte in self.take((1 << (first >> 6)) - 1):
            value = value << 8 | byte
        return value


def varint(value: int, size: int = 0) -> bytes:
    """A variable-length integer, in ``size`` bytes or as few as it takes."""
    if not 0 <= value <= VARINT_MAX:
        raise FrameError(f"{value} is no variable-length integer")
    size = size or next(n for n in (1, 2, 4, 8) if value < 1 << (8 * n - 2))
    prefix = {1: 0, 2: 1, 4: 2, 8: 3}[size]
    return (value | prefix << (8 * size - 2)).to_bytes(size, "big")


def parse(payload: bytes) -> Iterator[Frame]:
    """All frames of a packet's payload; raises FrameError where they are malformed."""
    reader = Reader(payload)
    if not payload:
        raise FrameError("a packet without frames (RFC 9000 section 12.4)")
    while reader.left:
        start = reader.at
        kind = reader.varint()
        if kind == 0:
            while reader.left and reader.data[reader.at] == 0:
                reader.at += 1
            yield Padding(reader.at - start)
            continue
        if reader.at - start != len(varint(kind)):
            raise FrameError("frame type not in its shortest form (RFC 9000 section 12.4)")
        yield _parse_one(kind, reader)


def _parse_one(kind: int, r: Reader) -> Frame:
    match kind:
        case 0x01:
            return Ping()
        case 0x02 | 0x03:
            return _parse_ack(kind, r)
        case 0x04:
            return ResetStream(r.varint(), r.varint(), r.varint())
        case 0x05:
            return StopSending(r.varint(), r.varint())
        case 0x06:
            offset = r.varint()
            return Crypto(offset, r.take(r.varint()))
        case 0x07:
            token = r.take(r.varint())
            if not token:
                raise FrameError("NEW_TOKEN without a token")
            return NewToken(token)
        case 0x10:
            return MaxData(r.varint())
        case 0x11:
            return MaxStreamData(r.varint(), r.varint())
        case 0x12 | 0x13:
            return MaxStreams(_stream_count(r), kind == 0x13)
        case 0x14:
            return Blocked(kind, r.varint())
        case 0x15:
            stream_id = r.varint()
            return Blocked(kind, r.varint(), stream_id)
        case 0x16 | 0x17:
            return Blocked(kind, _stream_count(r))
        case 0x18:
            return _parse_new_connection_id(r)
        case 0x19:
            return RetireConnectionId(r.varint())
        case 0x1A:
            return PathChallenge(r.take(8))
        case 0x1B:
            return PathResponse(r.take(8))
        case 0x1C:
            code, frame_type = r.varint(), r.varint()
            return ConnectionClose(code, frame_type, r.take(r.varint()))
        case 0x1D:
            code = r.varint()
            return ConnectionClose(code, None, r.take(r.varint()))
        case 0x1E:
            return HandshakeDone()
        case 0x30:
            return Datagram(r.take(r.left))
        case 0x31:
            return Datagram(r.take(r.varint()))
    if 0x08 <= kind <= 0x0F:
        return _parse_stream(kind, r)
    raise FrameError(f"unknown frame type {kind:#x}")


def _parse_ack(kind: int, r: Reader) -> Ack:
    last, delay, more, length = r.varint(), r.varint(), r.varint(), r.varint()
    ranges = [(last - length, last)]
    for _ in range(more):
        last = ranges[-1][0] - r.varint() - 2
        ranges.append((last - r.varint(), last))
    if ranges[-1][0] < 0:
        raise FrameError("an ACK range below packet number 0 (RFC 9000 section 19.3.1)")
    ecn = (r.varint(), r.varint(), r.varint()) if kind == 0x03 else None
    return Ack(delay, tuple(ranges), ecn)


def _parse_stream(kind: int, r: Reader) -> Stream:
    stream_id = r.varint()
    offset = r.varint() if kind & 4 else 0
    data = r.take(r.varint() if kind & 2 else r.left)
    if offset + len(data) > VARINT_MAX:
        raise FrameError("stream data beyond 2^62 - 1")
    return Stream(stream_id, offset, data, bool(kind & 1))


def _parse_new_connection_id(r: Reader) -> NewConnectionId:
    sequence, retire = r.varint(), r.varint()
    cid = r.take(r.number(1))
    if not 1 <= len(cid) <= 20 or retire > sequence:
        raise FrameError("an illegal NEW_CONNECTION_ID (RFC 9000 section 19.15)")
    return NewConnectionId(sequence, retire, cid, r.take(16))


def _stream_count(r: Reader) -> int:
    count = r.varint()
    if count > MAX_STREAM_COUNT:
        raise FrameError("more than 2^60 streams")
    return count


def write_ack(ranges: Sequence[tuple[int, int]], delay: int = 0, ecn: Sequence[int] = ()) -> bytes:
    """An ACK of (first, last) ranges, greatest first; not checked, so that illegal ones can be written.

    A gap that cannot be written (overlapping ranges) is written as 0.
    """
    first, last = ranges[0]
    parts = [varint(3 if ecn else 2), *map(varint, (last, delay, len(ranges) - 1, last - first))]
    for above, (low, high) in itertools.pairwise(ranges):
        parts += [varint(max(0, above[0] - high - 2)), varint(high - low)]
    return b"".join(parts + [varint(count) for count in ecn])
