"""Source timestamps become gateway time: by the least delayed sample, and for hours of looping."""

import itertools
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from wtgateway.sources.timeline import Ascending, LoopTimeline, StreamClock, to_us


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
