"""How much may stand on a path over TCP: frames, a queue that never drops, and reports, in virtual time."""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.netsim import VirtualTime
from tests.netsim_queues import Bottleneck
from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.progress import (
    FIRST_WINDOW,
    LEAST_WINDOW,
    MOST_WINDOW,
    REPORT_BYTES,
    REPORT_S,
    STALLED_S,
    ProgressWindow,
)

SEGMENT = 1_500


@dataclass
class Path:
    """Frames in segments through one queue that holds them all, and reports; ``rtt`` is without a queue."""

    time: VirtualTime
    rate_bps: float
    rtt: float
    jitter: float = 0.0  # of the viewer: how late it may look at what came
    seed: int = 7
    flow: ProgressWindow = field(default_factory=ProgressWindow)
    bytes: int = 0  # that came
    delays: list[float] = field(default_factory=list)  # of frames, from hand-over to the last octet

    def __post_init__(self) -> None:
        self.bottleneck = Bottleneck(self.time, self.rate_bps, 1 << 40)
        self._random = random.Random(self.seed)
        self._told = 0
        self._newest_at = 0.0
        self._reporting = False
        self._seen_at = 0.0

    def send(self, size: int) -> None:
        at = self.time.now
        self.flow.hand_over(size, at)
        for rest in range(size, 0, -SEGMENT):
            left = (lambda: self._left(size, at)) if rest <= SEGMENT else (lambda: None)
            self.bottleneck.push(min(rest, SEGMENT), left, lambda: None)

    def _left(self, size: int, at: float) -> None:
        self.time.after(self.rtt / 2, lambda: self._came(size, at))

    def _came(self, size: int, at: float) -> None:
        seen = max(self._seen_at, self.time.now + self._random.uniform(0, self.jitter))
        self._seen_at = seen
        self.time.at(seen, lambda: self._note(size, at))

    def _note(self, size: int, at: float) -> None:
        self.bytes += size
        self.delays.append(self.time.now - at)
        self._newest_at = self.time.now
        if self.bytes - self._told >= REPORT_BYTES:
            self._tell()
        elif not self._reporting:
            self._reporting = True
            told = self._told
            self.time.after(REPORT_S, lambda: self._tell() if self._told == told else None)

    def _tell(self) -> None:
        self._reporting = False
        self._told = total = self.bytes
        waited = self.time.now - self._newest_at
        self.time.after(self.rtt / 2, lambda: self.flow.progress(total, waited, self.time.now))


class Sender:
    """A queue of frames that come ``fps`` times a second, and are handed over while there is room.

    With ``sound``, fifty small ones a second as well.
    """

    def __init__(self, path: Path, sizes: list[int], fps: float = 30.0, *, sound: bool = True) -> None:
        self.path, self.time = path, path.time
        self.waiting: deque[int] = deque()
        self._sizes, self._pause = itertools.chain(sizes[:1], itertools.cycle(sizes[1:] or sizes)), 1 / fps
        self.standing: list[int] = []
        self._frame()
        self._look()
        if sound:
            self._sound()

    def _sound(self) -> None:
        if self.path.flow.room(sound=True) > 0:
            self.path.send(200)
        self.time.after(0.02, self._sound)

    def _frame(self) -> None:
        self.waiting.append(next(self._sizes))
        while len(self.waiting) > 8:  # what is too old goes: the sender always has something
            self.waiting.popleft()
        self._fill()
        self.time.after(self._pause, self._frame)

    def _look(self) -> None:  # as acknowledgements and ticks make a session look
        self._fill()
        self.standing.append(self.path.flow.standing)
        self.time.after(0.002, self._look)

    def _fill(self) -> None:
        flow = self.path.flow
        while self.waiting and flow.room() > 0:
            self.path.send(self.waiting.popleft())
        flow.await_room(bool(self.waiting), self.time.now)


@pytest.mark.parametrize("rtt", [0.002, 0.04, 0.2])
@pytest.mark.parametrize("rate_bps", [1e6, 5e6, 20e6])
@pytest.mark.parametrize("sound", [True, False])
def test_a_full_path_is_used_and_holds_little_more_than_it_must(
    rate_bps: float, rtt: float, sound: bool
) -> None:
    time = VirtualTime()
    path = Path(time, rate_bps, rtt)
    size = round(rate_bps / 8 / 30 * 1.5)  # half again as much as the path takes
    sender = Sender(path, [size], sound=sound)
    time.run(8)
    before = path.bytes
    sender.standing.clear()
    path.delays.clear()
    time.run(10)
    # Without sound, and where all frames are alike, what a frame takes looks like a part of the round trip.
    assert (path.bytes - before) * 8 / 10 >= (0.7 if sound else 0.5) * rate_bps
    frames = 2 if sound else 4
    holds = 1.25 * rate_bps / 8 * rtt + frames * size + min(REPORT_BYTES, rate_bps / 8 * REPORT_S)
    assert sorted(sender.standing)[int(0.95 * len(sender.standing))] <= 1.1 * holds
    assert 0.5 * rate_bps <= path.flow.rate * 8 <= 1.1 * rate_bps
    assert path.flow.bounded(time.now)
    delays = sorted(path.delays)
    assert delays[len(delays) // 2] <= 0.75 * rtt + 3 * size * 8 / rate_bps


def test_what_fits_easily_is_never_held_back_nor_taken_for_a_bound() -> None:
    time = VirtualTime()
    path = Path(time, 50e6, 0.03)
    sender = Sender(path, [60_000, 8_000])
    time.run(1)
    path.delays.clear()
    time.run(9)
    assert not sender.waiting
    assert max(path.delays) <= 0.015 + 3 * 8_000 * 8 / 50e6 + 0.004, "no frame waited for a report"
    assert not path.flow.bounded(time.now)
    assert path.flow.rate * 8 >= 2e6
    assert path.flow.rtt == pytest.approx(0.03, rel=0.2)
    assert path.flow.queueing(time.now) < 0.005


def test_a_viewer_that_looks_late_is_no_narrow_path() -> None:
    time = VirtualTime()
    path = Path(time, 1e9, 0.001, jitter=0.025)
    Sender(path, [20_000, 1_200], fps=60)
    for _ in range(20):
        time.run(0.5)
        assert not path.flow.bounded(time.now)


def test_a_keyframe_that_begins_the_session_is_no_round_trip_for_long() -> None:
    time = VirtualTime()
    path = Path(time, 2e6, 0.05)
    Sender(path, [250_000, 12_000])  # a second of the path, then a little more than it takes
    time.run(6)
    assert path.flow.min_rtt <= 0.05 + 2 * 12_000 * 8 / 2e6
    assert path.flow.standing <= 1.25 * 2e6 / 8 * 0.15 + 12_000 + REPORT_BYTES


def test_a_path_that_gets_narrow_holds_little_soon() -> None:
    time = VirtualTime()
    path = Path(time, 8e6, 0.04)
    Sender(path, [40_000])
    time.run(5)
    path.bottleneck.rate_bps = 1e6
    time.run(3)
    path.delays.clear()
    time.run(3)
    frame = 40_000 * 8 / 1e6
    assert min(path.delays) <= 2.3 * frame + 0.1
    assert path.flow.rate * 8 == pytest.approx(1e6, rel=0.2)


def test_a_path_that_gets_wide_is_found_out() -> None:
    time = VirtualTime()
    path = Path(time, 1e6, 0.04)
    Sender(path, [40_000])
    time.run(5)
    path.bottleneck.rate_bps = 8e6
    time.run(3)
    before = path.bytes
    time.run(5)
    assert (path.bytes - before) * 8 / 5 >= 6e6


def test_a_path_that_gets_long_is_used_again() -> None:
    time = VirtualTime()
    path = Path(time, 4e6, 0.02)
    Sender(path, [20_000])
    time.run(5)
    path.rtt = 0.2
    time.run(15)
    before = path.bytes
    time.run(5)
    assert (path.bytes - before) * 8 / 5 >= 0.75 * 4e6


def test_sound_goes_a_little_beyond() -> None:
    flow = ProgressWindow()
    flow.hand_over(FIRST_WINDOW, 1.0)
    assert flow.room() == 0
    assert flow.room(sound=True) > 0
    flow.hand_over(10_000, 1.0)
    assert flow.room(sound=True) < 0


def test_who_takes_nothing_has_stalled_and_who_is_sent_nothing_has_not() -> None:
    flow = ProgressWindow()
    assert not flow.stalled(1e6)
    flow.hand_over(1000, 5.0)
    assert not flow.stalled(5.0 + STALLED_S)
    assert flow.stalled(5.1 + STALLED_S)
    flow.progress(1000, 0.0, 20.0)
    assert not flow.stalled(1e6)


@pytest.mark.parametrize("total", [-1, 999, 2001, 1 << 62])
def test_what_cannot_have_come_is_malformed(total: int) -> None:
    flow = ProgressWindow()
    flow.hand_over(1000, 1.0)
    flow.progress(1000, 0.0, 1.1)
    flow.hand_over(1000, 1.2)
    with pytest.raises(ProtocolError) as refused:
        flow.progress(total, 0.0, 1.3)
    assert refused.value.code == CloseCode.MALFORMED
    flow.progress(1000, 0.0, 1.4)  # once more the same is no news
    assert flow.standing == 1000


@given(
    st.lists(
        st.tuples(
            st.integers(48, 200_000),
            st.floats(-1e9, 1e9, allow_nan=False),
            st.floats(0.0, 5.0),
            st.integers(-5, 300_000),
        ),
        max_size=60,
    )
)
def test_whatever_a_viewer_says_the_window_has_its_bounds(said: list[tuple[int, float, float, int]]) -> None:
    flow, now = ProgressWindow(), 100.0
    for size, waited, pause, fresh in said:
        flow.hand_over(size, now)
        now += pause
        try:
            flow.progress(flow.told + fresh, waited, now)
        except ProtocolError as error:
            assert error.code == CloseCode.MALFORMED
        assert LEAST_WINDOW <= flow.window <= MOST_WINDOW
        assert flow.rate >= 0
        assert flow.queueing(now) >= 0
        assert 0 <= flow.standing == flow.sent - flow.told
