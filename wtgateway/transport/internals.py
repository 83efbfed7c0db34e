"""All private attributes of aioquic in use, listed here and checked at import that they are there.

The basic set serves statistics and shallow queues: where aioquic has changed it, one warning is
logged and every function here answers with a careful guess, so that media still flows, less well.
The express set is what :mod:`lane`, :mod:`sealing`, :mod:`opening`, :mod:`acks`, :mod:`frame_stream` and
:mod:`connection_ids` read and write: with another aioquic than they were written for, or without one
of these names, :data:`EXPRESS` is false and everything goes aioquic's own way. Set the environment
variable WTGATEWAY_EXPRESS to 0 to have it so.

Nothing in this module changes aioquic's state but ``install_pacer``, ``send_last``,
``set_max_datagram_size``, ``validate_path`` and ``forget_request_stream``. Imports aioquic only.
"""

from __future__ import annotations

import hmac
import logging
import os
import weakref
from importlib.metadata import version
from typing import Any

from aioquic._buffer import Buffer
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import (
    QuicConnection,
    QuicConnectionId,
    QuicConnectionState,
    QuicNetworkPath,
)
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import pull_quic_transport_parameters
from aioquic.quic.recovery import MAX_ACK_RANGES as MAX_ACK_RANGES
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import ExtensionType
from cryptography import x509

log = logging.getLogger("wtgateway.transport")

_SHORT_HEADER_BYTES = 1 + 2  # first byte and the packet number, which aioquic writes with two bytes
_AEAD_TAG_BYTES = 16
_DATAGRAM_FRAME_BYTES = 1 + 2  # type and length
_GUESSED_ROOM = 32 * 1024

_NEEDED = {
    "connection": (
        "_close_event _datagrams_pending _handshake_confirmed _host_cid_seq _host_cids "
        "_local_initial_source_connection_id _remote_active_connection_id_limit _replenish_connection_ids "
        "_local_max_data _local_next_stream_id_uni _peer_cid_available "
        "_loss _max_datagram_size _packet_number _peer_cid _remote_max_datagram_frame_size _state "
        "_network_paths _streams _streams_blocked_bidi _streams_blocked_uni _streams_queue"
    ),
    "recovery": "_cc _pacer _rtt_initialized _rtt_min _rtt_smoothed spaces",
    "space": "ack_eliciting_in_flight",
    "sender": "_buffer_start _buffer_stop _pending _reset_error_code buffer_is_empty is_finished",
    "receiver": "_buffer is_finished",
    "h3": "_stream _is_done",
}


# What the express lane reads and writes besides.
_NEEDED_BY_LANE = {
    "connection": (
        "_ack_delay _ack_eliciting_sent_since_receipt _close_at _close_pending _cryptos _events _host_cids "
        "_idle_timeout _is_client _network_paths _pacing_at _ping_pending _probe_pending "
        "_remote_ack_delay_exponent _remote_max_data _remote_max_data_used "
        "_remote_max_stream_data_uni _remote_max_streams_bidi _remote_max_streams_uni _spaces "
        "_spin_bit _spin_highest_pn _stream_can_send _streams_blocked_pending _unblock_streams "
        "host_cid"
    ),
    "recovery": (
        "_detect_loss _pto_count _rtt_first_sample_time _rtt_latest _rtt_variance "
        "_time_of_last_sent_ack_eliciting_packet max_ack_delay peer_completed_address_validation spaces"
    ),
    "space": (
        "ack_at ack_eliciting_in_flight ack_queue expected_packet_number largest_acked_packet "
        "largest_received_packet largest_received_time loss_time received_packets sent_packets"
    ),
    "path": "addr bytes_received bytes_sent is_validated",
    "crypto": "_update_key _update_key_requested recv send",
    "keys": "aead hp key_phase",
    "aead": "_aead _iv",
    "protection": "_encryptor _is_chacha20",
}
# What :mod:`reset_stream_at`, :mod:`http3` and session flow control read and override besides.
_NEEDED_BY_DRAFTS = {
    "connection": (
        "_QuicConnection__frame_handlers _assert_stream_can_receive _events _get_or_create_stream "
        "_handle_stream_frame _is_client _parse_transport_parameters _remote_max_data _remote_max_data_used "
        "_serialize_transport_parameters _write_reset_stream_frame"
    ),
    "sender": "_reset_error_code get_reset_frame highest_offset on_reset_delivery",
    "receiver": "_final_size handle_reset highest_offset starting_offset",
    "h3": (
        "_check_control_frame_type _check_request_or_push_frame_type _get_local_settings _is_client "
        "_validate_settings"
    ),
}
_EXPRESS_VERSIONS = ("1.7.",)  # whose code was read for this


def missing_attributes(needed: dict[str, str]) -> list[str]:
    """The private attributes named in ``needed`` that this aioquic lacks."""
    try:
        owners = _owners()
    except Exception as error:  # whatever a changed aioquic raises
        return [f"everything ({error!r})"]
    return [
        f"{owner}.{name}"
        for owner, names in needed.items()
        for name in names.split()
        if not hasattr(owners[owner], name)
    ]


def _owners() -> dict[str, Any]:
    quic = QuicConnection(configuration=QuicConfiguration(is_client=True))
    stream = QuicStream(stream_id=0)
    crypto = CryptoPair()
    crypto.setup_initial(bytes(8), is_client=True, version=1)
    return {
        "connection": quic,
        "recovery": getattr(quic, "_loss", None),
        "sender": stream.sender,
        "receiver": stream.receiver,
        "h3": H3Connection(quic),
        "space": QuicPacketSpace(),
        "path": QuicNetworkPath(("", 0)),
        "crypto": crypto,
        "keys": crypto.send,
        "aead": crypto.send.aead,
        "protection": crypto.send.hp,
    }


def _express() -> bool:
    if not COMPLETE or os.environ.get("WTGATEWAY_EXPRESS") == "0":
        return False
    installed = version("aioquic")
    missing = missing_attributes(_NEEDED_BY_LANE)
    if missing or not installed.startswith(_EXPRESS_VERSIONS):
        log.warning(
            "aioquic %s is not one that the express lane knows%s: sending costs four times as much; "
            "install aioquic 1.7",
            installed,
            f" (it lacks {', '.join(missing)})" if missing else "",
        )
        return False
    return True


_MISSING = missing_attributes(_NEEDED)
COMPLETE = not _MISSING
if not COMPLETE:
    log.warning(
        "this aioquic lacks %s: latency and statistics will be worse; install aioquic 1.7",
        ", ".join(_MISSING),
    )
EXPRESS = _express()
EXTENSIBLE = COMPLETE and not missing_attributes(_NEEDED_BY_DRAFTS)
if COMPLETE and not EXTENSIBLE:
    log.warning(
        "this aioquic lacks %s: only old drafts of WebTransport are spoken; install aioquic 1.7",
        ", ".join(missing_attributes(_NEEDED_BY_DRAFTS)),
    )
CONNECTED = QuicConnectionState.CONNECTED


# --- congestion and path ---------------------------------------------------------------------------


def install_pacer(quic: QuicConnection, pacer: Any) -> None:
    """Replace the packet pacer; ``pacer`` has the three methods of aioquic's QuicPacketPacer.

    A congestion controller with a method ``follow`` is given a function that tells the latest round trip
    without the peer's delay in acknowledging (RFC 9002, section 5.3): aioquic tells it the whole. One with a
    method ``pace`` is what the pacer asks, if that can follow.
    """
    if not COMPLETE:
        return
    quic._loss._pacer = pacer
    follow = getattr(quic._loss._cc, "follow", None)
    if follow is not None and hasattr(quic._loss, "_rtt_latest"):
        recovery = weakref.proxy(quic._loss)  # which holds the controller
        follow(lambda: recovery._rtt_latest)
    pace = getattr(quic._loss._cc, "pace", None)
    if pace is not None and hasattr(pacer, "follow"):
        pacer.follow(pace)


def window_room(quic: QuicConnection) -> int:
    """Congestion window minus bytes in flight; may be negative."""
    if not COMPLETE:
        return _GUESSED_ROOM
    controller = quic._loss._cc
    return controller.congestion_window - controller.bytes_in_flight


def pace(quic: QuicConnection) -> float:
    """Bytes a second that the pacer lets go; 0: not known (yet)."""
    return float(getattr(quic._loss._pacer, "bytes_per_second", 0.0)) if COMPLETE else 0.0


def streams_blocked(quic: QuicConnection) -> bool:
    """Whether the peer's limit on streams holds some back."""
    return COMPLETE and bool(quic._streams_blocked_uni or quic._streams_blocked_bidi)


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


def path_statistics(quic: QuicConnection) -> dict[str, Any]:
    """The fields of webtransport.PathStats."""
    if not COMPLETE:
        names = "rtt_us min_rtt_us congestion_window bytes_in_flight lost_packets sent_packets mtu"
        return dict.fromkeys(names.split(), 0)
    recovery, own = quic._loss, controller(quic)
    known = recovery._rtt_initialized
    return {
        "rtt_us": round(recovery._rtt_smoothed * 1e6),
        "min_rtt_us": round(recovery._rtt_min * 1e6) if known else 0,
        "congestion_window": recovery.congestion_window,
        "bytes_in_flight": recovery.bytes_in_flight,
        "lost_packets": getattr(recovery._cc, "lost_packets", 0),
        "sent_packets": quic._packet_number,
        "mtu": quic._max_datagram_size,
        "loss": own.loss.share if own is not None else 0.0,
        "estimate_bps": round(own.estimate.rate * 8) if own is not None else 0,
        "estimate_bounded": own.estimate.bounded if own is not None else False,
        "queueing_us": round(own.queueing_delay() * 1e6) if own is not None else 0,
    }


def probe_bytes(quic: QuicConnection, now: float, room: int) -> int:
    """Padding, at most ``room`` bytes, that congestion control wants to have sent now."""
    own = controller(quic)
    if own is None or not quic._loss._rtt_initialized:
        return 0
    size = int(own.probe_bytes(now, room))
    if size:  # a train leaves at a pace of its own
        follow_pace(quic)
    return size


def follow_pace(quic: QuicConnection) -> None:
    """Have the pacer ask anew how fast to go: aioquic tells it of round trips and losses only."""
    recovery = quic._loss
    if COMPLETE and recovery._rtt_initialized:
        recovery._pacer.update_rate(
            congestion_window=recovery.congestion_window, smoothed_rtt=recovery._rtt_smoothed
        )


def controller(quic: QuicConnection) -> Any:
    """The congestion controller if it is our own and says more than a window; None otherwise."""
    own = quic._loss._cc if COMPLETE else None
    return own if hasattr(own, "probe_bytes") else None


# --- datagrams -------------------------------------------------------------------------------------


def queued_datagram_bytes(quic: QuicConnection, each: int) -> int:
    """Bytes of DATAGRAM frames that wait to be sent, and ``each`` for every one of them."""
    return sum(len(data) + each for data in quic._datagrams_pending) if COMPLETE else 0


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


def undelivered(quic: QuicConnection, stream_id: int) -> int:
    """Bytes of a stream that the peer reset, up to its final size, that were not delivered."""
    stream = quic._streams.get(stream_id) if COMPLETE else None
    return 0 if stream is None else stream.receiver.highest_offset - stream.receiver.starting_offset()


def never_sent(quic: QuicConnection, stream_id: int, preamble_bytes: int) -> int:
    """Bytes behind its preamble that a stream was given and has not sent, not even once."""
    sender: Any = quic._streams[stream_id].sender if COMPLETE and stream_id in quic._streams else None
    if sender is None:
        return 0
    # The lane's streams have a size, aioquic's the end of a buffer.
    given: int = sender.size if hasattr(sender, "size") else sender._buffer_stop
    sent: int = max(sender.highest_offset, preamble_bytes)
    return max(0, given - sent)


def is_reset(quic: QuicConnection, stream_id: int) -> bool:
    """Whether there is nothing to reset of that stream any more."""
    stream = quic._streams.get(stream_id) if COMPLETE else None
    return stream is None or stream.sender.is_finished or stream.sender._reset_error_code is not None


def reordering_bytes(quic: QuicConnection) -> int:
    """Bytes held because something before them is missing, over all streams."""
    if not COMPLETE:
        return 0
    return sum(len(stream.receiver._buffer) for stream in quic._streams.values())


def received_stream_bytes(quic: QuicConnection) -> int:
    """All stream bytes that count against the connection's flow control so far."""
    return quic._local_max_data.used if COMPLETE else 0


# --- connection IDs --------------------------------------------------------------------------------


def set_first_connection_id(quic: QuicConnection, cid: bytes, reset_token: bytes) -> None:
    """Replace the connection ID that a server issues first; before anything is sent or received."""
    first = quic._host_cids[0]
    first.cid, first.stateless_reset_token = cid, reset_token
    quic.host_cid = quic._local_initial_source_connection_id = cid


def missing_connection_ids(quic: QuicConnection) -> int:
    """How many more connection IDs the peer may have (aioquic keeps at most 8)."""
    return min(8, quic._remote_active_connection_id_limit) - len(quic._host_cids)


def add_connection_id(quic: QuicConnection, cid: bytes, reset_token: bytes) -> None:
    """Issue one more connection ID; aioquic sends it."""
    quic._host_cids.append(
        QuicConnectionId(cid=cid, sequence_number=quic._host_cid_seq, stateless_reset_token=reset_token)
    )
    quic._host_cid_seq += 1


def is_stateless_reset(quic: QuicConnection, data: bytes) -> bool:
    """Whether a datagram ends in a token by which the peer resets the connection (RFC 9000, 10.3.1)."""
    if not COMPLETE or len(data) < 21 or data[0] & 0x80:
        return False
    tokens = (known.stateless_reset_token for known in (quic._peer_cid, *quic._peer_cid_available))
    # All are compared, so that the time it takes tells nothing.
    return any([bool(token) and hmac.compare_digest(token, data[-16:]) for token in tokens])  # noqa: C419


# --- HTTP/3 ----------------------------------------------------------------------------------------


def request_bytes_buffered(h3: H3Connection, stream_id: int) -> int:
    """Bytes of an unfinished HTTP/3 frame that H3Connection holds for that stream."""
    stream = h3._stream.get(stream_id) if COMPLETE else None
    return len(stream.buffer) if stream is not None else 0


def session_of(h3: H3Connection, stream_id: int) -> int | None:
    """The session that the preamble of a peer's stream named, if that has come."""
    stream = h3._stream.get(stream_id) if COMPLETE else None
    return stream.session_id if stream is not None else None


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
    # not its bytes: aioquic's client counts the Initial that a Retry has answered for ever
    return any(space.ack_eliciting_in_flight for space in quic._loss.spaces) or queued_bytes(quic) > 0


def peer_certificate(quic: QuicConnection) -> x509.Certificate | None:
    """The certificate the server showed, once the handshake is complete."""
    certificate = getattr(getattr(quic, "tls", None), "_peer_certificate", None)
    return certificate if isinstance(certificate, x509.Certificate) else None


def handshake_confirmed(quic: QuicConnection) -> bool:
    """Whether the handshake is done on both sides."""
    return quic._handshake_confirmed if COMPLETE else True


# --- address validation and path MTU ---------------------------------------------------------------


def is_unbegun(quic: QuicConnection) -> bool:
    """Whether a server's connection has received nothing yet that it could open."""
    return COMPLETE and quic._state is QuicConnectionState.FIRSTFLIGHT


def validate_path(quic: QuicConnection) -> None:
    """The address that the first Initial came from was proven by a token (RFC 9000, section 8.1.2)."""
    if COMPLETE and quic._network_paths:
        quic._network_paths[0].is_validated = True


def max_udp_payload_size(quic: QuicConnection) -> int:
    """The largest datagram that the peer takes (RFC 9000, section 18.2); known once it has shaken hands.

    aioquic checks this transport parameter and keeps it nowhere, so it is read again from TLS.
    """
    for kind, data in getattr(getattr(quic, "tls", None), "received_extensions", None) or ():
        if kind == ExtensionType.QUIC_TRANSPORT_PARAMETERS:
            size = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
            return 65527 if size is None else size
    return SMALLEST_MAX_DATAGRAM_SIZE


def paths(quic: QuicConnection) -> list[QuicNetworkPath]:
    """The network paths in use and under validation, the active one first; compared by identity."""
    return list(quic._network_paths)


def watch_sizes(quic: QuicConnection, watch: Any) -> None:
    """Have congestion control tell ``watch`` of lost and acknowledged packets, if it can."""
    if hasattr(quic._loss._cc, "sizes"):
        quic._loss._cc.sizes = watch


def set_max_datagram_size(quic: QuicConnection, size: int) -> int:
    """Send packets of at most ``size`` bytes from now on; what congestion control and pacer count with
    follows. Returns how many waiting DATAGRAM frames were dropped since they do not fit any more: aioquic
    would wait for ever with one at its head.
    """
    if not COMPLETE:
        return 0
    quic._max_datagram_size = size
    recovery = quic._loss
    owners: tuple[Any, ...] = (recovery._cc, recovery._pacer)
    for owner in owners:
        follow = getattr(owner, "set_max_datagram_size", None)
        if follow is not None:
            follow(size)
        else:
            owner._max_datagram_size = size
    limit = max_datagram_frame_payload(quic)
    fitting = [data for data in quic._datagrams_pending if len(data) <= limit]
    dropped = len(quic._datagrams_pending) - len(fitting)
    if dropped:
        quic._datagrams_pending.clear()
        quic._datagrams_pending.extend(fitting)
    return dropped
