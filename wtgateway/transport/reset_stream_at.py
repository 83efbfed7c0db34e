"""RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset): what aioquic lacks of it, in one place.

WebTransport wants a data stream's preamble, which names its session, to arrive although the stream is
reset (draft-ietf-webtrans-http3-16, section 4.4). aioquic knows neither the transport parameter nor the
frame, and forgets the data of a stream that is reset. Added here:

- The transport parameter: a server answers it to a client that sent it, and only then, so the
  handshake of other clients is what it was. A client sends it when asked to.
- Sending: a reset stream's preamble goes in the same packet as its reset, in a STREAM frame before it,
  each time that packet has to be sent again. Acknowledged is both or neither, so a sender needs no
  memory of what had arrived. A peer without the extension gets RESET_STREAM in that place.
- Receiving: a reset waits until the bytes that it promises have been delivered.

What cannot be had so: a reliable size beyond the preamble. Imports aioquic and this package.
"""

from __future__ import annotations

from typing import Any, NoReturn

from aioquic._buffer import Buffer
from aioquic.quic.connection import EPOCHS, QuicConnection, QuicConnectionError
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.stream import FinalSizeError
from aioquic.tls import ExtensionType

from wtgateway.transport import internals
from wtgateway.transport.varint import decode_varint, encode_varint

FRAME_TYPE = 0x24
PARAMETERS = (0x1D, 0x17F7586D2CB571)  # as IANA has it, and as drafts before 08 had it
_STREAM_WITH_LENGTH = 0x0A
_VARINT_BYTES = 8


def announced(parameters: bytes) -> tuple[int, ...]:
    """The codepoints of reset_stream_at among encoded transport parameters (RFC 9000, section 18).

    Raises ValueError when one is not empty, or when ``parameters`` are malformed.
    """
    found: list[int] = []
    position = 0
    while position < len(parameters):
        identifier = decode_varint(parameters, position)
        length = decode_varint(parameters, identifier[1]) if identifier is not None else None
        if identifier is None or length is None or length[1] + length[0] > len(parameters):
            raise ValueError("malformed transport parameters")
        if identifier[0] in PARAMETERS:
            if length[0]:
                raise ValueError("reset_stream_at is not empty")
            found.append(identifier[0])
        position = length[1] + length[0]
    return tuple(found)


class ResetStreamAtConnection(QuicConnection):
    """A QuicConnection with the extension; ``announce``: a client offers it.

    With an aioquic whose inside is unknown it is a QuicConnection like any other.
    """

    def __init__(self, *, announce: bool = False, **arguments: Any) -> None:
        self._announced: tuple[int, ...] = PARAMETERS if announce and internals.EXTENSIBLE else ()
        self._peer_announced: tuple[int, ...] = ()
        self._preambles: dict[int, bytes] = {}  # of streams whose reset is not acknowledged
        self._promised: dict[int, tuple[int, int, int]] = {}  # stream: error code, final and reliable size
        super().__init__(**arguments)

    @property
    def resets_at(self) -> bool:
        """Whether the peer takes RESET_STREAM_AT."""
        return bool(self._peer_announced)

    # --- sending -----------------------------------------------------------------------------------

    def reset_stream_at(self, stream_id: int, error_code: int, preamble: bytes) -> bool:
        """Reset a stream that begins with ``preamble``, which still arrives.

        False: what of the preamble was not sent yet has no room in the peer's flow control; try again
        when it may have. Raises ValueError where ``reset_stream`` does.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.sender.is_finished or stream.sender._reset_error_code is not None:
            self.reset_stream(stream_id, error_code)
            return True
        missing = len(preamble) - stream.sender.highest_offset
        if missing > 0:
            free = self._remote_max_data - self._remote_max_data_used
            if missing > free or len(preamble) > stream.max_stream_data_remote:
                return False
            self._remote_max_data_used += missing
        self._preambles[stream_id] = preamble
        self.reset_stream(stream_id, error_code)
        return True

    def _write_reset_stream_frame(self, builder: QuicPacketBuilder, stream: Any) -> None:
        preamble = self._preambles.get(stream.stream_id)
        if preamble is None:
            super()._write_reset_stream_frame(builder=builder, stream=stream)
            return
        reset_bytes = 1 + 4 * _VARINT_BYTES
        buffer = builder.start_frame(
            _STREAM_WITH_LENGTH, capacity=1 + _VARINT_BYTES + 1 + len(preamble) + reset_bytes
        )
        buffer.push_uint_var(stream.stream_id)
        buffer.push_uint_var(len(preamble))
        buffer.push_bytes(preamble)
        buffer = builder.start_frame(
            FRAME_TYPE if self.resets_at else QuicFrameType.RESET_STREAM,
            capacity=reset_bytes,
            handler=self._on_reset_at_delivery,
            handler_args=(stream,),
        )
        frame = stream.sender.get_reset_frame()
        buffer.push_uint_var(frame.stream_id)
        buffer.push_uint_var(frame.error_code)
        buffer.push_uint_var(max(frame.final_size, len(preamble)))
        if self.resets_at:
            buffer.push_uint_var(len(preamble))

    def _on_reset_at_delivery(self, delivery: QuicDeliveryState, stream: Any) -> None:
        stream.sender.on_reset_delivery(delivery)
        if delivery == QuicDeliveryState.ACKED:
            self._preambles.pop(stream.stream_id, None)

    # --- receiving ---------------------------------------------------------------------------------

    def _handle_stream_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        super()._handle_stream_frame(context, frame_type, buf)
        if self._promised:
            for stream_id in list(self._promised):
                self._reset_if_delivered(stream_id, frame_type)

    def _handle_reset_stream_at_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        stream_id, error_code = buf.pull_uint_var(), buf.pull_uint_var()
        final_size, reliable_size = buf.pull_uint_var(), buf.pull_uint_var()
        if reliable_size > final_size:
            _break(QuicErrorCode.FRAME_ENCODING_ERROR, frame_type, "Reliable size over final size")
        self._assert_stream_can_receive(frame_type, stream_id)
        stream = self._get_or_create_stream(frame_type, stream_id)
        if final_size > stream.max_stream_data_local:
            _break(QuicErrorCode.FLOW_CONTROL_ERROR, frame_type, "Over stream data limit")
        receiver = stream.receiver
        newly_received = max(0, final_size - receiver.highest_offset)
        if self._local_max_data.used + newly_received > self._local_max_data.value:
            _break(QuicErrorCode.FLOW_CONTROL_ERROR, frame_type, "Over connection data limit")
        if (promised := self._promised.get(stream_id)) is not None:
            if promised[0] != error_code:
                _break(QuicErrorCode.STREAM_STATE_ERROR, frame_type, "Cannot change error code")
            if promised[1] != final_size:
                _break(QuicErrorCode.FINAL_SIZE_ERROR, frame_type, "Cannot change final size")
            reliable_size = min(reliable_size, promised[2])
        if receiver._final_size not in (None, final_size) or final_size < receiver.highest_offset:
            _break(QuicErrorCode.FINAL_SIZE_ERROR, frame_type, "Cannot change final size")
        receiver.highest_offset = final_size
        self._local_max_data.used += newly_received
        self._promised[stream_id] = (error_code, final_size, reliable_size)
        self._reset_if_delivered(stream_id, frame_type)

    def _reset_if_delivered(self, stream_id: int, frame_type: int) -> None:
        error_code, final_size, reliable_size = self._promised[stream_id]
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished:
            del self._promised[stream_id]
            return
        if stream.receiver.starting_offset() < reliable_size and stream.receiver.highest_offset == final_size:
            return
        del self._promised[stream_id]
        try:
            event = stream.receiver.handle_reset(error_code=error_code, final_size=final_size)
        except FinalSizeError as error:
            _break(QuicErrorCode.FINAL_SIZE_ERROR, frame_type, str(error))
        if event is not None:
            self._events.append(event)

    # --- the transport parameter -------------------------------------------------------------------

    def _serialize_transport_parameters(self) -> bytes:
        encoded = super()._serialize_transport_parameters()
        return encoded + b"".join(encode_varint(identifier) + b"\x00" for identifier in self._announced)

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        try:
            found = announced(data)
        except ValueError as error:
            _break(QuicErrorCode.TRANSPORT_PARAMETER_ERROR, QuicFrameType.CRYPTO, str(error))
        if from_session_ticket or not found or not internals.EXTENSIBLE:
            return
        if not self._is_client:
            self._announced = found
            parameters = (ExtensionType.QUIC_TRANSPORT_PARAMETERS, self._serialize_transport_parameters())
            self.tls.handshake_extensions = [parameters]
        self._peer_announced = found
        handlers = self._QuicConnection__frame_handlers  # type: ignore[attr-defined]
        handlers[FRAME_TYPE] = (self._handle_reset_stream_at_frame, EPOCHS("01"))


def _break(error_code: int, frame_type: int, reason: str) -> NoReturn:
    raise QuicConnectionError(error_code=error_code, frame_type=frame_type, reason_phrase=reason)
