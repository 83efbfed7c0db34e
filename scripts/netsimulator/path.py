"""Both directions of the network, on a clock that is told the time. Pure: no socket, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from scripts.netsimulator.options import Way
from tests.netsim import Link, LinkCounters, VirtualTime
from tests.netsim_queues import Bottleneck
from tests.netsim_tcp import TcpFlow

MOST_IN_FLIGHT = 100_000  # packets of one direction; what comes beyond is dropped and counted


class DrivenTime(VirtualTime):
    """Virtual time that follows the real one: :meth:`reach` does what became due, each at its own time."""

    @property
    def next_due(self) -> float | None:
        """When something is due next."""
        return self._due[0][0] if self._due else None

    def reach(self, now: float) -> None:
        """Go on to ``now``; a clock that went back is ignored."""
        if now > self.now:
            self.run(now - self.now)


class Packet(bytes):
    """A packet that knows where it goes; ``forward`` is called with it when it arrives."""

    forward: Callable[[bytes], None]


@dataclass(slots=True)
class Waits:
    """How long packets had to wait before the bottleneck, seconds, of one interval."""

    count: int = 0
    total: float = 0.0
    longest: float = 0.0

    def add(self, wait: float) -> None:
        """One packet's."""
        self.count += 1
        self.total += wait
        self.longest = max(self.longest, wait)


@dataclass(slots=True)
class Totals:
    """What became of one direction's packets since the start; bytes as they were given to us."""

    packets: int = 0
    bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0  # by chance, in a blackout, or by CoDel
    overflowed: int = 0  # the queue was full
    duplicated: int = 0
    competing_bytes: int = 0

    def since(self, before: Totals) -> Totals:
        """The difference."""
        return Totals(*(getattr(self, name) - getattr(before, name) for name in _names()))


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Totals))


class Direction:
    """One direction. ``change`` gives it other conditions; what is on its way arrives under the old ones."""

    def __init__(self, time: DrivenTime, way: Way, seed: int) -> None:
        self._time, self._seed = time, seed
        self.most_in_flight = MOST_IN_FLIGHT
        self._counters = LinkCounters()
        self._flows: list[TcpFlow] = []
        self._competed_bytes = 0  # of flows that have ended
        self._bytes = self._delivered_bytes = self._refused = 0
        self.waits = Waits()
        self.change(way)

    def change(self, way: Way, seed: int | None = None) -> None:
        """Other conditions from now on, with an empty queue; steps and blackouts count from now."""
        self._seed = self._seed if seed is None else seed
        for flow in self._flows:
            flow.start(until=0.0)  # it sends no more; what it has in flight drains
            self._competed_bytes += flow.delivered_bytes
        c = way.conditions
        self.bottleneck: Bottleneck | None = None
        if c.rate_bps:
            self.bottleneck = Bottleneck(self._time, c.rate_bps, c.queue_bytes, codel=c.codel, steps=c.steps)
        self._link = Link(self._time, c, self._seed, self._arrived, bottleneck=self.bottleneck)
        self._link.counters = self._counters
        self._flows = []
        for number in range(way.competing):
            assert self.bottleneck is not None, "options.py asks for a rate"
            flow = TcpFlow(self._time, c, self.bottleneck, seed=self._seed + 100 + number)
            flow.start()
            self._flows.append(flow)

    @property
    def queue_s(self) -> float:
        """How long a packet given now would wait."""
        return self.bottleneck.delay if self.bottleneck is not None else 0.0

    @property
    def in_flight(self) -> int:
        """Packets that were taken and neither arrived nor got lost."""
        c = self._counters
        return max(0, c.sent + c.duplicated - c.delivered - c.lost - c.overflowed)

    def send(self, packet: Packet) -> None:
        """Take a packet; it arrives, or not."""
        self._bytes += len(packet)
        if self.in_flight >= self.most_in_flight:
            self._refused += 1
            return
        self.waits.add(self.queue_s)
        self._link.send(packet)

    def _arrived(self, packet: bytes) -> None:
        assert isinstance(packet, Packet)
        self._delivered_bytes += len(packet)
        packet.forward(packet)

    def totals(self) -> Totals:
        """All that happened so far."""
        c = self._counters
        return Totals(
            packets=c.sent + self._refused,
            bytes=self._bytes,
            delivered=c.delivered,
            delivered_bytes=self._delivered_bytes,
            lost=c.lost,
            overflowed=c.overflowed + self._refused,
            duplicated=c.duplicated,
            competing_bytes=self._competed_bytes + sum(flow.delivered_bytes for flow in self._flows),
        )

    def take_waits(self) -> Waits:
        """Those since they were taken last."""
        taken, self.waits = self.waits, Waits()
        return taken
