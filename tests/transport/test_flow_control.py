"""The ledgers of session flow control: never more than granted, nothing lost, in order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.transport import capsules
from wtgateway.transport.capsules import CapsuleParser, FlowControlError, MaxData, MaxStreams, encode_limit
from wtgateway.transport.drafts import (
    ALL,
    MAX_STREAMS,
    Draft,
    Limits,
    announcement,
    flow_control,
    negotiate,
    problem,
)
from wtgateway.transport.flow_control import Credit, Window

HEAD = b"\x40\x54\x00"


def read(data: bytes) -> list[object]:
    return list(CapsuleParser(flow_control=True).feed(data))


# --- what we send ----------------------------------------------------------------------------------


def test_media_may_be_opened_as_long_as_both_limits_allow() -> None:
    credit = Credit(Limits(max_data=100, max_streams_uni=3))
    assert credit.room() == 100
    assert credit.may_open(100)
    assert not credit.may_open(101)
    credit.opened(60)
    assert credit.room() == 40
    assert not credit.may_open(41)
    credit.opened(0)
    credit.opened(40)
    assert credit.room() == 0
    credit.grant(MaxData(200))
    assert credit.room() == 0  # no more streams
    assert not credit.may_open(1)
    credit.grant(MaxStreams(4, unidirectional=True))
    assert credit.room() == 100


def test_media_does_not_overtake_what_waits() -> None:
    credit = Credit(Limits(max_data=10, max_streams_uni=9, max_streams_bidi=1))
    assert credit.open(0, HEAD, unidirectional=False) == HEAD
    assert credit.write(0, bytes(11), False) == (bytes(10), False)
    assert credit.waits(0)
    credit.grant(MaxData(1000))
    assert credit.room() == 0
    assert not credit.may_open(1)
    credit.release()
    assert credit.may_open(1)


def test_a_stream_without_credit_waits_with_all_that_is_written_to_it() -> None:
    credit = Credit(Limits(max_data=5))
    assert credit.open(3, HEAD, unidirectional=True) == b""
    assert credit.write(3, b"abc", False) is None
    assert credit.write(3, b"defgh", True) is None
    assert (credit.waiting(3), credit.held_bytes) == (8, 8)
    assert credit.release() == []
    credit.grant(MaxStreams(1, unidirectional=True))
    (first,) = credit.release()
    assert (first.data, first.size, first.fin) == (HEAD + b"abcde", 5, False)
    credit.grant(MaxData(100))
    (rest,) = credit.release()
    assert (rest.data, rest.fin) == (b"fgh", True)
    assert (credit.waiting(3), credit.held_bytes, credit.waits(3)) == (0, 0, False)


def test_an_end_alone_needs_no_credit() -> None:
    credit = Credit(Limits(max_streams_uni=1, max_data=1))
    credit.open(3, HEAD, unidirectional=True)
    assert credit.write(3, b"x", False) == (b"x", False)
    assert credit.write(3, b"", True) == (b"", True)


def test_a_stream_that_was_never_opened_is_reset_behind_its_preamble() -> None:
    credit = Credit(Limits(max_data=100))
    credit.open(3, HEAD, unidirectional=True)
    credit.write(3, b"abc", True)
    assert credit.delay_reset(3, 42)
    assert credit.held_bytes == 0
    credit.grant(MaxStreams(1, unidirectional=True))
    (released,) = credit.release()
    assert (released.data, released.fin, released.reset) == (HEAD, False, 42)
    assert credit.room() == 0  # it counts as opened


def test_what_a_reset_leaves_unsent_is_credit_again() -> None:
    credit = Credit(Limits(max_data=100, max_streams_uni=5))
    credit.open(3, HEAD, unidirectional=True)
    assert credit.write(3, bytes(150), True) == (bytes(100), False)
    assert not credit.delay_reset(3, 42)
    credit.given_up(3, never_sent=70)
    assert (credit.room(), credit.held_bytes) == (70, 0)


@pytest.mark.parametrize(
    "grants",
    [
        [MaxData(5), MaxData(5)],
        [MaxData(500), MaxData(499)],
        [MaxStreams(1, unidirectional=True), MaxStreams(1, unidirectional=True)],
        [MaxStreams(9, unidirectional=False), MaxStreams(0, unidirectional=False)],
    ],
)
def test_a_limit_that_does_not_rise_is_an_error(grants: list[MaxData | MaxStreams]) -> None:
    credit = Credit(Limits())
    credit.grant(grants[0])
    with pytest.raises(FlowControlError):
        credit.grant(grants[1])


def test_a_first_capsule_below_the_settings_takes_nothing_away() -> None:
    credit = Credit(Limits(max_data=100, max_streams_uni=1))
    credit.grant(MaxData(50))
    assert credit.room() == 100


def test_a_limit_in_the_way_is_told_once() -> None:
    credit = Credit(Limits(max_data=10, max_streams_uni=1))
    credit.open(3, HEAD, unidirectional=True)
    credit.write(3, bytes(11), True)
    credit.open(7, HEAD, unidirectional=True)
    credit.open(1, HEAD, unidirectional=False)
    assert read(credit.blocked()) == [
        capsules.Blocked(capsules.DATA_BLOCKED, 10),
        capsules.Blocked(capsules.STREAMS_BLOCKED_UNI, 1),
        capsules.Blocked(capsules.STREAMS_BLOCKED_BIDI, 0),
    ]
    assert credit.blocked() == b""
    credit.grant(MaxStreams(2, unidirectional=True))
    credit.release()
    credit.open(11, HEAD, unidirectional=True)
    assert read(credit.blocked()) == [capsules.Blocked(capsules.STREAMS_BLOCKED_UNI, 2)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.booleans(), st.just(0)),
        st.tuples(st.just("write"), st.integers(0, 7), st.integers(0, 40)),
        st.tuples(st.just("end"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("reset"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("data"), st.just(0), st.integers(1, 60)),
        st.tuples(st.just("streams"), st.booleans(), st.integers(1, 2)),
        st.tuples(st.just("frame"), st.just(0), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(steps, st.builds(Limits, st.integers(0, 50), st.integers(0, 3), st.integers(0, 3)))
def test_whatever_happens_all_arrives_in_order_within_the_limits(
    steps: list[tuple[str, int, int]], limits: Limits
) -> None:
    """The peer's side of the ledger is kept here: what QUIC was given, and what was granted."""
    credit = Credit(limits)
    max_data, max_streams = limits.max_data, [limits.max_streams_bidi, limits.max_streams_uni]
    written: dict[int, bytes] = {}
    given: dict[int, bytes] = {}
    ended: set[int] = set()
    reset: set[int] = set()
    fins: set[int] = set()
    heads = {False: b"\x40\x41\x00", True: HEAD}
    kinds: dict[int, bool] = {}
    frames = [0, 0]  # bytes and number of media frames

    def take(stream_id: int, data: bytes, fin: bool) -> None:
        assert stream_id not in fins
        given[stream_id] = given.get(stream_id, b"") + data
        if fin:
            fins.add(stream_id)

    def check() -> None:
        body = sum(max(0, len(data) - 3) for data in given.values())
        assert body + frames[0] <= max_data
        for kind in (False, True):
            opened = sum(1 for key, data in given.items() if data and kinds[key] == kind)
            assert opened + (frames[1] if kind else 0) <= max_streams[kind]
        assert credit.held_bytes == sum(map(credit.waiting, kinds))

    def release() -> None:
        for released in credit.release():
            take(released.stream_id, released.data, released.fin)
            if released.reset is not None:
                reset.add(released.stream_id)

    counter = itertools.count()
    for step, which, size in steps:
        writable = [key for key in kinds if key not in ended]
        if step == "open":
            key = next(counter)
            kinds[key] = bool(which)
            written[key] = b""
            take(key, credit.open(key, heads[bool(which)], unidirectional=bool(which)), False)
        elif step in ("write", "end") and writable:
            key = writable[which % len(writable)]
            data = bytes([key]) * size
            written[key] += data
            allowed = credit.write(key, data, step == "end")
            if allowed is not None:
                take(key, *allowed)
            if step == "end":
                ended.add(key)
        elif step == "reset" and writable:
            key = writable[which % len(writable)]
            ended.add(key)
            if not credit.delay_reset(key, 1):
                credit.given_up(key, 0)
            written[key] = given[key][3:]
        elif step == "data":
            max_data += size
            credit.grant(MaxData(max_data))
            release()
        elif step == "streams":
            max_streams[which] += size
            credit.grant(MaxStreams(max_streams[which], unidirectional=bool(which)))
            release()
        elif step == "frame" and credit.may_open(size):
            credit.opened(size)
            frames[0] += size
            frames[1] += 1
        check()
    credit.grant(MaxData(1 << 40))
    credit.grant(MaxStreams(1 << 30, unidirectional=True))
    credit.grant(MaxStreams(1 << 30, unidirectional=False))
    release()
    assert credit.held_bytes == 0
    assert not any(map(credit.waits, kinds))
    assert {key: data[3:] for key, data in given.items()} == written


# --- what the peer sends ---------------------------------------------------------------------------


def test_a_window_is_raised_when_half_of_it_is_used() -> None:
    window = Window(Limits(max_data=100, max_streams_uni=4, max_streams_bidi=1))
    window.data(49)
    assert window.grants() == b""
    window.data(1)
    assert read(window.grants()) == [MaxData(150)]
    assert window.grants() == b""
    for stream_id in (2, 6, 2):
        window.stream(stream_id, unidirectional=True)
    assert window.grants() == b""  # they are open: no more than four at a time
    window.ended(2)
    assert window.grants() == b""
    window.ended(6)
    window.ended(6)
    assert read(window.grants()) == [MaxStreams(6, unidirectional=True)]
    window.stream(0, unidirectional=False)
    window.ended(0)
    assert read(window.grants()) == [MaxStreams(2, unidirectional=False)]


def test_what_is_over_the_window_is_an_error() -> None:
    window = Window(Limits(max_data=100, max_streams_uni=1))
    window.data(100)
    with pytest.raises(FlowControlError):
        window.data(1)
    window.stream(2, unidirectional=True)
    with pytest.raises(FlowControlError):
        window.stream(6, unidirectional=True)
    with pytest.raises(FlowControlError):
        Window(Limits(max_data=1)).stream(0, unidirectional=False)


@given(
    st.builds(Limits, st.integers(1, 1000), st.integers(1, 9), st.integers(1, 9)),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), max_size=60),
)
def test_a_peer_that_keeps_to_its_credit_never_stalls(limits: Limits, wishes: list[tuple[int, int]]) -> None:
    """Window and Credit of two ends, joined: each stream is written, read and ended in turn."""
    window, credit = Window(limits), Credit(limits)

    def exchange() -> None:
        for capsule in read(window.grants()):
            assert isinstance(capsule, MaxData | MaxStreams)
            credit.grant(capsule)

    for index, (kind, size) in enumerate(wishes):
        unidirectional = bool(kind & 1)
        stream_id = 4 * index + 2 * unidirectional
        head = credit.open(stream_id, HEAD, unidirectional=unidirectional)
        assert head
        window.stream(stream_id, unidirectional=unidirectional)
        allowed = credit.write(stream_id, bytes(size), True)
        arrived = 0 if allowed is None else len(allowed[0])
        window.data(arrived)
        for _ in range(2 * size):
            if arrived == size:
                break
            exchange()
            for released in credit.release():
                window.data(released.size)
                arrived += released.size
        assert arrived == size
        window.ended(stream_id)
        exchange()


# --- which draft -----------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(ALL), min_size=1), st.sets(st.sampled_from(ALL), min_size=1))
def test_the_highest_common_draft_is_taken(ours: set[Draft], theirs: set[Draft]) -> None:
    announced = announcement(theirs, Limits(1, 2, 3), 16)
    assert negotiate(ours, announced) == max(ours & theirs, default=None)


@given(st.dictionaries(st.integers(0, (1 << 62) - 1), st.integers(0, (1 << 62) - 1)))
def test_any_settings_give_a_draft_or_none(settings: dict[int, int]) -> None:
    draft = negotiate(ALL, settings)
    assert draft is None or settings[draft.setting] > 0
    assert isinstance(problem(settings), str)
    assert flow_control(draft or Draft.DRAFT_02, Limits(1), settings) is None or draft is not None


@pytest.mark.parametrize(
    ("draft", "ours", "theirs", "expected"),
    [
        (Draft.DRAFT_02, Limits(1), {0x2B61: 5}, None),
        (Draft.DRAFT_07, Limits(1), {0x2B61: 5}, None),
        (Draft.DRAFT_13, Limits(1), {0x14E9CD29: 1}, None),
        (Draft.DRAFT_13, Limits(1), {0x14E9CD29: 2}, Limits()),  # the number of sessions was a wish for it
        (Draft.DRAFT_15, Limits(1), {0x14E9CD29: 2}, None),
        (Draft.DRAFT_15, Limits(1), {0x2B61: 5}, Limits(5)),
        (Draft.DRAFT_15, Limits(1), {0x2B64: 5, 0x2B65: 6}, Limits(0, 5, 6)),
        (Draft.DRAFT_15, Limits(), {0x2B61: 5}, None),
    ],
)
def test_when_there_is_flow_control(
    draft: Draft, ours: Limits, theirs: dict[int, int], expected: Limits | None
) -> None:
    assert flow_control(draft, ours, theirs) == expected


# --- its capsules ----------------------------------------------------------------------------------


@given(st.integers(0, MAX_STREAMS), st.lists(st.integers(0, 30)))
def test_flow_control_capsules_come_back_however_they_are_cut(maximum: int, borders: list[int]) -> None:
    data = b"".join(
        encode_limit(kind, maximum)
        for kind in (
            capsules.MAX_DATA,
            capsules.MAX_STREAMS_UNI,
            capsules.MAX_STREAMS_BIDI,
            capsules.DATA_BLOCKED,
            capsules.STREAMS_BLOCKED_UNI,
            capsules.STREAMS_BLOCKED_BIDI,
        )
    )
    points = sorted({min(border, len(data)) for border in borders} | {0, len(data)})
    parser, found = CapsuleParser(flow_control=True), []
    for start, stop in itertools.pairwise(points):
        found += parser.feed(data[start:stop])
    assert found == [
        MaxData(maximum),
        MaxStreams(maximum, unidirectional=True),
        MaxStreams(maximum, unidirectional=False),
        capsules.Blocked(capsules.DATA_BLOCKED, maximum),
        capsules.Blocked(capsules.STREAMS_BLOCKED_UNI, maximum),
        capsules.Blocked(capsules.STREAMS_BLOCKED_BIDI, maximum),
    ]
    assert CapsuleParser().feed(data) == []
