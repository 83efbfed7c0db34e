"""The rules of streams, flow control and datagrams, for one sender (RFC 9000 sections 2 to 4, RFC 9221).

Sees every frame that the sender emits and every frame that is delivered to it, and raises
:class:`Violation` where a peer would have a right to close the connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.transport.equivalence import handshake
from tests.transport.equivalence.frames import (
    Datagram,
    Frame,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    Stream,
)

CLIENT, SERVER = "client", "server"


class Violation(AssertionError):
    """A rule of QUIC that a packet breaks."""


def rule(holds: bool, text: str) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        raise Violation(text)


def is_client_initiated(stream_id: int) -> bool:
    return stream_id & 1 == 0


def is_unidirectional(stream_id: int) -> bool:
    return stream_id & 2 == 2


@dataclass
class SentStream:
    """What one stream has carried so far."""

    data: bytearray = field(default_factory=bytearray)
    known: bytearray = field(default_factory=bytearray)  # 1 where ``data`` was sent
    final_size: int | None = None
    reset_code: int | None = None

    @property
    def highest(self) -> int:
        return len(self.data) if self.reset_code is None else self.final_size or 0

    @property
    def complete(self) -> bool:
        """Whether every byte and the end were sent at least once."""
        return self.final_size == len(self.data) and all(self.known)

    def take(self, frame: Stream) -> None:
        """Check a frame against all before it, and remember it."""
        where = f"stream {frame.stream_id}"
        rule(self.reset_code is None, f"{where}: data after RESET_STREAM")
        if self.final_size is not None:
            rule(frame.end <= self.final_size, f"{where}: data beyond the final size")
            rule(not frame.fin or frame.end == self.final_size, f"{where}: another final size")
        if frame.fin:
            rule(frame.end >= len(self.data), f"{where}: final size below data sent")
            self.final_size = frame.end
        grown = frame.end - len(self.data)
        if grown > 0:
            self.data += bytes(grown)
            self.known += bytes(grown)
        span = slice(frame.offset, frame.end)
        for old, new, known in zip(self.data[span], frame.data, self.known[span], strict=True):
            if known and old != new:
                raise Violation(f"{where}: other bytes at the same offset")
        self.data[span] = frame.data
        self.known[span] = b"\1" * len(frame.data)


class Ledger:
    """One sender's streams and what its peer lets it send."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.streams: dict[int, SentStream] = {}
        self.datagrams = 0
        self.limits: dict[int, int] = {}  # the peer's transport parameters, raised by its MAX_ frames
        self.stream_limits: dict[int, int] = {}
        self.stopped: set[int] = set()  # streams that the peer wants no more of
        self._used = 0
        self.stalls = {"data": 0, "stream": 0, "streams": 0}  # how often a limit was used up to the last

    def grant(self, parameters: dict[int, int]) -> None:
        """The peer's transport parameters arrived."""
        self.limits = dict(parameters)

    # --- what arrives ---------------------------------------------------------------------------

    def delivered(self, frame: Frame) -> None:
        """A frame of the peer was delivered to this sender."""
        match frame:
            case MaxData(limit):
                self._raise(handshake.MAX_DATA, limit)
            case MaxStreams(limit, unidirectional):
                self._raise(handshake.STREAMS_UNI if unidirectional else handshake.STREAMS_BIDI, limit)
            case MaxStreamData(stream_id, limit):
                self.stream_limits[stream_id] = max(self._stream_limit(stream_id), limit)
            case StopSending(stream_id):
                self.stopped.add(stream_id)

    def _raise(self, parameter: int, limit: int) -> None:
        self.limits[parameter] = max(self.limits.get(parameter, 0), limit)

    # --- what leaves ----------------------------------------------------------------------------

    def emitted(self, frame: Frame) -> None:
        """The sender emits a frame."""
        match frame:
            case Stream():
                stream = self._opened(frame.stream_id)
                before = stream.highest
                stream.take(frame)
                self._use(frame.stream_id, stream, before)
            case ResetStream(stream_id, code, final_size):
                stream = self._opened(stream_id)
                before = stream.highest
                rule(final_size >= before, f"stream {stream_id}: reset with a final size below data sent")
                if stream.final_size is not None:
                    rule(final_size == stream.final_size, f"stream {stream_id}: reset changes the final size")
                rule(stream.reset_code in (None, code), f"stream {stream_id}: reset with another code")
                stream.final_size, stream.reset_code = final_size, code
                self._use(stream_id, stream, before)
            case MaxStreamData(stream_id) | StopSending(stream_id):
                rule(
                    not is_unidirectional(stream_id) or not self._is_mine(stream_id),
                    f"{type(frame).__name__} for stream {stream_id}, on which nothing can arrive",
                )
            case Datagram(data):
                self.datagrams += 1
                limit = self.limits.get(handshake.MAX_DATAGRAM_FRAME_SIZE, 0)
                rule(len(data) < limit, "a DATAGRAM that the peer does not take (RFC 9221 section 3)")

    def _is_mine(self, stream_id: int) -> bool:
        return is_client_initiated(stream_id) == (self.side == CLIENT)

    def _opened(self, stream_id: int) -> SentStream:
        mine, unidirectional = self._is_mine(stream_id), is_unidirectional(stream_id)
        rule(mine or not unidirectional, f"stream {stream_id} is the peer's alone")
        if mine:
            limit = self.limits.get(handshake.STREAMS_UNI if unidirectional else handshake.STREAMS_BIDI, 0)
            rule(stream_id // 4 < limit, f"stream {stream_id} is beyond the limit of {limit} streams")
            self.stalls["streams"] += stream_id not in self.streams and stream_id // 4 == limit - 1
        return self.streams.setdefault(stream_id, SentStream())

    def _stream_limit(self, stream_id: int) -> int:
        if is_unidirectional(stream_id):
            parameter = handshake.STREAM_UNI
        elif self._is_mine(stream_id):
            parameter = handshake.STREAM_BIDI_REMOTE  # the peer's words: streams the other side opens
        else:
            parameter = handshake.STREAM_BIDI_LOCAL
        return self.stream_limits.get(stream_id, self.limits.get(parameter, 0))

    def _use(self, stream_id: int, stream: SentStream, before: int) -> None:
        self._used += stream.highest - before
        limit = self._stream_limit(stream_id)
        rule(stream.highest <= limit, f"stream {stream_id}: {stream.highest} bytes of {limit} granted")
        total = self.limits.get(handshake.MAX_DATA, 0)
        rule(self._used <= total, f"{self._used} stream bytes of {total} granted")
        self.stalls["stream"] += before < stream.highest == limit
        self.stalls["data"] += before < stream.highest and self._used == total
