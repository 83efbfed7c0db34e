"""What a path delivers: rate of a round, of a spell, and an estimate from those. Pure; imports nothing.

A sender that the application limits learns from its round trips how much it sent, not how much the path
carries, and ``window / round trip`` is no rate at all then. So rates are measured
(draft-cheng-iccrg-delivery-rate-estimation-02, section 2.2: bytes acknowledged over the longer of the time
they took to be sent and to be acknowledged), and kept apart by what limited the sender: what a full window
brought is the path's, what an application brought is a lower bound.
"""

from __future__ import annotations

from collections import deque

LIMITED_ROUNDS = 4  # of which the best counts: a round may have lost some of its time
LEAST_INTERVAL_S = 0.005  # acknowledgements of one burst say nothing about a rate
SPELL_S, SPELL_SAMPLES = 0.030, 3  # what lasts so long is no burst


class RateSampler:
    """Bytes a second between two acknowledgements; times in s."""

    __slots__ = ("_acked_at", "_delivered", "_sent_at")

    def __init__(self) -> None:
        self._acked_at = self._sent_at = 0.0
        self._delivered = 0

    def begin(self, acked_at: float, sent_at: float, delivered: int) -> None:
        """An ACK came at ``acked_at`` for what was sent up to ``sent_at``; so many bytes had arrived then."""
        self._acked_at, self._sent_at, self._delivered = acked_at, sent_at, delivered

    def rate(self, acked_at: float, sent_at: float, delivered: int) -> float:
        """Bytes a second since :meth:`begin`; 0 when too little time has gone by to tell."""
        interval = max(acked_at - self._acked_at, sent_at - self._sent_at)
        return (delivered - self._delivered) / interval if interval >= LEAST_INTERVAL_S else 0.0


class Spell:
    """A time in which something held without a break, and what was delivered in it."""

    __slots__ = ("_sampler", "_samples", "_since")

    def __init__(self) -> None:
        self._sampler = RateSampler()
        self._since = 0.0
        self._samples = 0

    def end(self) -> None:
        """It does not hold, or was acted upon."""
        self._samples = 0

    def watch(self, acked_at: float, sent_at: float, delivered: int) -> float | None:
        """It holds now: the rate since it began, as :meth:`RateSampler.rate`, once it has lasted."""
        if not self._samples:
            self._since = acked_at
            self._sampler.begin(acked_at, sent_at, delivered)
        self._samples += 1
        if self._samples < SPELL_SAMPLES or acked_at - self._since < SPELL_S:
            return None
        return self._sampler.rate(acked_at, sent_at, delivered)


class RateEstimate:
    """What the path is believed to carry, in bytes a second; 0: nothing is known.

    ``bounded``: the path has shown that it carries no more, not just that it carries so much.
    """

    __slots__ = ("_recent", "bounded", "rate")

    def __init__(self) -> None:
        self.rate = 0.0
        self.bounded = False
        self._recent: deque[float] = deque(maxlen=LIMITED_ROUNDS)

    def on_round(self, rate: float, *, limited: bool) -> None:
        """A round delivered ``rate``; ``limited``: a full window did, else the application."""
        if not rate:
            return
        if limited:
            self._recent.append(rate)
            self.rate, self.bounded = max(self._recent), True
        elif rate > self.rate:
            self.rate, self.bounded = rate, False

    def on_queue(self, rate: float) -> None:
        """The path delivered ``rate`` while its queue stood: that is all it has now."""
        if rate:
            self.rate = min(self.rate, rate) if self.rate else rate
            self.bounded = True
            self._recent.clear()
            self._recent.append(self.rate)

    def on_probe(self, rate: float, *, saturated: bool) -> None:
        """A train of packets arrived at ``rate``; ``saturated``: slower than it was sent."""
        if rate > self.rate:
            self.rate, self.bounded = rate, saturated
            self._recent.clear()
        elif saturated:  # what is less may be the viewer's timer, or jitter; a queue would show
            self.bounded = True
