"""Congestion control "media" between two real ends, and by itself; more paths are in ``test_scenarios``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from aioquic.quic.congestion.base import create_congestion_control
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket

from tests.netsim import Conditions
from tests.transport.ends import Ends
from wtgateway.transport import internals
from wtgateway.transport.congestion import INITIAL_WINDOW, MediaCongestionControl
from wtgateway.transport.pacer import BURST_PACKETS, INITIAL_BURST_PACKETS, LEAST_BURST_PACKETS, MediaPacer
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import PathStats

LOSSY = Conditions(delay=0.020, loss=0.02, rate_bps=20e6)


class Bulk:
    """A sender that always has more, as much as there is room for."""

    def __init__(self, down: Conditions, congestion: str = "media", seed: int = 1) -> None:
        self.ends = Ends(down=down, up=Conditions(delay=down.delay), congestion=congestion, seed=seed)
        self.ends.server.on_writable = self._more
        self.ends.run(0.5)

    def run(self, seconds: float) -> float:
        """Bits per second that arrived."""
        before = self._received()
        self.ends.run(seconds)
        return (self._received() - before) * 8 / seconds

    def queueing(self, seconds: float) -> list[float]:
        """Seconds of data in the bottleneck, sampled every 50 ms; sorted."""
        samples = []
        for _ in range(round(seconds / 0.05)):
            self.ends.run(0.05)
            samples.append(self.ends.down.backlog * 8 / self.ends.down.conditions.rate_bps)
        return sorted(samples)

    def _more(self) -> None:
        session = self.ends.server.open
        while session.room() > 0:
            session.send(session.open_uni(), bytes(16384), True)

    def _received(self) -> int:
        return sum(len(data) for data in self.ends.client.streams.values())


def test_random_loss_leaves_media_its_rate() -> None:
    assert Bulk(LOSSY).run(3) >= 12e6


def test_reno_starves_on_the_same_path() -> None:
    assert Bulk(LOSSY, "reno").run(3) < 4e6


def test_the_queue_before_a_bottleneck_stays_short() -> None:
    bulk = Bulk(Conditions(delay=0.020, rate_bps=5e6))
    bulk.run(1)
    samples = bulk.queueing(4)
    assert samples[len(samples) // 2] < 0.030
    assert samples[-1] < 0.060


def test_a_link_that_gets_slow_is_followed_within_a_second_and_back() -> None:
    bulk = Bulk(Conditions(delay=0.020, rate_bps=20e6))
    bulk.run(1)
    bulk.ends.down.conditions = Conditions(delay=0.020, rate_bps=3e6)
    bulk.run(1.5)
    assert bulk.queueing(1.5)[-1] < 0.080
    bulk.ends.down.conditions = Conditions(delay=0.020, rate_bps=20e6)
    bulk.run(1.5)
    assert bulk.run(1) > 12e6


def test_an_outage_is_recovered_from() -> None:
    bulk = Bulk(Conditions(delay=0.020, rate_bps=10e6))
    bulk.run(1)
    bulk.ends.down.conditions = Conditions(loss=1.0, burst=1.0)
    bulk.run(3)
    bulk.ends.down.conditions = Conditions(delay=0.020, rate_bps=10e6)
    bulk.run(2)
    assert bulk.run(1) > 7e6


@dataclass
class Media:
    """30 frames a second of 3 Mbit/s, a keyframe of 60 KB first; who is late is seen at the other end."""

    down: Conditions
    congestion: str = "media"
    seed: int = 1
    waiting: list[tuple[float, int]] = field(default_factory=list)
    born: dict[int, float] = field(default_factory=dict)
    latency: dict[int, float] = field(default_factory=dict)
    made: int = 0

    def run(self, seconds: float) -> float:
        """The share of frames that arrived whole within 150 ms."""
        self.ends = ends = Ends(down=self.down, up=Conditions(delay=self.down.delay), seed=self.seed)
        if self.congestion != "media":
            self.ends = ends = Ends(
                down=self.down,
                up=Conditions(delay=self.down.delay),
                seed=self.seed,
                congestion=self.congestion,
            )
        ends.run(0.3)
        ends.server.on_writable = self._writable
        ends.client.on_data = self._arrived
        self._frame()
        ends.run(seconds)
        return sum(value < 0.150 for value in self.latency.values()) / (self.made - 5)

    def _frame(self) -> None:
        self.waiting.append((self.ends.time.now, 12_500 if self.made else 60_000))
        self.made += 1
        self.ends.server_end.mark_dirty()
        self.ends.time.after(1 / 30, self._frame)

    def _writable(self) -> None:
        session = self.ends.server.open
        while self.waiting and session.room() > 0:
            born, size = self.waiting.pop(0)
            stream = session.open_uni()
            self.born[stream] = born
            session.send(stream, bytes(size), True)

    def _arrived(self, stream_id: int, data: bytes) -> None:
        if stream_id in self.ends.client.finished:
            self.latency[stream_id] = self.ends.time.now - self.born[stream_id]


@pytest.mark.parametrize(("share", "least"), [(0.0, 1.0), (0.02, 0.99), (0.05, 0.97)])
def test_live_frames_arrive_in_time_despite_loss(share: float, least: float) -> None:
    assert Media(Conditions(delay=0.020, loss=share)).run(10) >= least


def test_with_reno_they_do_not() -> None:
    assert Media(Conditions(delay=0.020, loss=0.02), congestion="reno").run(10) < 0.5


def test_the_first_keyframe_leaves_in_one_round_trip() -> None:
    media = Media(Conditions(delay=0.020))
    media.run(1)
    assert min(media.latency.items())[1] < 0.020 + 0.012


class Datagrams:
    """3 Mbit/s in datagrams, and the padding that is asked for when nothing else waits."""

    def __init__(self, down: Conditions, up: Conditions | None = None) -> None:
        self.ends = Ends(down=down, up=up)
        self.padding = 0
        self._waiting: list[bytes] = []
        self.ends.server.on_writable = self._more
        self.ends.run(0.5)
        self._frame()

    @property
    def path(self) -> PathStats:
        return self.ends.server.open.path()

    def received(self, seconds: float) -> int:
        """Bytes of media that come in so long."""
        before = len(self.ends.client.datagrams)
        self.ends.run(seconds)
        return sum(len(data) for data in self.ends.client.datagrams[before:] if data[0] == 0x10)

    def _frame(self) -> None:
        self._waiting += [b"\x10" + bytes(1_041)] * 12
        self.ends.server_end.mark_dirty()
        self.ends.time.after(1 / 30, self._frame)

    def _more(self) -> None:
        session = self.ends.server.open
        while self._waiting and session.room() > 0:
            session.send_datagrams((self._waiting.pop(0),), Urgency.DELTA)
        session.await_room(bool(self._waiting))
        if not self._waiting:
            wanted = session.probe_bytes(self.ends.time.now)
            self.padding += session.send_datagrams((b"\x1f" + bytes(999),) * -(-wanted // 1_000), Urgency.FEC)


@pytest.mark.skipif(not internals.EXPRESS, reason="trains of padding are woken by the lane")
def test_padding_finds_out_what_the_link_has_though_little_is_sent() -> None:
    sender = Datagrams(Conditions(delay=0.020, rate_bps=8e6))
    sender.ends.run(3.5)
    assert 0.9 * 8e6 <= sender.path.estimate_bps <= 1.05 * 8e6
    assert 0 < sender.padding * 1_000 < 200_000
    padding = sender.padding
    assert sender.received(2.0) >= 0.97 * 2.0 * 3e6 / 8
    assert sender.padding - padding <= 60
    assert sender.path.loss == 0.0
    assert sender.path.queueing_us < 20_000
    sender.ends.server.open.set_wanted_rate(1)
    sender.ends.server.open.close()
    assert sender.ends.server.open.probe_bytes(sender.ends.time.now) == 0


@pytest.mark.skipif(not internals.EXPRESS, reason="aioquic tells of packets in flight only")
@pytest.mark.parametrize("talks", [False, True], ids=["acknowledgements-alone", "with-datagrams"])
def test_what_comes_out_of_order_is_not_lost(talks: bool) -> None:
    """Acknowledgements that come with something else are aioquic's to read; a later one says it again."""
    sender = Datagrams(Conditions(delay=0.020, rate_bps=8e6, reorder=0.10))
    control = internals.controller(sender.ends.server_end.quic)
    given_up: list[QuicSentPacket] = []
    lose = control.on_packets_lost

    def note(*, now: float, packets: Iterable[QuicSentPacket]) -> None:
        packets = list(packets)
        given_up.extend(packets)
        lose(now=now, packets=packets)

    control.on_packets_lost = note

    def talk() -> None:
        sender.ends.client.open.send_datagrams((bytes(20),), Urgency.CONTROL)
        sender.ends.time.after(0.004, talk)

    if talks:
        talk()
    sender.ends.run(3.0)
    assert len(given_up) > 20
    assert control.lost_packets <= 3, "but those that are on their way now"
    assert sender.path.loss < 0.01


def test_a_hole_in_the_path_is_over_when_it_is_over() -> None:
    hole = ((2.0, 1.0),)
    sender = Datagrams(
        Conditions(delay=0.020, rate_bps=8e6, blackouts=hole), Conditions(delay=0.020, blackouts=hole)
    )
    sender.ends.run(1.5)
    assert sender.received(0.6) < 10_000
    before = sender.ends.down.counters.sent
    assert sender.received(0.4) == 0
    assert 10 <= sender.ends.down.counters.sent - before <= 30  # it feels its way
    assert sender.received(0.040 + 2 / 30) > 0
    assert sender.received(0.5) >= 0.95 * 0.5 * 3e6 / 8
    assert 0.05 < sender.path.loss < 0.5


@pytest.mark.skipif(not internals.EXPRESS, reason="only the lane wakes")
def test_a_train_goes_on_though_nothing_waits_and_nobody_acknowledges() -> None:
    sender = Datagrams(Conditions(delay=0.020, rate_bps=8e6))
    lane, now = sender.ends.server_end.lane, sender.ends.time.now
    sender.ends.run(0.030)
    lane.wake(now + 0.034)
    lane.transmit(now + 0.030)
    assert lane.get_timer() == now + 0.034
    lane.transmit(now + 0.031)  # not asked again
    timer = lane.get_timer()
    assert timer is not None
    assert timer > now + 0.034


def test_what_is_told_of_arrivals_reaches_congestion_control() -> None:
    sender = Datagrams(Conditions(delay=0.020, rate_bps=8e6))
    session = sender.ends.server.open
    controller = internals.controller(session._connection.quic)
    for n in range(10):
        at = sender.ends.time.now - 0.1 + n / 100
        session.note_arrival(at, round((at - 900) * 1e6), 1_000)
        session.note_arrival(at, -5, 1_000)
        session.note_arrival(at, 1 << 80, 1_000)
        session.note_arrival(at, 17, 0)
    assert len(controller.arrivals._samples) == 10


# --- the controller by itself -----------------------------------------------------------------------


def packet(number: int, sent: float, size: int = 1200) -> QuicSentPacket:
    made = QuicSentPacket.__new__(QuicSentPacket)
    made.packet_number, made.sent_time, made.sent_bytes = number, sent, size
    made.packet_type = QuicPacketType.ONE_RTT
    return made


def rounds(
    control: MediaCongestionControl, *, count: int, packets: int, rtt: float, start: float = 0.0
) -> float:
    """Whole flights, each acknowledged one round trip later."""
    now = start
    for n in range(count):
        flight = [packet(n * packets + i, now) for i in range(packets)]
        for item in flight:
            control.on_packet_sent(packet=item)
        now += rtt
        for item in flight:
            control.on_packet_acked(now=now, packet=item)
            control.on_rtt_measurement(now=now, rtt=rtt)
    return now


def test_it_is_registered_with_aioquic() -> None:
    control = create_congestion_control("media", max_datagram_size=1200)
    assert isinstance(control, MediaCongestionControl)
    assert control.congestion_window == INITIAL_WINDOW
    assert "queueing_delay" in control.get_log_data()


def test_the_window_does_not_grow_while_the_application_sends_little() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    rounds(control, count=200, packets=10, rtt=0.060)
    assert control.congestion_window == INITIAL_WINDOW
    assert control.bytes_in_flight == 0


def test_it_doubles_while_the_window_is_the_limit() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    rounds(control, count=1, packets=INITIAL_WINDOW // 1200, rtt=0.060)
    assert control.congestion_window > 1.9 * INITIAL_WINDOW


def test_delayed_acks_of_a_quiet_sender_do_not_shrink_the_window_to_nothing() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    now = rounds(control, count=20, packets=4, rtt=0.060)
    rounds(control, count=50, packets=1, rtt=0.060 + 0.025 + 0.025, start=now)
    assert control.congestion_window == INITIAL_WINDOW
    rounds(control, count=50, packets=1, rtt=0.500, start=now + 60)
    assert control.congestion_window >= 16 * 1200


def test_expired_packets_leave_flight_without_being_losses() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    item = packet(1, 0.0)
    control.on_packet_sent(packet=item)
    control.on_packets_expired(packets=[item])
    assert (control.bytes_in_flight, control.lost_packets) == (0, 0)
    control.on_packet_sent(packet=item)
    control.on_packets_lost(now=1.0, packets=[item])
    assert (control.bytes_in_flight, control.lost_packets) == (0, 1)


def test_persistent_congestion_begins_anew() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    control.on_persistent_congestion()
    assert control.congestion_window == 16 * 1200
    rounds(control, count=1, packets=16, rtt=0.060, start=1.0)
    assert control.congestion_window > 1.9 * 16 * 1200


def silence(control: MediaCongestionControl, now: float) -> float:
    """A flight of which nothing comes back until a probe does, ten seconds later."""
    flight = [packet(10_000 + n, now) for n in range(20)]
    for item in flight:
        control.on_packet_sent(packet=item)
    control.on_packets_expired(packets=flight[:1])
    assert control.congestion_window >= control.bytes_in_flight + 100 * 1200
    assert control.pace(0.060) <= 60 * 1200
    probe = packet(10_020, now + 9.9)
    control.on_packet_sent(packet=probe)
    control.on_packet_acked(now=now + 10, packet=probe)
    control.on_rtt_measurement(now=now + 10, rtt=0.1)
    control.on_packets_lost(now=now + 10, packets=flight[1:])
    control.on_persistent_congestion()
    assert control.bytes_in_flight == 0
    return now + 10


def test_a_hole_leaves_window_pace_and_estimate_as_they_were() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    now = rounds(control, count=20, packets=40, rtt=0.060)
    window, rate = control.congestion_window, control.estimate.rate
    assert rate == pytest.approx(40 * 1200 / 0.060, rel=0.1)
    silence(control, now)
    assert (control.congestion_window, control.estimate.rate) == (window, rate)
    assert control.pace(0.060) >= rate


def test_the_longer_the_silence_the_less_is_sent_into_it() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    rounds(control, count=20, packets=40, rtt=0.060)
    paces = []
    for n in range(6):
        lost = packet(n, 0.0)
        control.on_packet_sent(packet=lost)
        control.on_packets_expired(packets=[lost])
        paces.append(control.pace(0.060) / 1200)
        assert control.congestion_window == control.bytes_in_flight + 100 * 1200
    assert paces == [50, 25, 12.5, 6.25, 5, 5]


def test_a_silence_that_began_with_a_long_queue_was_no_hole() -> None:
    control = MediaCongestionControl(max_datagram_size=1200)
    now = rounds(control, count=20, packets=40, rtt=0.060)
    now = rounds(control, count=2, packets=40, rtt=0.900, start=now)
    control.on_rtt_measurement(now=now, rtt=0.900)
    silence(control, now)
    assert control.congestion_window == 16 * 1200


# --- the pacer --------------------------------------------------------------------------------------


def drain(pacer: MediaPacer, now: float) -> int:
    sent = 0
    while pacer.next_send_time(now) is None and sent < 10_000:
        pacer.update_after_send(now)
        sent += 1
    return sent


def test_nothing_is_held_before_a_round_trip_is_known() -> None:
    assert MediaPacer(max_datagram_size=1200).next_send_time(5.0) is None


def test_a_first_burst_passes_then_twice_the_window_per_round_trip() -> None:
    pacer = MediaPacer(max_datagram_size=1200)
    pacer.update_rate(congestion_window=60_000, smoothed_rtt=0.050)  # 50 packets, so 2000 a second
    assert drain(pacer, 1.0) == INITIAL_BURST_PACKETS
    sent, now = 0, 1.0
    for _ in range(100):
        now += 0.001
        sent += drain(pacer, now)
    assert sent == pytest.approx(200, abs=2)
    assert drain(pacer, now + 10) == BURST_PACKETS


def test_a_pacers_wait_is_never_no_wait() -> None:
    pacer = MediaPacer(max_datagram_size=1200)
    pacer.update_rate(congestion_window=65_536, smoothed_rtt=0.040)
    now, waits = 1.0, 0
    for _ in range(2000):
        at = pacer.next_send_time(now)
        if at is None:
            pacer.update_after_send(now)
        else:
            assert at > now
            now, waits = at, waits + 1
    assert waits < 2000


def test_a_short_path_is_not_held_back_by_slow_timers() -> None:
    pacer = MediaPacer(max_datagram_size=1200)
    pacer.update_rate(congestion_window=65_536, smoothed_rtt=0.001)
    drain(pacer, 1.0)
    assert drain(pacer, 1.001) >= 50


def test_a_pacer_follows_who_knows_better_and_sends_no_bursts_when_that_is_slow() -> None:
    pacer = MediaPacer(max_datagram_size=1200)
    rates = [1_200_000.0]
    pacer.follow(lambda smoothed_rtt: rates[0] if smoothed_rtt == 0.050 else 0.0)
    pacer.update_rate(congestion_window=1 << 20, smoothed_rtt=0.050)
    assert pacer.bytes_per_second == pytest.approx(1_200_000)
    assert drain(pacer, 1.0) == INITIAL_BURST_PACKETS
    assert drain(pacer, 1.010) == 10
    rates[0] = 60_000.0
    pacer.update_rate(congestion_window=1 << 20, smoothed_rtt=0.050)
    assert drain(pacer, 2.0) == LEAST_BURST_PACKETS
    assert drain(pacer, 2.1) == LEAST_BURST_PACKETS
