"""The judge of storms: what came twice, out of order, changed, or not at all."""

from __future__ import annotations

import random
from pathlib import Path

from scripts.benchmarks.report import Figure
from scripts.storms.frame import Course, Findings, Options
from scripts.storms.ledger import MOST_GROUPS, Ledger
from wtgateway.media import Frame


def frame(group: int, index: int, payload: bytes = b"", track: int = 0) -> Frame:
    return Frame(
        track=track,
        rendition=0,
        group=group,
        index=index,
        keyframe=index == 0,
        pts_us=0,
        capture_us=0,
        duration_us=0,
        payload=payload or b"%d.%d" % (group, index),
    )


def groups(*sizes: int) -> list[Frame]:
    return [frame(group, index) for group, size in enumerate(sizes) for index in range(size)]


def fill(ledger: Ledger, *given: list[Frame], seed: int = 0) -> None:
    """Each viewer its frames in their order, viewers in any order."""
    dice, left = random.Random(seed), [list(reversed(frames)) for frames in given]
    while any(left):
        viewer = dice.choice([number for number, frames in enumerate(left) if frames])
        ledger.add(viewer, left[viewer].pop())


def test_all_frames_at_all_viewers_are_right() -> None:
    for seed in range(20):
        ledger = Ledger(3)
        fill(ledger, *([groups(5, 3, 7, 1)] * 3), seed=seed)
        assert (ledger.missing, ledger.disordered, ledger.changed) == (0, 0, 0)
        assert ledger.settled == 3 * (5 + 3 + 7)  # the last group may go on
        assert ledger.frames == 3 * 16


def test_a_frame_that_one_viewer_lacks_is_missing_wherever_it_is() -> None:
    whole = groups(5, 3, 1)
    for lost in range(8):
        for seed in range(5):
            ledger = Ledger(2)
            fill(ledger, whole, whole[:lost] + whole[lost + 1 :], seed=seed)
            first = lost == 0  # nobody can know that it was there before its first frame
            assert ledger.missing == (0 if first else 1), lost


def test_a_whole_group_that_one_viewer_lacks_is_missing() -> None:
    ledger = Ledger(2)
    fill(ledger, groups(2, 4, 1), [each for each in groups(2, 4, 1) if each.group != 1])
    assert ledger.missing == 4


def test_who_comes_later_lacks_nothing_of_what_was_before() -> None:
    ledger = Ledger(2)
    fill(ledger, groups(3, 3, 3, 1), groups(3, 3, 3, 1)[4:])
    assert ledger.missing == 0
    assert ledger.settled == 9 + 5


def test_what_comes_twice_or_late_or_changed_is_told() -> None:
    ledger = Ledger(2)
    fill(ledger, [frame(0, 0), frame(0, 1), frame(0, 1), frame(0, 0)], [frame(0, 0, b"other")])
    assert ledger.disordered == 2
    assert ledger.changed == 1


def test_a_viewer_that_stands_still_does_not_let_it_grow_without_end() -> None:
    ledger = Ledger(2)
    ledger.add(1, frame(0, 0))
    for group in range(5 * MOST_GROUPS):
        ledger.add(0, frame(group, 0))
    (rendition,) = ledger._renditions.values()
    assert len(rendition.groups) <= MOST_GROUPS + 1
    assert ledger.missing > 0


def test_a_course_goes_by_count_or_by_time(tmp_path: Path) -> None:
    now = [0.0]
    by_count = Course(10, Options(directory=tmp_path), "joins", clock=lambda: now[0])
    by_time = Course(10, Options(directory=tmp_path, seconds=5), "joins", clock=lambda: now[0])
    by_count.done = by_time.done = 9
    now[0] = 4.9
    assert not by_count.over
    assert by_count.left == 1
    assert not by_time.over
    by_count.done = 10
    now[0] = 5.0
    assert by_count.over
    assert by_time.over
    findings = Findings()
    findings.course(by_time)
    assert findings.short


def test_what_does_not_hold_is_said_in_words() -> None:
    findings = Findings()
    findings.holds("frames missing", 0)
    findings.holds("reloads", 3, goal=1, at_least=True)
    findings.note("joins", 5)
    assert not findings.violations
    findings.holds("frames missing", 2)
    findings.holds("reloads", 0, goal=1, at_least=True)
    findings.holds("latency", None, "ms", 5)
    findings.must(False, "a traceback")
    assert findings.violations == [
        "frames missing is 2, and must be at most 0",
        "reloads is 0, and must be at least 1",
        "latency could not be measured, and must be at most 5",
        "a traceback",
    ]
    assert findings.as_json("x")["held"] is False
    assert all(isinstance(each, Figure) for each in findings.figures)
