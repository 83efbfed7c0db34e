"""The cache that resumed sessions go on from: bounded in time and bytes, without holes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.media import Frame
from wtgateway.protocol.recent_frames import RECENT_BYTES, RECENT_US, RecentFrames


@dataclass(frozen=True)
class Cut:
    frame: Frame
    data: bytes


def cut(group: int, index: int, at_us: int = 0, data: bytes = b"x") -> Cut:
    frame = Frame(
        track=0, rendition=0, group=group, index=index, keyframe=index == 0, pts_us=at_us, capture_us=at_us,
        duration_us=0, payload=b"",
    )  # fmt: skip
    return Cut(frame, data)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 900_000), st.booleans()), min_size=1, max_size=40))
def test_what_is_known_is_the_last_second_and_a_half(steps: list[tuple[int, bool]]) -> None:
    recent: RecentFrames[Cut] = RecentFrames()
    added: list[Cut] = []
    at_us = group = index = 0
    for pause, begins in steps:
        at_us += pause
        group, index = (group + 1, 0) if begins or not added else (group, index + 1)
        added.append(cut(group, index, at_us))
        recent.add(added[-1])
    for n, each in enumerate(added):
        known = each.frame.capture_us >= at_us - RECENT_US
        expected = added[n + 1 :] if known else None
        assert recent.since(each.frame.group, each.frame.index) == expected
    assert recent.since(group, index + 1) is None


def test_bytes_are_bounded() -> None:
    recent: RecentFrames[Cut] = RecentFrames()
    half = bytes(RECENT_BYTES // 2)
    for index in range(3):
        recent.add(cut(0, index, data=half))
    assert recent.since(0, 0) is None
    assert recent.since(0, 1) is not None
    recent.add(cut(0, 3, data=bytes(RECENT_BYTES + 1)))  # one alone may be too large
    assert recent.since(0, 3) is None
    recent.add(cut(0, 4))
    assert recent.since(0, 4) == []


def test_sound_may_have_holes_and_pictures_may_not() -> None:
    for independent in (True, False):
        recent: RecentFrames[Cut] = RecentFrames(independent=independent)
        for index in (0, 1, 3):
            recent.add(cut(0, index))
        assert (recent.since(0, 1) is not None) == independent
        recent.add(cut(2, 0))
        assert recent.since(0, 3) is not None
