"""How far the gateway's clock is ahead of ours, from pings: the sample with the least round trip wins.

As in NTP (RFC 5905, section 8). Pure: all times are arguments, in µs; the JavaScript client follows
this module, and tests/vectors/clock.json holds both to the same figures. Imports nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_US = 15_000_000  # a browser's clock may drift by 50 ppm: under a millisecond in this time
MAX_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """One ping's outcome."""

    arrival_us: int
    offset_us: int
    rtt_us: int


class ClockSync:
    """Estimates ``gateway clock - local clock`` over a sliding window."""

    def __init__(self, window_us: int = WINDOW_US) -> None:
        self.window_us = window_us
        self.rejected = 0
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._best: Sample | None = None

    @property
    def ready(self) -> bool:
        """True once there is an estimate."""
        return self._best is not None

    @property
    def offset_us(self) -> int:
        """Gateway clock minus local clock; 0 before the first sample."""
        return self._best.offset_us if self._best else 0

    @property
    def rtt_us(self) -> int:
        """The round trip of the sample in use; the estimate is off by at most half of it."""
        return self._best.rtt_us if self._best else 0

    def add(self, client_us: int, received_us: int, sent_us: int, arrival_us: int) -> bool:
        """Take in one pong that arrived at ``arrival_us``; False (and counted) if it makes no sense.

        ``client_us`` and ``arrival_us`` are readings of the local clock, the others of the gateway's.
        """
        rtt_us = (arrival_us - client_us) - (sent_us - received_us)
        if arrival_us < client_us or sent_us < received_us or rtt_us < 0:
            self.rejected += 1
            return False
        # Floor division on both sides of the wire: Math.floor there, // here.
        offset_us = ((received_us - client_us) + (sent_us - arrival_us)) // 2
        self._samples.append(Sample(arrival_us, offset_us, rtt_us))
        while self._samples[0].arrival_us < arrival_us - self.window_us:
            self._samples.popleft()
        # Of equals the newest: it is the least touched by drift.
        self._best = min(reversed(self._samples), key=lambda sample: sample.rtt_us)
        return True

    def to_gateway(self, local_us: int) -> int:
        """A local reading in gateway time."""
        return local_us + self.offset_us
