"""Congestion control "media": steered by queueing delay and by heavy loss, blind to light loss.

Loss-based control (reno, cubic) gives live media less than it needs on any path with 2 % of random
loss. This one keeps a window that

* starts at 64 KB, so that a first keyframe leaves in one round trip;
* doubles per round trip while the window is what limits the sender, until delay or loss shows;
* then grows gently while the queueing delay (least round trip of the round minus least of the last
  half minute) is under a target, and shrinks to what was in flight times a factor when it is over;
* shrinks on loss only when more than an eighth of a hundred packets was lost, much as GCC does
  (draft-ietf-rmcat-gcc-02 section 6), and stays below where that was for some seconds;
* does not grow while the application sends less than the window allows.

Pure arithmetic on what aioquic reports; all times in s, windows in bytes. Imports aioquic only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

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
MINIMUM_ROUND_S = 0.050  # a busy receiver delays ACKs for tens of ms; a queue stays

HEAVY_LOSS = 0.12
CROWDED_LOSS = 0.03  # with a queue as well, this much is no random loss
LOSS_SAMPLE_PACKETS = 100  # of which light random loss (5 %) seems heavy once in 700 times
LOSS_SAMPLE_LEAST = 40  # when so many is all that a second brought
LOSS_SAMPLE_S = 1.0
CEILING_S = 8.0
CEILING_SHARE = 0.9
STARTING_DELAYED_SAMPLES = 4


class SizeWatch(Protocol):
    """Wants to know what becomes of packets by their size, to notice a path that takes less than it did."""

    @property
    def suspicious(self) -> bool:
        """Whether :meth:`acked` is to be called at all."""

    def acked(self, size: int) -> None:
        """A packet of ``size`` bytes arrived."""

    def lost(self, largest: int) -> None:
        """Packets were given up together, the largest of ``largest`` bytes."""


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
        self._round_rtts, self._round_samples = 0.0, 0
        self._round_flight = 0
        self._round_limited = self._previous_limited = False
        self._sample_started = 0.0
        self._sample_acked = 0
        self._sample_lost = 0
        self._shrunk_at = 0.0
        self._delayed_samples = 0
        self._ceiling = 0
        self._ceiling_at = -CEILING_S
        self._latest_rtt: Callable[[], float] | None = None
        self.sizes: SizeWatch | None = None

    def set_max_datagram_size(self, size: int) -> None:
        """The path takes packets of ``size`` bytes; the window stays, but for its least."""
        self._mtu = size
        self._set(self.congestion_window)

    def follow(self, latest_rtt: Callable[[], float]) -> None:
        """Ask ``latest_rtt`` for each sample, in place of what aioquic measured with the peer's delay."""
        self._latest_rtt = latest_rtt

    # --- what aioquic calls ------------------------------------------------------------------------

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """Count it into flight."""
        self.on_bytes_sent(packet.sent_bytes)

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Grow while starting; end the round when what was sent since its start arrives."""
        self.on_packets_acked(now=now, packets=(packet,))

    def on_bytes_sent(self, size: int) -> None:
        """:meth:`on_packet_sent` for a batch of ``size`` bytes in all."""
        self.bytes_in_flight += size
        if self.bytes_in_flight > self._round_flight:
            self._round_flight = self.bytes_in_flight
        if self.bytes_in_flight + 2 * self._mtu >= self.congestion_window:
            self._round_limited = True

    def on_packets_acked(self, *, now: float, packets: Sequence[Any]) -> None:
        """:meth:`on_packet_acked` for what one ACK took out of flight, in the order it was sent."""
        if self.sizes is not None and self.sizes.suspicious:
            for packet in packets:
                self.sizes.acked(packet.sent_bytes)
        size = 0
        for packet in packets:
            size += packet.sent_bytes
        if packets[0].sent_time >= self._shrunk_at:  # which is so but for one round trip after a cut
            self._sample_acked += len(packets)
        else:
            self._sample_acked += sum(packet.sent_time >= self._shrunk_at for packet in packets)
        self.bytes_in_flight -= size
        if self._starting and self._limited():
            self._set(self.congestion_window + size)
        if self._round_started < 0:
            self._begin_round(now)
        elif packets[-1].sent_time >= self._round_started and now - self._round_started >= MINIMUM_ROUND_S:
            self._end_round(now)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """They are neither acknowledged nor lost any more."""
        largest = 0
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            largest = max(largest, packet.sent_bytes)
        if self.sizes is not None:
            self.sizes.lost(largest)

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Only count: whether it is congestion shows in a whole round."""
        largest = 0
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            largest = max(largest, packet.sent_bytes)
            self._sample_lost += (
                packet.sent_time or 0.0
            ) >= self._shrunk_at  # a cut answers for those before
            self.lost_packets += 1
        if self.sizes is not None:
            self.sizes.lost(largest)

    def on_persistent_congestion(self) -> None:
        """Nothing came through for several round trips: begin anew from little."""
        self._set(QUIET_MINIMUM_PACKETS * self._mtu)
        self._starting = True
        self._base = (float("inf"), float("inf"))  # perhaps another path
        self._sample_acked = self._sample_lost = 0

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Keep the least of this round and of the last half minute.

        A viewer that is sent less than a few packets delays its ACK, by 25 ms and more than the path
        takes; that is no queue, and the viewer says how long it was.
        """
        if self._latest_rtt is not None:
            rtt = self._latest_rtt()
        if rtt < self._round_rtt:
            self._round_rtt = rtt
        self._round_rtts += rtt
        self._round_samples += 1
        if now - self._base_since > BASE_WINDOW_S:
            self._base = (rtt, self._base[0])
            self._base_since = now
        elif rtt < self._base[0]:
            self._base = (rtt, self._base[1])
        if self._starting:
            delayed = rtt > min(self._base) + self.target_delay() and self._limited()
            self._delayed_samples = self._delayed_samples + 1 if delayed else 0
            if self._delayed_samples >= STARTING_DELAYED_SAMPLES:  # do not wait for the round's end
                self._starting = False

    def get_log_data(self) -> dict[str, Any]:
        """For qlog."""
        return {**super().get_log_data(), "queueing_delay": self.queueing_delay()}

    # --- the rules -----------------------------------------------------------------------------------

    def queueing_delay(self) -> float:
        """Least round trip of this round minus the least known; 0 when either is not known."""
        base = min(self._base)
        return 0.0 if self._round_rtt == float("inf") else max(0.0, self._round_rtt - base)

    def _mean_queueing(self) -> float:
        return self._round_rtts / self._round_samples - min(self._base) if self._round_samples else 0.0

    def target_delay(self) -> float:
        """Queueing that is tolerated: half the path's round trip, within bounds."""
        base = min(self._base)
        return (
            TARGET_FLOOR_S if base == float("inf") else min(max(base / 2, TARGET_FLOOR_S), TARGET_CEILING_S)
        )

    def _limited(self) -> bool:
        """Whether the window, not the application, is what limits the sender."""
        return self._round_limited or self._previous_limited

    def _begin_round(self, now: float) -> None:
        self._round_started = now
        self._round_rtt = float("inf")
        self._round_rtts, self._round_samples = 0.0, 0
        self._round_flight = self.bytes_in_flight
        self._previous_limited = self._round_limited
        self._round_limited = self.bytes_in_flight + 2 * self._mtu >= self.congestion_window

    def _end_round(self, now: float) -> None:
        loss = self._take_loss(now)
        queueing, target, limited = self.queueing_delay(), self.target_delay(), self._limited()
        busy = 2 * self._round_flight >= self.congestion_window
        crowded = loss > CROWDED_LOSS and limited and self._mean_queueing() > target / 2
        if loss > HEAVY_LOSS or crowded:
            self._ceiling, self._ceiling_at, self._shrunk_at = self.congestion_window, now, now
            self._shrink(1.0 - loss, MINIMUM_PACKETS)
        elif queueing > (target if busy else target + ACK_DELAY_S):
            base = min(self._base)
            fitting = (base + target / 2) / (base + queueing)  # what was in flight, without most of the queue
            factor = min(max(fitting, 0.5), 0.95)
            self._shrink(factor, MINIMUM_PACKETS if busy else QUIET_MINIMUM_PACKETS)
        elif limited and not self._starting:
            self._set(self.congestion_window + self._step(now, queueing / target))
        elif self._starting and queueing > target / 2:
            self._starting = False
        self._begin_round(now)

    def _step(self, now: float, fullness: float) -> int:
        """Growth of one limited round: quick far from trouble, one packet near it."""
        if now - self._ceiling_at < CEILING_S:
            return min(self._mtu, max(0, int(CEILING_SHARE * self._ceiling) - self.congestion_window))
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
        share = self._sample_lost / seen if seen >= LOSS_SAMPLE_LEAST else 0.0
        self._sample_started, self._sample_acked, self._sample_lost = now, 0, 0
        return share

    def _set(self, window: int) -> None:
        self.congestion_window = max(MINIMUM_PACKETS * self._mtu, min(window, MAXIMUM_WINDOW))


register_congestion_control(NAME, MediaCongestionControl)
