"""The gateway's session by itself: what it says, what it accepts, when it asks."""

from __future__ import annotations

import pytest

from tests.protocol.pair import AUDIO, CATALOG, VIDEO, make_frame, next_frame
from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Kind, Rendition, Track
from wtgateway.protocol import messages as m
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.nacks import NackEntry, encode_nacks
from wtgateway.protocol.session import (
    FeedbackReceived,
    KeyframeNeeded,
    PeerGoodbye,
    RenditionAwaited,
    RenditionSwitched,
    ServerSession,
    SessionExpired,
    SessionLimits,
    StatisticsDue,
    SubscriptionChanged,
    parse_connect_path,
)
from wtgateway.protocol.wire import encode_frame

NOW_US = 1_790_000_000_000_000


def make(path: str = "/cam?subscribe=video,audio", **limits: float) -> ServerSession:
    return ServerSession(
        session_id="s1",
        broadcast="cam",
        query=parse_connect_path(path),
        limits=SessionLimits(**limits),  # type: ignore[arg-type]
        now_us=NOW_US,
    )


def said(session: ServerSession) -> list[m.Message]:
    return m.MessageReader().feed(session.control_to_send())


def tell(session: ServerSession, *messages: m.Message, now: float = 0.0) -> list[object]:
    return list(session.receive_control(b"".join(map(m.pack, messages)), now, NOW_US))


def offer(session: ServerSession, track: int, group: int, index: int, now: float, rendition: int = 0) -> None:
    frame = make_frame(track, group, index, rendition=rendition)
    session.offer(frame, encode_frame(frame), Kind.VIDEO if track == VIDEO else Kind.AUDIO, now)


def test_its_first_words_are_a_welcome() -> None:
    assert said(make()) == [
        m.Welcome(version=1, session="s1", broadcast="cam", server="wtgateway", time_us=NOW_US)
    ]


def test_what_the_path_asked_for_is_subscribed_with_the_catalog() -> None:
    session = make("/cam?subscribe=video&deadline=250")
    said(session)
    session.set_catalog(CATALOG)
    assert session.poll_events() == [SubscriptionChanged(VIDEO, 0)]
    assert [type(message) for message in said(session)] == [m.CatalogMessage, m.Subscribed]
    subscription = session.subscription(VIDEO)
    assert subscription and subscription.deadline == 0.25
    assert session.subscription(AUDIO) is None


def test_a_message_subscribes_and_another_unsubscribes() -> None:
    session = make("/cam")
    session.set_catalog(CATALOG)
    assert session.poll_events() == []
    assert tell(session, m.Subscribe(track=AUDIO, delivery="auto")) == [SubscriptionChanged(AUDIO, 0)]
    assert said(session)[-1] == m.Subscribed(track=AUDIO, rendition=0, delivery="auto")
    offer(session, AUDIO, 0, 0, 0.0)
    assert tell(session, m.Unsubscribe(track=AUDIO)) == [SubscriptionChanged(AUDIO, None)]
    assert next_frame(session, 0.0) is None


def test_unsubscribing_outlives_a_new_catalog() -> None:
    session = make()
    session.set_catalog(CATALOG)
    tell(session, m.Unsubscribe(track=VIDEO))
    session.set_catalog(Catalog(revision=2, tracks=CATALOG.tracks))
    assert session.subscription(VIDEO) is None
    assert session.subscription(AUDIO) is not None


def test_what_is_not_there_is_answered_in_words() -> None:
    session = make("/cam")
    session.set_catalog(CATALOG)
    assert tell(session, m.Subscribe(track=9)) == []
    assert said(session)[-1] == m.Error(code=CloseCode.NOT_FOUND, message="there is no track 9")


def test_a_rendition_that_goes_is_replaced_and_a_track_that_goes_ends() -> None:
    session = make()
    session.set_catalog(CATALOG)
    session.poll_events()
    other = Track(id=VIDEO, kind=Kind.VIDEO, renditions=(Rendition(id=3, codec="avc1.42E01F"),))
    session.set_catalog(Catalog(revision=2, tracks=(other,)))
    assert session.poll_events() == [SubscriptionChanged(AUDIO, None), SubscriptionChanged(VIDEO, 3)]
    offer(session, VIDEO, 5, 0, 0.0, rendition=0)
    offer(session, VIDEO, 6, 0, 0.0, rendition=3)
    queued = next_frame(session, 0.0)
    assert queued and queued.frame.group == 6


def test_a_viewer_in_the_middle_of_a_group_needs_a_keyframe_but_does_not_nag() -> None:
    session = make()
    session.set_catalog(CATALOG)
    session.handle_timeout(0.0)
    session.poll_events()
    for n in range(20):
        offer(session, VIDEO, 0, 5 + n, n * 0.033)
    assert session.poll_events() == [KeyframeNeeded(VIDEO, 0)] * 2


def test_a_request_too_soon_after_another_is_passed_on_later() -> None:
    session = make()
    session.set_catalog(CATALOG)
    session.handle_timeout(0.0)
    session.poll_events()
    request = m.KeyframeRequest(track=VIDEO, reason="decoder")
    assert tell(session, request, now=0.0) == [KeyframeNeeded(VIDEO, 0)]
    assert tell(session, request, now=0.1) == []
    assert session.next_timeout() == 0.5
    session.handle_timeout(0.5)
    assert session.poll_events() == [KeyframeNeeded(VIDEO, 0)]
    assert tell(session, m.KeyframeRequest(track=77)) == []


def test_a_ping_is_answered_with_both_times() -> None:
    session = make()
    tell(session, m.Ping(id=4, client_us=-9))
    assert said(session)[-1] == m.Pong(id=4, client_us=-9, received_us=NOW_US, sent_us=NOW_US)


def test_reports_and_goodbyes_are_passed_on() -> None:
    session = make()
    report = m.Feedback(track=0, frames_received=3)
    assert tell(session, report, m.Goodbye(code=0, reason="bye")) == [
        FeedbackReceived(report),
        PeerGoodbye(0, "bye"),
    ]


def test_statistics_are_due_each_second_and_hold_both_halves() -> None:
    session = make()
    session.set_catalog(CATALOG)
    session.handle_timeout(10.0)
    assert StatisticsDue() in session.poll_events()
    assert session.next_timeout() == 11.0
    offer(session, AUDIO, 0, 0, 10.0)
    offer(session, AUDIO, 0, 1, 10.0)
    next_frame(session, 10.004)
    session.queue_statistics(rtt_us=7, lost_packets=2)
    statistics = said(session)[-1]
    assert isinstance(statistics, m.Statistics)
    assert (statistics.rtt_us, statistics.lost_packets) == (7, 2)
    assert (statistics.frames_sent, statistics.queue_frames, statistics.queue_us) == (1, 1, 4_000)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (m.Hello(version=2), CloseCode.VERSION),
        (m.State(state="live"), CloseCode.MALFORMED),
        (m.Unsubscribe(track=300), CloseCode.MALFORMED),
        (m.Subscribe(track=0, delivery="pigeon"), CloseCode.MALFORMED),
        (m.Subscribe(track=0, deadline_ms=-1), CloseCode.MALFORMED),
    ],
)
def test_what_breaks_the_rules_is_told_in_words_before_the_close(message: m.Message, code: CloseCode) -> None:
    session = make()
    with pytest.raises(ProtocolError) as caught:
        tell(session, message)
    assert caught.value.code == code
    assert said(session)[-1] == m.Error(code=code, message=str(caught.value))


def test_a_flood_ends_the_session_and_a_burst_does_not() -> None:
    session = make(messages_per_second=10, messages_burst=5)
    for second in range(3):
        tell(session, *[m.Ping(id=1, client_us=0)] * 5, now=float(second))
    with pytest.raises(ProtocolError) as caught:
        tell(session, *[m.Ping(id=1, client_us=0)] * 6, now=3.0)
    assert caught.value.code == CloseCode.FLOOD


def _nack(entries: int) -> bytes:
    return encode_nacks([NackEntry(0, 0, 1, index, 0, 0xFFFF) for index in range(entries)])


def test_who_asks_for_very_much_is_not_listened_to() -> None:
    session = make(wishes_per_second=100, wishes_burst=200, wishes_flood=5)
    for _ in range(4):
        session.receive_datagram(_nack(64), 0.0)
    counters = session.outgoing.counters
    assert (counters["nacks_unknown"], counters["nacks_unheard"]) == (3 * 64, 1)
    session.receive_datagram(_nack(64), 1.0)
    assert (counters["nacks_unknown"], counters["nacks_unheard"]) == (4 * 64, 1)


def test_who_asks_for_more_than_anybody_can_lack_is_sent_away() -> None:
    session = make(wishes_per_second=100, wishes_burst=200, wishes_flood=5)
    with pytest.raises(ProtocolError, match="500 frames asked for again a second") as caught:
        for _ in range(16):
            session.receive_datagram(_nack(64), 0.0)
    assert caught.value.code == CloseCode.FLOOD
    assert session.outgoing.counters["nacks_unheard"] == 12


@pytest.mark.parametrize("data", [b"\x20", b"\x20\x00", b"\x20\xff", b"\x20\x41" + bytes(65 * 14)])
def test_a_nack_that_makes_no_sense_counts_as_one(data: bytes) -> None:
    session = make()
    with pytest.raises(ProtocolError) as caught:
        session.receive_datagram(data, 0.0)
    assert caught.value.code == CloseCode.MALFORMED


def test_a_silent_viewer_is_given_up() -> None:
    session = make(silence=5.0)
    session.handle_timeout(0.0)
    tell(session, m.Ping(id=1, client_us=0), now=4.0)
    session.handle_timeout(8.0)
    assert not any(isinstance(e, SessionExpired) for e in session.poll_events())
    session.handle_timeout(9.1)
    assert any(isinstance(e, SessionExpired) for e in session.poll_events())


def test_a_viewer_that_does_not_read_is_given_up() -> None:
    session = make(control_backlog_bytes=1_000)
    for _ in range(20):
        session.set_state(m.State(state="retrying", reason="x" * 100))
    session.handle_timeout(0.0)
    assert [e.code for e in session.poll_events() if isinstance(e, SessionExpired)] == [CloseCode.TOO_SLOW]


CHOICE = Catalog(
    revision=3,
    tracks=(
        Track(
            id=VIDEO,
            kind=Kind.VIDEO,
            renditions=(
                Rendition(id=0, codec="hvc1.1.6.L93.90", width=1280, height=720, fps=30, forwarded=True),
                Rendition(id=1, codec="avc1.42C01F", width=1280, height=720, fps=30),
                Rendition(id=2, codec="avc1.42C01E", width=640, height=360, fps=30),
            ),
        ),
    ),
)


def test_who_has_not_said_what_he_decodes_gets_no_hevc() -> None:
    session = make("/cam?subscribe=video")
    session.set_catalog(CHOICE)
    assert session.poll_events() == [SubscriptionChanged(VIDEO, 1)]
    assert session.wanted() == {(VIDEO, 1)}


def test_what_the_path_says_counts_from_the_beginning() -> None:
    session = make("/cam?subscribe=video&codecs=avc1,hvc1")
    session.set_catalog(CHOICE)
    assert session.poll_events() == [SubscriptionChanged(VIDEO, 0)]
    limited = make("/cam?subscribe=video&codecs=avc1:640x360@30")
    limited.set_catalog(CHOICE)
    assert limited.poll_events() == [SubscriptionChanged(VIDEO, 2)]
    unable = make("/cam?subscribe=video&codecs=vp09")
    unable.set_catalog(CHOICE)
    assert unable.poll_events() == []
    assert unable.wanted() == frozenset()


def test_what_is_proven_later_changes_the_rendition_without_a_gap() -> None:
    session = make("/cam?subscribe=video")
    session.set_catalog(CHOICE)
    offer(session, VIDEO, 4, 0, 0.0, rendition=1)
    said(session)
    session.poll_events()
    assert tell(session, m.Abilities(codecs="avc1,hvc1")) == [RenditionAwaited(VIDEO, 0)]
    assert said(session) == [], "it is told when it begins"
    assert session.wanted() == {(VIDEO, 0), (VIDEO, 1)}
    offer(session, VIDEO, 5, 0, 0.0, rendition=0)  # what is forwarded is ahead
    offer(session, VIDEO, 4, 1, 0.0, rendition=1)
    assert session.poll_events() == []
    offer(session, VIDEO, 5, 0, 0.0, rendition=1)
    assert session.poll_events() == [RenditionSwitched(VIDEO, 0)]
    assert said(session) == [m.Subscribed(track=VIDEO, rendition=0, delivery="stream")]
    assert session.wanted() == {(VIDEO, 0)}
    queued = [next_frame(session, 0.0) for _ in range(4)]
    assert [(q.frame.rendition, q.frame.group, q.frame.index) for q in queued if q] == [
        (1, 4, 0),
        (1, 4, 1),
        (0, 5, 0),
    ]


SOUND = Catalog(
    revision=3,
    tracks=(
        Track(
            id=AUDIO,
            kind=Kind.AUDIO,
            renditions=(
                Rendition(id=0, codec="mp4a.40.2", sample_rate=48_000, channels=2, forwarded=True),
                Rendition(id=1, codec="opus", sample_rate=48_000, channels=2),
            ),
        ),
    ),
)


def hear(session: ServerSession, rendition: int, number: int) -> None:
    """The frame of that number, of 20 ms."""
    frame = make_frame(
        AUDIO, 0, number, rendition=rendition, pts_us=number * 20_000, duration_us=20_000, size=50
    )
    session.offer(frame, encode_frame(frame), Kind.AUDIO, 0.0)


def heard(session: ServerSession) -> list[tuple[int, int]]:
    return [(q.frame.rendition, q.frame.index) for q in iter(lambda: next_frame(session, 0.0), None) if q]


def test_sound_that_is_proven_later_begins_before_the_old_one_ends() -> None:
    session = make("/cam?subscribe=audio")
    session.set_catalog(SOUND)
    assert session.poll_events() == [SubscriptionChanged(AUDIO, 1)], "Opus, until more is known"
    hear(session, 1, 4)
    said(session)
    assert tell(session, m.Abilities(codecs="avc1,mp4a,opus")) == [RenditionAwaited(AUDIO, 0)]
    assert session.wanted() == {(AUDIO, 0), (AUDIO, 1)}
    hear(session, 0, 7)  # what is forwarded is ahead
    for number in range(5, 10):
        hear(session, 1, number)
        hear(session, 0, number + 3)
    assert session.poll_events() == [], "the old one has come over 60 ms of the new one"
    hear(session, 1, 10)
    hear(session, 0, 13)
    assert session.poll_events() == [RenditionSwitched(AUDIO, 0)]
    assert said(session) == [m.Subscribed(track=AUDIO, rendition=0, delivery="stream")]
    hear(session, 1, 11)
    hear(session, 0, 14)
    assert heard(session) == [(1, n) for n in range(4, 11)] + [(0, n) for n in range(7, 15)]
    assert session.wanted() == {(AUDIO, 0)}


def test_who_cannot_decode_aac_is_never_sent_it() -> None:
    session = make("/cam?subscribe=audio&codecs=avc1,opus")
    session.set_catalog(SOUND)
    for number in range(4):
        hear(session, 0, number)
        hear(session, 1, number)
    assert heard(session) == [(1, n) for n in range(4)]


def test_a_change_of_mind_before_it_begins_is_none() -> None:
    session = make("/cam?subscribe=video&codecs=avc1")
    session.set_catalog(CHOICE)
    offer(session, VIDEO, 4, 0, 0.0, rendition=1)
    said(session)
    tell(session, m.Subscribe(track=VIDEO, rendition=2))
    tell(session, m.Subscribe(track=VIDEO, rendition=1))
    assert said(session) == [m.Subscribed(track=VIDEO, rendition=1, delivery="stream")]
    assert session.wanted() == {(VIDEO, 1)}
    offer(session, VIDEO, 4, 1, 0.0, rendition=1)
    assert [next_frame(session, 0.0) is not None for _ in range(3)] == [True, True, False]


def test_who_leaves_the_choice_to_the_gateway_gets_its_first() -> None:
    session = make("/cam?subscribe=video&codecs=avc1")
    session.set_catalog(CHOICE)
    offer(session, VIDEO, 4, 0, 0.0, rendition=1)
    tell(session, m.Subscribe(track=VIDEO, rendition=2))
    offer(session, VIDEO, 5, 0, 0.0, rendition=2)
    offer(session, VIDEO, 5, 0, 0.0, rendition=1)
    assert session.wanted() == {(VIDEO, 2)}
    tell(session, m.Subscribe(track=VIDEO, rendition=-1))
    assert session.wanted() == {(VIDEO, 1), (VIDEO, 2)}


def test_what_was_held_is_forgotten_when_the_mind_changes() -> None:
    session = make("/cam?subscribe=video&codecs=avc1")
    session.set_catalog(CHOICE)
    offer(session, VIDEO, 4, 0, 0.0, rendition=1)
    tell(session, m.Subscribe(track=VIDEO, rendition=2))
    offer(session, VIDEO, 5, 0, 0.0, rendition=2)
    tell(session, m.Subscribe(track=VIDEO, rendition=1))
    offer(session, VIDEO, 5, 0, 0.0, rendition=1)
    queued = [next_frame(session, 0.0) for _ in range(3)]
    assert [(q.frame.rendition, q.frame.group) for q in queued if q] == [(1, 4), (1, 5)]


def test_a_wish_for_what_cannot_be_decoded_is_answered_in_words() -> None:
    session = make("/cam?subscribe=video")
    session.set_catalog(CHOICE)
    said(session)
    tell(session, m.Subscribe(track=VIDEO, rendition=0))
    (error,) = said(session)
    assert isinstance(error, m.Error)
    assert "hvc1.1.6.L93.90" in error.message
    assert session.wanted() == {(VIDEO, 1)}


def test_abilities_that_make_no_sense_end_the_session() -> None:
    session = make("/cam")
    with pytest.raises(ProtocolError) as caught:
        tell(session, m.Abilities(codecs="?"))
    assert caught.value.code == CloseCode.MALFORMED
    with pytest.raises(ProtocolError):
        parse_connect_path("/cam?codecs=?")


def test_a_rendition_that_goes_while_it_is_left_does_not_hold_the_viewer() -> None:
    session = make("/cam?subscribe=video&codecs=avc1")
    session.set_catalog(CHOICE)
    offer(session, VIDEO, 4, 0, 0.0, rendition=1)
    tell(session, m.Subscribe(track=VIDEO, rendition=2))
    (track,) = CHOICE.tracks
    session.poll_events()
    session.set_catalog(
        Catalog(revision=4, tracks=(Track(id=VIDEO, kind=Kind.VIDEO, renditions=track.renditions[2:]),))
    )
    assert session.wanted() == {(VIDEO, 2)}
    offer(session, VIDEO, 9, 0, 0.0, rendition=2)
    assert next_frame(session, 0.0) is not None


@pytest.mark.parametrize(("age", "left"), [(0.0, 0.2), (0.05, 0.15), (5.0, 0.1), (-3.0, 0.2)])
def test_deadlines_count_from_capture_if_not_beyond_the_half(age: float, left: float) -> None:
    session = make("/cam?subscribe=video&deadline=200")
    session.set_catalog(CATALOG)
    frame = make_frame()
    session.offer(frame, encode_frame(frame), Kind.VIDEO, 10.0, age=age)
    queued = next_frame(session, 10.0)
    assert queued is not None
    assert queued.deadline == pytest.approx(10.0 + left)
