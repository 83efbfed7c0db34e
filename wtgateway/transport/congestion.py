"""Congestion control "media": steered by queueing delay and by heavy loss, blind to light loss.

Loss-based control (reno, cubic) gives live media less than it needs on any path with 2 % of random
loss. This one keeps a window that

* starts at 64 KB, so that a first keyframe leaves in one round trip;
* doubles per round trip while the window is what limits the sender, until delay or loss shows;
* then grows gently while the queueing delay (least round trip of the round minus least of the last
  half minute) is under a target, and shrinks to what was in flight times a factor when it is over;
* shrinks on loss only when more than a tenth of a round was lost, as GCC does
  (draft-ietf-rmcat-gcc-02 section 6), and remembers where that was for some seconds;
* does not grow while the application sends less than the window allows.

Pure arithmetic on what aioquic reports; all times in s, windows in bytes. Imports aioquic only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control
from aioquic.quic.packet_builder import QuicSentPacket

NAME = "media"
INITIAL_WINDOW = 64 * 1024
MINIMUM_PACKETS = 4
QUIET_MINIMUM_PACKETS = 16  # floor when the sender was not limited by the window: RTTs then hold ACK delay
MAXIMUM_WINDOW = 16 * 1024 * 1024

TARGET_FLOOR_S = 0.020
TARGET_CEILING_S = 0.060
ACK_DELAY_S = 0.025  # a peer may sit on an ACK for so long when little arrives
BASE_WINDOW_S = 15.0  # two of them make the half minute of the least round trip
MINIMUM_ROUND_S = 0.010

HEAVY_LOSS = 0.10
LOSS_SAMPLE_PACKETS = 50
LOSS_SAMPLE_S = 1.0
CEILING_S = 8.0


class MediaCongestionControl(QuicCongestionControl):
    """One path's window."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.congestion_window = INITIAL_WINDOW
        self.lost_packets = 0
        self._mtu = max_datagram_size
        self._starting = True
        self._base = (float("inf"), float("inf"))  # least RTT of the current and of the previous window
        self._base_since = 0.0
        self._round_started = -1.0
        self._round_rtt = float("inf")
        self._round_flight = 0
        self._sample_started = 0.0
        self._sample_acked = 0
        self._sample_lost = 0
        self._ceiling = 0
        self._ceiling_at = 0.0

    # --- what aioquic calls ------------------------------------------------------------------------

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """Count it into flight."""
        self.bytes_in_flight += packet.sent_bytes
        if self.bytes_in_flight > self._round_flight:
            self._round_flight = self.bytes_in_flight

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Grow while starting; end the round when what was sent since its start arrives."""
        limited = self._limited()
        self.bytes_in_flight -= packet.sent_bytes
        self._sample_acked += 1
        if self._starting and limited:
            self._set(self.congestion_window + packet.sent_bytes)
        if self._round_started < 0:
            self._begin_round(now)
        elif (packet.sent_time or 0.0) >= self._round_started and now - self._round_started >= MINIMUM_ROUND_S:
            self._end_round(now)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """They are neither acknowledged nor lost any more."""
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Only count: whether it is congestion shows in a whole round."""
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            self._sample_lost += 1
            self.lost_packets += 1

    def on_persistent_congestion(self) -> None:
        """Nothing came through for several round trips: begin anew from little."""
        self._set(QUIET_MINIMUM_PACKETS * self._mtu)
        self._starting = True
        self._base = (float("inf"), float("inf"))  # perhaps another path
        self._sample_acked = self._sample_lost = 0

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Keep the least of this round and of the last half minute."""
        self._round_rtt = min(self._round_rtt, rtt)
        if now - self._base_since > BASE_WINDOW_S:
            self._base = (rtt, self._base[0])
            self._base_since = now
        elif rtt < self._base[0]:
            self._base = (rtt, self._base[1])

    def get_log_data(self) -> dict[str, Any]:
        """For qlog."""
        return {**super().get_log_data(), "queueing_delay": self.queueing_delay()}

    # --- the rules -----------------------------------------------------------------------------------

    def queueing_delay(self) -> float:
        """Least round trip of this round minus the least known; 0 when either is not known."""
        base = min(self._base)
        return 0.0 if self._round_rtt == float("inf") else max(0.0, self._round_rtt - base)

    def target_delay(self) -> float:
        """Queueing that is tolerated: half the path's round trip, within bounds."""
        base = min(self._base)
        return (
            TARGET_FLOOR_S if base == float("inf") else min(max(base / 2, TARGET_FLOOR_S), TARGET_CEILING_S)
        )

    def _limited(self) -> bool:
        """Whether the window, not the application, is what limits the sender."""
        return self._round_flight + 2 * self._mtu >= self.congestion_window

    def _begin_round(self, now: float) -> None:
        self._round_started = now
        self._round_rtt = float("inf")
        self._round_flight = self.bytes_in_flight

    def _end_round(self, now: float) -> None:
        loss = self._take_loss(now)
        queueing, target, limited = self.queueing_delay(), self.target_delay(), self._limited()
        busy = 2 * self._round_flight >= self.congestion_window
        if loss > HEAVY_LOSS:
            self._ceiling, self._ceiling_at = self.congestion_window, now
            self._shrink(1.0 - loss / 2, MINIMUM_PACKETS)
        elif queueing > (target if busy else target + ACK_DELAY_S):
            factor = max(0.7, 1.0 - 0.5 * (queueing - target) / queueing)
            self._shrink(min(factor, 0.95), MINIMUM_PACKETS if busy else QUIET_MINIMUM_PACKETS)
        elif limited and not self._starting:
            self._set(self.congestion_window + self._step(now, queueing / target))
        elif self._starting and queueing > target / 2:
            self._starting = False
        self._begin_round(now)

    def _step(self, now: float, fullness: float) -> int:
        """Growth of one limited round: quick far from trouble, one packet near it."""
        if (
            self._ceiling
            and now - self._ceiling_at < CEILING_S
            and self.congestion_window > 0.85 * self._ceiling
        ):
            return self._mtu
        quick = 0.25 if fullness < 0.25 else 0.10
        return max(self._mtu, int(self.congestion_window * quick * (1.0 - fullness)))

    def _shrink(self, factor: float, minimum_packets: int) -> None:
        self._starting = False
        window = min(self.congestion_window, max(self._round_flight, self.bytes_in_flight))
        floor = min(self.congestion_window, minimum_packets * self._mtu)
        self._set(max(int(window * factor), floor))

    def _take_loss(self, now: float) -> float:
        """Share of packets lost, once enough were sent to tell; 0 before."""
        seen = self._sample_acked + self._sample_lost
        if seen < LOSS_SAMPLE_PACKETS and now - self._sample_started < LOSS_SAMPLE_S:
            return 0.0
        share = self._sample_lost / seen if seen >= LOSS_SAMPLE_PACKETS // 2 else 0.0
        self._sample_started, self._sample_acked, self._sample_lost = now, 0, 0
        return share

    def _set(self, window: int) -> None:
        self.congestion_window = max(MINIMUM_PACKETS * self._mtu, min(window, MAXIMUM_WINDOW))


register_congestion_control(NAME, MediaCongestionControl)
