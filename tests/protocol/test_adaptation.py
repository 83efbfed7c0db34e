"""Which rendition a viewer gets: down at once, up after a while, and by what its screen has use for."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.protocol.adaptation import (
    AUDIO_OVERHEAD,
    BACKOFF_FIRST_S,
    BACKOFF_LIMIT_S,
    CALM_S,
    CALM_US,
    DRAINING,
    GROWTH,
    GROWTH_WHEN_USED,
    HEADROOM,
    HIDDEN_S,
    LONGEST_CALM_S,
    RESIZE_PAUSE_S,
    STANDING_US,
    TRIAL_S,
    TROUBLE_US,
    UP_HOLD_S,
    Budget,
    Caps,
    Choice,
    Offer,
    PathState,
    RenditionChooser,
    budget_bps,
    estimate_for,
    useful,
)

HIGH = Offer(id=0, bitrate_bps=6_000_000, width=1920, height=1080)
MIDDLE = Offer(id=1, bitrate_bps=2_500_000, width=1280, height=720)
LOW = Offer(id=2, bitrate_bps=1_000_000, width=640, height=360)
LADDER = (HIGH, MIDDLE, LOW)
TICK_S = 0.25


def path_for(budget: int) -> PathState:
    """A clean path with so much for pictures."""
    return PathState(estimate_bps=math.ceil(budget / HEADROOM))


class Viewer:
    """Follows its chooser, a tick at a time."""

    def __init__(self, offers: tuple[Offer, ...] = LADDER, current: int | None = 0, *, shared: bool = True):
        self.chooser = RenditionChooser()
        self.offers, self.current, self.shared = offers, current, shared
        self.now, self.wish, self.caps = 100.0, -1, Caps()
        self.changes: list[tuple[float, int | None]] = []

    def tick(self, path: PathState, seconds: float = TICK_S) -> Choice:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += TICK_S
            choice = self.chooser.update(
                self.offers,
                self.current,
                budget_bps(path, 0),
                self.caps,
                now=self.now,
                wish=self.wish,
                shared=self.shared,
            )
            if choice.rendition != self.current:
                self.changes.append((self.now, choice.rendition))
            self.current = choice.rendition
        return choice


# --- the budget ------------------------------------------------------------------------------------


def test_sound_repair_and_headroom_come_off_the_estimate() -> None:
    path = PathState(estimate_bps=2_000_000, loss=0.02, repair=0.1)
    expected = 2_000_000 * HEADROOM * 0.9 - 100_000 * AUDIO_OVERHEAD
    assert budget_bps(path, 100_000) == round(expected)
    assert budget_bps(PathState(), 100_000) is None, "nothing is known"


def test_losses_count_even_if_nothing_is_repaired_and_no_more_than_half() -> None:
    assert budget_bps(PathState(estimate_bps=1_000_000, loss=0.2), 0) == round(1_000_000 * HEADROOM * 0.8)
    assert budget_bps(PathState(estimate_bps=1_000_000, loss=1.0), 0) == round(1_000_000 * HEADROOM * 0.5)


def test_a_standing_queue_is_drained() -> None:
    clean, full = (PathState(estimate_bps=1_000_000, queueing_us=us) for us in (STANDING_US - 1, STANDING_US))
    assert budget_bps(full, 0) == round((budget_bps(clean, 0) or 0) * DRAINING)


def test_what_waits_in_our_own_queue_is_drained_too() -> None:
    """What is over capacity by nothing stays as late as it is."""
    clean, full = (PathState(estimate_bps=1_000_000, waiting_us=us) for us in (STANDING_US - 1, STANDING_US))
    at_ease = budget_bps(clean, 0)
    assert at_ease is not None
    assert budget_bps(full, 0) == pytest.approx(DRAINING * at_ease, abs=1)
    budget = Budget()
    for now, path, left in ((0.0, clean, 1.0), (0.25, full, DRAINING), (0.5, clean, 1.0)):
        assert updated(budget, path, now) == pytest.approx(left * at_ease, abs=1)


def test_sound_comes_first() -> None:
    assert budget_bps(PathState(estimate_bps=100_000), 128_000) == 0


@given(
    st.integers(10_000, 50_000_000), st.integers(0, 500_000), st.floats(0, 1), st.integers(0, STANDING_US - 1)
)
def test_an_estimate_for_a_rate_leaves_that_rate(
    video: int, audio: int, loss: float, queueing_us: int
) -> None:
    known = PathState(loss=loss, queueing_us=queueing_us)
    estimate = estimate_for(video, known, audio)
    budget = budget_bps(PathState(estimate_bps=estimate, loss=loss, queueing_us=queueing_us), audio)
    assert budget is not None
    assert abs(budget - video) <= 2


def updated(budget: Budget, path: PathState, at: float, *, used: bool = True) -> int | None:
    return budget.update(path, 0, now=at, used=used, most=10_000_000)


def test_an_estimate_that_is_no_bound_is_no_reason_to_take_less() -> None:
    budget = Budget()
    shown = PathState(estimate_bps=1_000_000, bounded=False)
    assert updated(budget, shown, 1) is None, "so much was sent, and arrived"
    bound = PathState(estimate_bps=800_000)
    assert updated(budget, bound, 1) == 720_000
    assert updated(budget, replace(shown, estimate_bps=700_000), 1) == 720_000
    assert updated(budget, replace(shown, estimate_bps=1_000_000), 1) == 900_000, "a probe arrived"
    assert updated(budget, PathState(estimate_bps=600_000), 1) == 540_000
    assert updated(budget, PathState(), 1) == 540_000, "nothing new is known"


@pytest.mark.parametrize(("used", "growth"), [(True, GROWTH_WHEN_USED), (False, GROWTH)])
def test_while_the_path_is_at_ease_the_budget_grows_beyond_an_old_bound(used: bool, growth: float) -> None:
    budget, path = Budget(), PathState(estimate_bps=1_000_000, queueing_us=CALM_US - 1, loss=0.02)
    first = updated(budget, path, 0.0, used=used)
    assert first is not None
    for tick in range(1, round(CALM_S)):
        assert updated(budget, path, float(tick), used=used) == first, "it has to be calm for a while"
    for tick in range(40):
        last = updated(budget, path, CALM_S + tick * 0.25, used=used)
    assert last == pytest.approx(first * (1 + growth) * (1 + growth / 4) ** 39, rel=0.03)
    assert updated(budget, replace(path, queueing_us=CALM_US), 100.0, used=used) == last, "not at ease"
    assert updated(budget, replace(path, waiting_us=CALM_US), 100.5, used=used) == last, "frames wait here"
    again = [updated(budget, path, 101.0 + n, used=used) for n in range(3)]
    assert again == [last] * 3, "from the beginning"


@pytest.mark.parametrize(
    "trouble",
    [
        PathState(estimate_bps=1_000_000, queueing_us=STANDING_US),
        PathState(estimate_bps=1_000_000, loss=0.05),
        PathState(estimate_bps=1_000_000, waiting_us=TROUBLE_US),
        PathState(estimate_bps=900_000),
    ],
)
def test_trouble_takes_the_budget_back_to_the_estimate(trouble: PathState) -> None:
    budget, path = Budget(), PathState(estimate_bps=1_000_000)
    for second in range(30):
        grown = updated(budget, path, float(second))
    assert grown is not None and grown > 3_000_000
    assert updated(budget, trouble, 30.0) == budget_bps(trouble, 0)


def test_growth_that_ends_in_trouble_is_tried_ever_later_until_the_estimate_has_gained() -> None:
    budget, path, at, waits = Budget(), PathState(estimate_bps=1_000_000), 0.0, []

    def until_it_grows(path: PathState) -> float:
        nonlocal at
        began, before = at, budget.bps
        while updated(budget, path, at) == before:
            at += 0.25
        return at - began

    updated(budget, path, at)
    for _ in range(7):
        waits.append(until_it_grows(path))
        for _ in range(8):
            at += 0.25
            updated(budget, path, at)
        updated(budget, replace(path, queueing_us=STANDING_US), at)
        updated(budget, path, at)  # and drained
    expected = [min(LONGEST_CALM_S, CALM_S * 2**n) for n in range(7)]
    assert waits == pytest.approx(expected, abs=0.5)
    wider = PathState(estimate_bps=1_200_000)
    updated(budget, wider, at)
    assert until_it_grows(wider) == pytest.approx(CALM_S, abs=0.5)


def test_the_budget_grows_no_further_than_what_could_be_used() -> None:
    budget, path = Budget(), PathState(estimate_bps=1_000_000)
    for second in range(200):
        assert (updated(budget, path, float(second)) or 0) <= 10_000_000
    assert budget.bps == 10_000_000
    assert updated(budget, replace(path, estimate_bps=20_000_000), 200.0) == 18_000_000, (
        "what is known is told"
    )


def test_a_pause_between_two_looks_is_no_reason_to_leap() -> None:
    budget, path = Budget(), PathState(estimate_bps=1_000_000)
    for second in range(10):
        before = updated(budget, path, float(second))
    assert before is not None
    assert (updated(budget, path, 1_000.0) or 0) <= before * (1 + GROWTH_WHEN_USED) + 1


# --- what is of use --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caps", "ids"),
    [
        (Caps(), [0, 1, 2]),
        (Caps(width=1920, height=1080), [0, 1, 2]),
        (Caps(width=1280, height=720), [1, 2]),
        (Caps(width=1400, height=720), [1, 2]),  # it fits into the height
        (Caps(width=1440, height=810), [1, 2]),  # 1.125 times
        (Caps(width=1500, height=900), [0, 1, 2]),
        (Caps(width=640, height=2000), [2]),
        (Caps(width=10, height=10), [2]),
        (Caps(width=0, height=10), [0, 1, 2]),
    ],
)
def test_what_is_larger_than_the_element_is_of_no_use(caps: Caps, ids: list[int]) -> None:
    assert [offer.id for offer in useful(LADDER, caps)] == ids


def test_a_rendition_of_unknown_size_is_never_left_out() -> None:
    unknown = Offer(id=3, bitrate_bps=1)
    assert useful([unknown, HIGH], Caps(width=100, height=100)) == [unknown, HIGH]


# --- down ------------------------------------------------------------------------------------------


def test_down_is_at_once_and_as_far_as_needed() -> None:
    viewer = Viewer()
    assert viewer.tick(path_for(7_000_000)).rendition == 0
    assert viewer.tick(path_for(3_000_000)).rendition == 1
    viewer = Viewer()
    choice = viewer.tick(path_for(1_200_000))
    assert choice == Choice(2, "the path has 1.2 Mbit/s for pictures")


def test_the_least_is_sent_where_nothing_fits() -> None:
    assert Viewer().tick(path_for(100_000)).rendition == 2


def test_a_little_too_much_is_borne() -> None:
    assert Viewer().tick(path_for(5_800_000)).rendition == 0
    assert Viewer().tick(path_for(5_600_000)).rendition == 1


def test_nothing_known_is_no_reason_to_change() -> None:
    for current in (0, 1, 2):
        viewer = Viewer(current=current)
        viewer.tick(PathState(loss=0.5, queueing_us=10**6), 30)
        assert viewer.changes == []


def test_one_viewer_alone_keeps_a_rendition_that_can_follow_it_down() -> None:
    alone = Viewer(shared=False)
    assert alone.tick(path_for(4_200_000)).rendition == 0, "down to halfway to the next one"
    assert alone.tick(path_for(3_000_000)).rendition == 1
    only = Viewer((HIGH,))
    assert only.tick(path_for(200_000)).rendition == 0
    assert only.changes == []


def test_renditions_of_one_bit_rate_are_no_ladder() -> None:
    """Several codecs of the same pictures, best first: another one would not help."""
    offers = tuple(Offer(id=i, bitrate_bps=4_000_000, width=1280, height=720) for i in range(3))
    assert Viewer(offers).tick(path_for(1_000_000)).rendition == 0


def test_what_is_forwarded_counts_as_it_is_measured_and_follows_nobody() -> None:
    for shared in (False, True):
        source = Offer(id=0, bitrate_bps=2_000_000, width=1920, height=1080, forwarded=True)
        assert Viewer((source, LOW), shared=shared).tick(path_for(2_100_000)).rendition == 0
        more = Offer(id=0, bitrate_bps=2_000_000, forwarded=True, measured_bps=5_000_000)
        assert Viewer((more, LOW), shared=shared).tick(path_for(2_100_000)).rendition == 2


# --- up --------------------------------------------------------------------------------------------


def test_up_is_late_and_with_a_margin() -> None:
    viewer = Viewer(current=2)
    viewer.tick(path_for(2_800_000), 30)
    assert viewer.changes == [], "not enough of a margin for 2.5 Mbit/s"
    since = viewer.now
    viewer.tick(path_for(3_000_000), 10)
    assert viewer.changes == [(since + UP_HOLD_S + TICK_S, 1)]


def test_a_dip_begins_the_wait_anew() -> None:
    viewer = Viewer(current=2)
    for _ in range(20):
        viewer.tick(path_for(3_000_000), UP_HOLD_S - TICK_S)
        viewer.tick(path_for(2_000_000))
    assert viewer.changes == []


def test_the_best_that_is_carried_is_gone_to_in_one_step() -> None:
    viewer = Viewer(current=2)
    viewer.tick(path_for(20_000_000), 10)
    assert [rendition for _, rendition in viewer.changes] == [0]


def test_an_up_switch_that_fails_is_tried_again_ever_later() -> None:
    viewer, failed_at, waits = Viewer(current=1), 0.0, []
    for _ in range(7):
        while viewer.current == 1:
            viewer.tick(path_for(9_000_000))
        waits.append(viewer.now - failed_at)
        viewer.tick(path_for(9_000_000), TRIAL_S - 2 * TICK_S)
        assert viewer.tick(path_for(3_000_000)).rendition == 1
        failed_at = viewer.now
    expected = [min(BACKOFF_LIMIT_S, BACKOFF_FIRST_S * 2**n) for n in range(6)]
    assert waits[1:] == pytest.approx(expected)


def test_one_that_held_is_forgiven() -> None:
    viewer = Viewer(current=1)
    viewer.tick(path_for(9_000_000), UP_HOLD_S + 1)
    viewer.tick(path_for(3_000_000))  # failed
    viewer.tick(path_for(9_000_000), BACKOFF_FIRST_S + TRIAL_S + 10)  # up again, and held
    viewer.changes.clear()
    viewer.tick(path_for(3_000_000))
    viewer.tick(path_for(9_000_000), UP_HOLD_S + 1)
    assert [rendition for _, rendition in viewer.changes] == [1, 0], "no longer wait than the first time"


# --- caps and wishes ------------------------------------------------------------------------------


def test_a_small_element_gets_a_small_picture_at_once_and_a_large_one_when_it_grows() -> None:
    viewer = Viewer()
    viewer.tick(path_for(20_000_000))
    viewer.caps = Caps(width=640, height=360)
    assert viewer.tick(path_for(20_000_000)) == Choice(2, "as large as it is shown")
    viewer.caps = Caps(width=1920, height=1080)
    viewer.tick(path_for(20_000_000), UP_HOLD_S + 1)
    assert viewer.current == 0


def test_a_small_element_counts_though_nothing_is_known_of_the_path() -> None:
    viewer = Viewer()
    viewer.caps = Caps(width=640, height=360)
    assert viewer.tick(PathState()).rendition == 2


def test_sizes_that_change_all_the_time_change_little() -> None:
    viewer = Viewer()
    for _ in range(50):
        viewer.caps = Caps(width=640, height=360)
        viewer.tick(PathState())
        viewer.caps = Caps(width=1280, height=720)
        viewer.tick(PathState())
        viewer.current = 0  # as if the path were wide
    times = [at for at, _ in viewer.changes]
    assert len(times) > 5
    assert all(b - a >= RESIZE_PAUSE_S for a, b in itertools.pairwise(times))


def test_what_is_not_offered_any_more_is_left_at_once() -> None:
    viewer = Viewer()
    viewer.caps = Caps(width=640, height=360)
    viewer.tick(PathState())
    viewer.offers = (HIGH, MIDDLE)
    assert viewer.tick(PathState()).rendition == 1


def test_a_cap_of_the_bit_rate_is_as_good_as_a_narrow_path() -> None:
    viewer = Viewer()
    viewer.caps = Caps(bitrate_bps=2_600_000)
    assert viewer.tick(path_for(20_000_000)).rendition == 1
    viewer.caps = Caps(bitrate_bps=2_600_000)
    assert Viewer(current=1).tick(PathState()).rendition == 1


def test_a_wish_goes_before_path_and_size_and_not_before_being_hidden() -> None:
    viewer = Viewer(current=2)
    viewer.wish, viewer.caps = 0, Caps(width=16, height=16)
    assert viewer.tick(path_for(10_000), 20) == Choice(0, "the viewer's wish")
    viewer.caps = Caps(visible=False)
    assert viewer.tick(path_for(10_000), HIDDEN_S + 1).rendition is None


def test_a_wish_for_what_is_not_there_is_none() -> None:
    viewer = Viewer()
    viewer.wish = 9
    assert viewer.tick(path_for(1_100_000)).rendition == 2


def test_hidden_pages_get_none_after_a_while_and_all_at_once_when_they_are_seen() -> None:
    viewer = Viewer(current=1)
    viewer.caps = Caps(visible=False)
    began = viewer.now + TICK_S
    viewer.tick(path_for(3_000_000), HIDDEN_S + 5)
    assert viewer.changes == [(began + HIDDEN_S, None)]
    viewer.caps = Caps()
    assert viewer.tick(path_for(3_000_000)) == Choice(1, "the path carries it")


def test_a_glance_elsewhere_changes_nothing() -> None:
    viewer = Viewer(current=0)
    for _ in range(10):
        viewer.caps = Caps(visible=False)
        viewer.tick(path_for(9_000_000), HIDDEN_S - TICK_S)
        viewer.caps = Caps()
        viewer.tick(path_for(9_000_000))
    assert viewer.changes == []


def test_where_nothing_can_be_decoded_nothing_is_chosen() -> None:
    assert Viewer(()).tick(path_for(10**6)).rendition is None


paths = st.builds(
    PathState,
    estimate_bps=st.integers(0, 10**13),
    loss=st.floats(0, 1),
    queueing_us=st.integers(0, 10**9),
    repair=st.floats(0, 1),
)
offers = st.lists(
    st.builds(
        Offer,
        id=st.integers(0, 255),
        bitrate_bps=st.integers(0, 10**9),
        width=st.integers(0, 8192),
        height=st.integers(0, 8192),
        forwarded=st.booleans(),
        measured_bps=st.integers(0, 10**9),
    ),
    max_size=6,
    unique_by=lambda offer: offer.id,
)
caps = st.builds(
    Caps,
    width=st.integers(0, 65535),
    height=st.integers(0, 65535),
    visible=st.booleans(),
    bitrate_bps=st.integers(0, 10**10),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(offers, paths, caps, st.booleans(), st.integers(-1, 5)), max_size=12))
def test_whatever_happens_what_is_chosen_is_offered(
    steps: list[tuple[list[Offer], PathState, Caps, bool, int]],
) -> None:
    chooser, current = RenditionChooser(), None
    for number, (offered, path, cap, shared, wish) in enumerate(steps):
        choice = chooser.update(
            offered, current, budget_bps(path, 128_000), cap, now=number * 2.0, wish=wish, shared=shared
        )
        assert choice.rendition in {None, *(offer.id for offer in offered)}
        assert choice.reason
        current = choice.rendition
