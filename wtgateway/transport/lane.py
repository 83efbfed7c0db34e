"""One QUIC connection, sans-I/O: aioquic's, with an express lane for media in both directions.

Out: media frames (as streams) and datagrams wait in strict classes of urgency (:mod:`media_queue`), and
are cut, sealed and recorded in batches (:mod:`batch`, :mod:`sealing`), within aioquic's own congestion
window, pacing, flow control and anti-amplification limit. All else that the connection has to say goes
through aioquic's ``datagrams_to_send``. In: packets of acknowledgements and datagrams are applied directly
(:mod:`short_path`), all others go to ``receive_datagram``.

With ``express=False``, or an aioquic that :mod:`internals` does not know, everything goes the
ordinary way; the peer cannot tell the two apart but by speed. Imports aioquic and this package.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.connection import QuicConnection, QuicNetworkPath
from aioquic.quic.crypto import CryptoPair
from aioquic.tls import Epoch

from wtgateway.transport import internals
from wtgateway.transport.batch import Batch, Run, run_of, runs_of
from wtgateway.transport.frame_stream import FrameStream, ProbePacket, SentPacket
from wtgateway.transport.media_queue import DATAGRAM_COST, MediaQueue
from wtgateway.transport.qlog import Trace
from wtgateway.transport.sealing import PACKET_NUMBER_BYTES, TAG_BYTES, Sealer, overhead
from wtgateway.transport.short_path import Outcome, ShortPath
from wtgateway.transport.udp import Peer
from wtgateway.transport.urgency import Urgency

BATCH_PACKETS = 64  # one batch, and one segmented system call (UDP_MAX_SEGMENTS); the next viewer's turn then
BATCH_BYTES = 65000
SHORT_BYTES = 300  # a longer packet has more to say than that something arrived: datagrams, or streams
MOST_PASSED_OVER = 63  # long packets that are not tried on the short path after one that was not for it
SHALLOW_S = 0.005  # what the path takes in so long may wait here; the rest waits where it can be overtaken
PACKETS_PER_KEY = 1 << 22  # half of what AES-GCM allows with one key (RFC 9001, section 6.6)

_PING = b"\x01"
_ONE_RTT = Epoch.ONE_RTT


class Attention(enum.IntFlag):
    """What a received datagram asks of the connection's driver."""

    NONE = 0
    SEND = 1  # there may be room now for what waits
    EVENTS = 2  # datagrams are among the connection's events, and nothing else is to be done about it
    FULL = 4  # aioquic took it: events, answers, timer


class Lane:
    """A connection as its driver sees it; ``now`` is the clock's time in s."""

    def __init__(self, quic: QuicConnection, *, express: bool = True) -> None:
        self.quic = quic
        self.express = express and internals.EXPRESS and not quic.configuration.quic_logger
        self.probe_timeout = 0.0  # s; as of the last get_timer
        self.hungry = False  # someone above waits for room
        self.qlog: Trace | None = None  # set by :mod:`wtgateway.transport.qlog`
        self._media = MediaQueue(quic)
        self.visited = False  # whether the last transmit asked aioquic: its timer has changed
        self._touched = True  # aioquic may have something to say
        self._timer_asked = True  # whatever the window lets it say
        self._paced_at: float | None = None
        self._wake_at = 0.0
        self._confirmed = False
        self._pass_over = self._passed_over = 0  # long packets: how many to leave to aioquic unread
        self._fresh_since = 0  # first packet number that was sealed with the present key
        self._stale = True  # aioquic was visited: what is remembered of it may have changed
        self._short: ShortPath  # once the handshake is confirmed, as the others
        self._crypto: CryptoPair
        self._sealer: Sealer
        self._path: QuicNetworkPath
        self._cid = b""

    # --- in ----------------------------------------------------------------------------------------

    def receive(self, data: bytes, peer: Peer, now: float) -> Attention:
        """A UDP payload from ``peer``. Raises whatever aioquic raises for what it cannot take."""
        if (
            self.express
            and self.qlog is None  # aioquic's way is noted
            and not data[0] & 0x80
            and (len(data) <= SHORT_BYTES or self._worth_trying())
            and self._sendable()
        ):
            if self._stale:
                self._refresh()
            outcome = self._short.receive(data, peer, now)
            if len(data) > SHORT_BYTES:
                left = outcome is Outcome.LEFT
                self._pass_over = min(2 * self._pass_over + 1, MOST_PASSED_OVER) if left else 0
            if outcome is not Outcome.LEFT:
                return self._attention(outcome)
        self._touched = True
        self.quic.receive_datagram(data, peer, now)
        self._stale = True
        return Attention.FULL

    def _worth_trying(self) -> bool:
        """Whether to read a long packet, which aioquic has to do again if it holds a stream."""
        self._passed_over += 1
        if self._passed_over <= self._pass_over:
            return False
        self._passed_over = 0
        return True

    def _attention(self, outcome: Outcome) -> Attention:
        self._touched |= outcome is Outcome.TOUCHED
        attention = Attention.EVENTS if self.quic._events else Attention.NONE
        if self._touched or (outcome is Outcome.ROOM and (self.hungry or self._media.unsent)):
            attention |= Attention.SEND
        return attention

    # --- what is to be sent ------------------------------------------------------------------------

    def touch(self) -> None:
        """Something was asked of aioquic directly, or a deadline has come: its timer has to be asked for."""
        self._touched = self._timer_asked = True

    def wake(self, at: float) -> None:
        """Above will have more then, though nothing waits and nobody acknowledges; to be said again after
        each :meth:`transmit`.
        """
        self._wake_at = at

    def open_frame(self, head: bytes, body: bytes, urgency: Urgency) -> int:
        """Send ``head`` and ``body`` as one new unidirectional stream; its id. ``body`` is not copied."""
        quic = self.quic
        stream_id = quic.get_next_available_stream_id(is_unidirectional=True)
        if not self.express:
            quic.send_stream_data(stream_id, head + body, end_stream=True)
            return stream_id
        stream = FrameStream(
            stream_id,
            head,
            body,
            urgency=urgency,
            max_stream_data=quic._remote_max_stream_data_uni,
            on_lost=self._media.on_lost,
            on_over=self._over,
        )
        quic._streams[stream_id] = stream  # type: ignore[assignment]
        quic._local_next_stream_id_uni = stream_id + 4
        if stream_id // 4 >= quic._remote_max_streams_uni:
            stream.is_blocked = True
            quic._streams_blocked_uni.append(stream)  # type: ignore[arg-type]
            quic._streams_blocked_pending = True
            self._touched = True
        self._media.add_stream(stream)
        return stream_id

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency, prefix: bytes = b"") -> int:
        """Queue DATAGRAM frames of ``prefix`` and each payload; how many were taken, from the first on."""
        if not self.express:
            self._media.datagram_bytes = internals.queued_datagram_bytes(self.quic, DATAGRAM_COST)
        taken = payloads[: self._media.admit(payloads, self.max_datagram_payload() - len(prefix))]
        if not self.express:
            for payload in taken:
                self.quic.send_datagram_frame(prefix + payload)
        elif taken:
            self._media.add_datagrams(prefix, taken, urgency)
        return len(taken)

    def max_datagram_payload(self) -> int:
        """What fits one DATAGRAM frame now, the prefix included; 0: the peer takes none."""
        return internals.max_datagram_frame_payload(self.quic)

    def room(self, urgency: Urgency | None = None) -> int:
        """Bytes that may be handed over so that little waits here; <= 0: wait for acknowledgements.

        At most what the path takes in a few milliseconds, so that a decision of above can still
        overtake what was handed over before. With ``urgency``: for what is of that class, which
        what waits in the classes behind it does not keep.
        """
        quic = self.quic
        free = internals.window_room(quic)
        pace = internals.pace(quic)
        if pace:
            free = min(free, max(int(pace * SHALLOW_S), SMALLEST_MAX_DATAGRAM_SIZE))
        media = self._media
        unsent = media.unsent if urgency is None else media.unsent_up_to(urgency)
        free -= unsent + internals.queued_bytes(quic)
        return min(free, 0) if self._media.stalled or internals.streams_blocked(quic) else free

    def unsent_bytes(self, stream_id: int) -> int:
        """Bytes of a stream that wait to be sent; 0 once it is over."""
        stream: Any = self.quic._streams.get(stream_id) if self.express else None
        return stream.unsent if type(stream) is FrameStream else internals.unsent_bytes(self.quic, stream_id)

    def unacknowledged_bytes(self, stream_id: int) -> int:
        """Bytes of a stream that the peer has not acknowledged; 0 once it is over."""
        stream: Any = self.quic._streams.get(stream_id) if self.express else None
        if type(stream) is FrameStream:
            return 0 if stream.is_reset else stream.size - stream.acknowledged
        return internals.unacknowledged_bytes(self.quic, stream_id)

    @property
    def datagrams_too_large(self) -> int:
        """Datagrams dropped because the path's MTU shrank after they were taken."""
        return self._media.datagrams_too_large

    @property
    def waiting(self) -> int:
        """Bytes of media that were not sent yet, or have to be sent again."""
        return self._media.unsent if self.express else internals.queued_bytes(self.quic)

    def _over(self, stream: FrameStream, unsent: int) -> None:
        """Acknowledged whole, or reset with ``unsent`` bytes left."""
        self._media.unsent -= unsent
        if stream.is_finished:
            self.quic._streams.pop(stream.stream_id, None)
        else:  # aioquic says so to the peer, and forgets it when that has arrived
            self.quic._streams_queue.append(stream)  # type: ignore[arg-type]
            self._touched = True

    # --- out ---------------------------------------------------------------------------------------

    def transmit(self, now: float) -> list[Run]:
        """What aioquic has to say, and at most :data:`BATCH_PACKETS` packets of the lane, in their order.

        Call again while :attr:`can_send` is true, after the other connections had their turn.
        """
        quic = self.quic
        self._renew_key()
        self.visited, self._timer_asked = self._timer_asked or not self.express, False
        if not self.express:
            return runs_of(quic.datagrams_to_send(now))
        runs: list[Run] = []
        probed = self._media.unsent and quic._probe_pending and self._sendable()
        if probed:
            # A probe carries data if there is some (RFC 9002, section 6.2.4), whatever the window says.
            runs = self._send(now, least=quic._max_datagram_size)
            quic._probe_pending = not runs
        if self._must_visit(now):
            self.visited = True
            runs += runs_of(quic.datagrams_to_send(now))
            self._stale = True
            self._touched = quic._pacing_at is not None  # it may have more to say than the pacer lets it
            self._media.release()
        self._paced_at = None
        if self._media.unsent and not probed and self._sendable():
            runs += self._send(now)
        if self._wake_at > now and not self._media.unsent:
            self._paced_at = self._wake_at
        self._wake_at = 0.0
        return runs

    @property
    def can_send(self) -> bool:
        """Whether window and pacing allow more of what waits at once."""
        if not self._media.unsent or self._paced_at is not None or not self.express or not self._sendable():
            return False
        quic = self.quic
        return _free(quic._loss._cc, quic._network_paths[0]) >= quic._max_datagram_size and self._media.ready

    def _sendable(self) -> bool:
        """Whether 1-RTT packets of our own may be made: confirmed, and not about to end."""
        quic = self.quic
        if not self._confirmed:
            self._confirmed = quic._handshake_confirmed
            if self._confirmed:
                self._crypto = quic._cryptos[_ONE_RTT]
                self._short = ShortPath(quic)
        return self._confirmed and quic._close_event is None and quic._state is internals.CONNECTED

    def _must_visit(self, now: float) -> bool:
        """Whether aioquic has something to send, and may; also what it was asked for past this class."""
        quic = self.quic
        if not self._confirmed or quic._close_pending or quic._probe_pending:
            return True
        ack_at = quic._spaces[_ONE_RTT].ack_at
        if ack_at is not None and ack_at <= now:
            return True
        if quic._pacing_at is not None and quic._pacing_at <= now:
            return True  # or its timer would stay in the past
        if internals.window_room(quic) < quic._max_datagram_size and quic._network_paths[0].is_validated:
            return False  # nothing else of it may leave now; what it has is asked for again with every ACK
        if self._touched or quic._datagrams_pending or quic._ping_pending:
            return True
        for stream in quic._streams_queue:
            sender = stream.sender
            if not sender.buffer_is_empty or sender.reset_pending or stream.receiver.stop_pending:
                return True
        return False

    def _renew_key(self) -> None:
        """Ask for a key update long before the present key has sealed too much."""
        if self.quic._packet_number - self._fresh_since > PACKETS_PER_KEY:
            self._fresh_since = self.quic._packet_number
            self.quic.request_key_update()

    def _send(self, now: float, least: int = 0) -> list[Run]:
        """Cut, seal and record a batch, ``least`` bytes even if the congestion window is full."""
        if self._stale:
            self._refresh()
        quic, path = self.quic, self._path
        recovery = quic._loss
        controller, pacer = recovery._cc, recovery._pacer
        room = _free(controller, path, least)
        count = BATCH_PACKETS if least else _paced(pacer, now)
        if not count:
            self._paced_at = pacer.next_send_time(now=now)
            return []
        around = overhead(self._cid)
        batch = Batch(
            min(count, BATCH_PACKETS), min(room, BATCH_BYTES), quic._max_datagram_size - around, around
        )
        self._media.fill(batch)
        if not batch.payloads:
            return []
        self._update_key()
        number = quic._packet_number
        packets = self._sealer.seal(self._cid, quic._spin_bit, number, batch.payloads)
        self._record(packets, batch.contents, number, now)
        _spend(pacer, now, packets)
        return run_of(path.addr, packets)

    def _update_key(self) -> None:
        """Begin with the next key if one was asked for: with a packet that is sent, as aioquic does.

        What the peer sealed before it knows is opened with the old one up to then.
        """
        if self._crypto._update_key_requested:
            self._crypto._update_key("local_update")
            self._refresh()

    def _refresh(self) -> None:
        """Remember anew what aioquic may have changed while it was visited."""
        quic = self.quic
        self._short.refresh()
        self._sealer = Sealer(quic._cryptos[_ONE_RTT].send)
        self._path = quic._network_paths[0]
        self._cid = quic._peer_cid.cid
        self._stale = False

    def _record(
        self,
        packets: list[bytes],
        contents: list[tuple[FrameStream | None, int, int]],
        number: int,
        now: float,
    ) -> None:
        """Note the packets as sent (RFC 9002, appendix A.5), and what they hold."""
        quic = self.quic
        if self.qlog is not None:
            self.qlog.packets_sent(number, packets, contents)
        sent: dict[int, Any] = quic._spaces[_ONE_RTT].sent_packets
        total = 0
        for packet, (stream, start, stop) in zip(packets, contents, strict=True):
            size = len(packet)
            sent[number] = SentPacket(number, size, now, stream, start, stop)
            total += size
            number += 1
        self._count_sent(len(packets), total, now)
        controller: Any = quic._loss._cc
        together = getattr(controller, "on_bytes_sent", None)
        if together is not None:
            together(total)
        else:
            for at in range(number - len(packets), number):
                controller.on_packet_sent(packet=sent[at])
        if not quic._ack_eliciting_sent_since_receipt:
            quic._close_at = now + self._short.idle_timeout
            quic._ack_eliciting_sent_since_receipt = True

    def _count_sent(self, packets: int, size: int, now: float) -> None:
        quic = self.quic
        quic._packet_number += packets
        quic._spaces[_ONE_RTT].ack_eliciting_in_flight += packets
        quic._loss._time_of_last_sent_ack_eliciting_packet = now
        self._path.bytes_sent += size

    # --- path MTU ----------------------------------------------------------------------------------

    def send_probe(
        self, size: int, now: float, on_result: Callable[[bool], None]
    ) -> tuple[bytes, Any] | None:
        """A packet of exactly ``size`` bytes, PING and PADDING (RFC 9000, section 14.4).

        Neither counted nor held back by congestion control; ``on_result`` tells whether it arrived.
        None while the connection cannot send, or on a path that is not validated.
        """
        quic = self.quic
        if not (internals.EXPRESS and self._sendable() and quic._network_paths[0].is_validated):
            return None
        self._refresh()
        self._update_key()
        cid, number = self._cid, quic._packet_number
        padding = bytes(size - 1 - len(cid) - PACKET_NUMBER_BYTES - TAG_BYTES - len(_PING))
        (packet,) = self._sealer.seal(cid, quic._spin_bit, number, [_PING + padding])
        sent: dict[int, Any] = quic._spaces[_ONE_RTT].sent_packets
        sent[number] = ProbePacket(number, size, now, on_result)
        if self.qlog is not None:
            self.qlog.probe_sent(number, packet)
        self._count_sent(1, size, now)
        return packet, self._path.addr

    def withdraw_probe(self, size: int) -> None:
        """The packet of the last :meth:`send_probe` could not be sent: nothing is to be waited for."""
        space = self.quic._spaces[_ONE_RTT]
        if space.sent_packets.pop(self.quic._packet_number - 1, None) is not None:
            space.ack_eliciting_in_flight -= 1
            self.quic._network_paths[0].bytes_sent -= size

    # --- time --------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` or sending is due; None once the connection has ended."""
        quic = self.quic
        when = quic.get_timer()
        if not self.express:
            return when
        self.probe_timeout = quic._loss.get_probe_timeout() * 2**quic._loss._pto_count
        if when is not None and self._paced_at is not None:
            when = min(when, self._paced_at)
        return when

    def sooner(self) -> float | None:
        """The earliest of the deadlines that the short path and the lane may have set; cheap."""
        when = self._paced_at
        space = self.quic._spaces[_ONE_RTT]
        if space.ack_at is not None and (when is None or space.ack_at < when):
            when = space.ack_at
        if space.loss_time is not None and (when is None or space.loss_time < when):
            when = space.loss_time
        return when

    def postponed(self, now: float) -> float | None:
        """The next deadline, if it is plain that none has come; None: :meth:`handle_timer` has to look.

        What sending puts off with every packet (PTO and idle timeout) comes up often, and costs little so.
        """
        if not self._confirmed or not self.express or self._paced_at is not None:
            return None
        quic, recovery = self.quic, self.quic._loss
        space, when = quic._spaces[_ONE_RTT], quic._close_at
        if space.ack_at is not None or space.loss_time is not None or quic._pacing_at is not None:
            return None
        if when is None or quic._close_event is not None or not quic._network_paths[0].is_validated:
            return None
        if space.ack_eliciting_in_flight:
            self.probe_timeout = recovery.get_probe_timeout() * 2**recovery._pto_count
            when = min(when, recovery._time_of_last_sent_ack_eliciting_packet + self.probe_timeout)
        return when if when > now else None

    def handle_timer(self, now: float) -> bool:
        """A deadline seems to have come. False: all of them moved away meanwhile, there is nothing to do."""
        quic = self.quic
        when = quic.get_timer()  # aioquic acts on what it computed there
        if when is not None and when <= now:
            self._touched = self._stale = True
            quic.handle_timer(now)
            internals.follow_pace(quic)
            return True
        return not self.express or (self._paced_at is not None and self._paced_at <= now)


def _free(controller: Any, path: QuicNetworkPath, least: int = 0) -> int:
    """Bytes that congestion control allows, ``least`` in any case, and anti-amplification beside it."""
    free: int = max(controller.congestion_window - controller.bytes_in_flight, least)
    return free if path.is_validated else min(free, 3 * path.bytes_received - path.bytes_sent)


def _paced(pacer: Any, now: float) -> int:
    """Packets that the pacer lets go now."""
    available = getattr(pacer, "available", None)
    if available is not None:
        return int(available(now))
    if pacer.next_send_time(now=now) is not None:
        return 0
    return max(1, int(pacer.bucket_time / pacer.packet_time)) if pacer.packet_time else BATCH_PACKETS


def _spend(pacer: Any, now: float, packets: list[bytes]) -> None:
    spend = getattr(pacer, "spend", None)
    if spend is not None:
        spend(now, sum(map(len, packets)))
    else:
        for _ in packets:
            pacer.update_after_send(now=now)
