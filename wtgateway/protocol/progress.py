"""How much may stand on a path whose queues nobody sees: TCP, perhaps through proxies (docs/protocol.md).

TCP takes whatever it is given and never gives it back, so what is not to be late must wait above it. The
only witness of what has left the path is the viewer, whose ``progress`` counts the octets that came. From
that :class:`ProgressWindow` has the least round trip, the rate at which the path serves frames, the queue
that stands on it, and so how many octets may be on the way: a little more than it holds without a queue.

Pure; ``now`` is seconds of any monotonic clock, sizes are octets, rates octets a second. Imports errors and
codes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode

REPORT_BYTES = 16 * 1024  # a viewer tells as soon as so much is new,
REPORT_S = 0.05  # or so long after anything is
FIRST_WINDOW = 32 * 1024  # as long as nothing was measured
LEAST_WINDOW, MOST_WINDOW = 4 * 1024, 4 * 1024 * 1024
SOUND_AHEAD = 4 * 1024  # beyond the window: sound that waited here would come later for nothing
GAIN, FIRST_GAIN = 1.25, 2.0  # of what the path holds; until a queue was seen TCP may still be opening up
RATE_QUANTILE = 0.75
RATE_S, RATE_AGE_S = 1.0, 3.0  # the rate is that of so long, of so much longer where little was sent
FEW = 8  # measurements
LEAST_RTT_S = 0.0001
MIN_RTT_AGE_S = 10.0  # a least round trip that is older may be that of another path
FIRST_DRAIN_S, DRAIN_EVERY_S = 0.5, 5.0  # of a window that was always full: its round trips all hold a queue
QUEUE_S = 0.015  # that stands: the path is full
QUEUE_SEEN_S = 0.2  # the least queue of so long is the one that stands
FULL_S, FULL_FOR_S = 0.5, 1.0  # something has waited so long: the path is full, and so much longer
STALLED_S = 10.0


@dataclass(frozen=True, slots=True)
class _Frame:
    end: int  # octets of all frames up to this one's end
    size: int
    at: float


class ProgressWindow:
    """One viewer's. ``rate`` 0.0 and ``rtt`` 0.0: not measured yet."""

    def __init__(self) -> None:
        self.sent = self.told = 0
        self.rtt = self.rate = 0.0
        self._frames: deque[_Frame] = deque()  # that no progress told of
        self._told_at = 0.0
        self._arrived_at = 0.0  # when the newest octet told of came, and the news of it at best
        self._round_trips: deque[tuple[float, float]] = deque()  # (when, seconds), both rising
        self._busy: deque[tuple[float, int, float]] = deque()  # (when, octets, octets a second)
        self._quick: deque[tuple[float, float]] = deque()  # (when, octets a second at least)
        self._served = 0.0  # what a busy path serves; 0.0: it was not busy
        self._last_at = 0.0  # when that was handed over which arrived last
        self._queues: deque[tuple[float, float]] = deque()  # (when, seconds)
        self._seen_full = 0.0
        self._was_full = False
        self._honest_at = 0.0  # when a round trip was measured that held no queue of ours
        self._waiting_since: float | None = None
        self._waited_at = 0.0
        self._drain_after = FIRST_DRAIN_S
        self._draining = False
        self._drained_at = 0  # the octets that must have come for the path to be empty

    # --- what goes and comes -----------------------------------------------------------------------

    def hand_over(self, size: int, now: float) -> None:
        """A frame of so many octets goes to TCP."""
        self.sent += size
        self._frames.append(_Frame(self.sent, size, now))

    def progress(self, total: int, waited: float, now: float) -> None:
        """The viewer has ``total`` octets, the newest since ``waited`` seconds.

        Raises ProtocolError (MALFORMED) for what cannot be.
        """
        if not self.told <= total <= self.sent:
            raise ProtocolError(CloseCode.MALFORMED, "progress of what was not sent, or was told before")
        if total == self.told:
            return
        came: list[_Frame] = []
        while self._frames and self._frames[0].end <= total:
            came.append(self._frames.popleft())
        self.told, self._told_at = total, now
        if came:
            arrived = max(now - max(waited, 0.0), came[-1].at + LEAST_RTT_S, self._arrived_at)
            self._measure(came, arrived, now)
        self._look_full(now)

    # --- what may go ---------------------------------------------------------------------------------

    @property
    def standing(self) -> int:
        """Octets on the path, as far as is known."""
        return self.sent - self.told

    @property
    def window(self) -> int:
        """Octets that may stand on the path."""
        if not self.rate:
            return FIRST_WINDOW
        # What has come and is not told of yet stands on no path, but counts as if it did.
        untold = min(REPORT_BYTES, self.rate * REPORT_S)
        gain = GAIN if self._was_full else FIRST_GAIN
        return round(min(max(gain * self.rate * self.min_rtt + untold, LEAST_WINDOW), MOST_WINDOW))

    def room(self, *, sound: bool = False) -> int:
        """Octets that may be handed over now; may be negative. Sound may go a little beyond."""
        if sound:
            return self.window + SOUND_AHEAD - self.standing
        return (0 if self._draining else self.window) - self.standing

    def await_room(self, waiting: bool, now: float) -> None:
        """Whether something waits for room."""
        if not waiting:
            self._waiting_since = None
            return
        self._waited_at = now
        if self._waiting_since is None:
            self._waiting_since = now

    def stalled(self, now: float) -> bool:
        """Whether nothing has moved for long, though something stands."""
        return bool(self._frames) and now - max(self._told_at, self._frames[0].at) > STALLED_S

    # --- what is known of the path -------------------------------------------------------------------

    @property
    def min_rtt(self) -> float:
        """The least round trip of the last seconds."""
        return self._round_trips[0][1] if self._round_trips else 0.0

    def queueing(self, now: float) -> float:
        """Seconds that frames wait on the path behind others, of whomever."""
        recent = [seconds for at, seconds in self._queues if now - at <= QUEUE_SEEN_S]
        if recent:
            return min(recent)
        return self._queues[-1][1] if self._queues and self._frames else 0.0

    def bounded(self, now: float) -> bool:
        """Whether the path carries no more than ``rate``; else it has carried so much, and may carry more."""
        if self._waiting_since is not None and now - self._waiting_since >= FULL_S:
            return True
        return self._was_full and now - self._seen_full <= FULL_FOR_S

    def _measure(self, came: list[_Frame], arrived: float, now: float) -> None:
        """The last of ``came`` has ``arrived`` (by this clock, with the way back)."""
        rtt = arrived - came[-1].at
        self.rtt = rtt if not self.rtt else self.rtt + (rtt - self.rtt) / 8
        octets, handed_over = self._burst(came)
        self._rate(came, octets, arrived - handed_over, arrived, now)
        # The path is at these octets for some of the time, whatever its round trip is.
        at_work = octets / self._served if self._served else 0.0
        alone = min(rtt, arrived - handed_over - at_work) if at_work else rtt
        self._note_round_trip(max(alone, LEAST_RTT_S), now)
        waited = max(0.0, arrived - handed_over - self.min_rtt - at_work)
        if handed_over >= self._arrived_at:
            self._honest_at = now
        self._arrived_at, self._last_at = arrived, came[-1].at
        self._queues.append((now, waited))
        while now - self._queues[0][0] > 2 * QUEUE_SEEN_S and len(self._queues) > 1:
            self._queues.popleft()
        queueing = self.queueing(now)
        # As much as would wait if the queue were of our making: else somebody was slow to tell.
        of_ours = now - self._waited_at <= FULL_FOR_S
        if (
            of_ours
            and queueing >= QUEUE_S
            and 2 * (self.sent - came[-1].end + octets) >= self.rate * queueing
        ):
            self._was_full, self._seen_full = True, now

    def _rate(self, came: list[_Frame], octets: int, took: float, arrived: float, now: float) -> None:
        """What the path serves: known where octets came further apart than they were handed over.

        Else it is known that so much went in so long, and that it may have been faster.
        """
        apart, handed_apart = arrived - self._arrived_at, came[-1].at - self._last_at
        at_least = octets / took
        if at_least > self._served:
            self._busy.clear()  # it has become faster since
        whole = octets == sum(frame.size for frame in came)
        if whole and came[0].at < self._arrived_at and apart > handed_apart + LEAST_RTT_S:
            self._busy.append((now, octets, octets / apart))
        self._quick.append((now, at_least))
        for kept in (self._busy, self._quick):
            while kept and now - kept[0][0] > (RATE_S if len(kept) > FEW else RATE_AGE_S):
                kept.popleft()
        self._served = _quantile(self._busy)
        self.rate = max(self._served, max(rate for _, rate in self._quick))

    def _burst(self, came: list[_Frame]) -> tuple[int, float]:
        """How much came in one go at the end of ``came``, and when the first of it was handed over.

        One report tells of all that came since the last: between frames the path may have been idle.
        """
        octets, handed_over = came[-1].size, came[-1].at
        for frame in reversed(came[:-1]):
            if self.rate and frame.at + frame.size / self.rate < handed_over:
                break
            octets, handed_over = octets + frame.size, frame.at
        return octets, handed_over

    def _note_round_trip(self, rtt: float, now: float) -> None:
        """Keep the least of the last seconds first (a monotonic queue)."""
        kept = self._round_trips
        while kept and now - kept[0][0] > MIN_RTT_AGE_S:
            kept.popleft()
        while kept and kept[-1][1] >= rtt:
            kept.pop()
        kept.append((now, rtt))

    # --- a window that is always full ----------------------------------------------------------------

    def _look_full(self, now: float) -> None:
        """Where something always waits, all round trips hold a queue: empty the path to see the least."""
        if self._draining:
            if self.told >= self._drained_at:
                self._draining, self._honest_at = False, now
                self._drain_after = DRAIN_EVERY_S
        elif self._waiting_since is not None:
            since = max(self._waiting_since, self._honest_at)
            if self._frames and now - since >= self._drain_after:
                self._draining, self._drained_at = True, self.sent


def _quantile(busy: deque[tuple[float, int, float]]) -> float:
    """What three of four octets were served slower than: delays make a path look slow, and nothing fast."""
    left = (1 - RATE_QUANTILE) * sum(octets for _, octets, _ in busy)
    rate = 0.0
    for rate, octets in sorted(((each, octets) for _, octets, each in busy), reverse=True):  # noqa: B007
        left -= octets
        if left <= 0:
            break
    return rate
