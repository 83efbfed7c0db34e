"""Queueing towards the viewer alone, from the times at which it says that things arrived.

A round trip does not tell the queue in one direction from that in the other. The difference between when
something was sent and when it arrived does, but for the unknown offset of two clocks: so only its change
counts, against the least of the last half minute, which also keeps up with clocks that drift apart (200 ppm
are 6 ms in that time). The gradient is GCC's trendline filter (draft-ietf-rmcat-gcc-02, section 5.3): a
least-squares line through the last delays. Pure; imports nothing.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 15.0  # two of them are remembered
SAMPLES = 20  # of the gradient
LEAST_SAMPLES = 4
RECENT_S = 0.5  # samples older than that say nothing of now
LONGEST_S = 10.0  # a queue that is longer is none, but a clock that was set


class WindowedMinimum:
    """The least of the last one to two windows."""

    __slots__ = ("_before", "_now", "_since", "_window_s", "value")

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        self.value = self._now = self._before = float("inf")  # of all, of this window, of the one before
        self._since = 0.0

    def add(self, now: float, value: float) -> None:
        """A sample; ``value`` is the least then, infinite before the first."""
        if now - self._since > self._window_s:
            self._before, self._now, self._since = self._now, value, now
            self.value = min(self._now, self._before)
        elif value < self._now:
            self._now = value
            if value < self.value:
                self.value = value


class OneWayDelay:
    """Delays of arrivals; all results in s."""

    __slots__ = ("_base", "_behind", "_latest", "_samples")

    def __init__(self) -> None:
        self._base = WindowedMinimum()
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)  # sent, delay
        self._behind: deque[tuple[float, float]] = deque(maxlen=SAMPLES)  # sent, queue on the way back
        self._latest = float("-inf")  # when the last of them was sent

    def add(self, sent_s: float, arrived_us: int, round_trip_queue: float) -> None:
        """Sent at ``sent_s`` of our clock, arrived at ``arrived_us`` of the viewer's.

        ``round_trip_queue`` is what both ways together have now. What is out of order is left out, and a
        jump begins anew: the viewer's clock was set, or it lies.
        """
        if not 0 <= arrived_us < 1 << 63 or not self._latest <= sent_s < float("inf"):
            return
        delay = arrived_us / 1e6 - sent_s
        base = self._base.value
        if base != float("inf") and not -LONGEST_S < delay - base < LONGEST_S:
            self._base.reset()
            self._samples.clear()
            self._behind.clear()
        self._base.add(sent_s, delay)
        self._samples.append((sent_s, delay))
        self._behind.append((sent_s, max(0.0, round_trip_queue - (delay - self._base.value))))
        self._latest = sent_s

    def behind(self, now: float) -> float:
        """The queue on the way back, as far as it has stood for some samples; 0 when nothing is known.

        The least of them: an arrival is told later than an acknowledgement, so while a queue grows on the
        way out a single difference is too large.
        """
        recent = [behind for sent, behind in self._behind if now - sent <= RECENT_S]
        return min(recent) if len(recent) >= LEAST_SAMPLES else 0.0

    def gradient(self, now: float) -> float:
        """Seconds of delay that a second adds: > 0, a queue grows. 0 while there is too little to tell."""
        samples, count = self._samples, len(self._samples)
        if count < SAMPLES // 2 or now - self._latest > RECENT_S:
            return 0.0
        mean_sent = sum(sent for sent, _ in samples) / count
        mean_delay = sum(delay for _, delay in samples) / count
        spread = sum((sent - mean_sent) ** 2 for sent, _ in samples)
        together = sum((sent - mean_sent) * (delay - mean_delay) for sent, delay in samples)
        return together / spread if spread > 0 else 0.0
