"""Losses: their share, and whether they are congestion's. Pure; imports nothing.

Most are not: radio loses some per cent, in bursts, and what halves its rate for each leaves live media with
nothing. A queue gives congestion away; a policer has none, but takes much for as long as one sends too much.
"""

from __future__ import annotations

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

    @property
    def share(self) -> float:
        """0..1."""
        lost = sum(self._lost)
        return lost / (lost + sum(self._acked)) if lost else 0.0


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
