"""A competing flow that always has more to send, and fills queues until they overflow: reno or cubic.

RFC 5681 and RFC 9438 with selective acknowledgement of each segment (no delayed ones), slow start, one
reduction per flight, RFC 6298's timer. What it says is of no account, so nothing is sent again: a new
segment does as well to the queue.
"""

from __future__ import annotations

import itertools
from typing import Literal

from tests.netsim import Conditions, Link, VirtualTime
from tests.netsim_queues import Bottleneck

SEGMENT = 1_500
INITIAL_WINDOW = 10.0
REORDERING = 3  # segments
LEAST_TIMEOUT_S = 0.2
C, BETA = 0.4, 0.7  # RFC 9438, section 4


class TcpFlow:
    """One sender over ``bottleneck``; acknowledgements come back after ``conditions.delay`` as well.

    ``most`` segments are in flight, which is the receiver's window.
    """

    def __init__(
        self,
        time: VirtualTime,
        conditions: Conditions,
        bottleneck: Bottleneck,
        *,
        seed: int = 99,
        algorithm: Literal["reno", "cubic"] = "cubic",
        most: float = float("inf"),
    ) -> None:
        self.time, self.delivered_bytes = time, 0
        self.window = INITIAL_WINDOW
        self._cubic = algorithm == "cubic"
        self._most = most
        self._link = Link(time, conditions, seed, self._arrived, bottleneck=bottleneck)
        self._delay = conditions.delay
        self._threshold = float("inf")
        self._sent_at: dict[int, float] = {}  # in flight
        self._next = 0
        self._recovered = 0  # losses of what was sent before it are answered already
        self._srtt = self._variance = 0.0
        self._backoff = 1
        self._timer_at = 0.0
        self._largest = 0.0  # cubic's W_max
        self._epoch: float | None = None
        self._running = False

    def start(self, after: float = 0.0, until: float | None = None) -> None:
        """Begin so many seconds from now; stop at ``until`` seconds from now."""
        self.time.after(after, self._begin)
        if until is not None:
            self.time.after(until, self._stop)

    def _begin(self) -> None:
        self._running = True
        self._fill()

    def _stop(self) -> None:
        self._running = False

    def _fill(self) -> None:
        while self._running and len(self._sent_at) < int(min(self.window, self._most)):
            self._sent_at[self._next] = self.time.now
            self._link.send(self._next.to_bytes(8) + bytes(SEGMENT - 8))
            self._next += 1
        self._arm()

    def _arrived(self, segment: bytes) -> None:
        number = int.from_bytes(segment[:8])
        self.delivered_bytes += len(segment)
        self.time.after(self._delay, lambda: self._acknowledged(number))

    def _acknowledged(self, number: int) -> None:
        sent = self._sent_at.pop(number, None)
        if sent is None:
            return
        self._backoff = 1
        self._measure(self.time.now - sent)
        lost = list(itertools.takewhile(lambda n: n + REORDERING <= number, self._sent_at))
        for n in lost:
            del self._sent_at[n]
        if lost and lost[-1] >= self._recovered:
            self._reduce()
        elif number >= self._recovered:
            self._grow()
        self._fill()

    def _measure(self, rtt: float) -> None:
        if not self._srtt:
            self._srtt, self._variance = rtt, rtt / 2
        self._variance += (abs(self._srtt - rtt) - self._variance) / 4
        self._srtt += (rtt - self._srtt) / 8

    def _grow(self) -> None:
        if self.window < self._threshold:
            self.window += 1.0
        elif self._cubic:
            self._grow_cubic()
        else:
            self.window += 1.0 / self.window

    def _grow_cubic(self) -> None:
        if self._epoch is None:
            self._epoch = self.time.now
            self._largest = max(self._largest, self.window)
        elapsed = self.time.now - self._epoch
        k = ((self._largest - self._largest * BETA) / C) ** (1 / 3)
        target = self._largest + C * (elapsed + self._srtt - k) ** 3
        friendly = self._largest * BETA + 3 * (1 - BETA) / (1 + BETA) * elapsed / self._srtt
        target = min(max(target, friendly, self.window), 1.5 * self.window)
        self.window += (target - self.window) / self.window

    def _reduce(self) -> None:
        self._recovered = self._next
        self._largest = self.window
        self._epoch = None
        self.window = self._threshold = max(2.0, self.window * (BETA if self._cubic else 0.5))

    def _arm(self) -> None:
        timeout = max(LEAST_TIMEOUT_S, self._srtt + 4 * self._variance if self._srtt else 1.0) * self._backoff
        at = self._timer_at = self.time.now + timeout
        if self._sent_at:
            self.time.at(at, lambda: self._timed_out(at))

    def _timed_out(self, at: float) -> None:
        if at == self._timer_at and self._sent_at:
            self._sent_at.clear()
            if self._backoff == 1:  # RFC 5681, section 3.1: the threshold falls once
                self._reduce()
            self.window = 1.0
            self._backoff = min(64, 2 * self._backoff)
            self._fill()
