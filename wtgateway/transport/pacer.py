"""When the next packet may leave, for congestion control "media".

aioquic's own pacer sends 16 packets at once and then cwnd/srtt; with a loop whose timers tick in
milliseconds that holds back a keyframe on a short path for several ticks. This one lets a first
burst of ``INITIAL_BURST_PACKETS`` through, then paces at ``GAIN`` times the window per round trip
(RFC 9002 section 7.7 allows a gain; the window itself still bounds what is in flight), with a burst of
at least what one timer tick carries. A congestion controller that knows better how fast to send is asked
(:meth:`MediaPacer.follow`). Pure; imports nothing.
"""

from __future__ import annotations

from collections.abc import Callable

GAIN = 2.0
INITIAL_BURST_PACKETS = 32
BURST_PACKETS = 16
LEAST_BURST_PACKETS = 2
BURST_S = 0.020  # at a slow pace 16 packets would be a queue of their own
_ONE = 0.999  # less than a packet's worth of rounding must not cost a wait
_SHORTEST_WAIT_S = 0.0001
_UNPACED = 1 << 16
TICK_S = 0.004  # a loop's timer may be late by so much


class MediaPacer:
    """A token bucket in packets, with the interface of aioquic's QuicPacketPacer."""

    def __init__(self, *, max_datagram_size: int) -> None:
        self._packet_bytes = max_datagram_size
        self._rate = 0.0  # packets a second; 0: no round trip was measured yet
        self._burst = float(INITIAL_BURST_PACKETS)
        self._tokens = float(INITIAL_BURST_PACKETS)
        self._filled_at: float | None = None
        self._pace: Callable[[float], float] | None = None

    def follow(self, pace: Callable[[float], float]) -> None:
        """Ask ``pace`` for bytes a second, given the smoothed round trip in s, at each update."""
        self._pace = pace

    def next_send_time(self, now: float) -> float | None:
        """None: now; else when to ask again."""
        if not self._rate:
            return None
        self._fill(now)
        if self._tokens >= _ONE:
            return None
        return now + max((1.0 - self._tokens) / self._rate, _SHORTEST_WAIT_S)

    def available(self, now: float) -> int:
        """Packets that may leave now, all at once."""
        if not self._rate:
            return _UNPACED
        self._fill(now)
        return int(self._tokens + 1.0 - _ONE)

    def spend(self, now: float, size: int) -> None:
        """Packets of ``size`` bytes in all left. A small one takes little of a slow path."""
        if self._rate:
            self._fill(now)
            self._tokens = max(0.0, self._tokens - size / self._packet_bytes)

    @property
    def bytes_per_second(self) -> float:
        """The pace; 0 while no round trip was measured."""
        return self._rate * self._packet_bytes

    def update_after_send(self, now: float) -> None:
        """A packet left."""
        if self._rate:
            self._fill(now)
            self._tokens = max(0.0, self._tokens - 1.0)

    def set_max_datagram_size(self, size: int) -> None:
        """Packets are of ``size`` bytes from now on; the pace in bytes stays."""
        ratio = self._packet_bytes / size
        self._packet_bytes = size
        self._rate *= ratio
        self._tokens *= ratio

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Follow the window (bytes) and the round trip (s)."""
        window = congestion_window / self._packet_bytes
        if self._pace is not None:
            self._rate = max(1.0, self._pace(smoothed_rtt) / self._packet_bytes)
            least = min(BURST_PACKETS, max(LEAST_BURST_PACKETS, self._rate * BURST_S))
        else:
            self._rate = max(1.0, GAIN * window / max(smoothed_rtt, 1e-6))
            least = BURST_PACKETS
        self._burst = max(least, min(window, self._rate * TICK_S))
        if self._filled_at is not None and least < BURST_PACKETS:
            self._tokens = min(self._tokens, self._burst)

    def _fill(self, now: float) -> None:
        elapsed = 0.0 if self._filled_at is None else now - self._filled_at
        if elapsed > 0 and self._tokens < self._burst:
            self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        if self._filled_at is None or elapsed > 0:
            self._filled_at = now
