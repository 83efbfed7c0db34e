"""Source timestamps become gateway time: by the least delayed sample, and for hours of looping."""

import itertools
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from wtgateway.sources.timeline import Ascending, DisplayOrder, LoopTimeline, Seams, StreamClock, to_us


def test_ticks_are_exact_after_years() -> None:
    year_of_ticks = 90_000 * 86_400 * 365
    assert to_us(year_of_ticks + 1, Fraction(1, 90_000)) == 86_400 * 365 * 1_000_000 + 11


@given(st.lists(st.integers(0, 400_000), min_size=2, max_size=200), st.integers(10**6, 10**12))
@example([0, 68_354, 20, 400_000], 10**6)
def test_jitter_of_the_network_does_not_reach_the_timeline(delays: list[int], offset: int) -> None:
    stream = StreamClock()
    for i, delay in enumerate(delays):
        stream.observe(i * 33_333, i * 33_333 + offset + delay)
    elapsed_us = len(delays) * 33_333 + 400_000
    assert min(delays) <= stream.offset_us - offset <= min(delays) + elapsed_us * 200 // 1_000_000


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=200))
def test_capture_is_never_later_than_arrival(delays: list[int]) -> None:
    stream = StreamClock()
    for i, delay in enumerate(delays):
        arrival = 10**9 + i * 20_000 + delay
        stream.observe(i * 20_000, arrival)
        assert stream.map(i * 20_000) <= arrival


def test_a_stream_clock_that_runs_slow_is_followed() -> None:
    stream = StreamClock()
    hour_us = 3_600 * 1_000_000
    for second in range(3_600):
        stream.observe(second * 999_900, second * 1_000_000)  # 100 ppm slow
    assert abs(stream.map(3_599 * 999_900) - (hour_us - 1_000_000)) < 1_000


def test_another_timeline_is_taken_over_at_once() -> None:
    stream = StreamClock()
    stream.observe(0, 1_000_000)
    stream.observe(70_000_000, 1_033_000)
    assert stream.map(70_000_000) == 1_033_000


def test_hours_of_looping_keep_sound_and_picture_together() -> None:
    timeline = LoopTimeline(epoch_us=0)
    for number in range(20_000):  # a 1.98 s file for eleven hours; its sound is 20 ms longer
        video_us = timeline.place(0, 33_333)
        audio_us = timeline.place(0, 21_333)
        timeline.place(1_946_667, 33_333)
        timeline.place(1_978_667, 21_333)
        assert audio_us == video_us == number * 2_000_000
        assert timeline.next_pass()


def test_a_file_that_begins_in_the_middle_of_time_begins_now() -> None:
    timeline = LoopTimeline(epoch_us=500)
    assert timeline.place(9_000_000, 40_000) == 500
    assert timeline.place(8_990_000, 40_000) == -9_500
    timeline.shift(1_000)
    assert timeline.place(9_000_000, 40_000) == 1_500


def test_an_empty_pass_is_told() -> None:
    assert not LoopTimeline(0).next_pass()


@given(st.lists(st.integers(0, 1_000_000)))
def test_timestamps_ascend_though_estimates_are_revised(values: list[int]) -> None:
    ascending = Ascending()
    made = [ascending(value) for value in values]
    assert all(a < b for a, b in itertools.pairwise(made))


def test_a_timeline_far_in_the_past_is_another_one() -> None:
    ascending = Ascending()
    assert [ascending(100_000_000), ascending(7)] == [100_000_000, 7]


# Decoding order of a group with a pyramid of B-frames, as places in display order.
PYRAMID = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11]


@given(st.lists(st.integers(-3_000_000, 400_000), min_size=65, max_size=65))
def test_pictures_stay_in_display_order_whatever_becomes_of_the_estimate(revised: list[int]) -> None:
    order, shown = DisplayOrder(), []
    errors = iter(revised)
    for group in range(5):
        for at, place in enumerate(PYRAMID):
            timestamp_us = (group * 13 + place) * 33_333
            value = order(timestamp_us, 10**9 + timestamp_us + next(errors), begins_group=at == 0)
            shown.append((timestamp_us, value))
    values = [value for _, value in sorted(shown)]
    assert all(b > a for a, b in itertools.pairwise(values))


def test_an_estimate_that_holds_changes_nothing() -> None:
    order = DisplayOrder()
    times = [(group * 13 + place) * 33_333 for group in range(5) for place in PYRAMID]
    placed = [order(at, at + 77, begins_group=at % (13 * 33_333) == 0) for at in times]
    assert placed == [at + 77 for at in times]


def test_units_without_a_time_keep_their_order() -> None:
    order = DisplayOrder()
    assert [order(None, value, begins_group=False) for value in (10, 10, 9, 20)] == [10, 11, 12, 20]
    assert order(5_000_000, 15, begins_group=True) == 21


def test_a_timeline_that_jumps_within_a_group_goes_on_behind_it() -> None:
    order = DisplayOrder()
    before = [order(at, at, begins_group=at == 0) for at in (0, 33_333, 66_666)]
    after = [order(at, 70_000 + at - 10**9, begins_group=False) for at in (10**9, 10**9 + 33_333)]
    assert before + after == sorted(before + after) == [0, 33_333, 66_666, 70_000, 103_333]


@given(st.integers(1_100_000, 10**10), st.integers(0, 300_000))
def test_tracks_that_go_back_together_stay_together(back_us: int, apart_us: int) -> None:
    seams = Seams()
    length_us = back_us + 40_000
    assert seams(0, length_us - 40_000, 40_000) == seams(1, length_us - apart_us - 20_000, 20_000) == 0
    offset = seams(0, 0, 40_000)
    assert offset == length_us
    if length_us - apart_us > 1_000_000:
        assert seams(1, 0, 20_000) == offset
    assert seams(0, 40_000, 40_000) == offset, "and it holds"


def test_times_that_go_up_or_are_put_in_order_are_no_seam() -> None:
    seams = Seams()
    assert [seams(0, at, 40_000) for at in (0, 120_000, 80_000, 40_000, 160_000, 60_000_000)] == [0] * 6
