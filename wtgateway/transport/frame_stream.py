"""A media frame as one unidirectional stream that shares the frame's bytes with all other viewers.

aioquic copies what is written to a stream into a buffer of its own and slices that again. A media
frame is written once, whole, and never again, so this stream keeps only a reference to it. It stands
in aioquic's table of streams in place of a ``QuicStream`` and is its own sender; aioquic handles
STOP_SENDING, RESET_STREAM and MAX_STREAM_DATA with it as with any other. Its data leaves through
:mod:`wtgateway.transport.lane` alone: aioquic's own sending loop never sees it, but to reset it.

Imports aioquic only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from aioquic.buffer import encode_uint_var
from aioquic.quic.packet import QuicPacketType, QuicResetStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamReceiver
from aioquic.tls import Epoch

FRAMES_REMEMBERED = 16  # of which some are larger by far than the others
_STREAM, _STREAM_WITH_OFFSET, _STREAM_FIN = 0x08, 0x0C, 0x01
_ACKED = QuicDeliveryState.ACKED
_NOTHING_TO_READ = QuicStreamReceiver(stream_id=None, readable=False)  # it never changes: all share it

LostCallback = Callable[["FrameStream"], None]
OverCallback = Callable[["FrameStream", int], None]


Piece = tuple[bytes, bytes, int, int]
"""A STREAM frame: what is before the stream's id and behind it, its first byte, the one after its last."""

Pieces = tuple[list[Piece], dict[int, int]]
"""All of a stream, in order, and which piece begins where."""


def _read(head: bytes, body: bytes, start: int, stop: int) -> bytes:
    shift = len(head)
    if start >= shift:
        return body[start - shift : stop - shift]
    return head[start:stop] + body[: max(0, stop - shift)]


def _piece(head: bytes, body: bytes, start: int, stop: int, room: int) -> Piece:
    """RFC 9000, section 19.8; without length: it ends with the packet."""
    if not start:
        kind, offset = _STREAM, b""
    elif start < 0x4000:  # section 16: two bytes, also where one would do
        kind, offset = _STREAM_WITH_OFFSET, (start | 0x4000).to_bytes(2, "big")
    else:
        kind, offset = _STREAM_WITH_OFFSET, encode_uint_var(start)
    end = min(start + room - 1 - len(offset), stop)
    if end == len(head) + len(body):
        kind |= _STREAM_FIN
    return bytes((kind,)), offset + _read(head, body, start, end), start, end


@functools.lru_cache(maxsize=FRAMES_REMEMBERED)
def _pieces(head: bytes, body: bytes, room: int) -> Pieces:
    """Cut once for all viewers whose paths are alike: they are sent the same frame within one turn."""
    pieces: list[Piece] = []
    start, size = 0, len(head) + len(body)
    while start < size:
        pieces.append(_piece(head, body, start, size, room))
        start = pieces[-1][3]
    return pieces, {piece[2]: at for at, piece in enumerate(pieces)}


class FrameStream:
    """``size`` bytes, ``head`` before ``body``, ended by FIN; offsets in bytes of the stream.

    ``on_lost`` is called when bytes have to be sent again, ``on_over`` when the stream was acknowledged
    whole, or reset, with the number of bytes that will not be sent any more.
    """

    __slots__ = (
        "_body",
        "_head",
        "_on_lost",
        "_on_over",
        "_reset_error_code",
        "_reset_unsaid",
        "acknowledged",
        "is_blocked",
        "is_finished",
        "lost",
        "max_stream_data_remote",
        "next",
        "queued",
        "size",
        "stream_id",
        "urgency",
    )

    # What aioquic asks of a stream that only sends, and of a sender that leaves nothing to aioquic.
    receiver: ClassVar[QuicStreamReceiver] = _NOTHING_TO_READ
    max_stream_data_local: ClassVar[int] = 0
    max_stream_data_local_sent: ClassVar[int] = 0
    buffer_is_empty: ClassVar[bool] = True

    def __init__(
        self,
        stream_id: int,
        head: bytes,
        body: bytes,
        *,
        urgency: int,
        max_stream_data: int,
        on_lost: LostCallback,
        on_over: OverCallback,
    ) -> None:
        self.stream_id = stream_id
        self.urgency = urgency
        self.size = len(head) + len(body)
        self.next = 0  # first byte that was never sent
        self.acknowledged = 0
        self.lost: list[tuple[int, int]] = []  # to be sent again: start, stop
        self.queued = False  # whether the lane has it among those with something to send
        self.max_stream_data_remote = max_stream_data
        self.is_blocked = False  # by the peer's limit on the number of streams
        self.is_finished = False
        self._reset_unsaid = False
        self._reset_error_code: int | None = None
        self._head = head
        self._body = body
        self._on_lost = on_lost
        self._on_over = on_over

    @property
    def sender(self) -> FrameStream:
        """Itself: one object a frame in place of four."""
        return self

    @property
    def is_reset(self) -> bool:
        """Whether the rest of it will never be sent."""
        return self._reset_error_code is not None

    @property
    def reset_pending(self) -> bool:
        """Whether RESET_STREAM is to be sent. Never for a stream that the peer does not allow yet:
        RESET_STREAM opens it too (RFC 9000, section 4.6), and the peer would close the connection.
        """
        return self._reset_unsaid and not self.is_blocked

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent, for the first time or again."""
        if self._reset_error_code is not None:
            return 0
        return self.size - self.next + sum(stop - start for start, stop in self.lost)

    @property
    def highest_offset(self) -> int:
        """Bytes sent so far, which is the final size if it is reset now."""
        return self.next

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of the stream."""
        return _read(self._head, self._body, start, stop)

    def pieces(self, room: int) -> Pieces:
        """The whole of it in STREAM frames of at most ``room`` bytes, the stream's id not counted."""
        return _pieces(self._head, self._body, room)

    def piece(self, start: int, stop: int, room: int) -> Piece:
        """One STREAM frame that begins at ``start``, within ``room`` bytes and not beyond ``stop``."""
        return _piece(self._head, self._body, start, stop, room)

    # --- what aioquic calls on a sender ------------------------------------------------------------

    def on_data_delivery(self, delivery: QuicDeliveryState, start: int, stop: int, fin: bool) -> None:
        """A packet with these bytes was acknowledged or lost. Each byte is in one packet at a time."""
        if self._reset_error_code is not None:
            return
        if delivery is _ACKED:
            self.on_acknowledged(stop - start)
        else:
            self.lost.append((start, stop))
            self._on_lost(self)

    def on_acknowledged(self, size: int) -> None:
        """So many bytes more have arrived."""
        self.acknowledged += size
        if self.acknowledged == self.size and self._reset_error_code is None:
            self.is_finished = True
            self._on_over(self, 0)

    def reset(self, error_code: int) -> None:
        """Send no more; aioquic writes RESET_STREAM."""
        if self._reset_error_code is None and not self.is_finished:
            unsent = self.unsent
            self._reset_error_code = error_code
            self._reset_unsaid = True
            self.lost = []
            self._on_over(self, unsent)
            self._head = self._body = b""  # the frame's bytes are not kept for a stream that is over

    def get_reset_frame(self) -> QuicResetStreamFrame:
        """The values of the RESET_STREAM frame that is being written."""
        assert self._reset_error_code is not None
        self._reset_unsaid = False
        return QuicResetStreamFrame(
            error_code=self._reset_error_code, final_size=self.next, stream_id=self.stream_id
        )

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        """The RESET_STREAM was acknowledged or lost."""
        if delivery is _ACKED:
            self.is_finished = True
        else:
            self._reset_unsaid = True

    def write(self, data: bytes, end_stream: bool = False) -> None:
        """As aioquic's senders answer once the end was written."""
        raise RuntimeError("Cannot send data after FIN")


class SentPacket:
    """A 1-RTT packet with one STREAM frame of a frame stream, or with a DATAGRAM frame.

    It stands in aioquic's table of sent packets in place of a ``QuicSentPacket``, with four values of its
    own instead of ten; ``stream`` is None for a datagram.
    """

    __slots__ = ("packet_number", "sent_bytes", "sent_time", "start", "stop", "stream")

    epoch: ClassVar[Epoch] = Epoch.ONE_RTT
    packet_type: ClassVar[QuicPacketType] = QuicPacketType.ONE_RTT
    in_flight: ClassVar[bool] = True
    is_ack_eliciting: ClassVar[bool] = True
    is_crypto_packet: ClassVar[bool] = False
    quic_logger_frames: ClassVar[tuple[()]] = ()

    def __init__(
        self,
        packet_number: int,
        sent_bytes: int,
        sent_time: float,
        stream: FrameStream | None,
        start: int,
        stop: int,
    ) -> None:
        self.packet_number = packet_number
        self.sent_bytes = sent_bytes
        self.sent_time = sent_time
        self.stream = stream
        self.start = start
        self.stop = stop

    @property
    def delivery_handlers(self) -> tuple[tuple[Callable[..., None], tuple[Any, ...]], ...]:
        """What aioquic calls when the packet was acknowledged or lost."""
        stream = self.stream
        if stream is None:
            return ()
        return ((stream.on_data_delivery, (self.start, self.stop, self.stop == stream.size)),)


class ProbePacket(SentPacket):
    """A path MTU probe: acknowledged or lost like others, but nothing that congestion control sees."""

    __slots__ = ("on_result",)

    in_flight = False

    def __init__(self, number: int, size: int, now: float, on_result: Callable[[bool], None]) -> None:
        super().__init__(number, size, now, None, 0, 0)
        self.on_result = on_result

    @property
    def delivery_handlers(self) -> tuple[tuple[Callable[..., None], tuple[Any, ...]], ...]:
        return ((self._delivered, ()),)

    def _delivered(self, delivery: QuicDeliveryState) -> None:
        self.on_result(delivery is _ACKED)
