"""A change of renditions: what a viewer is sent can always be decoded, and nothing is shown twice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.pair import AUDIO, VIDEO, make_frame
from wtgateway.protocol.switching import (
    MOST_HELD,
    MOST_SOUND_HELD,
    SOUND_OVERLAP_US,
    SoundSwitch,
    Switch,
    Verdict,
)

OLD, NEW, OTHER = 0, 1, 2


def take(switch: Switch, rendition: int, group: int, index: int) -> Verdict:
    return switch.take(make_frame(VIDEO, group, index, rendition=rendition))


def test_the_old_one_goes_on_until_the_new_one_begins_a_newer_group() -> None:
    switch = Switch(OLD, NEW, last_group=4)
    assert take(switch, OLD, 4, 7) is Verdict.PASS
    assert take(switch, OTHER, 5, 0) is Verdict.DROP
    assert take(switch, NEW, 5, 0) is Verdict.HOLD, "it is ahead"
    assert take(switch, OLD, 4, 8) is Verdict.PASS
    assert take(switch, NEW, 5, 1) is Verdict.HOLD
    assert take(switch, OLD, 5, 0) is Verdict.RELEASE


def test_an_old_one_that_stopped_is_not_waited_for() -> None:
    switch = Switch(OLD, NEW, last_group=4)
    verdicts = [take(switch, NEW, 5, i) for i in range(MOST_HELD + 1)]
    assert verdicts == [Verdict.HOLD] * MOST_HELD + [Verdict.BEGIN]


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
    assert take(switch, OLD, 6, 0) is Verdict.DROP
    assert take(switch, NEW, 6, 0) is Verdict.BEGIN


def test_the_old_one_goes_on_when_the_new_one_stops_coming() -> None:
    switch = Switch(OLD, NEW, last_group=4)
    take(switch, NEW, 4, 3)
    assert [take(switch, OLD, 5, i) for i in range(2)] == [Verdict.DROP] * 2
    assert [take(switch, OLD, 6, i) for i in range(2)] == [Verdict.PASS] * 2
    assert take(switch, NEW, 7, 0) is Verdict.HOLD
    assert take(switch, OLD, 7, 0) is Verdict.RELEASE


@given(
    st.lists(st.tuples(st.sampled_from((OLD, NEW)), st.sampled_from(("next", "key"))), max_size=60),
    st.integers(-1, 3),
)
def test_whatever_comes_is_decodable_and_in_order(steps: list[tuple[int, str]], last: int) -> None:
    switch = Switch(OLD, NEW, last_group=last)
    border = max(last, 0)
    at = {OLD: [border, 5], NEW: [border, 5]}
    sent: list[tuple[int, int, int]] = []
    held: list[tuple[int, int, int]] = []
    for rendition, step in steps:
        position = at[rendition]
        position[:] = (position[0] + 1, 0) if step == "key" else (position[0], position[1] + 1)
        verdict = take(switch, rendition, *position)
        if verdict is Verdict.PASS:
            assert rendition == OLD
            sent.append((rendition, *position))
        if verdict in (Verdict.HOLD, Verdict.BEGIN):
            assert rendition == NEW
            held.append((rendition, *position))
        if verdict in (Verdict.BEGIN, Verdict.RELEASE):
            assert held[0][2] == 0, "what is sent begins with a keyframe"
            assert held == [(NEW, *p) for p in successive(held[0][1:], held)]
            assert all(group < held[0][1] for _, group, _ in sent)
            assert len(held) <= MOST_HELD + 1
            return
    groups = [group for _, group, _ in sent]
    assert groups == sorted(groups)
    for (_, group, _), (_, next_group, next_index) in itertools.pairwise(sent):
        assert next_group == group or next_index == 0


def successive(first: tuple[int, ...], held: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Positions that follow each other without a gap, as many as are held and with their keyframes."""
    found = [(first[0], first[1])]
    for _, group, index in held[1:]:
        last = found[-1]
        found.append((last[0] + 1, 0) if (group, index) == (last[0] + 1, 0) else (last[0], last[1] + 1))
    return found


def test_sound_that_stopped_is_not_waited_for() -> None:
    switch = SoundSwitch(OLD, NEW)
    verdicts = [
        switch.take(make_frame(AUDIO, 0, i, rendition=NEW, pts_us=i * 20_000))
        for i in range(MOST_SOUND_HELD + 1)
    ]
    assert verdicts == [Verdict.HOLD] * MOST_SOUND_HELD + [Verdict.BEGIN]
    assert switch.take(make_frame(AUDIO, rendition=OTHER)) is Verdict.DROP


@given(
    old_us=st.sampled_from([10_000, 20_000, 21_333, 60_000]),
    new_us=st.sampled_from([10_000, 20_000, 21_333, 60_000]),
    phase_us=st.integers(0, 60_000),
    late_us=st.integers(-80_000, 80_000),
    starts_us=st.integers(0, 500_000),
)
def test_sound_has_no_gap_and_a_decoder_its_time_to_converge(
    old_us: int, new_us: int, phase_us: int, late_us: int, starts_us: int
) -> None:
    """Frames come when they are over; the new rendition's by so much later or earlier than the old one's."""
    arrivals = [(n * old_us + old_us, OLD, n * old_us, old_us) for n in range(2_000_000 // old_us)]
    for n in range(2_000_000 // new_us):
        pts_us = n * new_us + phase_us
        if pts_us >= starts_us:
            arrivals.append((pts_us + new_us + late_us, NEW, pts_us, new_us))
    switch, sent, held = SoundSwitch(OLD, NEW), [], []
    begun = False
    for _, rendition, pts_us, duration_us in sorted(arrivals):
        frame = make_frame(AUDIO, rendition=rendition, pts_us=pts_us, duration_us=duration_us)
        if begun:
            sent += [frame] * (rendition == NEW)
            continue
        verdict = switch.take(frame)
        assert verdict in (Verdict.PASS, Verdict.HOLD, Verdict.BEGIN)
        (held if verdict is Verdict.HOLD else sent).append(frame)
        if verdict is Verdict.BEGIN:
            begun = True
            sent[-1:-1] = held
    old, new = ([f for f in sent if f.rendition == r] for r in (OLD, NEW))
    assert all(b.pts_us - a.pts_us == a.duration_us for a, b in itertools.pairwise(new)), "none is missing"
    if old:
        assert old[-1].pts_us + old_us - new[0].pts_us >= SOUND_OVERLAP_US
