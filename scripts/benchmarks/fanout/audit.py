"""What is inside the packets that were opened: is it a frame's content, and when was the frame whole?"""

from __future__ import annotations

from dataclasses import dataclass, field

from scripts.benchmarks.fanout.content import (
    FRAGMENT_HEAD_BYTES,
    FRAME_BYTES,
    STAMP_BYTES,
    ContentError,
    check,
    parse_fragment,
    stamp_of,
)
from scripts.benchmarks.fanout.quicframes import FrameError, Packet, varint

MEDIA_STREAMS_FROM = 15  # HTTP/3 takes the server's streams 3, 7 and 11 for itself
STREAM_PREAMBLE_BYTES = 3  # 0x4054 and session 0
_MAX_UNFINISHED = 512


@dataclass(slots=True)
class Frames:
    """Frames that came whole, over all viewers; recorded only while ``recording``."""

    recording: bool = False
    latencies_ms: list[float] = field(default_factory=list)  # due to the last byte's arrival
    whole: int = 0
    abandoned: int = 0  # came in part, and never whole
    wrong: int = 0  # content that no server sent
    first_wrong: str = ""

    def came(self, stamp_ns: int, at_ns: float) -> None:
        """A frame is whole."""
        if self.recording:
            self.whole += 1
            self.latencies_ms.append((at_ns - stamp_ns) / 1e6)

    def bad(self, error: ContentError) -> None:
        """Something else than media came."""
        self.wrong += 1
        self.first_wrong = self.first_wrong or str(error)


class _Unfinished:
    __slots__ = ("have", "pieces", "stamp_ns")

    def __init__(self) -> None:
        self.pieces: dict[int, int] = {}  # offset: size, so that what comes twice counts once
        self.have = 0
        self.stamp_ns = 0

    def add(self, offset: int, size: int) -> None:
        if self.pieces.get(offset, 0) < size:
            self.have += size - self.pieces.get(offset, 0)
            self.pieces[offset] = size


class Audit:
    """One viewer's media. ``assemble`` only where all packets are opened.

    ``head_bytes`` come before the frame in its stream, behind WebTransport's preamble. Calling it is
    what ``Receiver`` wants: the bytes of media in a packet.
    """

    def __init__(self, frames: Frames, *, assemble: bool, head_bytes: int = 0) -> None:
        self._frames, self._assemble = frames, assemble
        self._before = STREAM_PREAMBLE_BYTES + head_bytes
        self._unfinished: dict[int, _Unfinished] = {}

    def __call__(self, packet: Packet, at_ns: float) -> int:
        """Check and count one packet's media."""
        media = 0
        try:
            for stream_id, offset, data, _ in packet.streams:
                if stream_id & 3 == 3 and stream_id >= MEDIA_STREAMS_FROM:
                    media += self._part(stream_id, offset - self._before, data, at_ns)
            for datagram in packet.datagrams:
                media += self._fragment(datagram, at_ns)
        except ContentError as error:
            self._frames.bad(error)
        return media

    def _part(self, stream_id: int, offset: int, data: bytes, at_ns: float) -> int:
        if offset < 0:
            data, offset = data[-offset:], 0
        if not data:
            return 0
        check(offset, data)
        if self._assemble:
            self._piece(stream_id, offset, data, at_ns)
        return len(data)

    def _fragment(self, datagram: bytes, at_ns: float) -> int:
        try:
            _, at = varint(datagram, 0)  # the session
        except FrameError as error:
            raise ContentError(str(error)) from error
        payload = datagram[at:]
        number, _, _, offset = parse_fragment(payload)
        data = payload[FRAGMENT_HEAD_BYTES:]
        if self._assemble:
            self._piece(number, offset, data, at_ns)
        return len(data)

    def _piece(self, key: int, offset: int, data: bytes, at_ns: float) -> None:
        frame = self._unfinished.get(key)
        if frame is None:
            frame = self._unfinished[key] = _Unfinished()
            if len(self._unfinished) > _MAX_UNFINISHED:
                del self._unfinished[next(iter(self._unfinished))]
                self._frames.abandoned += self._frames.recording
        frame.add(offset, len(data))
        if offset == 0 and len(data) >= STAMP_BYTES:
            frame.stamp_ns = stamp_of(data)
        if frame.have == FRAME_BYTES and frame.stamp_ns:
            del self._unfinished[key]
            self._frames.came(frame.stamp_ns, at_ns)
