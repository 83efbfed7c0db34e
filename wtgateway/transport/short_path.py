"""Packets that acknowledge or hold datagrams, applied to aioquic's connection without its receive path.

What aioquic does for every packet is done here in the same order and words, and nothing else:
:mod:`opening` unprotects and reads, :mod:`acks` applies the acknowledgement. A packet of another kind, from
another address, to another connection ID or in another key phase is left to aioquic with nothing
changed. Imports aioquic's types and this package.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import DatagramFrameReceived
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.tls import Epoch

from wtgateway.transport import internals
from wtgateway.transport.acks import apply_ack
from wtgateway.transport.opening import Limit, Opener, Unreadable, read_frames
from wtgateway.transport.udp import Peer

_MAX_DATA, _MAX_STREAM_DATA, _MAX_STREAMS_BIDI = 0x10, 0x11, 0x12


class Outcome(enum.Enum):
    """What became of a packet; datagrams that it held are among the connection's events."""

    LEFT = enum.auto()  # to aioquic
    DONE = enum.auto()
    ROOM = enum.auto()  # done, and something was acknowledged
    TOUCHED = enum.auto()  # the same, and aioquic may have something to send because of it


class ShortPath:
    """The receiving end of a connection whose handshake is confirmed."""

    __slots__ = (
        "_address",
        "_cid",
        "_cid_bytes",
        "_datagram_bytes",
        "_delay_exponent",
        "_opener",
        "_quic",
        "_received",
        "_recovery",
        "_space",
        "idle_timeout",
    )

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._recovery = quic._loss
        self._space: QuicPacketSpace = quic._spaces[Epoch.ONE_RTT]
        self._received = self._space.received_packets
        self._cid_bytes = quic.configuration.connection_id_length
        self._datagram_bytes = quic.configuration.max_datagram_frame_size or 0  # of a frame, taken; 0: none
        self.refresh()

    def refresh(self) -> None:
        """Take over what only aioquic changes: keys, path, connection ID; after each visit to it.

        Connections are many and each is looked at for some microseconds: what lies in one place is in
        the processor's cache soon, what is strewn over a connection's hundred attributes is not.
        """
        quic = self._quic
        path, keys = quic._network_paths[0], quic._cryptos[Epoch.ONE_RTT].recv
        self._address = path.addr if path.is_validated else None  # None: nothing is for the short path
        self._cid = quic.host_cid
        self._delay_exponent = quic._remote_ack_delay_exponent
        self._opener = Opener(keys)
        self.idle_timeout = quic._idle_timeout()  # s

    def receive(self, data: bytes, peer: Peer, now: float) -> Outcome:
        """Take a short-header packet of an open connection, if it is of the kind."""
        if (self._address is not peer and self._address != peer) or data[
            1 : 1 + self._cid_bytes
        ] != self._cid:
            return Outcome.LEFT
        space = self._space
        try:
            opened = self._opener.open(data, self._cid_bytes, space.expected_packet_number)
        except Unreadable:
            return Outcome.DONE
        if opened is None:
            return Outcome.LEFT
        number, spin, payload = opened
        if number in self._received:
            return Outcome.DONE
        frames = read_frames(payload)
        if frames is None:
            return Outcome.LEFT
        ranges, encoded_delay, limits, datagrams, eliciting = frames
        if limits and not self._are_known(limits):
            return Outcome.LEFT
        if datagrams and len(payload) > self._datagram_bytes:  # that some frame may be too large
            return Outcome.LEFT
        touched = False
        if ranges:
            self._recovery.peer_completed_address_validation = True
            delay = (encoded_delay << self._delay_exponent) / 1000000
            touched = apply_ack(self._recovery, space, ranges, delay, now)
        if limits:
            self._raise(limits)
            touched = True  # streams of aioquic's own may go on as well
        for datagram in datagrams:
            self._quic._events.append(DatagramFrameReceived(data=datagram))
        self._record(number, spin, eliciting, now)  # last: an ACK of our ACKs forgets what those told
        if touched:
            return Outcome.TOUCHED
        return Outcome.ROOM if ranges else Outcome.DONE

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
        self._received.add(number)
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
