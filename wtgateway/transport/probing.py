"""When an application-limited sender sends padding, so that its estimate of the path can rise.

A probe is a train: for :data:`TRAIN_S` or a round trip the sender is filled up to a rate above the estimate,
and the rate at which just these packets were acknowledged tells whether the path carries it (as GCC's
probe clusters do). While trains arrive as fast as they were sent, the next follows at once; one that does
not is what the path has, and the next waits, longer each time. Padding is bounded to a tenth of what is
sent, with a purse for a few trains in a row, and stops where more would be of no use: at
:data:`WANTED` times what the application sends. Pure; imports this package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wtgateway.transport.delivery_rate import LEAST_INTERVAL_S, RateEstimate

GAIN, CAREFUL_GAIN = 2.0, 1.5  # careful after a train that found the path full
WANTED = 2.5  # the next rendition or an encoder's next step is rarely more than twice this one
TRAIN_S = 0.060
LONGEST_TRAIN_S = 0.250
ENOUGH_PACKETS = 24  # a browser acknowledges ten at once
ENOUGH_S = 0.100  # or every 25 ms: on a slow path so many packets would be a queue of half a second
OURS_S = 0.5  # trouble within so long of a train is taken for its doing
LEAST_ACKS = 3  # of a train, or its rate is that of the viewer's timer
PASSED = 0.85  # of the rate that was sent: arrived as fast
BETTER = 1.1  # times what was known before: worth the next train at once
SHARE = 0.10  # of what is sent may be padding
PURSE_S = 0.3  # so much of the estimate may be saved up
LEAST_PURSE = 48 * 1024
PAUSE_S, LONGEST_PAUSE_S = 1.0, 16.0  # on a path of 0.5 Mbit/s each train makes a picture or two late
FALLEN, FALLEN_PAUSE_S, FALLEN_FOR_S = 0.75, 2.0, 60.0  # what a path had a minute ago may come back any time
FIRST_S = 0.25  # after the connection's begin, or after trouble
AHEAD_S = 0.005  # what a call may hand out beyond now: the next comes that much later
RATE_S = 1.0
LOOK_S = 0.05  # between two looks whether a train may begin: it is asked for with each packet that leaves
LEAST_RATE = 6_000  # bytes a second: below that there is nothing that could want more


class Prober:
    """One path's probes; rates in bytes a second, times in s."""

    def __init__(self, estimate: RateEstimate) -> None:
        self.wanted = 0.0  # what the session could use; 0: WANTED times what it sends
        self.padding = 0  # bytes, as far as can be told
        self.target = 0.0  # of the train that is being sent; 0: none is
        self.measuring = False
        self.look_at = 0.0  # before that there is nothing to ask
        self._estimate = estimate
        self.sent = 0  # bytes so far, padding or not; counted by the owner
        self._rate = 0.0  # of the application
        self._rated_at, self._rated_bytes = 0.0, 0
        self._next_at = 0.0
        self._pause_s = PAUSE_S
        self._failed = False  # the last train
        self._purse = float(LEAST_PURSE)
        self._filled_at: float | None = None
        self._began, self._ended = 0.0, -math.inf
        self._began_sent = self._train_bytes = 0
        self._first_ack = 0.0
        self._rates = (0.0, 0.0)  # at the last two ACKs of the train
        self._sent_rate = 0.0
        self._known = 0.0  # the estimate when it began
        self._best, self._best_at = 0.0, -math.inf  # and the greatest lately
        self._acked = 0

    def on_trouble(self, now: float) -> None:
        """A queue or losses showed: no more now, and what a train said does not count.

        Where a train may have brought it on the path is full, and the next waits as after any that failed.
        """
        if self.target:
            self._end(now)
        self.measuring = False
        if now - self._ended < OURS_S:
            if not self._failed:
                self._wait(now)
            return
        self._next_at = max(self._next_at, now + FIRST_S)
        self._pause_s = PAUSE_S

    def bytes_wanted(self, now: float, rtt: float, mtu: int, room: int, *, calm: bool) -> int:
        """Padding to send now, at most ``room``. ``calm``: no queue stands, nor did one of late."""
        self._count(now)
        if not self.target and (not calm or now < self._next_at or not self._begin(now, rtt)):
            self.look_at = now + LOOK_S
            return 0
        self.look_at = 0.0
        elapsed, sent = now - self._began, self.sent - self._began_sent
        enough = min(ENOUGH_PACKETS * mtu, self.target * ENOUGH_S)
        done = elapsed >= self._length(rtt) and sent >= enough
        if done or elapsed >= LONGEST_TRAIN_S or self._spent(now) > self._purse:
            self._end(now)
            return 0
        due = min(int(self.target * (elapsed + AHEAD_S)) - sent, room)
        return due if due >= mtu // 2 else 0

    def _spent(self, now: float) -> float:
        """Bytes of the train that the application would not have sent: what was asked for, as it was sent."""
        return max(0.0, self.sent - self._began_sent - self._rate * (now - self._began))

    def on_acked(self, now: float, packets: Sequence[Any]) -> None:
        """Of the packets of one ACK those that belong to the train; called while ``measuring``."""
        size = sum(p.sent_bytes for p in packets if p.sent_time >= self._began and not self._is_after(p))
        if size:
            if self._acked:
                self._rates = (self._rates[1], self._train_rate(now, size))
            else:
                self._first_ack = now
            self._acked += 1
        if not self.target and packets[-1].sent_time > self._ended:
            self._judge(now)

    def _train_rate(self, now: float, size: int) -> float:
        """Bytes a second since the train's first ACK, whose own bytes came before it."""
        self._train_bytes += size
        interval = now - self._first_ack
        return self._train_bytes / interval if interval >= LEAST_INTERVAL_S else 0.0

    def expire(self, now: float, rtt: float) -> None:
        """Judge a train whose end nothing followed."""
        if self.measuring and not self.target and now - self._ended > 2 * rtt + 0.05:
            self._judge(now)

    def _is_after(self, packet: Any) -> bool:
        return not self.target and packet.sent_time > self._ended

    def _length(self, rtt: float) -> float:
        return min(max(TRAIN_S, rtt), LONGEST_TRAIN_S / 2)

    def _begin(self, now: float, rtt: float) -> bool:
        rate, ceiling = self._estimate.rate, self.wanted or WANTED * self._rate
        if not rate or self._rate < LEAST_RATE or rate * BETTER >= ceiling or self.measuring:
            return False
        target = min((CAREFUL_GAIN if self._failed else GAIN) * rate, 1.15 * ceiling)
        need = max((target - self._rate) * self._length(rtt), 0.0)
        if self._purse < min(need, LEAST_PURSE / 2):
            return False
        self.target, self.measuring, self._failed = target, True, False
        self._known = rate
        self._began, self._began_sent = now, self.sent
        self._acked = self._train_bytes = 0
        self._rates = (0.0, 0.0)
        return True

    def _end(self, now: float) -> None:
        spent = self._spent(now)
        self._purse -= spent
        self.padding += int(spent)
        self._sent_rate = (self.sent - self._began_sent) / max(now - self._began, 1e-3)
        self._ended, self.target = now, 0.0
        self._rated_at, self._rated_bytes = now, self.sent  # a train is no sample of what is sent

    def _judge(self, now: float) -> None:
        self.measuring = False
        arrived = max(self._rates)  # the last ACK may have waited for the viewer's timer, not that before it
        if self._acked < LEAST_ACKS or not arrived:
            self._wait(now)
            return
        rate = min(arrived, self._sent_rate)
        passed = arrived >= PASSED * self._sent_rate
        better = rate > BETTER * self._known  # rounds may have shown meanwhile what the train did
        self._estimate.on_probe(rate if passed else 0.95 * rate, saturated=not passed)
        if passed and better:
            self._next_at, self._pause_s, self.look_at = now, PAUSE_S, 0.0
        else:
            self._wait(now)

    def _wait(self, now: float) -> None:
        self._failed = True
        longest = FALLEN_PAUSE_S if self._estimate.rate < FALLEN * self._best else LONGEST_PAUSE_S
        self._next_at = now + min(self._pause_s, longest)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _count(self, now: float) -> None:
        """The application's rate, and what may be spent."""
        if self._filled_at is None:
            self._filled_at = self._rated_at = now
            self._next_at = max(self._next_at, now + FIRST_S)
        elapsed = max(0.0, now - self._filled_at)
        self._filled_at = now
        purse = max(LEAST_PURSE, PURSE_S * self._estimate.rate)
        self._purse = min(purse, self._purse + elapsed * SHARE * max(self._rate, self._estimate.rate / 2))
        if now - self._rated_at >= RATE_S / 4 and not self.target:
            rate = (self.sent - self._rated_bytes) / (now - self._rated_at)
            share = min(1.0, (now - self._rated_at) / RATE_S) if self._rate else 1.0
            self._rate += (rate - self._rate) * share
            known = self._estimate.rate if self._estimate.bounded else 0.0  # the burst of a start says little
            if known > self._best or now - self._best_at > FALLEN_FOR_S:
                self._best, self._best_at = known, now
            self._rated_at, self._rated_bytes = now, self.sent
