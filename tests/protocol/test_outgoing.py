"""What a viewer is sent next: slices, answers, parity, repeats, and what is not sent any more."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.pair import AUDIO, VIDEO, make_frame
from wtgateway.media import Frame, Kind
from wtgateway.protocol.delivery import Path, Reason
from wtgateway.protocol.fragments import HEADER_BYTES, cut, decode_fragment, parity
from wtgateway.protocol.nacks import NackEntry
from wtgateway.protocol.outgoing import (
    APART_S,
    MOST_ANSWERS,
    MOST_WISHES,
    REMEMBERED_BYTES,
    Outgoing,
    PieceKind,
    Pieces,
    Whole,
)
from wtgateway.protocol.send_queue import DropReason, QueuedFrame, SendQueue
from wtgateway.protocol.wire import FrameParser, encode_frame

DATAGRAM = 1000
PIECE = DATAGRAM - HEADER_BYTES
LOSSY = Path(rtt=0.04, loss=0.02, datagram_bytes=DATAGRAM)
MUCH = 1 << 20


def put(
    out: Outgoing, frame: Frame, now: float, *, deadline: float = 0.5, delivery: str = "datagram"
) -> QueuedFrame:
    kind = Kind.VIDEO if frame.track == VIDEO else Kind.AUDIO
    queued = QueuedFrame(frame, encode_frame(frame), kind, now, now + deadline, delivery)
    out.queue.push(queued, now)
    return queued


def begin(out: Outgoing) -> None:
    """A group began so long ago that nothing waits for its keyframe any more."""
    put(out, make_frame(size=100), -5.0)
    while out.next(-5.0, MUCH, LOSSY):
        pass


def ask(frame: Frame, first: int = 0, last: int = 0xFFFF) -> NackEntry:
    return NackEntry(frame.track, frame.rendition, frame.group, frame.index, first, last)


def numbers(item: Whole | Pieces | None) -> list[int]:
    assert isinstance(item, Pieces)
    return [decode_fragment(payload).number for payload in item.payloads]


@pytest.fixture
def out() -> Outgoing:
    return Outgoing(SendQueue())


def test_a_frame_goes_in_slices_of_the_room_there_is(out: Outgoing) -> None:
    queued = put(out, make_frame(size=10 * PIECE - 48), 0.0)
    seen = []
    for room in (3 * DATAGRAM, 1, MUCH):
        item = out.next(0.0, room, LOSSY)
        assert isinstance(item, Pieces)
        assert (item.kind, item.begins) == (PieceKind.KEYFRAME, not seen)
        seen += item.payloads
        assert len(seen) in (3, 4, 10)
    assert seen == list(cut(queued.data, PIECE))
    assert out.next(0.0, MUCH, LOSSY) is None
    assert not out.pending


def test_what_goes_whole_is_the_very_tuple_that_others_get(out: Outgoing) -> None:
    queued = put(out, make_frame(size=5000), 0.0)
    item = out.next(0.0, MUCH, LOSSY)
    assert isinstance(item, Pieces)
    assert item.payloads is cut(queued.data, PIECE)


def test_sound_and_answers_overtake_the_rest_of_a_frame(out: Outgoing) -> None:
    key, delta = make_frame(size=5000), make_frame(index=1, size=20_000)
    put(out, key, 0.0)
    out.next(0.0, MUCH, LOSSY)
    put(out, delta, 0.01)
    out.next(0.01, 2 * DATAGRAM, LOSSY)
    out.asked([ask(key, 1, 2)], 0.05, LOSSY)
    put(out, make_frame(AUDIO, size=200), 0.05)
    kinds = []
    while (item := out.next(0.05, 2 * DATAGRAM, LOSSY)) is not None:
        assert isinstance(item, Pieces)
        kinds.append(item.kind)
    assert kinds[:2] == [PieceKind.SOUND, PieceKind.ANSWER]
    assert set(kinds[2:]) == {PieceKind.DELTA}


def test_the_rest_of_a_frame_that_is_too_late_is_not_sent_nor_what_depends_on_it(out: Outgoing) -> None:
    begin(out)
    put(out, make_frame(index=1, size=20_000), 0.0, deadline=0.1)
    put(out, make_frame(index=2, size=500), 0.03, deadline=0.1)
    out.next(0.0, DATAGRAM, LOSSY)
    assert out.next(0.1, MUCH, LOSSY) is None
    assert out.counters["frames_late"] == 1
    assert out.queue.drops == {DropReason.ABANDONED: 1}
    assert out.queue.starved == {VIDEO}


def test_a_keyframe_goes_on_though_it_is_late_and_what_follows_catches_up(out: Outgoing) -> None:
    thin = replace(LOSSY, loss=0.0, estimate_bps=800_000)
    key, delta = make_frame(size=20_000), make_frame(index=1, size=500)
    put(out, key, 0.0, deadline=0.1)
    put(out, delta, 0.03, deadline=0.1)
    given = [out.next(now, 7 * DATAGRAM, thin) for now in (0.0, 0.1, 0.2)]
    assert [len(numbers(item)) for item in given] == [7, 7, 7]
    late = out.next(0.6, MUCH, thin)
    assert isinstance(late, Pieces) and late.queued.frame == delta
    put(out, make_frame(index=2, size=500), 0.7, deadline=0.1)
    assert out.next(1.2, MUCH, thin) is None, "a second after the keyframe at the latest it is level again"
    assert out.queue.starved == {VIDEO}


def test_a_keyframe_that_is_late_is_answered_as_long_as_it_is_waited_for(out: Outgoing) -> None:
    key = make_frame(size=5_000)
    put(out, key, 0.0, deadline=0.1)
    out.next(0.0, MUCH, LOSSY)
    put(out, make_frame(index=1, size=500), 0.5, deadline=0.6)
    while out.next(0.5, MUCH, LOSSY):
        pass
    out.asked([ask(key, 2, 2)], 0.6, LOSSY)
    assert numbers(out.next(0.6, MUCH, LOSSY)) == [2]


def test_a_newer_keyframe_lets_the_deadline_of_what_is_being_sent_shrink(out: Outgoing) -> None:
    put(out, make_frame(group=1, size=20_000), 0.0)
    out.next(0.0, DATAGRAM, LOSSY)
    newer = put(out, make_frame(group=2, size=500), 0.05)
    item = out.next(0.09, DATAGRAM, LOSSY)
    assert isinstance(item, Pieces)
    assert item.queued is not newer
    item = out.next(0.1, DATAGRAM, LOSSY)
    assert isinstance(item, Pieces)
    assert item.queued is newer


def test_an_answer_is_not_given_twice_within_a_round_trip_nor_for_ever(out: Outgoing) -> None:
    frame = make_frame(size=5000)
    put(out, frame, 0.0, deadline=5.0)
    out.next(0.0, MUCH, LOSSY)
    given = []
    for millisecond in range(20, 1000):
        out.asked([ask(frame, 2, 2)] * 3, millisecond / 1000, LOSSY)
        while (item := out.next(millisecond / 1000, MUCH, LOSSY)) is not None:
            assert numbers(item) == [2]
            given.append(millisecond)
    assert len(given) == MOST_ANSWERS
    assert min(b - a for a, b in itertools.pairwise(given)) >= 36


def test_nothing_is_answered_that_was_not_sent_or_would_come_too_late(out: Outgoing) -> None:
    begin(out)
    frame = make_frame(index=1, size=10_000)
    put(out, frame, 0.0, deadline=0.1)
    out.asked([ask(frame)], 0.0, LOSSY)
    assert out.counters["nacks_unknown"] == 1
    out.next(0.0, 3 * DATAGRAM, LOSSY)
    out.asked([ask(frame)], 0.02, LOSSY)
    assert numbers(out.next(0.02, MUCH, LOSSY)) == [0, 1, 2], "of what was given out so far"
    assert numbers(out.next(0.02, MUCH, LOSSY))[0] == 3
    while out.next(0.02, MUCH, LOSSY):
        pass  # parity
    until = 0.1 + (1 + 2 - 0.5) * LOSSY.rtt  # its arrival, and the viewer's patience
    out.asked([ask(frame, 0, 0)], until - 0.001, LOSSY)
    assert numbers(out.next(until - 0.001, MUCH, LOSSY))[0] == 0, "late, but what follows it is decoded"
    out.asked([ask(frame, 1, 1)], until + 0.001, LOSSY)
    assert out.next(until + 0.001, MUCH, LOSSY) is None
    assert out.counters["nacks_late"] == 1


def test_a_wish_that_cannot_know_of_a_loss_is_not_granted(out: Outgoing) -> None:
    begin(out)
    frame = make_frame(index=1, size=5_000)
    put(out, frame, 0.0, deadline=0.2)
    path = replace(LOSSY, rtt=0.08, base_rtt=0.04, queueing=0.01)
    out.next(0.0, 2 * DATAGRAM, path)
    while out.next(0.03, MUCH, path):
        pass  # the rest of it had to wait
    out.asked([ask(frame)], 0.037, path)
    assert numbers(out.next(0.037, MUCH, path)) == [0, 1], "what left since, the viewer cannot miss yet"
    assert out.counters["nacks_early"] == 4
    out.asked([ask(frame, 2)], 0.067, path)
    assert numbers(out.next(0.067, MUCH, path)) == [2, 3, 4, 5]


def test_what_a_newer_group_has_replaced_is_not_answered_late(out: Outgoing) -> None:
    frame = make_frame(size=5_000)
    put(out, frame, 0.0, deadline=0.3)
    out.next(0.0, MUCH, LOSSY)
    while out.next(0.0, MUCH, LOSSY):
        pass
    put(out, make_frame(group=2, index=0, size=500), 0.1, deadline=0.3)
    while out.next(0.1, MUCH, LOSSY):
        pass
    until = out.queue.deadline_of(next(iter(out._sent.values())).queued)
    assert until < 0.3
    out.asked([ask(frame, 0, 0)], until, LOSSY)
    assert out.next(until, MUCH, LOSSY) is None
    assert out.counters["nacks_late"] == 1


def test_an_answer_that_is_the_last_chance_is_given_twice(out: Outgoing) -> None:
    begin(out)
    frame = make_frame(index=1, size=5_000)
    put(out, frame, 0.0, deadline=0.2)
    out.next(0.0, MUCH, LOSSY)
    for now, copies in ((0.05, 1), (0.14, 2)):
        out.asked([ask(frame, 1, 1)], now, LOSSY)
        assert numbers(out.next(now, MUCH, LOSSY)) == [1] * copies
    clean = replace(LOSSY, loss=0.0)
    out.asked([ask(frame, 2, 2)], 0.14, clean)
    assert numbers(out.next(0.14, MUCH, clean)) == [2], "a path that loses nothing loses no answers"


def test_where_there_is_time_the_copy_of_the_last_answer_leaves_apart(out: Outgoing) -> None:
    begin(out)
    frame = make_frame(index=1, size=5_000)
    put(out, frame, 0.0, deadline=0.2)
    out.next(0.0, MUCH, LOSSY)
    out.asked([ask(frame, 1, 2)], 0.125, LOSSY)
    assert numbers(out.next(0.125, MUCH, LOSSY)) == [1, 2]
    out.asked([ask(frame, 1, 2)], 0.131, LOSSY)
    assert out.counters["nacks_early"] == 2, "said once more, as viewers do"
    assert out.next(0.125 + APART_S - 0.001, MUCH, LOSSY) is None
    assert numbers(out.next(0.125 + APART_S, MUCH, LOSSY)) == [1, 2]
    assert out.next(0.2, MUCH, LOSSY) is None
    assert out.counters["nacks_answered"] == 4


def test_a_frame_on_a_stream_is_quics_to_send_again(out: Outgoing) -> None:
    frame = make_frame(size=5000)
    queued = put(out, frame, 0.0, delivery="stream")
    assert out.next(0.0, MUCH, LOSSY) == Whole(queued)
    out.asked([ask(frame)], 0.05, LOSSY)
    assert out.next(0.05, MUCH, LOSSY) is None
    assert out.sent_at(frame.track, frame.group, frame.index, frame.rendition) == 0.0


def test_pieces_that_the_path_does_not_take_any_more_go_on_a_stream(out: Outgoing) -> None:
    frame = make_frame(size=10_000)
    queued = put(out, frame, 0.0)
    out.next(0.0, 2 * DATAGRAM, LOSSY)
    narrow = replace(LOSSY, datagram_bytes=DATAGRAM - 100)
    assert out.next(0.0, MUCH, narrow) == Whole(queued)
    other = make_frame(index=1, size=6 * PIECE - 48)
    again = put(out, other, 0.1)
    out.next(0.1, MUCH, LOSSY)
    out.asked([ask(other, 1, 1)], 0.2, narrow)
    assert out.next(0.2, MUCH, narrow) == Whole(again)
    assert out.next(0.2, MUCH, narrow) is None


def test_parity_comes_last_and_makes_way(out: Outgoing) -> None:
    hasty = replace(LOSSY, rtt=0.2)
    first = put(out, make_frame(size=9_000), 0.0, deadline=0.15)
    item = out.next(0.0, MUCH, hasty)
    assert isinstance(item, Pieces)
    assert out.reason is Reason.LATE
    assert item.kind is PieceKind.KEYFRAME
    spare = out.next(0.0, DATAGRAM, hasty)
    assert isinstance(spare, Pieces)
    assert (spare.kind, list(spare.payloads)) == (PieceKind.PARITY, list(parity(first.data, PIECE, 1)))
    put(out, make_frame(index=1, size=500), 0.033, deadline=0.15)
    following = out.next(0.033, MUCH, hasty)
    assert isinstance(following, Pieces)
    assert following.kind is PieceKind.DELTA
    assert out.counters["parity_sent"] == 1
    assert out.counters["parity_dropped"] > 0


def test_sound_is_repeated_behind_what_is_new(out: Outgoing) -> None:
    frames = [make_frame(AUDIO, index=n, size=150) for n in range(4)]
    seen = []
    for n, frame in enumerate(frames):
        put(out, frame, n * 0.02)
        item = out.next(n * 0.02, MUCH, replace(LOSSY, loss=0.1))
        assert isinstance(item, Pieces)
        seen.append([decode_fragment(payload).index for payload in item.payloads])
    assert [sorted(each) for each in seen] == [[0], [0, 1], [0, 1, 2], [1, 2, 3]]
    assert [each[0] for each in seen] == [0, 1, 2, 3], "what is new goes first"


def test_a_storm_of_wishes_gets_no_more_than_a_share_of_the_path(out: Outgoing) -> None:
    path = replace(LOSSY, estimate_bps=4_000_000)
    answered, now = 0, 0.0
    for index in range(300):
        now = index / 30
        frame = make_frame(index=index, size=60_000)
        put(out, frame, now, deadline=2.0)
        while out.next(now, MUCH, path):
            pass
        before = out.counters["nacks_answered"]
        for back in range(8):
            out.asked([ask(make_frame(index=max(0, index - back)))] * 64, now, path)
        while out.next(now, MUCH, path):
            pass
        answered += (out.counters["nacks_answered"] - before) * PIECE
    assert answered * 8 / now < 2_000_000 * 1.15
    assert out.counters["nacks_refused"] > 0


def test_one_wish_is_looked_up_for_so_many_pieces_at_most(out: Outgoing) -> None:
    frame = make_frame(size=100_000)
    put(out, frame, 0.0)
    while out.next(0.0, MUCH, LOSSY):
        pass
    out.asked([ask(frame)] * 64, 0.05, LOSSY)
    counted = out.counters["nacks_early"] + out.counters["nacks_refused"]
    assert counted + len(out._answers) == MOST_WISHES


def test_what_is_remembered_is_bounded(out: Outgoing) -> None:
    for index in range(200):
        put(out, make_frame(index=index, size=100_000), 0.0, deadline=2.0)
        out.next(0.0, MUCH, LOSSY)
    assert out._sent_bytes <= REMEMBERED_BYTES + 110_000
    assert out._sent_bytes == sum(len(s.queued.data) for s in out._sent.values() if s.pieces)
    put(out, make_frame(index=200, size=100), 3.0)
    out.next(3.0, MUCH, LOSSY)
    assert len(out._sent) == 1


def test_a_changed_subscription_forgets_what_was_begun(out: Outgoing) -> None:
    put(out, make_frame(size=20_000), 0.0)
    out.next(0.0, DATAGRAM, LOSSY)
    out.asked([ask(make_frame())], 0.05, LOSSY)
    out.queue.restart(VIDEO)
    out.restart(VIDEO)
    assert out.next(0.05, MUCH, LOSSY) is None
    assert not out.pending


def test_a_discardable_frame_that_waits_is_replaced_by_a_stub(out: Outgoing) -> None:
    put(out, make_frame(size=500), 0.0)
    put(out, replace(make_frame(index=1, size=5_000), discardable=True), 0.0, delivery="stream")
    put(out, make_frame(index=2, size=500), 0.0)
    out.next(0.05, MUCH, LOSSY)
    stub = out.next(0.05, MUCH, LOSSY)
    assert isinstance(stub, Whole)
    (frame,) = FrameParser().feed(stub.queued.data)
    assert (frame.index, frame.payload, frame.discardable) == (1, b"", True)
    assert out.queue.drops == {DropReason.DISCARDED: 1}
    assert out.queue.starved == set()
    assert out.queue.bytes == sum(len(q.data) for lane in out.queue._order for q in lane.frames)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["key", "delta", "sound", "nack", "next", "restart"]),
            st.integers(0, 40_000),
            st.floats(0, 0.1),
            st.sampled_from(["stream", "datagram", "auto"]),
            st.integers(0, 1400),
        ),
        max_size=60,
    )
)
def test_whatever_happens_pieces_are_those_of_frames_and_counts_are_right(
    steps: list[tuple[str, int, float, str, int]],
) -> None:
    out = Outgoing(SendQueue())
    now, group, index = 0.0, 0, 0
    for what, size, passed, delivery, datagram in steps:
        now += passed
        path = replace(LOSSY, datagram_bytes=datagram)
        match what:
            case "key":
                group, index = group + 1, 0
                put(out, make_frame(group=group, size=size), now, delivery=delivery)
            case "delta":
                index += 1
                put(out, make_frame(group=group, index=index, size=size), now, delivery=delivery)
            case "sound":
                put(out, make_frame(AUDIO, index=size, size=200), now, delivery=delivery)
            case "nack":
                out.asked([ask(make_frame(group=group, index=index), size % 7)], now, path)
            case "restart":
                out.queue.restart(VIDEO)
                out.restart(VIDEO)
            case "next":
                item = out.next(now, size, path)
                if isinstance(item, Pieces):
                    assert item.payloads
                    for payload in item.payloads:
                        piece = decode_fragment(payload)
                        assert len(payload) <= datagram
                        assert piece.track in (VIDEO, AUDIO)
        assert out._sent_bytes == sum(len(s.queued.data) for s in out._sent.values() if s.pieces)
    path = replace(LOSSY, datagram_bytes=1200)
    for _ in range(500):
        if out.next(now, 2000, path) is None:
            break
    assert not out.pending
