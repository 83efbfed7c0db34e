"""From a source's own timestamps to gateway time. Pure; imports nothing of the project.

The rule: a timestamp is mapped by what the stream's clock says, never by when the sample arrived;
arrival only tells how far apart the two clocks are.
"""

from __future__ import annotations

from fractions import Fraction

_DRIFT_PPM = 200  # how fast two honest clocks may part
_JUMP_US = 5_000_000  # further off than this is another timeline, not delay


def to_us(ticks: int, time_base: Fraction) -> int:
    """Ticks of a time base in µs, exact to the µs however long the stream is."""
    return ticks * time_base.numerator * 1_000_000 // time_base.denominator


class StreamClock:
    """The offset between a live stream's clock and ours, by the sample that was delayed least.

    The smallest ``arrival - timestamp`` seen is the best estimate of the offset, since delay only
    adds. It is let creep upwards slowly, so that a stream clock that runs slow is followed too.
    """

    def __init__(self) -> None:
        self._offset_us: int | None = None
        self._observed_us = 0
        self._creep = 0  # µs * 10^6 owed

    @property
    def offset_us(self) -> int:
        """Gateway time minus stream time; 0 before the first sample."""
        return self._offset_us or 0

    def observe(self, timestamp_us: int, arrival_us: int) -> None:
        """Take in one sample's timestamp and when it came."""
        seen = arrival_us - timestamp_us
        if self._offset_us is None or abs(seen - self._offset_us) > _JUMP_US:
            self._offset_us, self._creep = seen, 0
        else:
            self._creep += max(0, arrival_us - self._observed_us) * _DRIFT_PPM
            self._offset_us = min(seen, self._offset_us + self._creep // 1_000_000)
            self._creep %= 1_000_000
        self._observed_us = max(self._observed_us, arrival_us)

    def map(self, timestamp_us: int) -> int:
        """Gateway time of a stream timestamp."""
        return timestamp_us + self.offset_us


class LoopTimeline:
    """Where a file that is played again and again stands: the start of this pass plus its pts.

    A pass is as long as its longest track, and all tracks share its start, so that sound and
    picture cannot part however often it is played.
    """

    def __init__(self, epoch_us: int) -> None:
        self.epoch_us = epoch_us  # gateway time of the first pass's first timestamp
        self.base_us = 0  # start of this pass, since the epoch
        self._first_us: int | None = None
        self._end_us = 0

    def place(self, timestamp_us: int, duration_us: int) -> int:
        """When a sample of this pass is due, in gateway time."""
        if self._first_us is None:
            self._first_us = timestamp_us
        since_start_us = timestamp_us - self._first_us
        self._end_us = max(self._end_us, since_start_us + duration_us)
        return self.epoch_us + self.base_us + since_start_us

    def next_pass(self) -> bool:
        """Begin again where the longest track ended. False: this pass had no length."""
        length_us = self._end_us
        self.base_us += length_us
        self._first_us, self._end_us = None, 0
        return length_us > 0

    def shift(self, by_us: int) -> None:
        """We fell behind (a suspended machine, a stalled download): all that follows is later."""
        self.epoch_us += by_us


class Ascending:
    """Keeps the timestamps of one track ascending when an estimate is revised."""

    def __init__(self) -> None:
        self._last: int | None = None

    def __call__(self, value: int) -> int:
        """The value, or the last one plus 1 if it is not greater; a new timeline starts afresh."""
        if self._last is not None and self._last - _JUMP_US < value <= self._last:
            value = self._last + 1
        self._last = value
        return value
