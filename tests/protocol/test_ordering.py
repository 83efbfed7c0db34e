"""Ordering beyond the golden scenarios: what holds for any arrival of anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.pair import assert_decodable, make_frame
from wtgateway.protocol.ordering import FrameOrder

POSITIONS = st.tuples(st.integers(0, 6), st.integers(0, 6))
STEPS = st.lists(
    st.tuples(st.sampled_from(["push", "lost", "advance"]), POSITIONS, st.integers(0, 200_000)), max_size=60
)


def _play(order: FrameOrder, steps: list[tuple[str, tuple[int, int], int]]) -> list[tuple[int, int]]:
    now, out = 0, []
    for what, (group, index), pause in steps:
        now += pause
        if what == "push":
            out += order.push(make_frame(0, group, index, pts_us=(group * 7 + index) * 33_333, size=10), now)
        elif what == "lost":
            out += order.lost(group, index, now)
        else:
            out += order.advance(now)
    return [(frame.group, frame.index) for frame in out]


@given(STEPS)
def test_video_is_always_decodable(steps: list[tuple[str, tuple[int, int], int]]) -> None:
    assert_decodable(_play(FrameOrder(), steps))


@given(STEPS)
def test_sound_never_goes_back(steps: list[tuple[str, tuple[int, int], int]]) -> None:
    positions = _play(FrameOrder(independent=True), steps)
    assert positions == sorted(set(positions))


@given(STEPS, st.booleans())
def test_every_frame_is_accounted_for_and_bounded(
    steps: list[tuple[str, tuple[int, int], int]], independent: bool
) -> None:
    order = FrameOrder(independent=independent, max_frames=5, max_bytes=45)
    _play(order, steps)
    c = order.counters
    assert c.received == c.delivered + c.late + c.before + c.duplicates + c.discarded + order.held
    assert order.held <= 5


@given(STEPS)
def test_it_never_waits_for_ever(steps: list[tuple[str, tuple[int, int], int]]) -> None:
    """While anything is held back there is a timeout, and at the timeout something happens."""
    order = FrameOrder()
    _play(order, steps)
    assert (order.next_timeout() is not None) == bool(order.held)
    order.take_keyframe_request()
    while (due := order.next_timeout()) is not None:
        if not order.advance(due):
            assert order.take_keyframe_request()
            break


@given(st.permutations(range(30)))
def test_any_order_comes_out_in_order(arrival: list[int]) -> None:
    order = FrameOrder()
    frames = [make_frame(0, n // 10, n % 10, pts_us=n * 33_333, size=10) for n in range(30)]
    out = order.push(frames[0], 0)
    for n in arrival:
        out += order.push(frames[n], 1)
    assert out == frames
