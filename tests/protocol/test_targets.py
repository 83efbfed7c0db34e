"""What encoders are to do: by policy, within limits, and not more often than they can follow."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.protocol.governor import (
    HIGHER_S,
    LARGER_HOLD_S,
    LOWER_S,
    LOWER_WITH_KEYFRAME_S,
    SMALLER_HOLD_S,
    Governor,
)
from wtgateway.protocol.rates import WINDOW_US, RateMeter
from wtgateway.protocol.targets import (
    STEPS,
    EncoderTarget,
    Nominal,
    Policy,
    Wish,
    WishBook,
    Wishes,
    aggregate,
    agreed_bps,
    coarse,
    needed_scale,
)

MOST, ALL, OFF = Policy("fit-most"), Policy("fit-all"), Policy("off")
HD = Nominal(bitrate_bps=4_000_000, fps=30.0, width=1280, height=720, codec="h264", cheap=True)
COSTLY = Nominal(bitrate_bps=4_000_000, fps=30.0, width=1280, height=720, codec="vp9")


def wish(bps: int, width: int = 0, height: int = 0, rendition: int = 0) -> Wish:
    return Wish(0, rendition, bps, width, height)


def each(*rates: int) -> Wishes:
    return tuple((wish(rate), 1) for rate in rates)


# --- the policies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "rates", "agreed"),
    [
        (ALL, (3_000_000, 1_000_000, 2_000_000), 1_000_000),
        (MOST, (1_000_000,), 1_000_000),
        (MOST, (1_000_000, 3_000_000), 1_000_000),
        (MOST, (1_000_000, *(3_000_000,) * 3), 1_000_000),
        (MOST, (1_000_000, *(3_000_000,) * 4), 3_000_000),  # one in five is left behind
        (MOST, (1_000_000, 1_000_000, *(3_000_000,) * 7), 1_000_000),
        (MOST, (1_000_000, 1_000_000, *(3_000_000,) * 8), 3_000_000),
        (OFF, (1_000_000,), 4_000_000),
        (ALL, (), 4_000_000),
        (ALL, (0,), 4_000_000),  # not known yet
        (MOST, (1_000_000, 0, 0, 0, 0), 4_000_000),
        (ALL, (9_000_000,), 4_000_000),  # what was configured is the most
    ],
)
def test_policies(policy: Policy, rates: tuple[int, ...], agreed: int) -> None:
    assert agreed_bps(policy, each(*rates), 4_000_000) == agreed


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=60), st.sampled_from((MOST, ALL)))
def test_no_more_than_one_in_five_is_left_behind(rates: list[int], policy: Policy) -> None:
    agreed = agreed_bps(policy, each(*rates), 4_000_000)
    behind = sum(0 < rate < agreed for rate in rates)
    assert behind <= (len(rates) / 5 if policy is MOST else 0)
    assert agreed in {min(rate or 4_000_000, 4_000_000) for rate in rates}


def test_one_viewer_drives_bit_rate_then_size_then_frame_rate() -> None:
    seen = []
    target = None
    for bps in range(4_000_000, 100_000, -20_000):
        target = aggregate(ALL, each(bps), HD, target)
        assert target.bitrate_bps == bps
        assert target.reason == ("its viewer's path" if bps < 4_000_000 else "nobody needs less")
        if (target.scale, target.every) not in seen:
            seen.append((target.scale, target.every))
    assert seen == list(STEPS[: len(seen)])
    assert len(seen) >= 4


def test_size_comes_back_later_than_it_went() -> None:
    went, target = {}, None
    for bps in range(4_000_000, 150_000, -10_000):
        target = aggregate(ALL, each(bps), HD, target)
        went.setdefault((target.scale, target.every), bps)
    came = {}
    for bps in range(150_000, 4_000_000, 10_000):
        target = aggregate(ALL, each(bps), HD, target)
        came.setdefault((target.scale, target.every), bps)
    assert (target.scale, target.every) == STEPS[0]
    for step in STEPS[: len(went) - 1]:
        lower = STEPS[STEPS.index(step) + 1]
        if step in came and lower in went:
            assert came[step] > went[lower] * 1.3


def test_the_floor_holds_and_never_lies_above_what_was_configured() -> None:
    assert aggregate(ALL, each(1), HD).bitrate_bps == ALL.floor_bps
    tiny = Nominal(bitrate_bps=50_000, fps=30.0, width=320, height=180)
    assert aggregate(ALL, each(1), tiny).bitrate_bps == 50_000


def test_a_rendition_that_is_meant_to_have_few_bits_keeps_its_size() -> None:
    meant = Nominal(bitrate_bps=500_000, fps=30.0, width=1280, height=720)
    assert aggregate(ALL, each(500_000), meant) == EncoderTarget(bitrate_bps=500_000)
    assert aggregate(ALL, each(300_000), meant).scale == 1.0
    assert aggregate(ALL, each(150_000), meant).scale < 1.0


def test_better_codecs_keep_their_size_for_longer() -> None:
    bps = 800_000
    sizes = [
        aggregate(
            ALL, each(bps), Nominal(bitrate_bps=4_000_000, fps=30.0, width=1280, height=720, codec=c)
        ).scale
        for c in ("h264", "av1")
    ]
    assert sizes == [0.75, 1.0]


def test_no_step_makes_a_small_picture_unrecognisable() -> None:
    small = Nominal(bitrate_bps=1_000_000, fps=30.0, width=320, height=180)
    target = aggregate(Policy("fit-all", 1_000), each(1_000), small)
    assert small.height * target.scale >= 90


def test_nothing_is_known_of_size_or_frame_rate() -> None:
    unknown = Nominal(bitrate_bps=4_000_000)
    assert aggregate(ALL, each(100_000), unknown) == EncoderTarget(bitrate_bps=100_000)


# --- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "scale"),
    [
        ([(640, 360)], 0.5),
        ([(640, 2000)], 0.5),
        ([(640, 360), (960, 540)], 0.75),
        ([(640, 360), (0, 0)], 1.0),  # one is not known
        ([(4000, 4000)], 1.0),
        ([], 1.0),
    ],
)
def test_the_largest_element_decides(sizes: list[tuple[int, int]], scale: float) -> None:
    assert needed_scale([(wish(0, *size), 1) for size in sizes], HD) == scale


def test_what_nobody_shows_large_is_encoded_small_and_takes_less() -> None:
    target = aggregate(MOST, [(wish(0, 640, 360), 3)], HD)
    assert (target.scale, target.every, target.reason) == (0.5, 1, "nobody shows it larger")
    assert 0.25 * HD.bitrate_bps < target.bitrate_bps < 0.5 * HD.bitrate_bps
    assert aggregate(MOST, [(wish(0, 650, 366), 3)], HD).scale == 0.75, "never smaller than it is shown"
    assert aggregate(OFF, [(wish(100_000, 64, 64), 3)], HD) == EncoderTarget(bitrate_bps=4_000_000)


# --- the book --------------------------------------------------------------------------------------


def test_wishes_are_counted_replaced_and_forgotten() -> None:
    book = WishBook()
    assert book.all() == ()
    assert book.set("a", wish(1_000_000))
    assert not book.set("a", wish(1_000_000)), "the same again"
    assert book.set("b", wish(1_000_000))
    ((one, count),) = book.all()
    assert count == 2
    assert 950_000 < one.bitrate_bps <= 1_000_000
    assert book.set("b", None)
    assert not book.set("b", None)
    assert book.set("a", wish(500_000, rendition=1))
    ((one, count),) = book.all()
    assert (one.rendition, count) == (1, 1)


def test_wishes_from_elsewhere_count_too_and_go_with_their_place() -> None:
    book, here = WishBook(), WishBook()
    here.set("x", wish(800_000, 100, 100))
    here.set("y", wish(800_000, 500, 300))
    assert book.set_elsewhere(1, here.all())
    assert not book.set_elsewhere(1, here.all())
    book.set("a", wish(800_000, 300, 600))
    ((one, count),) = book.all()
    assert (one.width, one.height, count) == (512, 608, 3)
    book.set("b", wish(800_000))
    ((one, _),) = book.all()
    assert (one.width, one.height) == (0, 0), "somebody's size is not known: it may be any"
    book.set("b", None)
    book.set("a", None)
    assert book.set_elsewhere(1, ())
    assert book.all() == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 10**9)), max_size=60))
def test_the_book_never_forgets_or_invents_a_viewer(changes: list[tuple[int, int | None]]) -> None:
    book, known = WishBook(), {}
    for viewer, bps in changes:
        book.set(viewer, wish(bps) if bps is not None else None)
        known.pop(viewer, None)
        if bps is not None:
            known[viewer] = bps
    assert sum(count for _, count in book.all()) == len(known)
    assert {w.bitrate_bps for w, _ in book.all()} == {coarse(wish(b)).bitrate_bps for b in known.values()}


@given(st.integers(0, 10**12), st.integers(0, 65_535), st.integers(0, 65_535))
def test_coarse_wishes_ask_for_no_more_bits_and_no_smaller_pictures(
    bps: int, width: int, height: int
) -> None:
    rough = coarse(wish(bps, width, height))
    assert rough.bitrate_bps <= bps <= rough.bitrate_bps * 1.05 + 2
    assert 0 <= rough.width - width < 32 and 0 <= rough.height - height < 32
    assert coarse(rough).bitrate_bps <= rough.bitrate_bps


def test_many_viewers_have_few_wishes() -> None:
    book, dice = WishBook(), random.Random(1)
    for viewer in range(5_000):
        book.set(
            viewer, wish(dice.randint(100_000, 10_000_000), dice.randint(1, 4000), dice.randint(1, 3000))
        )
    assert len(book.all()) < 100
    assert sum(count for _, count in book.all()) == 5_000


# --- the governor ----------------------------------------------------------------------------------


class Run:
    """A governor that is asked again when it wants to be."""

    def __init__(self, nominal: Nominal, policy: Policy = ALL) -> None:
        self.governor, self.nominals, self.now = Governor(policy), {0: nominal}, 1000.0
        self.changes: list[tuple[float, EncoderTarget]] = []
        self.again: float | None = None
        self.wishes: Wishes = ()

    def take(self, *rates: int, seconds: float = 0.0) -> EncoderTarget:
        """The wishes are these, and so much time passes."""
        self.wishes, end = each(*rates), self.now + seconds
        self._look()
        while self.again is not None and self.again <= end:
            self.now = self.again
            self._look()
        self.now = end
        return self.governor.targets[0]

    def _look(self) -> None:
        before = self.governor.targets.get(0)
        self.again = self.governor.update(self.now, self.nominals, self.wishes)
        after = self.governor.targets[0]
        if before is not None and after != before:
            self.changes.append((self.now, after))


def test_before_any_wish_it_is_as_configured() -> None:
    assert Run(HD).take() == EncoderTarget(bitrate_bps=4_000_000)


def test_down_at_once_up_after_a_pause() -> None:
    run = Run(HD)
    run.take(seconds=10)
    assert run.take(2_000_000).bitrate_bps == 2_000_000
    assert run.take(3_000_000).bitrate_bps == 2_000_000
    assert run.take(3_000_000, seconds=HIGHER_S).bitrate_bps == 3_000_000
    began = run.changes[0][0]
    assert [round(at - began, 3) for at, _ in run.changes] == [0, HIGHER_S]


def test_small_changes_are_none() -> None:
    run = Run(HD)
    run.take(2_000_000, seconds=10)
    run.changes.clear()
    for bps in (1_950_000, 2_050_000, 1_980_000):
        run.take(bps, seconds=10)
    assert run.changes == []
    assert run.take(4_000_000, seconds=10).bitrate_bps == 4_000_000
    run.take(3_900_000, seconds=10)
    assert run.take(4_000_000, seconds=10).bitrate_bps == 4_000_000, "all the way up is no small change"


@pytest.mark.parametrize(
    ("nominal", "least"), [(HD, LOWER_S), (COSTLY, LOWER_WITH_KEYFRAME_S)], ids=["cheap", "costly"]
)
def test_whatever_viewers_wish_changes_keep_their_distance(nominal: Nominal, least: float) -> None:
    run, dice = Run(nominal), random.Random(3)
    run.take()
    for _ in range(400):
        run.take(dice.randint(100_000, 6_000_000), seconds=dice.random() / 5)
    times = [at for at, _ in run.changes]
    assert len(times) > 10
    assert min(b - a for a, b in itertools.pairwise(times)) >= least - 1e-6
    assert run.governor.changes == len(times)


def test_a_larger_picture_waits_longer_than_the_rate() -> None:
    run = Run(HD)
    small = run.take(300_000, seconds=5)
    assert small.scale < 1
    run.changes.clear()
    since = run.now
    large = run.take(4_000_000, seconds=10)
    assert large == EncoderTarget(bitrate_bps=4_000_000)
    rate, size = run.changes
    assert rate == (since, EncoderTarget(bitrate_bps=4_000_000, scale=small.scale, every=small.every))
    assert size[0] - since == pytest.approx(LARGER_HOLD_S)


def test_a_rate_that_changes_all_the_time_does_not_put_off_a_larger_picture() -> None:
    run = Run(HD)
    small = run.take(300_000, seconds=5)
    for _ in range(8):
        for bps in (2_000_000, 2_500_000):
            grown = run.take(bps, seconds=0.25)
    assert small.scale < 1
    assert grown.scale == 1.0


def test_an_estimate_that_begins_too_low_makes_no_smaller_picture() -> None:
    run = Run(HD)
    run.take(seconds=1)
    assert run.take(100_000, seconds=SMALLER_HOLD_S - 0.1) == EncoderTarget(bitrate_bps=100_000)
    assert run.take(2_000_000, seconds=10) == EncoderTarget(bitrate_bps=2_000_000)
    assert all(target.scale == 1.0 for _, target in run.changes)


def test_a_size_does_not_follow_on_the_heels_of_a_rate() -> None:
    run = Run(HD)
    run.take(seconds=5)
    run.take(300_000, seconds=SMALLER_HOLD_S - 0.1)
    run.take(200_000, seconds=5)
    (_, _), (rate_at, rate), (size_at, size) = run.changes[:3]
    assert (rate.scale, size.scale < 1) == (1.0, True)
    assert size_at - rate_at == pytest.approx(LOWER_S)


def test_where_each_change_is_a_keyframe_rate_and_size_change_together() -> None:
    run = Run(COSTLY)
    run.take(seconds=10)
    down = run.take(200_000)
    assert down.bitrate_bps == 200_000 and down.scale < 1
    run.take(4_000_000, seconds=10)
    assert len(run.changes) == 2
    assert run.governor.targets[0] == EncoderTarget(bitrate_bps=4_000_000)


def test_a_rendition_that_is_gone_is_forgotten() -> None:
    governor = Governor(ALL)
    governor.update(0.0, {0: HD, 1: COSTLY}, ((wish(1_000_000, rendition=1), 1),))
    assert governor.targets[0].bitrate_bps == 4_000_000
    assert governor.targets[1].bitrate_bps == 1_000_000
    governor.update(1.0, {0: HD}, ())
    assert set(governor.targets) == {0}


def test_when_nobody_has_a_wish_any_more_it_is_as_configured_again() -> None:
    run = Run(HD)
    run.take(500_000, seconds=5)
    assert run.take(seconds=10) == EncoderTarget(bitrate_bps=4_000_000)


@given(st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 5)), max_size=40), st.booleans())
def test_targets_stay_within_limits_and_come_to_rest(steps: list[tuple[int, float]], cheap: bool) -> None:
    run = Run(HD if cheap else COSTLY)
    for bps, seconds in steps:
        target = run.take(bps, seconds=seconds)
        assert ALL.floor_bps <= target.bitrate_bps <= 4_000_000
        assert (target.scale, target.every) in STEPS
    run.take(*(bps for bps, _ in steps[-1:]), seconds=60)
    assert run.again is None


# --- the meter -------------------------------------------------------------------------------------


def test_a_meter_tells_the_more_of_two_windows() -> None:
    meter = RateMeter()
    frames = 30
    for second, size in enumerate((1_000, 4_000, 1_000, 1_000, 1_000)):
        for i in range(frames):
            meter.add(size, second * WINDOW_US + i * WINDOW_US // frames)
        if second == 0:
            assert meter.bps == 0, "no window is over"
    assert meter.bps == pytest.approx(240_000, rel=0.01), "what was before is forgotten"


def test_a_meter_survives_another_timeline() -> None:
    meter = RateMeter()
    for at in (0, 2_000_000, 4_000_000):
        meter.add(1_000, at)
    assert meter.bps > 0
    meter.add(1_000, -(10**12))
    assert meter.bps == 0
