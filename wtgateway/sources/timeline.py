"""From a source's own timestamps to gateway time. Pure; imports nothing of the project.

The rule: a timestamp is mapped by what the stream's clock says, never by when the sample arrived;
arrival only tells how far apart the two clocks are.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction

_DRIFT_PPM = 200  # how fast two honest clocks may part
_JUMP_US = 5_000_000  # further off than this is another timeline, not delay
_BACK_US = 1_000_000  # times of a track that go back by more than this begin anew
_SLOWEST = 16  # revised, a second of a track may shrink to a sixteenth, so that pictures still fit between
_REORDERED = 32  # pictures; no decoder holds more


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

    @property
    def begun(self) -> bool:
        """Whether this pass has its first timestamp."""
        return self._first_us is not None

    def begin(self, timestamp_us: int) -> None:
        """This pass begins with that timestamp."""
        self._first_us = timestamp_us

    def place(self, timestamp_us: int, duration_us: int) -> int:
        """When a sample of this pass is due, in gateway time."""
        due_us = self.due(timestamp_us)
        self._end_us = max(self._end_us, due_us + duration_us - self.epoch_us - self.base_us)
        return due_us

    def due(self, timestamp_us: int) -> int:
        """Gateway time of a timestamp of this pass, a decoding time for example."""
        if self._first_us is None:
            self._first_us = timestamp_us
        return self.epoch_us + self.base_us + timestamp_us - self._first_us

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


class DisplayOrder:
    """Keeps pictures that come in decoding order in their display order, whatever is done to their times.

    Groups are closed: all pictures of one are shown after all of those before it.
    """

    def __init__(self) -> None:
        self._floor: int | None = None  # the greatest value of all groups before
        self._newest: int | None = None
        self._first_us: int | None = None  # timestamp of this group's keyframe
        self._placed: deque[tuple[int, int]] = deque(maxlen=_REORDERED)  # of this group: timestamp, value

    def __call__(self, timestamp_us: int | None, value: int, *, begins_group: bool) -> int:
        """The value, or the nearest one that keeps the order; without a timestamp it is the last so far."""
        if begins_group or self._jumps(timestamp_us):
            self._floor, self._first_us = self._newest, timestamp_us
            self._placed.clear()
        if self._floor is not None:
            value = max(value, self._floor + 1)
        if timestamp_us is not None:
            value = self._between(timestamp_us, value)
            self._placed.append((timestamp_us, value))
        self._newest = value if self._newest is None else max(self._newest, value)
        return value

    def _jumps(self, timestamp_us: int | None) -> bool:
        """Whether that belongs to another timeline than the group so far."""
        if timestamp_us is None or self._first_us is None:
            return True
        latest_us = max((at for at, _ in self._placed), default=timestamp_us)
        return timestamp_us < self._first_us - _BACK_US or timestamp_us > latest_us + _JUMP_US

    def _between(self, at_us: int, value: int) -> int:
        """After those with an earlier timestamp, and before those with a later one."""
        apart = [(at, placed, max(1, abs(at_us - at) // _SLOWEST)) for at, placed in self._placed]
        value = min([value, *(placed - gap for at, placed, gap in apart if at > at_us)])
        low = [] if self._floor is None else [self._floor + 1]
        return max([value, *low, *(placed + gap for at, placed, gap in apart if at <= at_us)])


class Seams:
    """Finds where the timestamps of a pass go back (spliced files), and what to add so that they go on.

    The tracks of a splice go back by nearly the same amount, and are moved by exactly the same, so that
    sound and picture stay together.
    """

    def __init__(self) -> None:
        self._offset: dict[int, int] = {}  # by track, µs
        self._expected: dict[int, int] = {}
        self._newest: int | None = None  # the offset found last

    def __call__(self, track: int, timestamp_us: int, duration_us: int) -> int:
        """What to add to the timestamps of this sample."""
        offset = self._offset.get(track, 0)
        expected = self._expected.get(track)
        if expected is not None and timestamp_us + offset < expected - _BACK_US:
            needed = expected - timestamp_us
            other = self._newest
            fits = other is not None and other != offset and abs(needed - other) < _JUMP_US
            offset = other if other is not None and fits else needed
            self._offset[track] = self._newest = offset
        self._expected[track] = max(timestamp_us + offset + duration_us, expected or 0)
        return offset
