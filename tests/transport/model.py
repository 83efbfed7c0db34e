"""A media sender over the network in memory without QUIC's bytes: congestion control, pacer, ACKs and timers.

What RFC 9002 says of acknowledgements and loss, and what aioquic tells a congestion controller, in as much
code as that takes: ten times faster than two real connections, so that many scenarios can be played. The
viewer acknowledges as browsers do: every tenth packet, or after a quarter of a round trip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from aioquic.quic.packet import QuicPacketType

from tests.netsim import Conditions, Link, VirtualTime
from wtgateway.transport.congestion import MediaCongestionControl
from wtgateway.transport.pacer import MediaPacer

PACKET = 1_200
ACK_EVERY = 10
MAX_ACK_DELAY = 0.025
SHALLOW_S = 0.005  # as the lane's room


@dataclass(slots=True)
class Sent:
    """A packet in flight."""

    packet_number: int
    sent_time: float
    sent_bytes: int
    padding: bool
    made: float  # when its frame was
    packet_type: QuicPacketType = QuicPacketType.ONE_RTT


@dataclass
class Seen:
    """What the viewer saw."""

    bytes: int = 0
    padding: int = 0
    waits: list[tuple[float, float]] = field(default_factory=list)  # when it came, seconds since it was made


class Flow:
    """One sender; ``media`` and ``padding`` wait in it, ``deadline`` seconds at most."""

    def __init__(
        self,
        time: VirtualTime,
        down: Conditions,
        up: Conditions | None = None,
        *,
        seed: int = 1,
        deadline: float = 0.150,
        clock_offset: float = 77.0,
        clock_skew: float = 0.0,
        arrivals: bool = True,
    ) -> None:
        self.time, self.seen = time, Seen()
        self.control = MediaCongestionControl(max_datagram_size=PACKET)
        self.pacer = MediaPacer(max_datagram_size=PACKET)
        self.pacer.follow(self.control.pace)
        self.down = Link(time, down, seed, self._arrived)
        self.up = Link(time, up or Conditions(delay=down.delay), seed + 1, self._acknowledged)
        self.on_writable: Callable[[], None] = lambda: None
        self.hungry = False  # there is more above than there was room for
        self.expired = self.sent_bytes = self.timeouts = self.late = 0
        self.waiting = 0  # bytes of media that were not sent yet
        self._deadline = deadline
        self._clock = (clock_offset, clock_skew, arrivals)
        self._waiting: deque[tuple[float, int]] = deque()
        self._padding = 0
        self._flight: dict[int, Sent] = {}
        self._known: dict[int, Sent] = {}  # of what was sent, for the viewer to look at
        self._number = 0
        self._largest_acked = -1
        self._latest = self._srtt = self._variance = 0.0
        self._least_rtt = float("inf")
        self._pto_count = 0
        self._last_sent = 0.0
        self._loss_at: float | None = None
        self._timer: float | None = None
        self._paced_at: float | None = None
        self._unacked: list[tuple[int, float, float]] = []  # at the viewer: number, when it came, was sent
        self._repeated: deque[list[int]] = deque(maxlen=4)  # an ACK has the ranges of those before it, too
        self._ack_at: float | None = None
        self._acks: dict[bytes, tuple[list[int], float, tuple[float, float] | None]] = {}
        self._serial = 0

    # --- the sender --------------------------------------------------------------------------------

    @property
    def flight(self) -> int:
        """Bytes in flight, by its own count."""
        return sum(packet.sent_bytes for packet in self._flight.values())

    def room(self) -> int:
        """As the lane offers it."""
        free = self.control.congestion_window - self.control.bytes_in_flight
        pace = self.pacer.bytes_per_second
        if pace:
            free = min(free, max(int(pace * SHALLOW_S), PACKET))
        return free - self._padding

    def frame(self, size: int) -> None:
        """A picture of ``size`` bytes."""
        self.offer(size)
        self.flush()

    def offer(self, size: int) -> None:
        """So many bytes more, that leave with the next flush."""
        self._waiting.append((self.time.now, size))
        self.waiting += size

    def flush(self) -> None:
        """Send what window and pace allow."""
        now = self.time.now
        while self._waiting and now - self._waiting[0][0] > self._deadline:
            _, size = self._waiting.popleft()
            self.expired += size
            self.waiting -= size
        self.hungry = False
        self.on_writable()
        if not self._waiting:
            wanted = self.control.probe_bytes(now, self.room()) if self._srtt else 0
            self._padding += wanted
            self.hungry |= wanted > 0
            if wanted:
                self.pacer.update_rate(self.control.congestion_window, self._srtt)
        self._paced_at = None
        while self._waiting or self._padding:
            if self.control.bytes_in_flight + PACKET > self.control.congestion_window:
                break
            self._paced_at = self.pacer.next_send_time(now)
            if self._paced_at is not None:
                break
            self._send_next(now)
        free = self.control.bytes_in_flight + PACKET <= self.control.congestion_window
        if self.hungry and free and self._paced_at is None:
            self._paced_at = now + SHALLOW_S  # as the lane: who has more may be asked again
        self._arm()

    def _send_next(self, now: float) -> None:
        if self._waiting:
            made, left = self._waiting.popleft()
            self.waiting -= min(left, PACKET)
            if left > PACKET:
                self._waiting.appendleft((made, left - PACKET))
            self._send(max(min(left, PACKET), 40), made, padding=False)
        else:
            size = min(self._padding, PACKET)
            self._padding -= size
            self._send(max(size, 40), now, padding=True)

    def _send(self, size: int, made: float, *, padding: bool) -> None:
        now = self.time.now
        packet = Sent(self._number, now, size, padding, made)
        self._flight[self._number] = self._known[self._number] = packet
        self.control.on_bytes_sent(size)
        self.pacer.update_after_send(now)
        self.sent_bytes += size
        self._last_sent = now
        self.down.send(self._number.to_bytes(8) + bytes(size - 8))
        self._number += 1

    def _acknowledged(self, ack: bytes) -> None:
        numbers, delay, arrival = self._acks.pop(ack, ([], 0.0, None))
        now = self.time.now
        if arrival is not None:
            self.control.on_arrival(arrival[0], round(arrival[1] * 1e6))
        if numbers and self.control.given_up:
            before = self.control.lost_packets
            self.control.on_ranges(now=now, ranges=[(n, n) for n in numbers])
            self.late += before - self.control.lost_packets
        packets = [self._flight.pop(n) for n in numbers if n in self._flight]
        if packets:
            self._largest_acked = max(self._largest_acked, numbers[-1])
            self.control.on_packets_acked(now=now, packets=packets)
            if packets[-1].packet_number == numbers[-1]:
                self._measure(now - packets[-1].sent_time, delay)
            self._detect_loss()
            self._pto_count = 0
        self.flush()

    def _measure(self, rtt: float, delay: float) -> None:
        self._least_rtt = min(self._least_rtt, rtt)
        adjusted = rtt - delay if rtt > self._least_rtt + delay else rtt
        self._latest = adjusted
        if not self._srtt:
            self._srtt, self._variance = rtt, rtt / 2
        self._variance += (abs(self._least_rtt - adjusted) - self._variance) / 4
        self._srtt += (adjusted - self._srtt) / 8
        self.control.on_rtt_measurement(now=self.time.now, rtt=adjusted)
        self.pacer.update_rate(self.control.congestion_window, self._srtt)

    def _detect_loss(self) -> None:
        now, late = self.time.now, 9 / 8 * max(self._latest, self._srtt)
        lost = []
        self._loss_at = None
        for number, packet in self._flight.items():
            if number > self._largest_acked:
                break
            if number <= self._largest_acked - 3 or packet.sent_time <= now - late:
                lost.append(packet)
            else:
                self._loss_at = packet.sent_time + late
                break
        for packet in lost:
            del self._flight[packet.packet_number]
        if lost:
            self.control.on_packets_lost(now=now, packets=lost)  # type: ignore[arg-type]
            if lost[-1].sent_time - lost[0].sent_time > 3 * self._timeout() and len(lost) == (
                lost[-1].packet_number - lost[0].packet_number + 1
            ):
                self.control.on_persistent_congestion()
            self.pacer.update_rate(self.control.congestion_window, self._srtt)

    def _timeout(self) -> float:
        return (self._srtt + max(4 * self._variance, 0.001) if self._srtt else 0.2) + MAX_ACK_DELAY

    def _arm(self) -> None:
        due = [at for at in (self._paced_at, self._loss_at) if at is not None]
        if self._flight and self._loss_at is None:
            due.append(self._last_sent + self._timeout() * 2**self._pto_count)
        when = min(due) if due else None
        if when is not None and when != self._timer:
            self._timer = when
            self.time.at(when + 1e-6, lambda: self._fire(when))

    def _fire(self, when: float) -> None:
        if when != self._timer:
            return
        self._timer = None
        now = self.time.now
        if self._loss_at is not None and self._loss_at <= now:
            self._detect_loss()
        elif self._flight and self._last_sent + self._timeout() * 2**self._pto_count <= now:
            self._pto_count += 1
            self.timeouts += 1
            oldest = next(iter(self._flight))
            self.control.on_packets_expired(packets=[self._flight.pop(oldest)])  # type: ignore[list-item]
            self._send(PACKET, now, padding=True)
            self.pacer.update_rate(self.control.congestion_window, self._srtt)
        self.flush()

    # --- the viewer --------------------------------------------------------------------------------

    def _arrived(self, data: bytes) -> None:
        packet = self._known.pop(int.from_bytes(data[:8]), None)
        if packet is None:
            return
        now = self.time.now
        self.seen.bytes += packet.sent_bytes
        if packet.padding:
            self.seen.padding += packet.sent_bytes
        else:
            self.seen.waits.append((now, now - packet.made))
        self._unacked.append((packet.packet_number, now, packet.sent_time))
        if len(self._unacked) >= ACK_EVERY:
            self._acknowledge()
        elif self._ack_at is None:
            at = self._ack_at = now + min(MAX_ACK_DELAY, (self._srtt or 0.1) / 4)
            self.time.at(at, lambda: self._acknowledge() if self._ack_at == at else None)

    def _acknowledge(self) -> None:
        self._ack_at = None
        unacked, self._unacked = sorted(self._unacked), []
        if not unacked:
            return
        offset, skew, tells = self._clock
        _, came, sent = unacked[-1]
        self._repeated.append([n for n, _, _ in unacked])
        numbers = sorted({n for numbers in self._repeated for n in numbers})
        self._serial += 1
        tag = self._serial.to_bytes(40)  # as large as an ACK is on the wire
        arrival = (sent, offset + came * (1 + skew)) if tells else None
        self._acks[tag] = (numbers, self.time.now - came, arrival)
        self.up.send(tag)


class Camera:
    """Frames at ``rate_bps``, of which every ``keyframes`` th is three times as large.

    ``follows``: the encoder follows the estimate, a little below it, up to ``rate_bps``.
    """

    FPS = 30

    def __init__(self, flow: Flow, rate_bps: float, *, keyframes: int = 60, follows: bool = False) -> None:
        self.flow, self.rate_bps, self._most = flow, rate_bps, rate_bps
        self._keyframes, self._follows, self._made = keyframes, follows, 0
        flow.time.after(0.0, self._frame)

    def _frame(self) -> None:
        if self._follows:
            estimate = self.flow.control.estimate.rate * 8
            self.rate_bps = min(max(0.95 * estimate, 200_000.0), self._most) if estimate else 1e6
        size = self.rate_bps / 8 / self.FPS
        self.flow.frame(int(3 * size if self._made % self._keyframes == 0 else size))
        self._made += 1
        self.flow.time.after(1 / self.FPS, self._frame)


def greedy(flow: Flow) -> None:
    """Always something to send, as much as there is room for."""

    def more() -> None:
        while flow.waiting < flow.room():
            flow.offer(PACKET)
        flow.hungry = True

    flow.on_writable = more
    flow.time.after(0.0, flow.flush)
