"""The send queue: order, bounds, and never a frame that cannot be decoded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.pair import AUDIO, VIDEO, assert_decodable, make_frame
from wtgateway.media import Kind
from wtgateway.protocol.send_queue import KEYFRAME_S, DropReason, QueuedFrame, SendQueue

MS = 0.001


def queued(
    track: int = VIDEO,
    group: int = 0,
    index: int = 0,
    *,
    at: float = 0.0,
    size: int = 100,
    worth: float = 0.5,
) -> QueuedFrame:
    frame = make_frame(track, group, index, size=size)
    kind = Kind.AUDIO if track == AUDIO else Kind.VIDEO
    return QueuedFrame(frame, frame.payload, kind, at, at + worth)


def push(queue: SendQueue, *frames: QueuedFrame) -> None:
    for each in frames:
        queue.push(each, each.queued_at)


def drain(queue: SendQueue, now: float = 0.0) -> list[tuple[int, int, int]]:
    out = []
    while (each := queue.pop(now)) is not None:
        out.append((each.frame.track, each.frame.group, each.frame.index))
    return out


def test_audio_goes_before_video() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(index=1), queued(AUDIO, 0, 0), queued(AUDIO, 0, 1))
    assert drain(queue) == [(AUDIO, 0, 0), (AUDIO, 0, 1), (VIDEO, 0, 0), (VIDEO, 0, 1)]
    assert (queue.frames, queue.bytes, queue.dropped) == (0, 0, 0)


def test_video_begins_at_a_keyframe_and_what_comes_before_is_no_loss() -> None:
    queue = SendQueue()
    push(queue, queued(index=3))
    assert queue.keyframe_needed(VIDEO)
    assert queue.starved == {VIDEO}
    push(queue, queued(group=1), queued(group=1, index=1))
    assert not queue.starved
    assert drain(queue) == [(VIDEO, 1, 0), (VIDEO, 1, 1)]
    assert queue.dropped == 0


def test_a_late_frame_takes_the_rest_of_its_group_with_it() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(index=1, at=0.0), queued(index=2, at=0.4))
    assert queue.pop(0.0) is not None
    assert queue.next_deadline() == 0.5
    assert queue.expire(0.5) == 2
    assert queue.drops == {DropReason.EXPIRED: 2}
    assert queue.starved == {VIDEO}
    push(queue, queued(index=3, at=0.51))
    assert queue.drops[DropReason.UNDECODABLE] == 1
    push(queue, queued(group=1, at=0.52))
    assert drain(queue, 0.53) == [(VIDEO, 1, 0)]


def test_after_a_late_frame_the_next_keyframe_queued_goes_on() -> None:
    queue = SendQueue()
    push(
        queue,
        queued(at=0.0),
        queued(index=1, at=0.02),
        queued(group=1, at=0.05),
        queued(group=1, index=1, at=0.08),
    )
    assert drain(queue, 0.5) == [(VIDEO, 1, 0), (VIDEO, 1, 1)]
    assert not queue.starved


def test_late_sound_goes_alone() -> None:
    queue = SendQueue()
    push(queue, queued(AUDIO, 0, 0), queued(AUDIO, 0, 1, at=0.02))
    assert drain(queue, 0.5) == [(AUDIO, 0, 1)]


def test_the_wait_is_bounded_whatever_the_deadline() -> None:
    queue = SendQueue(max_time=1.0)
    push(queue, queued(worth=30.0), queued(index=1, worth=30.0))
    assert queue.pop(0.0) is not None
    assert drain(queue, 1.0) == []


def test_a_keyframe_may_be_late_because_all_that_follows_needs_it() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(track=AUDIO))
    assert queue.next_deadline() == 0.5, "of the sound"
    assert queue.expire(KEYFRAME_S - 0.01) == 1
    assert queue.next_deadline() == KEYFRAME_S
    push(queue, queued(group=1, at=KEYFRAME_S - 0.01))
    assert drain(queue, KEYFRAME_S - 0.01) == [(VIDEO, 1, 0)], "but for a newer one"
    push(queue, queued(group=2, at=3.0))
    assert queue.expire(3.0 + KEYFRAME_S) == 1
    assert queue.starved == {VIDEO}


def test_what_follows_a_keyframe_that_took_long_may_be_late_up_to_then() -> None:
    queue = SendQueue()
    key = queued()
    push(queue, key, queued(index=1, at=0.03))
    assert queue.pop(0.0) == key
    queue.hold_up(key, 0.9)
    assert queue.next_deadline() == 0.9
    assert queue.expire(0.89) == 0
    push(queue, queued(index=2, at=0.85))
    assert drain(queue, 0.89) == [(VIDEO, 0, 1), (VIDEO, 0, 2)]
    push(queue, queued(index=3, at=0.86), queued(group=1, at=0.88), queued(group=1, index=1, at=0.9))
    assert queue.pop(0.9) is not None
    assert queue.pop(0.9) is not None
    assert queue.expire(1.41) == 1, "another group has had its own keyframe"


def test_a_keyframe_overtakes_a_group_that_has_piled_up() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(index=1, at=0.05), queued(group=1, at=0.2))
    assert drain(queue, 0.2) == [(VIDEO, 1, 0)]
    assert queue.drops == {DropReason.SUPERSEDED: 2}


def test_a_keyframe_does_not_overtake_a_frame_it_merely_met() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(index=1, at=0.03), queued(group=1, at=0.06))
    assert drain(queue, 0.06) == [(VIDEO, 0, 0), (VIDEO, 0, 1), (VIDEO, 1, 0)]


def test_too_many_bytes_cost_the_oldest_video_group_first() -> None:
    queue = SendQueue(max_bytes=1_000)
    push(queue, queued(AUDIO, 0, 0), queued(size=500), queued(index=1, size=300), queued(index=2, size=300))
    assert queue.drops == {DropReason.OVERFLOW: 3}
    assert queue.starved == {VIDEO}
    assert drain(queue) == [(AUDIO, 0, 0)]


def test_a_single_frame_over_the_bound_is_let_through() -> None:
    queue = SendQueue(max_bytes=1_000)
    push(queue, queued(AUDIO, 0, 0), queued(size=5_000))
    assert drain(queue) == [(VIDEO, 0, 0)]


def test_an_abandoned_frame_breaks_its_group() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(index=1), queued(index=2))
    sent = queue.pop(0.0)
    assert sent is not None
    queue.abandon(sent)
    assert drain(queue) == []
    assert queue.starved == {VIDEO}


def test_an_abandoned_frame_does_not_touch_a_newer_group() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(index=1))
    sent = queue.pop(0.0)
    assert sent is not None
    push(queue, queued(group=1), queued(group=1, index=1))
    queue.abandon(sent)
    assert drain(queue) == [(VIDEO, 1, 0), (VIDEO, 1, 1)]
    assert not queue.starved


def test_restart_forgets_a_track() -> None:
    queue = SendQueue()
    push(queue, queued(), queued(AUDIO, 0, 0))
    queue.restart(VIDEO)
    push(queue, queued(index=1))
    assert drain(queue) == [(AUDIO, 0, 0)]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("key"), st.integers(1, 900)),
        st.tuples(st.just("delta"), st.integers(1, 400)),
        st.tuples(st.just("audio"), st.integers(1, 100)),
        st.tuples(st.just("pop"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.just("abandon"), st.integers(0, 5)),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_whatever_happens_the_viewer_can_decode_and_the_bounds_hold(actions: list[tuple[str, int]]) -> None:
    queue = SendQueue(max_bytes=1_500, max_time=1.0)
    now, group, index, audio, pushed = 0.0, -1, 0, 0, 0
    taken: list[QueuedFrame] = []
    abandoned: set[tuple[int, int]] = set()
    for what, n in actions:
        if what == "key":
            group, index, pushed = group + 1, 1, pushed + 1
            queue.push(queued(group=group, at=now, size=n), now)
        elif what == "delta" and group >= 0:
            queue.push(queued(group=group, index=index, at=now, size=n), now)
            index, pushed = index + 1, pushed + 1
        elif what == "audio":
            queue.push(queued(AUDIO, 0, audio, at=now, size=n), now)
            audio, pushed = audio + 1, pushed + 1
        elif what == "pop":
            taken += [each for _ in range(n) if (each := queue.pop(now)) is not None]
        elif what == "wait":
            now += n * MS
            queue.expire(now)
        elif what == "abandon" and n < len(taken):
            frame = taken[-1 - n]
            queue.abandon(frame)
            abandoned.add((frame.frame.group, frame.frame.index))
        assert queue.bytes <= 1_500
        assert queue.frames == pushed - len(taken) - queue.dropped
        assert (queue.frames == 0) == (queue.bytes == 0)
    video = [(f.frame.group, f.frame.index) for f in taken if f.kind is Kind.VIDEO]
    assert_decodable(video)
    sound = [f.frame.index for f in taken if f.kind is Kind.AUDIO]
    assert sound == sorted(sound)
