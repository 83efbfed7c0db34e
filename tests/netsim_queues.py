"""The queue before a bottleneck, in virtual time: drop-tail or CoDel (RFC 8289), at a rate that may step.

Several links and flows may share one :class:`Bottleneck`; what leaves it goes to whoever offered it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.netsim import VirtualTime

TARGET_S = 0.005  # RFC 8289, section 4.3
INTERVAL_S = 0.100
LARGEST_PACKET = 1_500
REMEMBERED_INTERVALS = 16  # RFC 8289, section 5.5: how long the rate of dropping is


@dataclass(slots=True)
class Waiting:
    """A packet in the queue; ``leave`` or ``drop`` is called when it comes to the head."""

    size: int
    since: float
    leave: Callable[[], None]
    drop: Callable[[], None]


class Fifo:
    """Packets in their order; how many bytes they are."""

    def __init__(self) -> None:
        self.bytes = 0
        self._packets: deque[Waiting] = deque()

    def push(self, packet: Waiting) -> None:
        """One more at the end."""
        self._packets.append(packet)
        self.bytes += packet.size

    def pop(self) -> Waiting | None:
        """The one at the head."""
        if not self._packets:
            return None
        packet = self._packets.popleft()
        self.bytes -= packet.size
        return packet


class CoDel:
    """The control law of RFC 8289, section 5: what is dropped when it comes to the queue's head."""

    def __init__(self) -> None:
        self.dropped = 0
        self._over_at = 0.0  # when the queue will have been too long for an interval; 0: it is not
        self._dropping = False
        self._next = 0.0
        self._count = self._last_count = 0

    def take(self, queue: Fifo, now: float) -> Waiting | None:
        """The next that leaves, after those that are dropped."""
        head, over = self._pop(queue, now)
        if self._dropping:
            self._dropping = over
            while self._dropping and now >= self._next and head is not None:
                self._drop(head)
                self._count += 1
                head, self._dropping = self._pop(queue, now)
                if self._dropping:
                    self._next += INTERVAL_S / math.sqrt(self._count)
        elif over and head is not None:
            self._drop(head)
            head, _ = self._pop(queue, now)
            self._dropping = True
            more = self._count - self._last_count
            recent = now - self._next < REMEMBERED_INTERVALS * INTERVAL_S
            self._count = self._last_count = more if more > 1 and recent else 1
            self._next = now + INTERVAL_S / math.sqrt(self._count)
        return head

    def _drop(self, packet: Waiting) -> None:
        self.dropped += 1
        packet.drop()

    def _pop(self, queue: Fifo, now: float) -> tuple[Waiting | None, bool]:
        """The head, and whether it may be dropped: the queue was over the target for an interval."""
        head = queue.pop()
        if head is None or now - head.since < TARGET_S or queue.bytes <= LARGEST_PACKET:
            self._over_at = 0.0
        elif not self._over_at:
            self._over_at = now + INTERVAL_S
        elif now >= self._over_at:
            return head, True
        return head, False


class Bottleneck:
    """``rate_bps`` behind a queue of ``queue_bytes``; ``steps`` are (seconds from now, rate).

    A packet that is being sent when the rate steps keeps the rate that it began with.
    """

    def __init__(
        self,
        time: VirtualTime,
        rate_bps: float,
        queue_bytes: int,
        *,
        codel: bool = False,
        steps: Iterable[tuple[float, float]] = (),
    ) -> None:
        self.time, self.rate_bps, self.queue_bytes = time, rate_bps, queue_bytes
        self.codel = CoDel() if codel else None
        self.overflowed = self.carried_bytes = 0
        self._queue = Fifo()
        self._free_at = 0.0
        self._sending: Waiting | None = None
        for after, rate in steps:
            time.after(after, lambda rate=rate: self._step(rate))  # type: ignore[misc]

    @property
    def backlog(self) -> int:
        """Bytes that wait, with what is left of the packet on the wire."""
        left = max(0.0, self._free_at - self.time.now) * self.rate_bps / 8
        return self._queue.bytes + round(left)

    @property
    def delay(self) -> float:
        """Seconds that what is offered now will wait, at the present rate."""
        return self.backlog * 8 / self.rate_bps

    def has_room(self, size: int) -> bool:
        """Whether the queue takes so many bytes; else they are counted as overflowed."""
        if self.backlog + size <= self.queue_bytes:
            return True
        self.overflowed += 1
        return False

    def push(self, size: int, leave: Callable[[], None], drop: Callable[[], None]) -> None:
        """A packet of ``size`` bytes for which there was room."""
        self._queue.push(Waiting(size, self.time.now, leave, drop))
        if self._sending is None:
            self._send_next()

    def _step(self, rate_bps: float) -> None:
        self.rate_bps = rate_bps

    def _send_next(self) -> None:
        queue = self._queue
        packet = queue.pop() if self.codel is None else self.codel.take(queue, self.time.now)
        self._sending = packet
        if packet is not None:
            self._free_at = self.time.now + packet.size * 8 / self.rate_bps
            self.time.at(self._free_at, self._sent)

    def _sent(self) -> None:
        packet = self._sending
        assert packet is not None
        self.carried_bytes += packet.size
        packet.leave()
        self._send_next()
