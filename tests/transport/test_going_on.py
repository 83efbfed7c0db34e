"""A session in another one's place: with the hub's frames, nothing is missing and nothing comes twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol.messages import Feedback, Message, MessageReader, Resume, Subscribe, Subscribed, pack
from wtgateway.protocol.recent_frames import RECENT_US
from wtgateway.protocol.session import ServerSession, parse_connect_path
from wtgateway.protocol.wire import FrameParser
from wtgateway.transport import session as session_module
from wtgateway.transport.session import RENEW_S, SETTLED_S, ViewerSession
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import PathStats, SessionRequest, WebTransportSession
from wtgateway.workers.resuming import Begin, Member, Resuming

NOW = 1_790_000_000_000_000
CONTROL = 1
VIDEO, AUDIO = 0, 1
STEP_US = 20_000
CATALOG = Catalog(
    revision=1,
    tracks=(
        Track(
            id=VIDEO,
            kind=Kind.VIDEO,
            renditions=(
                Rendition(id=0, codec="avc1.42E01F", fps=50.0, bitrate_bps=4_000_000),
                Rendition(id=1, codec="avc1.42E01F", fps=50.0, bitrate_bps=1_000_000),
            ),
        ),
        Track(id=AUDIO, kind=Kind.AUDIO, renditions=(Rendition(id=0, codec="opus"),)),
    ),
)


class Wire:
    """Stands for a WebTransportSession; keeps what it is given."""

    def __init__(self) -> None:
        self.request = SessionRequest(path="/cam", remote=("::1", 9))
        self.control = b""
        self.frames: list[Frame] = []
        self.space = 1 << 24
        self.max_datagram_bytes = 1_000
        self.waiting = 0

    def open_bidi(self) -> int:
        return CONTROL

    def send_frame(self, data: bytes, urgency: Urgency) -> int:
        self.frames += FrameParser().feed(data)
        return 3 + 4 * len(self.frames)

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int:
        return len(payloads)

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        self.control += data

    def room(self, urgency: Urgency | None = None) -> int:
        return self.space

    def path(self) -> PathStats:
        return PathStats(
            rtt_us=40_000, min_rtt_us=1, congestion_window=2, bytes_in_flight=3, lost_packets=4,
            sent_packets=5, mtu=1200, loss=0.0, estimate_bps=50_000_000, estimate_bounded=True, queueing_us=0,
        )  # fmt: skip

    def unacknowledged(self, stream_id: int) -> int:
        return 0

    def unsent(self, stream_id: int) -> int:
        return 0

    def probe_bytes(self, now: float) -> int:
        return 0

    def await_room(self, waiting: bool) -> None: ...

    def set_wanted_rate(self, bits_per_second: int) -> None: ...

    def flush(self) -> None: ...

    def messages(self) -> list[Message]:
        return MessageReader().feed(self.control)

    def token(self) -> str:
        return [m for m in self.messages() if isinstance(m, Resume)][-1].token

    def of(self, track: int) -> list[tuple[int, int]]:
        return [(f.group, f.index) for f in self.frames if f.track == track]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Stage:
    """A live broadcast, and the gateway's part of who resumes."""

    def __init__(self) -> None:
        self.broadcast = Broadcast("cam")
        self.keyframes = 0
        self.broadcast.bind(self)
        self.broadcast.set_catalog(CATALOG)
        self.broadcast.set_status(Status(BroadcastState.LIVE))
        self.resuming = Resuming(Member(name="a"))
        self.published: dict[int, list[tuple[int, int]]] = {VIDEO: [], AUDIO: []}
        self.opened = 0

    def request_keyframe(self, track: int) -> None:
        self.keyframes += 1

    def demand_changed(self, viewers: int) -> None: ...

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None: ...

    def wishes_changed(self) -> None: ...

    def publish(self, track: int, group: int, index: int, *, at: int, rendition: int = 0) -> None:
        if rendition == 0:
            self.published[track].append((group, index))
        self.broadcast.publish(
            Frame(
                track=track, rendition=rendition, group=group, index=index,
                keyframe=index == 0 or track == AUDIO, pts_us=NOW + at * STEP_US,
                capture_us=NOW + at * STEP_US, duration_us=STEP_US, payload=b"x" * 50,
            )
        )  # fmt: skip

    def open(
        self, query: str, resuming: Resuming | None = None, *, space: int = 1 << 24
    ) -> tuple[Wire, ViewerSession, Begin]:
        self.opened += 1
        resuming = resuming or self.resuming
        begin = resuming.begin(parse_connect_path(f"/cam?v=1&{query}"), NOW)
        core = ServerSession(
            session_id=f"s{self.opened}", broadcast="cam", query=begin.query, wished=begin.wished,
            goes_on=begin.goes_on, now_us=NOW, instance=resuming.member.instance, node=resuming.member.name,
        )  # fmt: skip
        session = ViewerSession(
            core, self.broadcast, certificates=[], on_closed=lambda _: None, former=begin.former,
            make_token=lambda s: resuming.token(s.id, "cam", s.core.wishes, NOW),
        )  # fmt: skip
        wire = Wire()
        wire.space = space
        session.opened(cast(WebTransportSession, wire))
        session.writable()
        return wire, session, begin


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return ticking(monkeypatch)


def ticking(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that passes only when told: a busy machine's pauses make no frame late."""
    fake = Clock()
    monkeypatch.setattr(session_module, "time", fake)
    return fake


def after(track: int, position: tuple[int, int]) -> str:
    return f"{track}.0.{position[0]}.{position[1]}"


@settings(max_examples=25)
@given(
    groups=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    share=st.floats(0, 1),
    audio_lag=st.integers(0, 3),
    later=st.integers(0, 6),
)
def test_wherever_it_was_cut_the_next_frame_follows(
    groups: list[int], share: float, audio_lag: int, later: int
) -> None:
    """Frames that came between the two sessions, and after the second began, all come once and in order."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        ticking(monkeypatch)
        stage = Stage()
        first, session, _ = stage.open("subscribe=video,audio")
        order = [(group, index) for group, count in enumerate(groups) for index in range(count)]
        cut = round(share * (len(order) - 1))
        for at, (group, index) in enumerate(order):
            stage.publish(VIDEO, group, index, at=at)
            stage.publish(AUDIO, 0, at, at=at)
            session.writable()
            if at == cut:
                had = {track: first.of(track) for track in (VIDEO, AUDIO)}
        assert had[VIDEO] == order[: cut + 1]
        had[AUDIO] = had[AUDIO][: len(had[AUDIO]) - min(audio_lag, cut)]
        asked = stage.keyframes
        position = ",".join(after(track, frames[-1]) for track, frames in had.items())
        second, session, begin = stage.open(f"resume={first.token()}&after={position}")
        assert (begin.goes_on, begin.former) == (True, "s1")
        for n in range(later):
            stage.publish(VIDEO, len(groups) - 1, groups[-1] + n, at=len(order) + n)
            stage.publish(AUDIO, 0, len(order) + n, at=len(order) + n)
        session.writable()
        assert stage.keyframes == asked, "no keyframe is needed"
        assert (session.tracks_continued, session.tracks_anew) == (2, 0)
        for track in (VIDEO, AUDIO):
            assert had[track] + second.of(track) == stage.published[track]
        assert session.core.queue.dropped == 0


def test_what_was_missed_has_its_whole_deadline(clock: Clock) -> None:
    """A new connection begins slowly: what is old already is not late because of that."""
    stage = Stage()
    first, _, _ = stage.open("subscribe=video,audio&deadline=500")
    for at in range(20):
        stage.publish(VIDEO, 0, at, at=at)
        stage.publish(AUDIO, 0, at, at=at)
    second, session, _ = stage.open(f"resume={first.token()}&after=0.0.0.4,1.0.0.4", space=0)
    clock.now += 0.45
    session.tick(clock.now)
    assert second.frames == []
    second.space = 1 << 24
    session.writable()
    for track in (VIDEO, AUDIO):
        assert second.of(track) == [(0, index) for index in range(5, 20)]
    assert session.core.queue.dropped == 0
    assert session.streams_reset == 0


def test_who_has_missed_too_much_begins_at_a_keyframe(clock: Clock) -> None:
    stage = Stage()
    first, _, _ = stage.open("subscribe=video")
    too_many = RECENT_US // STEP_US + 3
    for at in range(too_many):
        stage.publish(VIDEO, 0, at, at=at)
    asked = stage.keyframes
    second, session, _ = stage.open(f"resume={first.token()}&after=0.0.0.0")
    assert stage.keyframes == asked + 1
    stage.publish(VIDEO, 0, too_many, at=too_many)
    stage.publish(VIDEO, 1, 0, at=too_many + 1)
    session.writable()
    assert second.of(VIDEO) == [(1, 0)]
    assert (session.tracks_continued, session.tracks_anew) == (0, 1)


def test_a_frame_that_never_was_is_no_place_to_go_on(clock: Clock) -> None:
    stage = Stage()
    first, _, _ = stage.open("subscribe=video")
    stage.publish(VIDEO, 3, 0, at=0)
    second, session, _ = stage.open(f"resume={first.token()}&after=0.0.3.7")
    session.writable()
    assert second.of(VIDEO) == [(3, 0)], "as for anybody who joins"


def test_behind_a_hole_there_is_no_going_on(clock: Clock) -> None:
    """What the gateway itself has lost cannot be decoded by anybody."""
    stage = Stage()
    for index in (0, 1, 3):
        stage.publish(VIDEO, 0, index, at=index)
    assert stage.broadcast.since(VIDEO, 0, 0, 1) is None
    assert stage.broadcast.since(VIDEO, 0, 0, 3) == []
    stage.broadcast.set_status(Status(BroadcastState.RETRYING))
    assert stage.broadcast.since(VIDEO, 0, 0, 3) is None


def test_the_subscription_comes_from_the_first_session(clock: Clock) -> None:
    stage = Stage()
    first, session, _ = stage.open("subscribe=video,audio&delivery=stream&deadline=250")
    stage.publish(VIDEO, 0, 0, at=0)
    stage.publish(VIDEO, 0, 0, at=0, rendition=1)
    before = first.token()
    wish = Subscribe(track=VIDEO, rendition=1, delivery="datagram", deadline_ms=700)
    session.stream_data(CONTROL, pack(wish), False)
    session.tick(clock.now)
    assert first.token() != before, "the viewer is told anew when it wishes for something else"
    second, session, _ = stage.open(f"resume={first.token()}")
    told = {m.track: m for m in second.messages() if isinstance(m, Subscribed)}
    assert (told[VIDEO].rendition, told[VIDEO].delivery) == (1, "datagram")
    subscription = session.core.subscription(AUDIO)
    assert subscription is not None
    assert subscription.deadline == 0.25
    third, session, _ = stage.open(f"resume={second.token()}&subscribe=audio")
    assert session.core.subscription(AUDIO) is not None
    assert third.of(VIDEO) == []


def test_the_rendition_of_the_place_is_gone_on_with(clock: Clock) -> None:
    """Adaptation had chosen it; the second session does not begin with the best one again."""
    stage = Stage()
    first, _, _ = stage.open("subscribe=video")
    for index in range(3):
        stage.publish(VIDEO, 0, index, at=index, rendition=1)
    second, session, _ = stage.open(f"resume={first.token()}&after=0.1.0.1")
    session.writable()
    assert [(f.rendition, f.index) for f in second.frames] == [(1, 2)]


def test_a_token_is_used_once_and_elsewhere_it_brings_the_wishes_only(clock: Clock) -> None:
    stage = Stage()
    other = Resuming(Member(name="b", resume_key=stage.resuming.member.resume_key))
    stranger = Resuming(Member(name="c"))
    first, _, _ = stage.open("subscribe=video")
    stage.publish(VIDEO, 0, 0, at=0)
    query = f"resume={first.token()}&after=0.0.0.0"
    _, _, begin = stage.open(query, stranger)
    assert begin == Begin(replace(begin.query, after=()))
    elsewhere, _, begin = stage.open(query, other)
    assert (begin.goes_on, begin.former, begin.query.kinds) == (False, "", (Kind.VIDEO,))
    assert elsewhere.of(VIDEO) == [(0, 0)]
    used: list[bytes] = []
    stage.resuming._on_used = lambda number, expires_us: used.append(number)
    _, _, begin = stage.open(query)
    assert begin.goes_on
    _, _, begin = stage.open(query)
    assert not begin.goes_on
    assert len(used) == 1
    assert stage.resuming.counters == {"resumes_here": 1, "resumes_used": 1}
    assert other.counters == {"resumes_elsewhere": 1}
    assert stranger.counters == {"resumes_unreadable": 1}


def test_a_token_is_renewed_in_good_time(clock: Clock) -> None:
    wire, session, _ = Stage().open("subscribe=video")
    first = wire.token()
    clock.now += RENEW_S - 1
    session.tick(clock.now)
    assert wire.token() == first
    clock.now += 1
    session.tick(clock.now)
    assert wire.token() != first


def test_the_former_session_is_given_up_when_the_viewer_has_chosen(clock: Clock) -> None:
    stage = Stage()
    first, _, _ = stage.open("subscribe=video")
    stage.publish(VIDEO, 0, 0, at=0)
    _, session, _ = stage.open(f"resume={first.token()}&after=0.0.0.0")
    clock.now += SETTLED_S
    assert not session.delivers
    session.stream_data(CONTROL, pack(Feedback(track=VIDEO, frames_received=1)), False)
    assert session.delivers
    clock.now -= 0.001
    assert not session.delivers, "it may still keep the former one"
