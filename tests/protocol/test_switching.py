"""A change of renditions: what a viewer is sent can always be decoded, and nothing is shown twice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.pair import VIDEO, make_frame
from wtgateway.protocol.switching import Switch, Verdict

OLD, NEW, OTHER = 0, 1, 2


def take(switch: Switch, rendition: int, group: int, index: int) -> Verdict:
    return switch.take(make_frame(VIDEO, group, index, rendition=rendition))


def test_the_old_one_goes_on_until_the_new_one_begins_a_newer_group() -> None:
    switch = Switch(OLD, NEW, last_group=4)
    assert take(switch, OLD, 4, 7) is Verdict.PASS
    assert take(switch, OTHER, 5, 0) is Verdict.DROP
    assert take(switch, NEW, 5, 0) is Verdict.BEGIN


def test_where_both_run_the_old_ones_group_gives_way() -> None:
    switch = Switch(OLD, NEW, last_group=4)
    assert take(switch, NEW, 4, 3) is Verdict.ASK, "it runs: a border is wanted"
    assert take(switch, NEW, 4, 4) is Verdict.DROP
    assert take(switch, OLD, 4, 8) is Verdict.PASS
    assert take(switch, OLD, 5, 0) is Verdict.DROP, "the new one's is on its way"
    assert take(switch, OLD, 5, 1) is Verdict.DROP
    assert take(switch, NEW, 5, 0) is Verdict.BEGIN


def test_a_group_that_was_sent_already_is_not_begun_again() -> None:
    switch = Switch(OLD, NEW, last_group=4)
    assert take(switch, OLD, 5, 0) is Verdict.PASS
    assert take(switch, NEW, 5, 0) is Verdict.ASK
    assert take(switch, OLD, 5, 1) is Verdict.PASS
    assert take(switch, NEW, 6, 0) is Verdict.BEGIN


def test_the_old_one_goes_on_when_the_new_one_stops_coming() -> None:
    switch = Switch(OLD, NEW, last_group=4)
    take(switch, NEW, 4, 3)
    assert [take(switch, OLD, 5, i) for i in range(2)] == [Verdict.DROP] * 2
    assert [take(switch, OLD, 6, i) for i in range(2)] == [Verdict.PASS] * 2
    assert take(switch, NEW, 7, 0) is Verdict.BEGIN


@given(
    st.lists(st.tuples(st.sampled_from((OLD, NEW)), st.sampled_from(("next", "key"))), max_size=60),
    st.integers(-1, 3),
)
def test_whatever_comes_is_decodable_and_in_order(steps: list[tuple[int, str]], last: int) -> None:
    switch = Switch(OLD, NEW, last_group=last)
    border = max(last, 0)
    at = {OLD: [border, 5], NEW: [border, 5]}
    sent: list[tuple[int, int, int]] = []
    for rendition, step in steps:
        position = at[rendition]
        if step == "key":
            position[:] = position[0] + 1, 0
        else:
            position[1] += 1
        verdict = take(switch, rendition, *position)
        if verdict in (Verdict.PASS, Verdict.BEGIN):
            sent.append((rendition, *position))
        if verdict is Verdict.BEGIN:
            assert (rendition, position[1]) == (NEW, 0)
            assert all(group < position[0] for _, group, _ in sent[:-1])
            return
        assert rendition == OLD or verdict in (Verdict.DROP, Verdict.ASK)
    groups = [group for _, group, _ in sent]
    assert groups == sorted(groups)
    for (_, group, _), (_, next_group, next_index) in itertools.pairwise(sent):
        assert next_group == group or next_index == 0
