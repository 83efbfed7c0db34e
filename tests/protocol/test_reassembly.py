"""Fragments put together again: whatever comes, whole frames or nothing, within bounds; what is asked for."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.fragments import Fragment, cut, decode_fragment, parity
from wtgateway.protocol.nacks import NackEntry
from wtgateway.protocol.reassembly import KEYFRAME_US, MAX_ABSENT, MAX_ASKED, MAX_LANES, Reassembly
from wtgateway.protocol.wire import encode_frame

PIECE = 40
Name = tuple[int, int, int, int]


def make_frame(index: int, size: int, *, group: int = 1, track: int = 0, rendition: int = 0) -> Frame:
    name = (track, rendition, group, index)
    return Frame(
        track=track, rendition=rendition, group=group, index=index, keyframe=index == 0, duration_us=33_333,
        pts_us=index * 33_333, capture_us=index * 33_333, payload=random.Random(f"{name}").randbytes(size),
    )  # fmt: skip


def name_of(frame: Frame | Fragment | NackEntry) -> Name:
    return frame.track, frame.rendition, frame.group, frame.index


def pieces_of(frame: Frame, rows: int = 0) -> list[Fragment]:
    data = encode_frame(frame)
    return [decode_fragment(each) for each in cut(data, PIECE) + parity(data, PIECE, rows)]


# --- whatever arrives ------------------------------------------------------------------------------

FRAMES = [
    make_frame(index, size, group=group, rendition=rendition)
    for rendition in (0, 1)
    for group in (1, 2)
    for index, size in enumerate((150, 0, 33, 400))
]
POOL = [piece for frame in FRAMES for piece in pieces_of(frame, rows=3)]
WHOLE = {name_of(frame): frame for frame in FRAMES}


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """(what, how long after the last, which): mostly pieces of the pool in some order."""
    noise = draw(st.randoms(use_true_random=False))
    count = draw(st.integers(1, 120))
    wait = draw(st.sampled_from([100, 3_000, 40_000]))
    kinds = ["push"] * 8 + ["ask", "stream", "done"]
    return [(noise.choice(kinds), noise.randrange(wait), noise.randrange(len(POOL))) for _ in range(count)]


@given(
    steps(),
    st.integers(1, 6),
    st.sampled_from([400, 2_000, 1 << 24]),
    st.sampled_from([None, 0, -50_000, 10**9]),
    st.sampled_from([2_000, 40_000, 300_000]),
)
def test_frames_come_whole_and_once_and_what_is_held_is_bounded(
    plan: list[tuple[str, int, int]], max_frames: int, max_bytes: int, offset_us: int | None, rtt_us: int
) -> None:
    box = Reassembly(
        deadline_us=150_000, max_frames=max_frames, max_bytes=max_bytes, clock_offset_us=offset_us
    )
    box.set_path(rtt_us)
    now_us, here, over, first, asked = 0, set(), set(), {}, Counter[tuple[Name, int]]()
    last: dict[Name, int] = {}  # when something of a frame came last, be it its stream
    begun: dict[
        tuple[int, int, int], int
    ] = {}  # when a group was heard of: so its keyframe was awaited from then

    def until(name: Name, known_us: int) -> int:
        """By rule 2, as generous as it ever is."""
        key = (*name[:3], 0)
        if name == key:
            return min(last.get(key, known_us), known_us + KEYFRAME_US - 150_000) + 150_000
        late_us = last[key] + min(3 * (last[key] - begun[name[:3]]), 1_000_000) if key in last else 0
        return max(known_us, late_us) + 150_000 + min(2 * rtt_us, 150_000)

    for what, wait_us, which in plan:
        now_us += wait_us
        piece = POOL[which]
        name = name_of(piece)
        if what != "ask":
            begun.setdefault(name[:3], now_us)
        if what != "ask" and name not in over:
            last[name] = now_us
        if what == "push":
            frame = box.push(piece, now_us)
            if not piece.parity:
                here.add((name, piece.number))
            first.setdefault(name, now_us)
            if frame is not None:
                assert frame == WHOLE[name]
                assert name not in over
                over.add(name)
        elif what == "stream":
            box.arrived_as_stream(name, WHOLE[name].capture_us, WHOLE[name].keyframe, now_us)
        elif what == "done":
            box.arrived_as_stream(name, WHOLE[name].capture_us, WHOLE[name].keyframe, now_us)
            box.done_with(name)
            over.add(name)
        else:
            for entry in box.nacks(now_us):
                assert name_of(entry) not in over
                known = max(first.get(name_of(entry), now_us), 0)
                assert now_us < until(name_of(entry), known)
                for number in range(entry.first, min(entry.last, 30) + 1):
                    assert (name_of(entry), number) not in here
                    again = asked[name_of(entry), number] > 0
                    in_time = now_us + rtt_us < until(name_of(entry), known)
                    assert not again or in_time, "late, and asked for before"
                    asked[name_of(entry), number] += 1
        lost = set(box.take_lost())
        assert not lost & over
        over |= lost
        assert box.held_frames <= max_frames
        assert box.held_bytes <= max_bytes
        timeout_us = box.next_timeout()
        assert timeout_us is not None or box.held_frames == 0
        assert timeout_us is None or timeout_us > now_us or what != "ask"
    # And once more where it was asked for before it was known to exist.
    assert max(asked.values(), default=0) <= MAX_ASKED + 1
    # Time alone ends all that is begun.
    box.nacks(now_us + 10**9)
    assert box.held_frames == box.held_bytes == 0


@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_a_session_on_a_lossy_path_gets_every_frame_that_is_answered(dice: random.Random, rows: int) -> None:
    """What is asked for is answered a round trip later: with time enough nothing is missing in the end."""
    box, rtt_us = Reassembly(deadline_us=1_500_000), 40_000
    box.set_path(rtt_us)
    sent = {name_of(f): (f, pieces_of(f, rows)) for f in (make_frame(i, 300) for i in range(12))}
    due: list[tuple[int, int, Fragment]] = []
    for number, (_, pieces) in enumerate(sent.values()):
        due += [
            (number * 33_333 + 100 * n, n, piece)
            for n, piece in enumerate(pieces)
            # The very last frame's first piece arrives: nothing behind it would tell that it was.
            if dice.random() > 0.15 or (number == 11 and n == 0)
        ]
    got: list[Frame] = []
    while due or box.next_timeout() is not None:
        due.sort(key=lambda item: item[:2])
        timeout_us = box.next_timeout()
        if timeout_us is not None and (not due or timeout_us <= due[0][0]):
            for entry in box.nacks(timeout_us):
                # One is asked for that is never sent: it would be overdue if there were more.
                pieces = [p for p in sent.get(name_of(entry), (None, []))[1] if not p.parity]
                wanted = [p for p in pieces if entry.first <= p.number <= entry.last]
                due += [(timeout_us + rtt_us + n, n, p) for n, p in enumerate(wanted)]
        else:
            at, _, piece = due.pop(0)
            frame = box.push(piece, at)
            if frame is not None:
                got.append(frame)
    assert box.take_lost() == []
    assert sorted(got, key=lambda f: f.index) == [frame for frame, _ in sent.values()]


@given(st.lists(st.binary(min_size=1, max_size=120), max_size=30), st.integers(0, 3))
def test_any_datagrams(datagrams: list[bytes], kind: int) -> None:
    box = Reassembly(max_frames=4, max_bytes=3_000)
    for n, data in enumerate(datagrams):
        head = (b"\x10", b"\x11", b"\x10\x01\0\0\0\0\0\1\0\0\0\0\0\0\0\x90", b"")[kind]
        try:
            box.push(decode_fragment(head + data), n * 1_000)
        except ProtocolError as error:
            assert error.code in (CloseCode.MALFORMED, CloseCode.TOO_LARGE)
        assert box.held_frames <= 4
        assert box.held_bytes <= 3_000


# --- details ---------------------------------------------------------------------------------------


def test_fragments_that_make_another_frame_than_they_said_are_an_error() -> None:
    box = Reassembly()
    good = pieces_of(make_frame(3, 10))
    for piece in good[:-1]:
        box.push(dataclasses.replace(piece, index=4), 0)
    with pytest.raises(ProtocolError) as caught:
        box.push(dataclasses.replace(good[-1], index=4), 0)
    assert caught.value.code == CloseCode.MALFORMED
    assert box.held_frames == 4  # those before it in the group, of which nothing has come


def test_parity_that_lies_is_no_frame() -> None:
    box = Reassembly()
    data, row = pieces_of(make_frame(0, 20), rows=1)[1:]
    box.push(data, 0)
    with pytest.raises(ProtocolError):
        box.push(dataclasses.replace(row, data=bytes(len(row.data))), 0)


def test_pieces_of_one_byte_count_what_they_cost() -> None:
    """16 MiB in pieces of a byte would be gigabytes of objects."""
    box, data = Reassembly(max_bytes=10_000), encode_frame(make_frame(0, 900))
    for piece in map(decode_fragment, cut(data, 1)):
        box.push(piece, 0)
    assert box.counters.displaced == 1
    assert box.counters.completed == 0


def test_a_gateway_that_names_a_thousand_renditions_is_kept_in_bounds() -> None:
    box = Reassembly()
    for track in range(32):
        for rendition in range(32):
            box.push(pieces_of(make_frame(0, 100, track=track, rendition=rendition))[0], 0)
    assert len(box._lanes) == MAX_LANES
    assert box.held_frames == MAX_LANES
    box.nacks(10**9)
    assert box.held_frames == 0


def test_what_is_missing_between_two_frames_is_bounded() -> None:
    box = Reassembly()
    box.push(pieces_of(make_frame(0, 0))[0], 0)
    box.push(pieces_of(make_frame(4_000_000_000, 100))[0], 10)
    assert box.held_frames == 2 + MAX_ABSENT


def test_a_frame_is_remembered_as_done_long_enough_to_refuse_its_duplicates() -> None:
    box, early = Reassembly(), pieces_of(make_frame(0, 100))
    got = [box.push(piece, 0) for piece in early]
    for index in range(1, 600):
        got += [box.push(piece, index * 33_333) for piece in pieces_of(make_frame(index, 0))]
    got += [box.push(piece, 21_000_000) for piece in early]
    assert len([frame for frame in got if frame]) == 600
    assert len(box._lanes[0, 0].done) <= 256


def test_measured_reordering_fades() -> None:
    box = Reassembly()
    box.set_path(80_000, 20_000)
    assert box.reorder_us == 20_000
    fading = []
    for _ in range(60):
        box.set_path(80_000)
        fading.append(box.reorder_us)
    assert fading == sorted(fading, reverse=True)
    assert fading[-1] < 3_010
    box.set_path(80_000, 90_000)
    assert box.reorder_us == 20_000
