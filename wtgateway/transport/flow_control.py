"""Flow control of one WebTransport session (draft-ietf-webtrans-http3-16, section 5): two pure ledgers.

:class:`Credit` is what the peer lets us send: it takes what is written, gives back what may go into
QUIC now, and holds the rest until the peer grants more. :class:`Window` is what we let the peer send.
Counted are the bytes of stream bodies, without the preamble that names the session, and streams from
the session's beginning. Draft 02 has none of this, and its sessions have no ledgers.

Imports the capsules of this package only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from wtgateway.transport import capsules
from wtgateway.transport.capsules import FlowControlError, encode_limit
from wtgateway.transport.drafts import MAX_STREAMS, Limits

MAX_HELD_BYTES = 4 << 20  # of one session; a peer that grants so little does not read


@dataclass(slots=True)
class Release:
    """What may go into QUIC now for a stream: bytes, the end, or a reset with an HTTP/3 code after them.

    ``size`` bytes of ``data`` were counted; who cannot send them gives them back with ``given_up``.
    """

    stream_id: int
    data: bytes
    size: int
    fin: bool = False
    reset: int | None = None


@dataclass(slots=True)
class _Held:
    """What a stream has to wait with. ``preamble`` is empty once the stream counts as opened."""

    unidirectional: bool
    preamble: bytes = b""
    chunks: deque[bytes] = field(default_factory=deque)
    fin: bool = False
    reset: int | None = None
    size: int = 0


class Credit:
    """What one session may still send, and what waits because it may not."""

    __slots__ = (
        "_capsule_max",
        "_held",
        "_max_data",
        "_max_streams",
        "_opened",
        "_sent",
        "_told",
        "held_bytes",
    )

    def __init__(self, limits: Limits) -> None:
        self.held_bytes = 0
        self._max_data = limits.max_data
        self._max_streams = [limits.max_streams_bidi, limits.max_streams_uni]  # index: unidirectional
        self._sent = 0
        self._opened = [0, 0]
        self._held: dict[int, _Held] = {}  # in the order in which they began to wait
        self._capsule_max: dict[int, int] = {}  # by capsule type: the value that came last
        self._told: dict[int, int] = {}  # by capsule type: the limit that the peer was told to be in the way

    # --- media frames: a stream each, whole --------------------------------------------------------

    def may_open(self, size: int) -> bool:
        """Whether a unidirectional stream of ``size`` bytes can be sent whole now, past nobody who waits."""
        return (
            not self._held and self._sent + size <= self._max_data and self._opened[1] < self._max_streams[1]
        )

    def opened(self, size: int) -> None:
        """Such a stream was opened."""
        self._sent += size
        self._opened[1] += 1

    def room(self) -> int:
        """Bytes of media that may be handed over; <= 0: wait for the peer."""
        if self._held or self._opened[1] >= self._max_streams[1]:
            return 0
        return self._max_data - self._sent

    # --- streams that are written a piece at a time ------------------------------------------------

    def open(self, stream_id: int, preamble: bytes, *, unidirectional: bool) -> bytes:
        """What of the preamble to write now: all of it, or nothing while no stream may be opened."""
        if self._opened[unidirectional] < self._max_streams[unidirectional]:
            self._opened[unidirectional] += 1
            return preamble
        self._held[stream_id] = _Held(unidirectional, preamble)
        return b""

    def write(self, stream_id: int, data: bytes, fin: bool) -> tuple[bytes, bool] | None:
        """What of it to write now, and whether with FIN; None: nothing, all of it waits."""
        held = self._held.get(stream_id)
        free = self._max_data - self._sent
        if held is None and len(data) <= free:
            self._sent += len(data)
            return data, fin
        if held is None:
            held = self._held[stream_id] = _Held(unidirectional=False)
            now, data = data[:free], data[free:]
        else:
            now = b""
        self._sent += len(now)
        held.chunks.append(data)
        held.size += len(data)
        held.fin = fin
        self.held_bytes += len(data)
        return (now, False) if now else None

    def delay_reset(self, stream_id: int, http3_code: int) -> bool:
        """Whether a reset has to wait because the stream is not open yet.

        :meth:`release` gives it back then, behind the preamble, without which the peer could not count
        the stream.
        """
        held = self._held.get(stream_id)
        if held is None or not held.preamble:
            return False
        self.held_bytes -= held.size
        held.chunks.clear()
        held.size, held.fin, held.reset = 0, False, http3_code
        return True

    def given_up(self, stream_id: int, never_sent: int) -> None:
        """A stream was reset: ``never_sent`` bytes that QUIC had of it do not count, and what waits goes."""
        self._sent -= never_sent
        held = self._held.pop(stream_id, None)
        if held is not None:
            self.held_bytes -= held.size

    def waits(self, stream_id: int) -> bool:
        """Whether something of a stream waits here."""
        return stream_id in self._held

    def waiting(self, stream_id: int) -> int:
        """Bytes of a stream that wait here."""
        held = self._held.get(stream_id)
        return 0 if held is None else held.size

    def release(self) -> list[Release]:
        """What may go now, oldest first."""
        released: list[Release] = []
        for stream_id, held in list(self._held.items()):
            if held.preamble and self._opened[held.unidirectional] >= self._max_streams[held.unidirectional]:
                continue
            if (given := self._take(stream_id, held)) is not None:
                released.append(given)
        return released

    def _take(self, stream_id: int, held: _Held) -> Release | None:
        parts = [held.preamble] if held.preamble else []
        size = 0
        if held.preamble:
            self._opened[held.unidirectional] += 1
            held.preamble = b""
        while held.chunks and (free := self._max_data - self._sent - size) >= min(1, len(held.chunks[0])):
            chunk = held.chunks.popleft()
            if len(chunk) > free:
                held.chunks.appendleft(chunk[free:])
                chunk = chunk[:free]
            parts.append(chunk)
            size += len(chunk)
        self._sent += size
        held.size -= size
        self.held_bytes -= size
        if held.chunks:
            return Release(stream_id, b"".join(parts), size) if parts else None
        del self._held[stream_id]
        return Release(stream_id, b"".join(parts), size, held.fin, held.reset)

    # --- the peer's limits -------------------------------------------------------------------------

    def grant(self, capsule: capsules.MaxData | capsules.MaxStreams) -> None:
        """More may be sent. Raises FlowControlError when a capsule does not raise the one before it."""
        if isinstance(capsule, capsules.MaxData):
            self._newer(capsules.MAX_DATA, capsule.maximum)
            self._max_data = max(self._max_data, capsule.maximum)
            return
        uni = capsule.unidirectional
        self._newer(capsules.MAX_STREAMS_UNI if uni else capsules.MAX_STREAMS_BIDI, capsule.maximum)
        self._max_streams[uni] = max(self._max_streams[uni], capsule.maximum)

    def _newer(self, kind: int, maximum: int) -> None:
        if maximum <= self._capsule_max.get(kind, -1):
            raise FlowControlError("a limit that does not rise")
        self._capsule_max[kind] = maximum

    def blocked(self) -> bytes:
        """The capsules that tell the peer which of its limits are in the way; each limit is told once."""
        told = b""
        for held in self._held.values():
            if held.preamble:
                kind = capsules.STREAMS_BLOCKED_UNI if held.unidirectional else capsules.STREAMS_BLOCKED_BIDI
                maximum = self._max_streams[held.unidirectional]
            else:
                kind, maximum = capsules.DATA_BLOCKED, self._max_data
            if self._told.get(kind) != maximum:
                self._told[kind] = maximum
                told += encode_limit(kind, maximum)
        return told


class Window:
    """What the peer may send in one session, and what has come. Everything that comes is read at once."""

    __slots__ = ("_closed", "_data", "_data_limit", "_limits", "_open", "_stream_limits", "_streams")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._data = 0  # bytes of stream bodies that have come, or never will
        self._data_limit = limits.max_data
        self._streams = [0, 0]  # opened so far; index: unidirectional
        self._closed = [0, 0]
        self._stream_limits = [limits.max_streams_bidi, limits.max_streams_uni]
        self._open: dict[int, bool] = {}  # the peer's streams: whether unidirectional

    def stream(self, stream_id: int, *, unidirectional: bool) -> None:
        """The peer's stream, seen for the first time or again. Raises FlowControlError."""
        if stream_id in self._open:
            return
        self._open[stream_id] = unidirectional
        self._streams[unidirectional] += 1
        if self._streams[unidirectional] > self._stream_limits[unidirectional]:
            raise FlowControlError("more streams than the session's limit")

    def data(self, size: int) -> None:
        """Bytes of stream bodies. Raises FlowControlError."""
        self._data += size
        if self._data > self._data_limit:
            raise FlowControlError("more bytes than the session's limit")

    def ended(self, stream_id: int) -> None:
        """The peer ended or reset a stream: if it was its own, it may open another."""
        unidirectional = self._open.pop(stream_id, None)
        if unidirectional is not None:
            self._closed[unidirectional] += 1

    def grants(self) -> bytes:
        """The capsules that raise what is half used up."""
        granted = b""
        limits = self._limits
        if limits.max_data and self._data_limit - self._data <= limits.max_data // 2:
            self._data_limit = self._data + limits.max_data
            granted += encode_limit(capsules.MAX_DATA, self._data_limit)
        for kind, unidirectional, most in (
            (capsules.MAX_STREAMS_BIDI, False, limits.max_streams_bidi),
            (capsules.MAX_STREAMS_UNI, True, limits.max_streams_uni),
        ):
            limit = min(MAX_STREAMS, self._closed[unidirectional] + most)
            if limit - self._stream_limits[unidirectional] >= max(1, most // 2):
                self._stream_limits[unidirectional] = limit
                granted += encode_limit(kind, limit)
        return granted
