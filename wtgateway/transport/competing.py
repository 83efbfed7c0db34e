"""Sharing a queue with flows that fill it: when a controller that avoids queues has to stand this one.

Who shrinks for every queue is left with nothing beside a loss-based flow, which grows until the queue
overflows. A queue that stands though the window was cut again and again is the work of others (Copa has
a competitive mode for it). Then the window goes by additive increase and multiplicative decrease, but
within a limit: a queue beyond :data:`LIMIT_S` is of no use to live media, so there the window shrinks,
down to a floor. Once in a while it is halved for two rounds, to see whether the queue was its own.
Pure; imports nothing.
"""

from __future__ import annotations

VAIN_CUTS = 3  # a queue that stands after so many
VAIN_S = 1.0  # a newcomer that starts too fast has found its place by then
REMEMBERED_S = 15.0  # who was there is taken for being there again at once
DRAINED = 0.75  # of the target: below that the queue was its own, for it went when it was cut
STANDING = 0.5  # of what it was at the first of them
YIELDED = 0.6  # of the rate at the first of them: alone before a queue, one would have had all of the link
FELL = 0.5  # of what a cut takes from the window it takes from the rate, where others take what one leaves:
TELLING = 10_000  # bytes of window: below, the rate is that of the viewer's timer
CUT = 0.9  # a link that has become slower gives the same whatever the window is
CALM_S = 1.0  # under the target for so long: the others have gone
LIMIT_S = 0.130  # of queueing, so that its peaks stay under 150 ms
DECREASE = 0.7  # cubic's (RFC 9438, section 4.6)
OVER_LIMIT = 0.85
INCREASE = 0.03  # of the window for each round, at least a packet
NEAR = 0.75  # of the limit: from there a packet a round, since what is grown shows a round later
FULL = 0.7  # of the longest queue seen: losses there are its overflow, others are the path's
LOOK_S = 4.0  # between two looks whether the others are still there
LOOK_ROUNDS = 2
FLOOR_RATE = 20_000  # bytes a second: sound, and a little picture
FLOOR_PACKETS = 4


class Competition:
    """One path's; windows in bytes, times in s."""

    __slots__ = (
        "_before",
        "_calm_since",
        "_cuts",
        "_first",
        "_first_at",
        "_first_rate",
        "_floor_rtt",
        "_full",
        "_last",
        "_left_at",
        "_look_at",
        "_looked",
        "_shared",
        "on",
    )

    def __init__(self) -> None:
        self.on = False
        self._cuts = 0
        self._first = self._first_rate = self._first_at = 0.0
        self._last = (0, 0.0)  # window and rate at the cut before
        self._shared = False  # the link, by the last cut that told
        self._left_at = -REMEMBERED_S
        self._calm_since = -1.0
        self._before = 0  # window of before the first cut, or of before a look
        self._full = 0.0
        self._look_at = 0.0
        self._looked = 0  # rounds of the look
        self._floor_rtt = 0.0

    def on_calm(self, fullness: float) -> None:
        """The queue was at ``fullness`` of its target for a round."""
        if fullness < DRAINED:
            self._cuts = 0

    def on_queue(self, now: float, queueing: float, rate: float, window: int) -> bool:
        """The window is cut from ``window`` for a queue; whether that was in vain too often."""
        if not self._cuts:
            self._first, self._first_rate, self._before = queueing, rate, window
            self._first_at = now
            self._shared, self._last = False, (0, 0.0)
        self._cuts += 1
        self._compare(rate, window)
        if (
            self._shared
            and self._cuts > VAIN_CUTS
            and (now - self._first_at >= VAIN_S or now - self._left_at < REMEMBERED_S)
            and queueing >= STANDING * self._first
            and rate <= YIELDED * self._first_rate
        ):
            self._calm_since = -1.0
            self.on, self._cuts, self._full, self._look_at, self._looked = True, 0, queueing, 0.0, 0
            self._floor_rtt = 0.0
        return self.on

    def _compare(self, rate: float, window: int) -> None:
        """Whether the rate goes with the window, as it does where others are there to take the rest."""
        window_before, rate_before = self._last
        if rate_before and window_before >= TELLING and window < CUT * window_before:
            self._shared = 1.0 - rate / rate_before >= FELL * (1.0 - window / window_before)
        self._last = (window, rate)

    def window(self, mtu: int) -> int:
        """To begin with."""
        return max(int(self._before * DECREASE), FLOOR_PACKETS * mtu)

    def on_round(
        self,
        now: float,
        *,
        window: int,
        mtu: int,
        queueing: float,
        rtt: float,
        target: float,
        lost: float,
        limited: bool,
    ) -> int:
        """The next round's window; ``on`` is False afterwards when the others have gone."""
        if queueing > target:
            self._calm_since = -1.0
        elif self._calm_since < 0:
            self._calm_since = now
        if queueing <= target and (self._looked or now - self._calm_since >= CALM_S):
            self.on, self._left_at = False, now
            return window
        self._full = max(self._full, queueing)
        if self._looked:
            self._looked -= 1
            return window if self._looked else self._before
        if not self._look_at:
            self._look_at = now + LOOK_S
        elif now >= self._look_at:
            self._look_at, self._looked, self._before = now + LOOK_S, LOOK_ROUNDS, window
            return window // 2
        if queueing > LIMIT_S:
            return max(int(window * OVER_LIMIT), self._floor(window, mtu, rtt))
        if lost and queueing >= FULL * self._full:
            return int(window * DECREASE)
        if not limited:
            return window
        near = queueing > NEAR * LIMIT_S
        return window + (mtu if near else max(mtu, int(window * INCREASE)))

    def _floor(self, window: int, mtu: int, rtt: float) -> int:
        """What is kept though the queue is too long; not more than the path takes without a longer one."""
        least = FLOOR_PACKETS * mtu
        if window <= least:
            self._floor_rtt = rtt
        if self._floor_rtt and rtt > 1.3 * self._floor_rtt:
            return least
        return min(max(least, int(FLOOR_RATE * rtt)), window + mtu)
