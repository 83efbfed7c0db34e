"""Sound in order, also while a viewer goes from one rendition to another."""

from __future__ import annotations

from tests.protocol.pair import AUDIO, make_frame
from wtgateway.media import Frame
from wtgateway.protocol.sound_order import APART_US, SoundOrder

NOW = 1_000_000


def frame(rendition: int, number: int, group: int = 0) -> Frame:
    return make_frame(AUDIO, group, number, rendition=rendition, pts_us=number * 20_000, duration_us=20_000)


def pushed(order: SoundOrder, frames: list[Frame], now_us: int = NOW) -> list[tuple[int, int]]:
    return [(f.rendition, f.index) for each in frames for f in order.push(each, now_us)]


def test_each_rendition_is_in_order_by_itself() -> None:
    order = SoundOrder()
    first = [frame(1, 4), frame(0, 2, group=90), frame(0, 4, group=90), frame(1, 5), frame(0, 3, group=90)]
    assert pushed(order, first) == [(1, 4), (0, 2), (1, 5), (0, 3), (0, 4)]
    assert order.counters.gaps == 0
    assert pushed(order, [frame(0, 5, group=90)]) == [(0, 5)]


def test_what_is_missing_is_given_up_and_counted() -> None:
    order = SoundOrder(patience_us=50_000)
    assert pushed(order, [frame(0, 0), frame(0, 2)]) == [(0, 0)]
    assert order.next_timeout() == NOW + 50_000
    assert [f.index for f in order.advance(NOW + 50_000)] == [2]
    assert order.counters.gaps == 1
    assert order.next_timeout() is None
    pushed(order, [frame(0, 4)])
    assert [f.index for f in order.lost(0, 0, 3, NOW)] == [4]
    assert order.lost(7, 0, 3, NOW) == []
    assert not order.take_keyframe_request()


def test_one_that_was_left_and_comes_again_has_lost_nothing() -> None:
    order = SoundOrder()
    pushed(order, [frame(0, 0), frame(0, 1), frame(1, 1), frame(1, 2)])
    later = 2 + APART_US // 20_000
    assert pushed(order, [frame(0, later)]) == [(0, later)]
    assert order.counters.gaps == 0


def test_a_straggler_of_the_one_that_was_left_still_comes_in_order() -> None:
    order = SoundOrder()
    assert pushed(order, [frame(0, 0), frame(1, 0), frame(0, 1), frame(1, 1)]) == [
        (0, 0), (1, 0), (0, 1), (1, 1),
    ]  # fmt: skip
    assert order.counters.gaps == 0 and order.counters.late == 0


def test_no_more_than_two_are_kept() -> None:
    order = SoundOrder()
    for rendition in range(256):
        order.push(frame(rendition, 5), NOW)
        order.push(frame(rendition, 7), NOW)
    assert len(order._orders) <= 2
