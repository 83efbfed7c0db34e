"""What a viewer makes of datagrams: frames in order, wishes, reports; streams and datagrams side by side."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.pair import AUDIO, CATALOG, VIDEO, make_frame
from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol import client_events as events
from wtgateway.protocol import messages
from wtgateway.protocol.arrivals import Arrival, decode_arrivals
from wtgateway.protocol.client_session import ClientLimits, ClientSession
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.datagram_reception import MOST_WAITING, DatagramReception
from wtgateway.protocol.fragments import cut, parity
from wtgateway.protocol.nacks import NackEntry, decode_nacks
from wtgateway.protocol.wire import encode_frame

PIECE = 500
START = 1_000.0


def session(**limits: Any) -> ClientSession:
    core = ClientSession(limits=ClientLimits(**limits))
    core.handle_timeout(START)
    hello = (messages.Welcome(version=1, session="s", broadcast="b", server="t", time_us=1),)
    subscribed = (messages.Subscribed(track=VIDEO, rendition=0, delivery="auto"),)
    for message in (*hello, messages.catalog_message(CATALOG), *subscribed):
        core.receive_control(messages.pack(message), START)
    return core


def picture(index: int, size: int = 1_300) -> Frame:
    return make_frame(VIDEO, 1, index, pts_us=index * 33_333, size=size)


def datagrams(frame: Frame) -> tuple[bytes, ...]:
    return cut(encode_frame(frame), PIECE)


def got(core: ClientSession) -> list[Frame]:
    return [e.frame for e in core.poll_events() if isinstance(e, events.FrameReady)]


def said(core: ClientSession) -> list[messages.Message]:
    return list(messages.MessageReader().feed(core.control_to_send()))


def asked(core: ClientSession) -> list[NackEntry]:
    return [e for data in core.datagrams_to_send() if data[0] == 0x20 for e in decode_nacks(data)]


def reported(core: ClientSession) -> list[Arrival]:
    return [a for data in core.datagrams_to_send() if data[0] == 0x21 for a in decode_arrivals(data)]


def run_until(core: ClientSession, end: float) -> None:
    """Let the session's own timers go off, no others."""
    while (due := core.next_timeout()) is not None and due <= end:
        core.handle_timeout(due)


def test_fragments_become_frames_in_order() -> None:
    core = session()
    first, second = picture(0), picture(1)
    for data in reversed(datagrams(second)):
        core.receive_datagram(data, START)
    assert got(core) == []
    for data in datagrams(first):
        core.receive_datagram(data, START + 0.001)
    assert got(core) == [first, second]
    assert core.tracks[VIDEO].frames == 2


def test_what_is_missing_is_asked_for_and_mends_the_picture() -> None:
    core = session()
    frame = picture(0)
    one, two, three = datagrams(frame)
    core.receive_datagram(one, START)
    core.receive_datagram(three, START + 0.001)
    run_until(core, START + 0.003)
    assert asked(core) == []
    run_until(core, START + 0.010)
    assert asked(core) == [NackEntry(VIDEO, 0, 1, 0, 1, 1)]
    core.receive_datagram(two, START + 0.04)
    assert got(core) == [frame]


def test_a_frame_whose_deadline_is_over_is_lost_and_a_keyframe_asked_for() -> None:
    core = session(deadline=0.2)
    for data in datagrams(picture(0)):
        core.receive_datagram(data, START)
    core.receive_datagram(datagrams(picture(1))[0], START + 0.033)
    for data in datagrams(picture(2)):
        core.receive_datagram(data, START + 0.066)
    said(core)
    run_until(core, START + 0.232)
    assert not any(isinstance(m, messages.KeyframeRequest) for m in said(core))
    run_until(core, START + 0.268)  # the time for which what is here waits for what is not
    assert [m for m in said(core) if isinstance(m, messages.KeyframeRequest)] == [
        messages.KeyframeRequest(track=VIDEO, reason="gap")
    ]
    assert core.datagrams.reassembly.counters.expired == 0, "it may still come first: a keyframe is no sooner"
    run_until(core, START + 0.233 + 0.151)  # two round trips, 150 ms at most
    assert core.datagrams.reassembly.counters.expired == 1


def test_a_missing_frame_is_waited_for_until_its_deadline_not_for_a_fixed_time() -> None:
    core = session(deadline=0.4)
    frames = [picture(index) for index in range(3)]
    for data in (*datagrams(frames[0]), *datagrams(frames[2])):
        core.receive_datagram(data, START)
    run_until(core, START + 0.39)
    for data in datagrams(frames[1]):
        core.receive_datagram(data, START + 0.39)
    assert got(core) == frames
    assert core.tracks[VIDEO].order.counters.gaps == 0


def test_sound_that_is_repeated_is_played_once() -> None:
    core = session()
    sounds = [make_frame(AUDIO, 1, index, pts_us=index * 20_000, size=200) for index in range(4)]
    for number in range(len(sounds)):
        for again in sounds[max(0, number - 2) : number + 1][::-1]:
            core.receive_datagram(datagrams(again)[0], START + number * 0.02)
    assert got(core) == sounds
    assert core.datagrams.reassembly.counters.duplicates == 5
    assert core.tracks[AUDIO].frames == 4


def test_sound_of_which_one_is_lost_goes_on_with_its_repetition() -> None:
    core = session()
    sounds = [make_frame(AUDIO, 1, index, pts_us=index * 20_000, size=200) for index in range(3)]
    for number, repeated in ((0, ()), (2, (1,))):
        for n in (number, *repeated):
            core.receive_datagram(datagrams(sounds[n])[0], START + number * 0.02)
    assert got(core) == sounds


def test_the_first_complete_one_of_stream_and_fragments_counts() -> None:
    core = session()
    key, delta = picture(0), picture(1)
    data = encode_frame(key)
    core.receive_stream(3, data[:700], False, START)
    for piece in datagrams(key):
        core.receive_datagram(piece, START + 0.001)
    core.receive_stream(3, data[700:], True, START + 0.002)
    core.receive_stream(7, encode_frame(delta), True, START + 0.003)
    for piece in datagrams(delta):
        core.receive_datagram(piece, START + 0.004)
    assert got(core) == [key, delta]
    assert (core.frames_twice, core.tracks[VIDEO].frames) == (1, 2)
    assert core.tracks[VIDEO].order.counters.duplicates == 0


def test_a_keyframe_on_its_way_on_a_stream_is_not_asked_for() -> None:
    core = session()
    core.receive_stream(3, encode_frame(picture(0))[:400], False, START)
    for data in datagrams(picture(1)):
        core.receive_datagram(data, START + 0.001)
    run_until(core, START + 0.3)
    assert asked(core) == []
    core.reset_stream(3, START + 0.3)
    assert any(isinstance(m, messages.KeyframeRequest) for m in said(core))


def test_arrivals_are_reported_twenty_times_a_second_while_something_comes() -> None:
    core = session()
    one, two, three = datagrams(picture(0))
    core.receive_datagram(one, START)
    core.receive_datagram(two, START + 0.004)
    core.receive_stream(7, encode_frame(picture(1))[:300], False, START + 0.01)
    core.receive_stream(7, encode_frame(picture(1))[300:], True, START + 0.02)
    run_until(core, START + 0.049)
    assert reported(core) == []
    run_until(core, START + 0.051)
    us = round(START * 1e6)
    assert reported(core) == [
        Arrival(VIDEO, 1, 0, False, False, 960, us, us + 4_000),
        Arrival(VIDEO, 1, 1, True, True, 1_408, us + 10_000, us + 20_000),
    ]
    run_until(core, START + 0.2)
    assert reported(core) == []
    core.receive_datagram(three, START + 0.2)
    run_until(core, START + 0.26)
    assert reported(core) == [Arrival(VIDEO, 1, 0, True, False, 1_408, us, us + 200_000)]


def test_who_gets_streams_only_says_nothing_in_datagrams() -> None:
    core = ClientSession()
    core.handle_timeout(START)
    for message in (
        messages.catalog_message(CATALOG),
        messages.Subscribed(track=VIDEO, rendition=0, delivery="stream"),
    ):
        core.receive_control(messages.pack(message), START)
    core.receive_stream(3, encode_frame(picture(0)), True, START)
    core.receive_stream(7, encode_frame(picture(2)), True, START)
    run_until(core, START + 0.5)
    assert core.datagrams_to_send() == []


def test_padding_and_types_of_later_versions_are_ignored() -> None:
    core = session()
    for data in (b"", b"\x1f", b"\x1f" + bytes(1_000), b"\x7f\x01", b"\x20\x01"):
        core.receive_datagram(data, START)
    assert core.poll_events() == []


def test_a_malformed_fragment_closes_the_session() -> None:
    core = session()
    with pytest.raises(ProtocolError) as caught:
        core.receive_datagram(datagrams(picture(0))[0][:-1], START)
    assert caught.value.code == CloseCode.MALFORMED


def test_what_nobody_fetches_is_bounded() -> None:
    box = DatagramReception(500_000)
    frame = picture(0, 200_000)
    pieces = datagrams(frame)
    for n in range(0, len(pieces), 2):
        box.receive(pieces[n], n * 1_000)
        box.advance(n * 1_000)
    for n in range(2_000):
        box.receive(datagrams(make_frame(AUDIO, n // 50, n % 50, size=10))[0], 500_000 + n * 60_000)
        box.advance(500_000 + n * 60_000)
    assert len(box.datagrams_to_send()) <= MOST_WAITING
    assert box.datagrams_to_send() == []


POOL = [
    data
    for index in range(6)
    for frame in [picture(index)]
    for data in (*datagrams(frame), *parity(encode_frame(frame), PIECE, 2))
]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30_000),
            st.sampled_from(POOL) | st.binary(max_size=60).map(lambda data: b"\x10" + data),
        ),
        max_size=60,
    )
)
def test_any_datagrams_give_frames_in_order_or_an_error(plan: list[tuple[int, bytes]]) -> None:
    core, now = session(), START
    seen: list[Frame] = []
    with contextlib.suppress(ProtocolError):
        for wait_us, data in plan:
            run_until(core, now + wait_us / 1e6)
            now += wait_us / 1e6
            seen += got(core)
            core.receive_datagram(data, now)
    seen += got(core)
    assert [frame.index for frame in seen] == sorted({frame.index for frame in seen})
    assert all(frame == picture(frame.index) for frame in seen)
    for entry in asked(core):
        assert entry.first <= entry.last
