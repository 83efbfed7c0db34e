"""Losses: their share, and whether they are congestion's. Pure; imports nothing.

Most are not: radio loses some per cent, in bursts, and what halves its rate for each leaves live media with
nothing. A queue gives congestion away; a policer has none, but takes much for as long as one sends too much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

LOSS_BUCKETS, LOSS_BUCKET_S = 3, 1.0
HEAVY_LOSS = 0.12  # beside a short queue
CROWDED_LOSS = 0.03  # with a longer queue as well, this much is no random loss
POLICED_LOSS = 0.25  # without any queue: a policer; bursts come to less in so many packets
POLICED_SAMPLE_PACKETS = 300
SAMPLE_PACKETS = 100  # of which light random loss (5 %) seems heavy once in 700 times
SAMPLE_LEAST = 40  # when so many is all that a second brought
SAMPLE_S = 1.0
LATE_S = 0.5  # a packet that comes so long after it was given up is no reordering's
MOST_GIVEN_UP = 256  # are looked for in an acknowledgement


class LossShare:
    """The share of packets lost in the last three seconds or so."""

    __slots__ = ("_acked", "_at", "_lost")

    def __init__(self) -> None:
        self._acked = [0] * LOSS_BUCKETS
        self._lost = [0] * LOSS_BUCKETS
        self._at = 0

    def add(self, now: float, acked: int, lost: int) -> None:
        """So many packets more were acknowledged, or given up."""
        bucket = int(now / LOSS_BUCKET_S)
        if bucket != self._at:
            for skipped in range(max(self._at + 1, bucket - LOSS_BUCKETS + 1), bucket + 1):
                self._acked[skipped % LOSS_BUCKETS] = self._lost[skipped % LOSS_BUCKETS] = 0
            self._at = max(bucket, self._at)
        self._acked[bucket % LOSS_BUCKETS] += acked
        if lost:
            self._lost[bucket % LOSS_BUCKETS] += lost

    def take_back(self, now: float, packets: int) -> None:
        """So many of those that were given up came after all."""
        self.add(now, packets, -packets)

    @property
    def share(self) -> float:
        """0..1."""
        lost = sum(self._lost)  # what is taken back may have been lost in a span that is over
        return lost / (lost + sum(self._acked)) if lost > 0 else 0.0


class GivenUp:
    """Packets given up lately, which may be acknowledged after all: they were out of order, not lost.

    QUIC gives a packet up when three that were sent after it have arrived (RFC 9002, section 6.1.1). On a
    path that reorders this is no loss, and must not be taken for one.
    """

    __slots__ = ("_packets",)

    def __init__(self) -> None:
        self._packets: deque[tuple[int, float]] = deque(maxlen=MOST_GIVEN_UP)  # number, when

    def __bool__(self) -> bool:
        return bool(self._packets)

    def add(self, packets: Iterable[Any], now: float) -> None:
        """They are given up at ``now``."""
        self._packets.extend((packet.packet_number, now) for packet in packets)

    def came(self, ranges: Sequence[tuple[int, int]], now: float) -> int:
        """How many of them are within ``ranges`` (first and last number); they are forgotten."""
        packets = self._packets
        while packets and packets[0][1] < now - LATE_S:
            packets.popleft()
        if not packets:
            return 0
        missing = [p for p in packets if not any(low <= p[0] <= high for low, high in ranges)]
        came = len(packets) - len(missing)
        if came:
            self._packets = deque(missing, maxlen=MOST_GIVEN_UP)
        return came


class LossJudge:
    """Samples of a hundred packets or so; what was sent before a cut does not count, it is answered for."""

    __slots__ = ("_acked", "_answered_at", "_lost", "_policed", "_started")

    def __init__(self) -> None:
        self._acked = self._lost = 0
        self._started = 0.0
        self._answered_at = 0.0
        self._policed = (0, 0)  # acknowledged and lost, of several samples

    def on_acked(self, packets: Sequence[Any]) -> None:
        """Of one ACK, in the order they were sent."""
        if packets[0].sent_time >= self._answered_at:  # which is so but for one round trip after a cut
            self._acked += len(packets)
        else:
            self._acked += sum(packet.sent_time >= self._answered_at for packet in packets)

    def on_lost(self, packets: Iterable[Any]) -> None:
        """They were given up."""
        self._lost += sum((packet.sent_time or 0.0) >= self._answered_at for packet in packets)

    def take_back(self, packets: int) -> None:
        """So many of those that were given up came after all."""
        back = min(packets, self._lost)
        self._lost -= back
        self._acked += back

    def answered(self, now: float) -> None:
        """The window was cut; or there was a hole in the path, and its losses say nothing."""
        self._answered_at = now

    def reset(self) -> None:
        """Forget the present sample."""
        self._acked = self._lost = 0

    def take(self, now: float, queueing: float, target: float, *, limited: bool) -> tuple[float, bool]:
        """The share lost of a sample, 0 while it is incomplete, and whether that is congestion.

        ``queueing`` and ``target`` in s; ``limited``: the window is what limits the sender.
        """
        acked, lost = self._acked, self._lost
        seen = acked + lost
        if seen < SAMPLE_PACKETS and now - self._started < SAMPLE_S:
            return 0.0, False
        self._started, self._acked, self._lost = now, 0, 0
        share = lost / seen if seen >= SAMPLE_LEAST else 0.0
        much = share > (CROWDED_LOSS if queueing > target / 3 else HEAVY_LOSS)
        return share, self._is_policed(acked, lost) or (limited and much and queueing > target / 4)

    def _is_policed(self, acked: int, lost: int) -> bool:
        acked, lost = self._policed[0] + acked, self._policed[1] + lost
        enough = acked + lost >= POLICED_SAMPLE_PACKETS
        self._policed = (0, 0) if enough else (acked, lost)
        return enough and lost > POLICED_LOSS * (acked + lost)
