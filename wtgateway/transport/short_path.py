"""Packets that only acknowledge, applied to aioquic's connection without its receive path.

What aioquic does for every packet is done here in the same order and words, and nothing else:
:mod:`opening` unprotects and reads, :mod:`acks` applies the acknowledgement. A packet of another kind, from
another address, to another connection ID or in another key phase is left to aioquic with nothing
changed. Imports aioquic's types and this package.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoContext
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.tls import Epoch

from wtgateway.transport import internals
from wtgateway.transport.acks import apply_ack
from wtgateway.transport.opening import Limit, Unreadable, open_packet, read_frames
from wtgateway.transport.udp import Peer

_MAX_DATA, _MAX_STREAM_DATA, _MAX_STREAMS_BIDI = 0x10, 0x11, 0x12


class Outcome(enum.Enum):
    """What became of a packet."""

    LEFT = enum.auto()  # to aioquic
    DONE = enum.auto()
    TOUCHED = enum.auto()  # done, and aioquic may have something to send because of it


class ShortPath:
    """The receiving end of a connection whose handshake is confirmed."""

    __slots__ = ("_cid_bytes", "_keys", "_quic", "_space", "idle_timeout")

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._keys: CryptoContext = quic._cryptos[Epoch.ONE_RTT].recv
        self._space: QuicPacketSpace = quic._spaces[Epoch.ONE_RTT]
        self._cid_bytes = quic.configuration.connection_id_length
        self.idle_timeout = quic._idle_timeout()  # s; to be kept up to date by the owner

    def receive(self, data: bytes, peer: Peer, now: float) -> Outcome:
        """Take a short-header packet of an open connection, if it is of the kind."""
        quic, keys, space = self._quic, self._keys, self._space
        path = quic._network_paths[0]
        if (
            data[1 : 1 + self._cid_bytes] != quic.host_cid
            or not path.is_validated
            or (path.addr is not peer and path.addr != peer)
            or keys.aead is None
        ):
            return Outcome.LEFT
        try:
            opened = open_packet(keys, data, self._cid_bytes, space.expected_packet_number)
        except Unreadable:
            return Outcome.DONE
        if opened is None:
            return Outcome.LEFT
        number, spin, payload = opened
        if number in space.received_packets:
            return Outcome.DONE
        frames = read_frames(payload)
        if frames is None:
            return Outcome.LEFT
        ranges, encoded_delay, limits, eliciting = frames
        if limits and not self._are_known(limits):
            return Outcome.LEFT
        self._record(number, spin, eliciting, now)
        touched = False
        if ranges:
            recovery = quic._loss
            recovery.peer_completed_address_validation = True
            delay = (encoded_delay << quic._remote_ack_delay_exponent) / 1000000
            touched = apply_ack(recovery, space, ranges, delay, now)
        if limits:
            self._raise(limits)
            touched = True  # streams of aioquic's own may go on as well
        return Outcome.TOUCHED if touched else Outcome.DONE

    def _record(self, number: int, spin: bool, eliciting: bool, now: float) -> None:
        quic, space = self._quic, self._space
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > quic._spin_highest_pn:
            quic._spin_bit = spin != quic._is_client
            quic._spin_highest_pn = number
        quic._close_at = now + self.idle_timeout
        quic._ack_eliciting_sent_since_receipt = False
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        queue = space.ack_queue
        queue.add(number)
        space.received_packets.add(number)
        if len(queue) > internals.MAX_ACK_RANGES:
            queue.shift()
        if eliciting and space.ack_at is None:
            space.ack_at = now + quic._ack_delay

    def _are_known(self, limits: Sequence[Limit]) -> bool:
        """Whether all streams of MAX_STREAM_DATA frames are there, and ours to send on."""
        quic = self._quic
        return all(
            kind != _MAX_STREAM_DATA or (stream_id in quic._streams and quic._stream_can_send(stream_id))
            for kind, stream_id, _ in limits
        )

    def _raise(self, limits: Sequence[Limit]) -> None:
        quic = self._quic
        for kind, stream_id, value in limits:
            if kind == _MAX_DATA:
                quic._remote_max_data = max(quic._remote_max_data, value)
            elif kind == _MAX_STREAM_DATA:
                stream = quic._streams.get(stream_id)  # the same packet may have acknowledged it whole
                if stream is not None:
                    stream.max_stream_data_remote = max(stream.max_stream_data_remote, value)
            elif kind == _MAX_STREAMS_BIDI:
                if value > quic._remote_max_streams_bidi:
                    quic._remote_max_streams_bidi = value
                    quic._unblock_streams(is_unidirectional=False)
            elif value > quic._remote_max_streams_uni:
                quic._remote_max_streams_uni = value
                quic._unblock_streams(is_unidirectional=True)
