"""Congestion control on bad networks: what docs/architecture.md says of it, played in virtual time.

Each row is a path, what is sent, and the figures that must come out. The sender is a model of the lane
(:mod:`tests.transport.model`); that the lane itself behaves so is shown in ``test_congestion``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from tests.netsim import Conditions, VirtualTime
from tests.netsim_losses import GilbertElliott, LossBursts, LossProcess
from tests.netsim_tcp import TcpFlow
from tests.transport.model import Camera, Flow, greedy

LINK = 8e6
CLEAN = Conditions(delay=0.020, rate_bps=LINK)
BLOATED = Conditions.bloated(delay=0.020, rate_bps=LINK)
STEPS = Conditions(delay=0.020, rate_bps=LINK, steps=((5.0, 1e6), (10.0, LINK)))

What = Literal["greedy", "follows", "3 Mbit/s"]


def start(flow: Flow, what: What) -> None:
    """``greedy`` sends what it can, ``follows`` is an encoder that follows the estimate."""
    if what == "greedy":
        greedy(flow)
    else:
        Camera(flow, LINK if what == "follows" else 3e6, follows=what == "follows")


@dataclass
class Play:
    """A flow on a path, and what is seen of it."""

    down: Conditions
    what: What = "3 Mbit/s"
    up: Conditions | None = None
    seed: int = 1
    arrivals: bool = True
    time: VirtualTime = field(default_factory=VirtualTime)

    def __post_init__(self) -> None:
        self.flow = Flow(
            self.time,
            self.down,
            self.up,
            seed=self.seed,
            arrivals=self.arrivals,
            clock_offset=-900.0 if self.seed % 2 else 1e9,
            clock_skew=200e-6,
        )
        if self.flow.down.bottleneck is not None:
            self.bottleneck = self.flow.down.bottleneck
        start(self.flow, self.what)

    def run(self, seconds: float) -> float:
        """Bits a second that arrived."""
        before = self.flow.seen.bytes
        self.time.run(seconds)
        return (self.flow.seen.bytes - before) * 8 / seconds

    def queueing(self, seconds: float) -> list[float]:
        """The bottleneck's queue in s, every 10 ms, sorted."""
        samples = []
        for _ in range(round(seconds / 0.010)):
            self.time.run(0.010)
            samples.append(self.bottleneck.delay)
        return sorted(samples)

    @property
    def estimate(self) -> float:
        """In bit/s."""
        return self.flow.control.estimate.rate * 8


def share(samples: list[float], part: float) -> float:
    """The quantile."""
    return samples[min(len(samples) - 1, int(part * len(samples)))]


# --- no loss: the estimate rises though the application sends little --------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_the_estimate_is_what_the_link_has_though_the_application_sends_little(seed: int) -> None:
    play = Play(CLEAN, seed=seed)
    play.run(5)
    assert 0.9 * LINK <= play.estimate <= 1.05 * LINK
    padding = play.flow.seen.padding
    assert padding <= 0.12 * play.flow.sent_bytes
    play.run(15)
    assert 0.9 * LINK <= play.estimate <= 1.05 * LINK
    assert play.flow.seen.padding - padding <= 0.02 * play.flow.sent_bytes  # what is known is not asked again
    assert play.flow.expired == 0
    assert share(sorted(wait for _, wait in play.flow.seen.waits), 0.99) < 0.100


def test_without_probes_it_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(CLEAN)
    monkeypatch.setattr(play.flow.control, "probe_bytes", lambda *_: 0)
    play.run(5)
    assert play.estimate < 0.9 * LINK


def test_probing_ends_where_more_would_be_of_no_use() -> None:
    play = Play(Conditions(delay=0.020, rate_bps=100e6))
    play.run(10)
    padding = play.flow.seen.padding
    play.run(10)
    assert play.estimate >= 2.4 * 3e6
    assert play.flow.seen.padding == padding
    session_wants_more = 40e6
    play.flow.control.prober.wanted = session_wants_more / 8
    play.run(15)
    assert play.estimate >= 0.9 * session_wants_more
    assert play.flow.seen.padding <= 0.2 * play.flow.sent_bytes


def test_a_link_that_is_just_enough_keeps_a_short_queue_and_is_not_overrated() -> None:
    play = Play(Conditions(delay=0.020, rate_bps=4e6))
    play.run(5)
    assert share(play.queueing(10), 0.95) < 0.080
    assert 3.0e6 <= play.estimate <= 4.4e6


# --- losses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.05, 0.10])
def test_random_loss_does_not_shrink_it(loss: float) -> None:
    play = Play(Conditions(delay=0.020, rate_bps=12e6, loss=loss), "greedy")
    play.run(1)
    assert play.run(3) >= 0.75 * 12e6 * (1 - loss)
    assert share(play.queueing(1.5), 0.95) < 0.060
    assert play.flow.control.loss.share == pytest.approx(loss, abs=0.02)


@pytest.mark.parametrize("losses", [GilbertElliott.of(0.10, 10), LossBursts(0.10)])
def test_bursts_do_not_shrink_it_below_what_is_sent(losses: LossProcess) -> None:
    play = Play(Conditions(delay=0.020, rate_bps=LINK, losses=losses))
    play.run(2)
    assert play.run(10) >= 0.85 * 3e6
    assert play.estimate >= 3e6
    assert play.flow.expired <= 0.02 * play.flow.sent_bytes


def test_reordering_and_duplicates_are_as_no_loss() -> None:
    play = Play(Conditions(delay=0.020, rate_bps=LINK, reorder=0.05, duplicate=0.02))
    play.run(5)
    assert play.estimate >= 0.9 * LINK
    assert play.flow.expired == 0
    control = play.flow.control
    assert play.flow.late > 30, "packets were given up that came after all"
    assert control.lost_packets <= 1, "but for one that is on its way now"
    assert control.loss.share < 0.002


def test_jitter_is_no_queue() -> None:
    play = Play(Conditions(delay=0.020, rate_bps=LINK, jitter=0.020, loss=0.02))
    play.run(5)
    assert play.run(10) >= 0.95 * 3e6
    assert play.estimate >= 1.5 * 3e6


def test_a_short_buffer_is_not_kept_overflowing() -> None:
    play = Play(Conditions(delay=0.020, rate_bps=5e6, queue_bytes=12_000), "greedy")
    play.run(3)
    counters = play.flow.down.counters
    before = (counters.overflowed, counters.sent)
    assert play.run(5) >= 4.5e6
    assert counters.overflowed - before[0] < 0.05 * (counters.sent - before[1])


# --- queues ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["greedy", "follows"])
@pytest.mark.parametrize(
    "down",
    [
        CLEAN,
        Conditions.bloated(delay=0.020, rate_bps=LINK),
        Conditions(delay=0.020, rate_bps=LINK, codel=True),
    ],
    ids=["drop-tail", "bloated", "CoDel"],
)
def test_the_queue_stays_short_and_the_link_is_used(down: Conditions, what: What) -> None:
    play = Play(down, what)
    play.run(5)
    before = play.flow.seen.bytes
    samples = play.queueing(5)
    assert (play.flow.seen.bytes - before) * 8 / 5 >= 0.85 * LINK
    assert share(samples, 0.5) < 0.040
    assert share(samples, 0.95) < 0.080


@pytest.mark.parametrize("what", ["greedy", "follows", "3 Mbit/s"])
def test_a_rate_that_falls_is_answered_within_a_second_and_found_again_within_five(what: What) -> None:
    play = Play(STEPS, what)
    play.run(5)
    play.run(1.0)
    assert play.queueing(3.9)[-1] < 0.150
    assert play.estimate <= 1.1e6
    play.run(5.1)  # what was sent before the end of the fifth second
    if what == "3 Mbit/s":
        assert play.run(1.0) >= 0.95 * 3e6
    else:
        assert play.run(1.0) >= 0.90 * LINK
    assert play.queueing(1.0)[-1] < 0.150


@pytest.mark.parametrize("what", ["greedy", "follows", "3 Mbit/s"])
def test_half_a_megabit(what: What) -> None:
    play = Play(Conditions(delay=0.020, rate_bps=0.5e6), what)
    play.run(2)  # the first burst went out before anything was known
    before = play.flow.seen.bytes
    assert play.queueing(8)[-1] < 0.300
    assert (play.flow.seen.bytes - before) * 8 / 8 >= 0.70 * 0.5e6


def test_the_way_back_is_told_from_the_way_out() -> None:
    def rate(*, arrivals: bool) -> float:
        up = Conditions(delay=0.020, rate_bps=1e6, queue_bytes=1 << 20)
        play = Play(CLEAN, "greedy", up, arrivals=arrivals)
        back = play.flow.up.bottleneck
        assert back is not None

        def upload() -> None:  # of the viewer, which keeps 30 ms of its own uplink's queue filled
            while back.delay < 0.030:
                back.push(400, lambda: None, lambda: None)
            play.time.after(0.003, upload)

        play.run(3)
        upload()
        play.run(1)
        return play.run(2)

    told = rate(arrivals=True)
    assert told > 0.9 * LINK
    assert told > 3 * rate(arrivals=False), "who is not told takes it for others', which costs two seconds"


def test_a_longer_path_is_not_taken_for_a_queue_for_ever() -> None:
    play = Play(CLEAN, "greedy")
    play.run(4)
    play.flow.down.conditions = Conditions(delay=0.070, rate_bps=LINK)  # another cell
    play.run(6)
    assert play.run(5) >= 0.8 * LINK
    assert play.queueing(5)[-1] < 0.150


# --- holes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["greedy", "3 Mbit/s"])
@pytest.mark.parametrize("length", [0.3, 1.0, 3.0])
def test_at_full_speed_again_a_round_trip_after_a_hole(what: What, length: float) -> None:
    hole = ((5.0, length),)
    play = Play(
        Conditions(delay=0.020, rate_bps=LINK, blackouts=hole), what, Conditions(delay=0.020, blackouts=hole)
    )
    play.run(5.0)
    assert play.run(length) <= 0.05 * LINK * max(1.0, 1 / length)
    end = play.time.now
    play.run(0.5)
    fresh = [at - end for at, _ in play.flow.seen.waits if at > end]
    frame = 1 / Camera.FPS
    assert fresh[0] <= 0.040 + frame
    rate = 8 * 1_200 * sum(0.040 + 2 * frame <= at <= 0.45 for at in fresh) / (0.45 - 0.040 - 2 * frame)
    assert rate >= 0.9 * (LINK if what == "greedy" else 3e6)
    assert play.queueing(1.0)[-1] < 0.150
    assert play.flow.control.bytes_in_flight == play.flow.flight


def test_the_silence_is_not_filled() -> None:
    play = Play(Conditions(delay=0.020, rate_bps=LINK, blackouts=((2.0, 60.0),)), "greedy")
    play.run(2.5)
    before = play.flow.sent_bytes
    play.run(10)
    assert 0 < (play.flow.sent_bytes - before) * 8 / 10 <= 0.3e6
    before = play.flow.sent_bytes
    play.run(5)
    assert 0 < (play.flow.sent_bytes - before) * 8 / 5 <= 0.13e6, "who went away without a word costs little"


# --- others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "queue_s"), [("reno", 0.060), ("reno", 0.125), ("cubic", 0.060), ("cubic", 0.125)]
)
def test_a_loss_based_flow_leaves_a_fair_share(algorithm: Literal["reno", "cubic"], queue_s: float) -> None:
    down = Conditions(delay=0.020, rate_bps=LINK, queue_bytes=round(LINK * queue_s / 8))
    play = Play(down, "greedy")
    play.run(2)
    rival = TcpFlow(play.time, down, play.bottleneck, algorithm=algorithm)
    rival.start()
    play.run(8)
    before, rivals = play.flow.seen.bytes, rival.delivered_bytes
    samples = play.queueing(20)
    fair = (play.flow.seen.bytes - before + rival.delivered_bytes - rivals) / 2
    assert 0.5 <= (play.flow.seen.bytes - before) / fair <= 2.0
    assert share(samples, 0.95) <= 0.150


@pytest.mark.parametrize("segments", [40, 60])
def test_a_bloated_queue_with_a_rival_that_its_receiver_limits(segments: int) -> None:
    """Most downloads: a window that never fills two seconds. There both are possible, share and delay."""
    play = Play(BLOATED, "greedy")
    play.run(2)
    rival = TcpFlow(play.time, BLOATED, play.bottleneck, most=segments)
    rival.start()
    play.run(10)
    before, rivals = play.flow.seen.bytes, rival.delivered_bytes
    samples = play.queueing(15)
    fair = (play.flow.seen.bytes - before + rival.delivered_bytes - rivals) / 2
    assert 0.5 <= (play.flow.seen.bytes - before) / fair <= 2.0
    assert share(samples, 0.95) <= 0.150


@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
def test_a_fair_share_behind_codel(algorithm: Literal["reno", "cubic"]) -> None:
    down = Conditions(delay=0.020, rate_bps=LINK, queue_bytes=1 << 21, codel=True)
    play = Play(down, "greedy")
    play.run(2)
    rival = TcpFlow(play.time, down, play.bottleneck, algorithm=algorithm)
    rival.start()
    play.run(3)
    before, rivals = play.flow.seen.bytes, rival.delivered_bytes
    samples = play.queueing(15)
    fair = (play.flow.seen.bytes - before + rival.delivered_bytes - rivals) / 2
    assert 0.5 <= (play.flow.seen.bytes - before) / fair <= 2.0
    assert share(samples, 0.95) <= 0.150


def test_a_bloated_queue_that_others_fill_is_left_to_them_but_for_a_floor_and_taken_again() -> None:
    """One queue for all, and a rival that fills two seconds of it: nobody can bound his own delay there."""
    play = Play(BLOATED, "greedy")
    play.run(2)
    rival = TcpFlow(play.time, BLOATED, play.bottleneck, algorithm="cubic")
    rival.start()
    play.run(10)
    samples = play.queueing(10)
    assert samples[0] > 0.150
    before = play.flow.seen.bytes
    play.run(10)
    assert 40e3 <= (play.flow.seen.bytes - before) * 8 / 10 <= 0.5e6
    assert play.flow.control.pace(2.0) * 8 >= 40e3, "what left is not all that may leave"
    rival._stop()
    play.run(6)
    assert play.run(2) >= 0.8 * LINK
    assert share(play.queueing(2), 0.95) < 0.080


def test_two_of_its_own_kind_share_and_keep_the_queue_short() -> None:
    play = Play(CLEAN, "greedy")
    play.run(3)
    other = Flow(play.time, CLEAN, seed=7)
    other.down.bottleneck = play.bottleneck
    greedy(other)
    play.run(7)
    before, others = play.flow.seen.bytes, other.seen.bytes
    samples = play.queueing(20)
    one, two = play.flow.seen.bytes - before, other.seen.bytes - others
    assert 0.25 <= one / two <= 4.0
    assert (one + two) * 8 / 20 >= 0.85 * LINK
    assert share(samples, 0.95) <= 0.150


def test_a_run_is_the_same_every_time() -> None:
    def run() -> tuple[int, float, int]:
        play = Play(Conditions(delay=0.020, rate_bps=LINK, loss=0.02, jitter=0.01), "follows", seed=3)
        play.run(5)
        return play.flow.seen.bytes, play.estimate, play.flow.control.congestion_window

    assert run() == run()
