"""Where groups begin: once for all renditions, whoever asks first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.encoders import GroupBorders
from wtgateway.encoders.groups import _SAME_PICTURE_US as SAME_US

STEP_US = 33_333


def test_the_first_picture_begins_the_first_group_and_a_wish_the_next() -> None:
    borders = GroupBorders(first_group=5)
    assert [borders.group_at(i * STEP_US) for i in range(3)] == [5, 5, 5]
    borders.want()
    assert [borders.group_at(i * STEP_US) for i in range(3, 6)] == [6, 6, 6]
    assert borders.next_group == 7


def test_a_rendition_that_lags_gets_the_old_group_and_then_the_same_border() -> None:
    borders = GroupBorders()
    borders.group_at(0)
    borders.want()
    assert borders.group_at(3 * STEP_US) == 1, "the quick one begins it"
    assert [borders.group_at(i * STEP_US) for i in (1, 2, 3, 4)] == [0, 0, 1, 1], "the slow one follows"


def test_a_picture_given_again_at_almost_the_same_time_is_the_same_picture() -> None:
    borders = GroupBorders()
    borders.group_at(0)
    borders.want()
    assert borders.group_at(STEP_US) == 1
    borders.want()
    assert borders.group_at(STEP_US - SAME_US) == 1
    assert borders.group_at(STEP_US + SAME_US) == 1
    assert borders.group_at(2 * STEP_US) == 2, "the wish is kept for a newer one"


def test_an_interval_ends_groups_by_time() -> None:
    borders = GroupBorders(interval_s=0.1)
    assert [borders.group_at(i * 30_000) for i in range(9)] == [0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_a_fresh_encoder_begins_a_group_and_all_others_with_it() -> None:
    borders = GroupBorders()
    assert borders.group_at(0, fresh=True) == 0
    assert borders.group_at(0, fresh=True) == 0, "of two that start at one picture each has its beginning"
    assert borders.group_at(STEP_US, fresh=True) == 1
    assert borders.group_at(STEP_US) == 1


def test_a_fresh_encoder_does_not_begin_with_what_others_have_shown() -> None:
    borders = GroupBorders()
    assert [borders.group_at(i * STEP_US) for i in range(4)] == [0] * 4
    assert borders.group_at(2 * STEP_US, fresh=True) is None
    assert borders.group_at(3 * STEP_US, fresh=True) is None, "the last one goes with the group before"
    assert borders.group_at(4 * STEP_US) == 1, "so the next one is a border for all, whoever asks first"
    assert borders.group_at(4 * STEP_US, fresh=True) == 1


def test_no_border_is_made_where_another_rendition_has_the_picture_in_a_group_that_goes_on() -> None:
    """Who changed to this one there would be shown it a second time."""
    borders = GroupBorders()
    assert [borders.group_at(t) for t in (0, 0, STEP_US)] == [0] * 3
    borders.want()
    assert borders.group_at(STEP_US) == 0, "the slower of two, which has the wish before the quicker one"
    assert [borders.group_at(t) for t in (2 * STEP_US, 2 * STEP_US)] == [1, 1], "the wish is kept"


def test_a_forwarded_keyframe_is_a_border_for_what_is_decoded_from_it() -> None:
    borders = GroupBorders()
    assert borders.begin(100_000) == 0
    assert borders.begin(200_000) == 1
    assert [borders.group_at(t) for t in (100_000, 133_333, 166_666, 200_000, 233_333)] == [0, 0, 0, 1, 1]


def test_when_time_goes_back_numbers_do_not() -> None:
    borders = GroupBorders()
    borders.begin(10_000_000)
    assert borders.begin(5_000_000) == 1
    assert borders.group_at(5_033_333) == 1
    assert borders.group_at(1_000_000) == 2, "before all that is known: a new timeline"


@given(
    st.lists(
        st.tuples(st.sampled_from(["want", "begin", "at", "fresh"]), st.integers(0, 3), st.integers(0, 5)),
        max_size=60,
    )
)
def test_groups_of_each_rendition_never_go_back_while_time_does_not(
    steps: list[tuple[str, int, int]],
) -> None:
    borders = GroupBorders(interval_s=0.5)
    times, groups = [0] * 4, [-1] * 4
    newest = 0
    for what, rendition, frames in steps:
        if what == "want":
            borders.want()
        elif what == "begin":
            newest = max(newest, *times) + STEP_US
            borders.begin(newest)
        else:
            times[rendition] = max(times[rendition] + STEP_US, newest) + frames * STEP_US
            group = borders.group_at(times[rendition], fresh=what == "fresh")
            if group is None:
                assert what == "fresh"
                assert times[rendition] <= max(newest, *times), "another one has it, or is ahead"
                continue
            assert group >= groups[rendition]
            assert what == "at" or group > groups[rendition]
            groups[rendition] = group


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["want", "fresh", 0, 0, 1, 1]), max_size=60), st.integers(0, 2))
def test_a_later_picture_of_any_rendition_is_in_no_earlier_group(steps: list[str | int], lag: int) -> None:
    """So a change from one to another, at a border, never goes back in time. A number: whose turn it is."""
    borders = GroupBorders(interval_s=0.2)
    pictures, frames, fresh = [lag, 0], list[tuple[int, int]](), [True, True]
    for step in steps:
        if step == "want":
            borders.want()
        elif isinstance(step, str):
            fresh[len(frames) % 2] = True
        else:
            pictures[step] += 1
            pts_us = pictures[step] * STEP_US
            group = borders.group_at(pts_us, fresh=fresh[step])
            if group is not None:  # else the encoder is as fresh as before
                fresh[step] = False
                frames.append((pts_us, group))
    groups = [group for _, group in sorted(frames)]
    assert groups == sorted(groups)
    assert len(set(frames)) == len({pts_us for pts_us, _ in frames}), "and the same picture in the same group"
