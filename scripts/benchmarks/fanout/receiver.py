"""The light receive path of one connection: what is left for a client to do once media flows.

Sans-I/O. It takes a QUIC connection over from aioquic when the handshake is done and our own bytes are
acknowledged, and from then on

* removes header protection, in one AES call for all packets of one read, to know packet numbers,
* acknowledges every so many packets, whatever is out of order at once, and the rest when the longest
  ACK delay that we promised is over (RFC 9000 section 13.2); after an ACK for fewer packets the next one
  is for so many more, so that the ratio holds on average,
* raises the limits on data and on streams once a second, in a packet that is acknowledged itself,
  after which older ACK ranges are reported no more,
* decrypts all short packets, and of the others a random sample, whose content goes to ``audit``: or all.

It sends nothing that would have to be sent again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch

from scripts.benchmarks.fanout.keys import SAMPLE_BYTES, TAG_BYTES, Direction, take_keys
from scripts.benchmarks.fanout.quicframes import FrameError, Packet, encode_varint, parse
from scripts.benchmarks.fanout.ranges import ReceivedRanges

CID_BYTES = 8  # of the connection IDs that aioquic gives the peer for us
SHORT_PACKET_BYTES = 128  # shorter ones are always decrypted: control frames come in them
ACK_DELAY_EXPONENT = 3
MAX_ACK_DELAY_S = 0.025  # what aioquic promises for us
CREDIT_BYTES = 64 << 20
CREDIT_STREAMS = 4096
_LEAST_PACKET_BYTES = 1 + CID_BYTES + 4 + SAMPLE_BYTES
_NUMBER_AT = 1 + CID_BYTES
_SAMPLE_AT = _NUMBER_AT + 4

Audit = Callable[[Packet, float], int]


@dataclass(slots=True)
class Counts:
    """What one or more receivers saw. Bytes are of packets' plaintext."""

    packets: int = 0
    plain_bytes: int = 0  # of the packets that may be left sealed
    sampled_bytes: int = 0  # of those of them that were opened
    sampled_media_bytes: int = 0
    exact_media_bytes: int = 0  # in short packets, all of which are opened
    opened: int = 0
    forged: int = 0  # packets that no key of ours opens
    malformed: int = 0
    foreign: int = 0
    acks: int = 0
    updates: int = 0  # of keys
    largest_packet_bytes: int = 0

    def media_bytes(self) -> float:
        """Media received: exact when all is opened, else estimated from the sample."""
        share = self.sampled_media_bytes / self.sampled_bytes if self.sampled_bytes else 0.0
        return self.exact_media_bytes + share * self.plain_bytes

    def minus(self, earlier: Counts) -> Counts:
        """What came after ``earlier``."""
        return Counts(*(getattr(self, name) - getattr(earlier, name) for name in self.__slots__))

    def copy(self) -> Counts:
        """As it is now."""
        return Counts(*(getattr(self, name) for name in self.__slots__))


def decode_number(truncated: int, size: int, expected: int) -> int:
    """The whole packet number (RFC 9000 appendix A.3), of ``size`` bytes, the next being ``expected``."""
    window = 1 << (8 * size)
    candidate = (expected & -window) | truncated
    if candidate <= expected - window // 2 and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


class Receiver:
    """One connection. ``audit`` is given opened packets and when they came; it tells the media inside, bytes.

    ``counts`` may be shared by all receivers of a process. ``sample`` is the share of packets opened.
    """

    def __init__(
        self,
        quic: QuicConnection,
        *,
        ack_every: int,
        sample: float,
        audit: Audit,
        counts: Counts,
        seed: int,
        max_ack_delay_s: float = MAX_ACK_DELAY_S,
    ) -> None:
        self._incoming, self._outgoing = take_keys(quic)
        self._previous: Direction | None = None
        self._peer_cid = quic._peer_cid.cid
        self._own_cids = frozenset(each.cid for each in quic._host_cids)
        self._next_number = quic._packet_number
        self.ranges = ReceivedRanges()
        for run in quic._spaces[Epoch.ONE_RTT].ack_queue:
            for number in run:
                self.ranges.add(number)
        self.ranges.gaps = 0  # aioquic has forgotten what it knows that the peer knows
        self._ack_every = self._threshold = ack_every
        self._sample, self._audit = sample, audit
        self._max_ack_delay_s = max_ack_delay_s
        self.counts = counts
        self._random = random.Random(seed)
        self._unacknowledged = 0
        self._largest_at = 0.0
        self._out: list[bytes] = []  # plaintexts, in order
        self.ack_at: float | None = None  # when what has come must be acknowledged at the latest
        self.close: tuple[int, str] | None = None  # why the peer closed the connection
        self._data_limit = quic._local_max_data.value
        self._streams_limit = quic._local_max_streams_uni.value
        self._pruning: tuple[int, int] | None = None  # our packet, and the largest number it reported

    @property
    def lost(self) -> int:
        """Packet numbers that were skipped."""
        return self.ranges.gaps

    # --- in ----------------------------------------------------------------------------------------

    def receive(self, data: bytes, segment: int, now: float, stamp: float = 0.0) -> None:
        """Packets of ``segment`` bytes each, the last perhaps shorter, as UDP GRO gives them.

        ``stamp`` is passed on to ``audit``.
        """
        if min(segment, len(data)) < _LEAST_PACKET_BYTES:
            self.counts.malformed += 1
            return
        starts = list(range(0, len(data), segment))
        if len(data) - starts[-1] < _LEAST_PACKET_BYTES:
            self.counts.malformed += 1
            del starts[-1]
        masks = self._incoming.masks(
            b"".join([data[start + _SAMPLE_AT : start + _SAMPLE_AT + SAMPLE_BYTES] for start in starts])
        )
        at = 0
        for start in starts:
            if data[start] & 0xC0 == 0x40:
                self._packet(data, start, start + segment, masks[at : at + 5], now, stamp)
            at += SAMPLE_BYTES
        if self._unacknowledged and self.ack_at is None:
            self.ack_at = now + self._max_ack_delay_s

    def _packet(self, data: bytes, start: int, end: int, mask: bytes, now: float, stamp: float) -> None:
        if data[start + 1 : start + _NUMBER_AT] not in self._own_cids:
            self.counts.foreign += 1  # of a connection that had this port before
            return
        first = data[start] ^ (mask[0] & 0x1F)
        size = (first & 3) + 1
        number_at = start + _NUMBER_AT
        truncated = int.from_bytes(data[number_at : number_at + size], "big") ^ int.from_bytes(
            mask[1 : 1 + size], "big"
        )
        ranges, counts = self.ranges, self.counts
        number = decode_number(truncated, size, ranges.largest + 1)
        end = min(end, len(data))
        plain_bytes = end - number_at - size - TAG_BYTES
        short = end - start < SHORT_PACKET_BYTES
        eliciting = True
        if short or self._random.random() < self._sample or (first >> 2) & 1 != self._incoming.phase:
            header = b"%c%b%b" % (first, data[start + 1 : number_at], truncated.to_bytes(size, "big"))
            packet = self._open(number, header, data[number_at + size : end])
            if packet is None:
                return
            eliciting = packet.eliciting
            media = self._audit(packet, stamp)
            if short:
                counts.exact_media_bytes += media
            else:
                counts.sampled_media_bytes += media
                counts.sampled_bytes += plain_bytes
        counts.packets += 1
        if not short:
            counts.plain_bytes += plain_bytes
        if end - start > counts.largest_packet_bytes:
            counts.largest_packet_bytes = end - start
        largest = ranges.largest
        in_order = ranges.add(number)
        if number > largest:
            self._largest_at = now
        if eliciting:
            self._unacknowledged += 1
            if self._unacknowledged >= self._threshold or not in_order:
                self._acknowledge(now)

    def _open(self, number: int, header: bytes, sealed: bytes) -> Packet | None:
        """The packet's frames, keys updated if need be; None when it is not the peer's."""
        keys = self._incoming
        other_phase = (header[0] >> 2) & 1 != keys.phase
        updated = other_phase and number > self.ranges.largest
        if updated:
            keys = keys.next()
        elif other_phase and self._previous is not None:  # sent before the update, overtaken by it
            keys = self._previous
        plain = keys.open(number, header, sealed)
        if plain is None:
            self.counts.forged += 1
            return None
        if updated:
            self._previous, self._incoming, self._outgoing = self._incoming, keys, self._outgoing.next()
            self.counts.updates += 1
        self.counts.opened += 1
        try:
            packet = parse(plain)
        except FrameError:
            self.counts.malformed += 1
            return None
        self._control(packet)
        return packet

    def _control(self, packet: Packet) -> None:
        if packet.close is not None:
            self.close = packet.close
        for challenge in packet.challenges:
            self._out.append(b"\x1b" + challenge)
        if self._pruning is not None and packet.acknowledged >= self._pruning[0]:
            self.ranges.forget_below(self._pruning[1])
            self._pruning = None

    # --- out ---------------------------------------------------------------------------------------

    def _acknowledge(self, now: float) -> None:
        delay = int((now - self._largest_at) * 1e6) >> ACK_DELAY_EXPONENT
        self._out.append(self.ranges.ack_frame(delay))
        self.counts.acks += 1
        self._threshold = max(self._ack_every, 2 * self._ack_every - self._unacknowledged)
        self._unacknowledged = 0
        self.ack_at = None

    def handle_timer(self, now: float) -> None:
        """At :attr:`ack_at`."""
        if self.ack_at is not None and now >= self.ack_at:
            self._acknowledge(now)

    def raise_limits(self, now: float) -> None:
        """New credit, and a packet that the peer acknowledges; call it once a second."""
        self._data_limit += CREDIT_BYTES
        self._streams_limit += CREDIT_STREAMS
        frames = b"\x10" + encode_varint(self._data_limit) + b"\x13" + encode_varint(self._streams_limit)
        if self.ranges.largest >= 0:
            if self._pruning is None:
                self._pruning = (self._next_number + len(self._out), self.ranges.largest)
            self._acknowledge(now)
            self._out[-1] += frames
        else:
            self._out.append(frames)

    def leave(self) -> None:
        """Close the connection with H3_NO_ERROR (RFC 9114 section 8.1)."""
        self._out.append(b"\x1d" + encode_varint(0x100) + b"\x00")

    def datagrams_to_send(self) -> list[bytes]:
        """What has to leave now, each a whole packet in a datagram of its own."""
        plains = self._out
        if not plains:
            return plains
        self._out = []
        keys = self._outgoing
        first = 0x41 | keys.phase << 2  # packet numbers of two bytes
        sealed = []
        for plain in plains:
            number = self._next_number
            self._next_number += 1
            truncated = (number & 0xFFFF).to_bytes(2, "big")
            header = b"%c%b%b" % (first, self._peer_cid, truncated)
            sealed.append((truncated, keys.seal(number, header, plain)))
        masks = keys.masks(b"".join([body[2 : 2 + SAMPLE_BYTES] for _, body in sealed]))
        cid = self._peer_cid
        return [
            b"%c%b%c%c%b"
            % (
                first ^ (masks[at] & 0x1F),
                cid,
                truncated[0] ^ masks[at + 1],
                truncated[1] ^ masks[at + 2],
                body,
            )
            for at, (truncated, body) in zip(range(0, len(masks), SAMPLE_BYTES), sealed, strict=True)
        ]
