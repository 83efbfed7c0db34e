"""The one module that names private attributes of aioquic, and checks at import that they are there.

Where aioquic has changed them, one warning is logged and every function answers with a careful
guess, so that media still flows, less well. Nothing here changes aioquic's state but
``install_pacer``, ``send_last`` and ``forget_request_stream``. Imports aioquic only.
"""

from __future__ import annotations

import logging
from typing import Any

from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.stream import QuicStream
from cryptography import x509

log = logging.getLogger("wtgateway.transport")

_SHORT_HEADER_BYTES = 1 + 2  # first byte and the packet number, which aioquic writes with two bytes
_AEAD_TAG_BYTES = 16
_DATAGRAM_FRAME_BYTES = 1 + 2  # type and length
_GUESSED_ROOM = 32 * 1024

_NEEDED = {
    "connection": (
        "_close_event _datagrams_pending _handshake_confirmed _local_max_data _local_next_stream_id_uni "
        "_loss _max_datagram_size _packet_number _peer_cid _remote_max_datagram_frame_size _state "
        "_streams _streams_blocked_bidi _streams_blocked_uni _streams_queue"
    ),
    "recovery": "_cc _pacer _rtt_initialized _rtt_min _rtt_smoothed",
    "sender": "_buffer_start _buffer_stop _pending _reset_error_code buffer_is_empty is_finished",
    "receiver": "_buffer is_finished",
    "h3": "_stream _is_done",
}


def missing_attributes() -> list[str]:
    """The private attributes we read that this aioquic lacks."""
    quic = QuicConnection(configuration=QuicConfiguration(is_client=True))
    stream = QuicStream(stream_id=0)
    recovery = getattr(quic, "_loss", None)
    owners = {
        "connection": quic,
        "recovery": recovery,
        "sender": stream.sender,
        "receiver": stream.receiver,
        "h3": H3Connection(quic),
    }
    return [
        f"{owner}.{name}"
        for owner, names in _NEEDED.items()
        for name in names.split()
        if not hasattr(owners[owner], name)
    ]


_MISSING = missing_attributes()
COMPLETE = not _MISSING
if not COMPLETE:
    log.warning(
        "this aioquic lacks %s: latency and statistics will be worse; install aioquic 1.7",
        ", ".join(_MISSING),
    )


# --- congestion and path ---------------------------------------------------------------------------


def install_pacer(quic: QuicConnection, pacer: Any) -> None:
    """Replace the packet pacer; ``pacer`` has the three methods of aioquic's QuicPacketPacer."""
    if COMPLETE:
        quic._loss._pacer = pacer


def room(quic: QuicConnection) -> int:
    """Congestion window minus bytes in flight minus what waits to be sent; may be negative.

    At most 0 while the peer's limit on streams holds some back.
    """
    if not COMPLETE:
        return _GUESSED_ROOM
    controller = quic._loss._cc
    free = controller.congestion_window - controller.bytes_in_flight - queued_bytes(quic)
    if quic._streams_blocked_uni or quic._streams_blocked_bidi:
        return min(free, 0)
    return free


def queued_bytes(quic: QuicConnection) -> int:
    """Stream and datagram bytes handed to aioquic that wait to be sent."""
    if not COMPLETE:
        return 0
    total = sum(len(data) for data in quic._datagrams_pending)
    for stream in quic._streams_queue:
        sender = stream.sender
        if not sender.buffer_is_empty:
            for part in sender._pending:
                total += part.stop - part.start
    return total


def unsent_bytes(quic: QuicConnection, stream_id: int) -> int:
    """Bytes of one stream that wait to be sent; 0 once it is reset or forgotten."""
    stream = quic._streams.get(stream_id) if COMPLETE else None
    if stream is None or stream.sender._reset_error_code is not None:
        return 0
    return sum(part.stop - part.start for part in stream.sender._pending)


def unacknowledged_bytes(quic: QuicConnection, stream_id: int) -> int:
    """Bytes of one stream that the peer has not acknowledged in order; 0 once it is reset."""
    stream = quic._streams.get(stream_id) if COMPLETE else None
    if stream is None or stream.sender._reset_error_code is not None:
        return 0
    return stream.sender._buffer_stop - stream.sender._buffer_start


def path_statistics(quic: QuicConnection) -> dict[str, int]:
    """The fields of webtransport.PathStats."""
    if not COMPLETE:
        names = "rtt_us min_rtt_us congestion_window bytes_in_flight lost_packets sent_packets mtu"
        return dict.fromkeys(names.split(), 0)
    recovery = quic._loss
    known = recovery._rtt_initialized
    return {
        "rtt_us": round(recovery._rtt_smoothed * 1e6),
        "min_rtt_us": round(recovery._rtt_min * 1e6) if known else 0,
        "congestion_window": recovery.congestion_window,
        "bytes_in_flight": recovery.bytes_in_flight,
        "lost_packets": getattr(recovery._cc, "lost_packets", 0),
        "sent_packets": quic._packet_number,
        "mtu": quic._max_datagram_size,
    }


# --- datagrams -------------------------------------------------------------------------------------


def queued_datagrams(quic: QuicConnection) -> int:
    """DATAGRAM frames that wait to be sent."""
    return len(quic._datagrams_pending) if COMPLETE else 0


def max_datagram_frame_payload(quic: QuicConnection) -> int:
    """The greatest DATAGRAM payload that fits one packet and the peer's limit; 0: it takes none."""
    if not COMPLETE:
        return 1100
    remote = quic._remote_max_datagram_frame_size
    if remote is None:
        return 0
    packet = quic._max_datagram_size - _SHORT_HEADER_BYTES - len(quic._peer_cid.cid) - _AEAD_TAG_BYTES
    return max(0, min(packet, remote) - _DATAGRAM_FRAME_BYTES)


# --- streams ---------------------------------------------------------------------------------------


def is_live(quic: QuicConnection, stream_id: int) -> bool:
    """Whether aioquic still keeps state for that stream."""
    return stream_id in quic._streams if COMPLETE else True


def is_blocked(quic: QuicConnection, stream_id: int) -> bool:
    """Whether the peer's limit on the number of streams holds that stream back."""
    stream = quic._streams.get(stream_id) if COMPLETE else None
    return stream is not None and stream.is_blocked


def send_last(quic: QuicConnection, stream_id: int) -> None:
    """Put that stream behind all others that have something to send."""
    stream = quic._streams.get(stream_id) if COMPLETE else None
    if stream is not None and stream in quic._streams_queue:
        quic._streams_queue.remove(stream)
        quic._streams_queue.append(stream)


def can_receive(quic: QuicConnection, stream_id: int) -> bool:
    """Whether bytes of that stream may still arrive."""
    stream = quic._streams.get(stream_id) if COMPLETE else None
    return stream is not None and not stream.receiver.is_finished


def reordering_bytes(quic: QuicConnection) -> int:
    """Bytes held because something before them is missing, over all streams."""
    if not COMPLETE:
        return 0
    return sum(len(stream.receiver._buffer) for stream in quic._streams.values())


def received_stream_bytes(quic: QuicConnection) -> int:
    """All stream bytes that count against the connection's flow control so far."""
    return quic._local_max_data.used if COMPLETE else 0


# --- HTTP/3 ----------------------------------------------------------------------------------------


def request_bytes_buffered(h3: H3Connection, stream_id: int) -> int:
    """Bytes of an unfinished HTTP/3 frame that H3Connection holds for that stream."""
    stream = h3._stream.get(stream_id) if COMPLETE else None
    return len(stream.buffer) if stream is not None else 0


def forget_request_stream(h3: H3Connection, stream_id: int) -> None:
    """Drop H3Connection's state of a WebTransport stream that is over in both directions."""
    if COMPLETE:
        h3._stream.pop(stream_id, None)


# --- the end ---------------------------------------------------------------------------------------


def close_event(quic: QuicConnection) -> ConnectionTerminated | None:
    """Why the connection ends, known as soon as it does (aioquic tells three PTOs later)."""
    return quic._close_event if COMPLETE else None


def is_closing(quic: QuicConnection) -> bool:
    """Whether the connection is closing, draining or gone: nothing more can be sent."""
    return COMPLETE and (quic._close_event is not None or quic._state.value >= 2)


def in_flight(quic: QuicConnection) -> bool:
    """Whether something still has to be sent or acknowledged, on a connection that is not closing."""
    if not COMPLETE or is_closing(quic):
        return False
    return quic._loss.bytes_in_flight > 0 or queued_bytes(quic) > 0


def peer_certificate(quic: QuicConnection) -> x509.Certificate | None:
    """The certificate the server showed, once the handshake is complete."""
    certificate = getattr(getattr(quic, "tls", None), "_peer_certificate", None)
    return certificate if isinstance(certificate, x509.Certificate) else None


def handshake_confirmed(quic: QuicConnection) -> bool:
    """Whether the handshake is done on both sides."""
    return quic._handshake_confirmed if COMPLETE else True
