"""Congestion control "media": bounded delay first, fair to others second, blind to light loss.

Loss-based control (reno, cubic) gives live media less than it needs on any path with 2 % of random
loss, and fills queues. This one keeps a window that

* starts at 64 KB, so that a first keyframe leaves in one round trip;
* doubles per round trip while the window is what limits the sender, until delay or loss shows;
* then grows gently while the queueing delay (least round trip of the round minus least of the last
  half minute) is under a target, and when it is over falls to what the path delivers
  (:mod:`delivery_rate`) times its round trip without the queue;
* does not wait for a round's end when the queue grows far beyond the target;
* shrinks on loss only when more than an eighth of a hundred packets was lost, much as GCC does
  (draft-ietf-rmcat-gcc-02 section 6), and stays below where that was for some seconds;
* does not grow while the application sends less than the window allows: there :mod:`probing` finds out;
* competes where others keep the queue full (:mod:`competing`), and holds what it had where nothing
  arrives at all for a while and no queue was there before (a tunnel).

Pure arithmetic on what aioquic reports; all times in s, windows in bytes, rates in bytes a second. Imports
aioquic and this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket

from wtgateway.transport.competing import Competition
from wtgateway.transport.delivery_rate import RateEstimate, RateSampler, Spell
from wtgateway.transport.losses import GivenUp, LossJudge, LossShare
from wtgateway.transport.one_way import OneWayDelay, WindowedMinimum
from wtgateway.transport.probing import Prober

NAME = "media"
INITIAL_WINDOW = 64 * 1024
MINIMUM_PACKETS = 4
QUIET_MINIMUM_PACKETS = 16  # floor when the sender was not limited by the window: RTTs then hold ACK delay
MAXIMUM_WINDOW = 16 * 1024 * 1024

TARGET_FLOOR_S = 0.020
TARGET_CEILING_S = 0.060
ACK_DELAY_S = 0.025  # a peer may sit on an ACK for so long when little arrives
MINIMUM_ROUND_S = 0.050  # a busy receiver delays ACKs for tens of ms; a queue stays
LONG_ROUND_S = 0.120
ONE_WAY_LIMIT_S = 0.150  # up to here a viewer is believed that the queue is on the way back

GROWING = 0.05  # seconds of delay a second: a queue grows, though it is short yet
CEILING_S = 4.0  # after losses that were congestion's the window stays below where they were for so long
CEILING_SHARE = 0.9
STARTING_DELAYED_SAMPLES = 4

PACE_OF_WINDOW = 2.0  # times window / round trip, while that is all there is to go by (RFC 9002, section 7.7)
PACE_OF_BOUND = 2.5  # times an estimate that is a lower bound: the window doubles while starting
PACE_OF_ESTIMATE = 1.25  # a keyframe leaves a fifth of itself in the queue; less would hold it up for nothing
LEAST_PACE_PACKETS = 4  # a round trip
GREATEST_WINDOW = 1.5  # times what the estimate fills, queue and all: growth is not faster than a round tells
STARTING_WINDOW = 2.5  # while that is a lower bound
FAIR_STEP_PACKETS = 3  # a round, whatever the window is: who has less gains on who has more
LEAST_CUT = 0.8  # of the estimate is left by a round: part of it the sender may have been held back
FAR = 3.0  # times the target: a queue that stood so long kept the path busy for all of the round
SILENT_PACE = 50  # packets a second go on while nothing is acknowledged: the first to arrive tells at once
SILENT_PACKETS = 100  # for each probe timeout; as long as they go on, none follows; the next are half as fast
LEAST_SILENT_PACE = 5  # a viewer that went away without a word is sent no more than that after 14 s


class SizeWatch(Protocol):
    """Wants to know what becomes of packets by their size, to notice a path that takes less than it did."""

    @property
    def suspicious(self) -> bool:
        """Whether :meth:`acked` is to be called at all."""

    def acked(self, size: int) -> None:
        """A packet of ``size`` bytes arrived."""

    def lost(self, largest: int) -> None:
        """Packets were given up together, the largest of ``largest`` bytes."""


class MediaCongestionControl(QuicCongestionControl):
    """One path's window, pace and estimate."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.congestion_window = INITIAL_WINDOW
        self.lost_packets = 0
        self.estimate = RateEstimate()
        self.loss = LossShare()
        self.given_up = GivenUp()
        self.arrivals = OneWayDelay()
        self.prober = Prober(self.estimate)
        self._competition = Competition()
        self._mtu = max_datagram_size
        self._starting = True
        self._base = WindowedMinimum()
        self._target_of, self._target = float("inf"), TARGET_FLOOR_S
        self._latest_rtt: Callable[[], float] | None = None
        self._rtt = 0.0
        self._delivered = 0
        self._acked_packets = 0  # since the share of losses was told of any
        self._newest_sent = 0.0  # of what was acknowledged
        self._round = RateSampler()
        self._round_started = -1.0
        self._round_rtt = float("inf")
        self._round_flight = 0
        self._previous_queue = 0.0
        self._round_limited = self._previous_limited = False
        self._spell = Spell()  # with a queue far beyond the target
        self._judge = LossJudge()
        self._cut_at = 0.0  # delays of what was sent before it are answered
        self._delayed_samples = 0
        self._ceiling = 0
        self._ceiling_at = -CEILING_S
        self._held = 0  # the window of before the silence; 0: there is none
        self._timeouts = 0  # probe timeouts of the silence
        self._resumed = False
        self.sizes: SizeWatch | None = None

    def set_max_datagram_size(self, size: int) -> None:
        """The path takes packets of ``size`` bytes; the window stays, but for its least."""
        self._mtu = size
        self._set(self.congestion_window)

    def follow(self, latest_rtt: Callable[[], float]) -> None:
        """Ask ``latest_rtt`` for each sample, in place of what aioquic measured with the peer's delay."""
        self._latest_rtt = latest_rtt

    # --- what aioquic calls ------------------------------------------------------------------------

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """Count it into flight."""
        self.on_bytes_sent(packet.sent_bytes)

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Grow while starting; end the round when what was sent since its start arrives."""
        self.on_packets_acked(now=now, packets=(packet,))

    def on_bytes_sent(self, size: int) -> None:
        """:meth:`on_packet_sent` for a batch of ``size`` bytes in all."""
        self.bytes_in_flight += size
        self.prober.sent += size
        if self.bytes_in_flight > self._round_flight:
            self._round_flight = self.bytes_in_flight
        if self.bytes_in_flight + 2 * self._mtu >= self.congestion_window:
            self._round_limited = True

    def on_packets_acked(self, *, now: float, packets: Sequence[Any]) -> None:
        """:meth:`on_packet_acked` for what one ACK took out of flight, in the order it was sent."""
        if self.sizes is not None and self.sizes.suspicious:
            for packet in packets:
                self.sizes.acked(packet.sent_bytes)
        size = 0
        for packet in packets:
            size += packet.sent_bytes
        self._judge.on_acked(packets)
        self._acked_packets += len(packets)
        if self._held:
            self._resume(now)
        self.bytes_in_flight -= size
        self._delivered += size
        self._newest_sent = packets[-1].sent_time
        if self._starting and self._limited():
            self._grow(size)
        if self.prober.measuring:
            self.prober.on_acked(now, packets)
        if self._round_started < 0:
            self._begin_round(now)
        elif self._newest_sent >= self._round_started and now - self._round_started >= MINIMUM_ROUND_S:
            self._end_round(now)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """They are neither acknowledged nor lost any more: a probe timeout, or the handshake is over."""
        largest, silent = 0, False
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            largest = max(largest, packet.sent_bytes)
            silent |= packet.packet_type is QuicPacketType.ONE_RTT
        if self.sizes is not None:
            self.sizes.lost(largest)
        if silent and self.estimate.rate:
            self._fall_silent()

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Only count: whether it is congestion shows in a whole round."""
        packets = list(packets)
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
        self.lost_packets += len(packets)
        self._tell_loss(now, len(packets))
        self._judge.on_lost(packets)
        self.given_up.add(packets, now)
        if self.sizes is not None:
            self.sizes.lost(max(packet.sent_bytes for packet in packets))

    def on_ranges(self, *, now: float, ranges: Sequence[tuple[int, int]]) -> None:
        """The peer has packets ``ranges`` (first and last): what was given up of them was not lost."""
        came = self.given_up.came(ranges, now)
        if came:
            self.lost_packets -= came
            self.loss.take_back(now, came)
            self._judge.take_back(came)

    def on_persistent_congestion(self) -> None:
        """Nothing came through for several round trips: begin anew, where nothing is known from little."""
        if not self._resumed:
            self._set(QUIET_MINIMUM_PACKETS * self._mtu)
            self._starting = True
        self._base.reset()  # perhaps another path
        self._judge.reset()

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Keep the least of this round and of the last half minute.

        A viewer that is sent less than a few packets delays its ACK, by 25 ms and more than the path
        takes; that is no queue, and the viewer says how long it was.
        """
        if self._latest_rtt is not None:
            rtt = self._latest_rtt()
        self._rtt = rtt
        if rtt < self._round_rtt:
            self._round_rtt = rtt
        self._base.add(now, rtt)
        queueing = rtt - self._base.value
        if queueing <= self.target_delay():  # as mostly
            self._delayed_samples = 0
            self._spell.end()
            return
        if self._starting:
            delayed = self._limited()
            self._delayed_samples = self._delayed_samples + 1 if delayed else 0
            if self._delayed_samples >= STARTING_DELAYED_SAMPLES:  # do not wait for the round's end
                self._fit(now, self._round.rate(now, self._newest_sent, self._delivered))
        self._watch_spell(now, queueing)

    def get_log_data(self) -> dict[str, Any]:
        """For qlog."""
        return {
            **super().get_log_data(),
            "queueing_delay": self.queueing_delay(),
            "estimate": self.estimate.rate,
        }

    # --- what others ask -----------------------------------------------------------------------------

    def queueing_delay(self) -> float:
        """Least round trip of this round minus the least known; 0 when either is not known."""
        return 0.0 if self._round_rtt == float("inf") else max(0.0, self._round_rtt - self._base.value)

    def target_delay(self) -> float:
        """Queueing that is tolerated: half the path's round trip, within bounds."""
        base = self._base.value
        if base == self._target_of:  # as mostly; asked for with every acknowledgement
            return self._target
        known = base != float("inf")
        self._target_of = base
        self._target = min(max(base / 2, TARGET_FLOOR_S), TARGET_CEILING_S) if known else TARGET_FLOOR_S
        return self._target

    def pace(self, smoothed_rtt: float) -> float:
        """Bytes a second that may leave; ``smoothed_rtt`` in s."""
        rate, mtu = self.estimate.rate, self._mtu
        if self._held:
            return max(SILENT_PACE * 2.0 ** (1 - self._timeouts), LEAST_SILENT_PACE) * mtu
        smoothed_rtt = max(smoothed_rtt, 1e-6)
        by_window = PACE_OF_WINDOW * self.congestion_window / smoothed_rtt
        if not rate or self._competition.on:  # beside others a rate is what left, and would be less each time
            return by_window
        if self._resumed or self.estimate.bounded:
            times = PACE_OF_ESTIMATE if self.estimate.bounded else PACE_OF_BOUND
            return max(times * rate, self.prober.target, LEAST_PACE_PACKETS * mtu / smoothed_rtt)
        return min(by_window, max(PACE_OF_BOUND * rate, INITIAL_WINDOW / smoothed_rtt))

    def probe_bytes(self, now: float, room: int) -> int:
        """Padding, at most ``room`` bytes, that should leave now, so that the estimate can rise; 0: none."""
        if self._round_started < 0 or self._held or self._competition.on:
            return 0
        self.prober.expire(now, self._rtt)
        calm = (
            self.queueing_delay() < self.target_delay() and now - self._cut_at > self._rtt + MINIMUM_ROUND_S
        )
        return self.prober.bytes_wanted(now, self._rtt, self._mtu, room, calm=calm)

    def on_arrival(self, sent_s: float, arrived_us: int) -> None:
        """What was sent at ``sent_s`` reached the viewer at ``arrived_us`` of its own clock."""
        if self._rtt:
            self.arrivals.add(sent_s, arrived_us, self._rtt - self._base.value)

    # --- the rules -----------------------------------------------------------------------------------

    def _limited(self) -> bool:
        """Whether the window, not the application, is what limits the sender."""
        return self._round_limited or self._previous_limited

    def _tell_loss(self, now: float, lost: int) -> None:
        self.loss.add(now, self._acked_packets, lost)
        self._acked_packets = 0

    def _begin_round(self, now: float) -> None:
        self._tell_loss(now, 0)
        self._round_started = now
        self._round.begin(now, self._newest_sent, self._delivered)
        self._round_rtt = float("inf")
        self._round_flight = self.bytes_in_flight
        self._previous_limited = self._round_limited
        self._round_limited = self.bytes_in_flight + 2 * self._mtu >= self.congestion_window

    def _queue_ahead(self, now: float, queueing: float) -> float:
        """The part of a round trip's queue that is on the way to the viewer, as far as it can be told."""
        if queueing > ONE_WAY_LIMIT_S:  # a viewer that says otherwise is not believed
            return queueing
        return max(0.0, queueing - self.arrivals.behind(now))

    def _way(self, now: float) -> float:
        """The round trip without the queue on the way out."""
        return self._base.value + self.arrivals.behind(now)

    def _end_round(self, now: float) -> None:
        self._resumed = False
        rate = self._round.rate(now, self._newest_sent, self._delivered)
        queueing, target = self._queue_ahead(now, self.queueing_delay()), self.target_delay()
        # Jitter comes and goes, a queue stays for two rounds; a long round has samples enough by itself.
        short = now - self._round_started < LONG_ROUND_S
        standing = min(queueing, self._previous_queue) if short else queueing
        self._previous_queue = queueing
        limited, busy = self._limited(), 2 * self._round_flight >= self.congestion_window
        late = self._newest_sent < self._cut_at  # all of it was sent before the last cut
        loss, congested = self._judge.take(now, standing, target, limited=limited)
        if self._competition.on:
            self._compete(now, rate, loss, queueing, target)
        elif congested:
            self._ceiling, self._ceiling_at = self.congestion_window, now
            self._judge.answered(now)
            self._shrink(1.0 - loss, MINIMUM_PACKETS)
            self._trouble(now, rate if limited else 0.0)
        elif late:
            pass
        elif standing > (target if busy else target + ACK_DELAY_S):
            self._on_queue(now, rate, queueing, busy)
        else:
            self._on_calm(now, rate, queueing, limited)
        self._begin_round(now)

    def _on_calm(self, now: float, rate: float, queueing: float, limited: bool) -> None:
        self._competition.on_calm(queueing / self.target_delay())
        self.estimate.on_round(rate, limited=limited and not self._starting)
        if limited and self.arrivals.gradient(now) > GROWING:
            self._starting = False
        elif limited and not self._starting:
            self._grow(self._step(now, queueing / self.target_delay()))
        elif self._starting and queueing > self.target_delay() / 2:
            self._starting = False

    def _on_queue(self, now: float, rate: float, queueing: float, busy: bool) -> None:
        """The queue is over its target: the window becomes what the path delivers, most of the queue gone."""
        window, target, way = self.congestion_window, self.target_delay(), self._way(now)
        # A sender far below its window sees others' queues, or jitter: what it knows of the path stays.
        far = queueing >= FAR * target
        least = 0.0 if far else LEAST_CUT * self.estimate.rate
        self._trouble(now, max(rate, least) if busy else 0.0)
        self._shrink(
            min(max((way + target / 2) / (way + queueing), 0.25), 0.95),
            MINIMUM_PACKETS if busy else QUIET_MINIMUM_PACKETS,
        )
        self._cut_at = now
        if far:
            self._judge.answered(now)  # what it lost while it grew is of before the cut
        if busy and self._competition.on_queue(now, queueing, rate, window):
            self._set(self._competition.window(self._mtu))

    def _watch_spell(self, now: float, queueing: float) -> None:
        """A queue that is far beyond the target is answered before its round is over."""
        queueing = self._queue_ahead(now, queueing)
        busy = 2 * self._round_flight >= self.congestion_window
        far = 2 * self.target_delay() + (0.0 if busy else ACK_DELAY_S)
        if queueing <= far or self._newest_sent < self._cut_at or self._competition.on:
            self._spell.end()
            return
        rate = self._spell.watch(now, self._newest_sent, self._delivered)
        if rate is not None:
            if busy:
                self._competition.on_queue(now, queueing, rate, self.congestion_window)
            self._fit(now, rate)
            if queueing >= FAR * self.target_delay():
                self._judge.answered(now)

    def _fit(self, now: float, rate: float) -> None:
        """The window becomes what ``rate`` fills without a queue."""
        busy = 2 * self._round_flight >= self.congestion_window
        least = (MINIMUM_PACKETS if busy else QUIET_MINIMUM_PACKETS) * self._mtu
        self._starting = False
        self._trouble(now, rate)
        if rate:
            fitting = int(rate * (self._way(now) + self.target_delay() / 2))
            self._set(min(self.congestion_window, max(fitting, least)))
        self._cut_at = now
        self._spell.end()
        self._begin_round(now)

    def _trouble(self, now: float, rate: float) -> None:
        self.estimate.on_queue(rate)
        self.prober.on_trouble(now)

    def _compete(self, now: float, rate: float, loss: float, queueing: float, target: float) -> None:
        self.estimate.on_round(rate, limited=self._limited())
        window = self._competition.on_round(
            now,
            window=self.congestion_window,
            mtu=self._mtu,
            queueing=queueing,
            rtt=self._round_rtt,
            target=target,
            lost=loss,
            limited=self._limited(),
        )
        self._set(window)

    def _grow(self, size: int) -> None:
        """A larger window, as far as what the path has shown goes: one burst may fill a window, too."""
        times = GREATEST_WINDOW if self.estimate.bounded else STARTING_WINDOW
        reach = times * self.estimate.rate * (self._rtt + self.target_delay())
        if not self.estimate.rate or self.congestion_window + size <= max(reach, INITIAL_WINDOW):
            self._set(self.congestion_window + size)

    def _step(self, now: float, fullness: float) -> int:
        """Growth of one limited round: quick far from trouble, one packet near it."""
        if now - self._ceiling_at < CEILING_S:
            return min(self._mtu, max(0, int(CEILING_SHARE * self._ceiling) - self.congestion_window))
        quick = 0.25 if fullness < 0.25 else 0.10
        step = int(self.congestion_window * quick * (1.0 - fullness))
        least = min(max(self.congestion_window // 8, self._mtu), FAIR_STEP_PACKETS * self._mtu)
        return max(step, least) if fullness < 1.0 else 0

    def _shrink(self, factor: float, minimum_packets: int) -> None:
        self._starting = False
        window = min(self.congestion_window, max(self._round_flight, self.bytes_in_flight))
        floor = min(self.congestion_window, minimum_packets * self._mtu)
        self._set(max(int(window * factor), floor))

    # --- silence --------------------------------------------------------------------------------------

    def _fall_silent(self) -> None:
        """A probe timeout: a little goes on, so that the end of the silence is known at once."""
        if not self._held:
            self._held, self._timeouts = self.congestion_window, 0
        self._timeouts += 1
        self._set(self.bytes_in_flight + SILENT_PACKETS * self._mtu)

    def _resume(self, now: float) -> None:
        """The first acknowledgement after it. Where no queue was before, it was a hole: all is as it was."""
        window, self._held = self._held, 0
        self._set(window)
        self._judge.answered(now)  # what was lost in it says nothing of what is now
        self._cut_at = now
        self._resumed = self.queueing_delay() <= 2 * self.target_delay()
        self._begin_round(now)

    def _set(self, window: int) -> None:
        self.congestion_window = max(MINIMUM_PACKETS * self._mtu, min(window, MAXIMUM_WINDOW))


register_congestion_control(NAME, MediaCongestionControl)
