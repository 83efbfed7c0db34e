"""The glue between core, hub and transport: what it hands over, resets and says, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from wtgateway.access.permissions import EVERYTHING, Grant
from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol.arrivals import Arrival, encode_arrivals
from wtgateway.protocol.codes import CloseCode, ResetCode
from wtgateway.protocol.fragments import decode_fragment
from wtgateway.protocol.messages import (
    CatalogMessage,
    Certificates,
    Error,
    Feedback,
    Goodbye,
    KeyframeRequest,
    Message,
    MessageReader,
    State,
    Statistics,
    Subscribed,
    Trace,
    Viewport,
    Welcome,
    pack,
)
from wtgateway.protocol.nacks import NackEntry, encode_nacks
from wtgateway.protocol.session import ServerSession, SessionLimits, parse_connect_path
from wtgateway.protocol.traces import TracedFrame
from wtgateway.protocol.wire import FrameParser
from wtgateway.transport import session as session_module
from wtgateway.transport.session import ViewerSession
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import PathStats, SessionRequest, WebTransportSession

CATALOG = Catalog(
    revision=1,
    tracks=(Track(id=0, kind=Kind.VIDEO, renditions=(Rendition(id=0, codec="avc1.42E01F", fps=30.0),)),),
)
CONTROL = 1


@dataclass
class FakeTransport:
    """Stands for a WebTransportSession whose path the test decides on."""

    request: SessionRequest = field(default_factory=lambda: SessionRequest(path="/cam", remote=("::1", 9)))
    space: int = 1_000_000
    sent: dict[int, bytes] = field(default_factory=dict)
    resets: dict[int, int] = field(default_factory=dict)
    stops: dict[int, int] = field(default_factory=dict)
    stuck: set[int] = field(default_factory=set)  # streams of which nothing has left yet
    closed_with: tuple[int, str] | None = None
    flushes: int = 0
    awaited: bool = False
    urgencies: list[Urgency] = field(default_factory=list)
    datagrams: list[tuple[Urgency, bytes]] = field(default_factory=list)
    max_datagram_bytes: int = 1_000
    arrivals: list[tuple[float, int, int]] = field(default_factory=list)
    padding_wanted: int = 0
    estimate_bps: int = 5_000_000
    wanted_bps: int = -1
    _next: int = 3

    def open_bidi(self) -> int:
        return CONTROL

    def send_frame(self, data: bytes, urgency: Urgency) -> int:
        self._next += 4
        self.urgencies.append(urgency)
        self.send(self._next, data, True)
        return self._next

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int:
        self.datagrams += [(urgency, payload) for payload in payloads]
        self.space -= sum(map(len, payloads))
        return len(payloads)

    def note_arrival(self, sent_s: float, arrived_us: int, size: int) -> None:
        self.arrivals.append((sent_s, arrived_us, size))

    def probe_bytes(self, now: float) -> int:
        return self.padding_wanted

    def set_wanted_rate(self, bits_per_second: int) -> None:
        self.wanted_bps = bits_per_second

    def await_room(self, waiting: bool) -> None:
        self.awaited = waiting

    @property
    def waiting(self) -> int:
        return len(self.stuck)

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        self.sent[stream_id] = self.sent.get(stream_id, b"") + data
        if stream_id != CONTROL:
            self.space -= len(data)

    def reset(self, stream_id: int, code: int) -> None:
        self.resets[stream_id] = code

    def stop(self, stream_id: int, code: int) -> None:
        self.stops[stream_id] = code

    def unsent(self, stream_id: int) -> int:
        return 1 if stream_id in self.stuck else 0

    unacknowledged = unsent

    def room(self) -> int:
        return self.space

    def path(self) -> PathStats:
        return PathStats(
            rtt_us=40_000, min_rtt_us=1, congestion_window=2, bytes_in_flight=3, lost_packets=4,
            sent_packets=5, mtu=1200, loss=0.01, estimate_bps=self.estimate_bps,
            estimate_bounded=True, queueing_us=0,
        )  # fmt: skip

    def flush(self) -> None:
        self.flushes += 1

    def close(self, code: int = 0, reason: str = "") -> None:
        self.closed_with = (code, reason)

    def messages(self) -> list[Message]:
        return MessageReader().feed(self.sent.get(CONTROL, b""))

    def frames(self) -> list[Frame]:
        return [f for k, data in self.sent.items() if k != CONTROL for f in FrameParser().feed(data)]


class Producer:
    def __init__(self) -> None:
        self.keyframes = 0
        self.wishes = 0

    def request_keyframe(self, track: int) -> None:
        self.keyframes += 1

    def demand_changed(self, viewers: int) -> None: ...

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None:
        self.wanted = wanted

    def wishes_changed(self) -> None:
        self.wishes += 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(session_module, "time", fake)
    return fake


GRANT = Grant(permissions=EVERYTHING)


@dataclass
class Rig:
    broadcast: Broadcast
    producer: Producer
    transport: FakeTransport
    session: ViewerSession
    closed: list[ViewerSession]
    traced: list[tuple[str, tuple[TracedFrame, ...]]]


def watching(delivery: str, grant: Grant | None = GRANT) -> Rig:
    broadcast, producer = Broadcast("cam"), Producer()
    broadcast.bind(producer)
    broadcast.set_catalog(CATALOG)
    broadcast.set_status(Status(BroadcastState.LIVE))
    core = ServerSession(
        session_id="s1",
        broadcast="cam",
        query=parse_connect_path(f"/cam?v=1&subscribe=video,audio&delivery={delivery}"),
        limits=SessionLimits(),
        now_us=0,
    )
    closed: list[ViewerSession] = []
    traced: list[tuple[str, tuple[TracedFrame, ...]]] = []
    session = ViewerSession(
        core,
        broadcast,
        certificates=[],
        on_closed=closed.append,
        on_traced=lambda *call: traced.append(call),
        grant=grant,
    )
    transport = FakeTransport()
    session.opened(cast(WebTransportSession, transport))
    return Rig(broadcast, producer, transport, session, closed, traced)


@pytest.fixture
def rig(clock: Clock) -> Rig:
    return watching("stream")


@pytest.fixture
def lossy(clock: Clock) -> Rig:
    return watching("datagram")


def with_rate(bitrate_bps: int) -> Track:
    (track,) = CATALOG.tracks
    (rendition,) = track.renditions
    return replace(track, renditions=(replace(rendition, bitrate_bps=bitrate_bps),))


def frame(group: int, index: int, size: int = 100) -> Frame:
    return Frame(
        track=0, rendition=0, group=group, index=index, keyframe=index == 0, pts_us=index, capture_us=index,
        duration_us=33_333, payload=bytes(size),
    )  # fmt: skip


def kinds(messages: list[Message]) -> list[type[Message]]:
    return [type(m) for m in messages]


def test_a_viewer_is_told_everything_before_it_asks(rig: Rig) -> None:
    told = kinds(rig.transport.messages())
    assert told[0] is Welcome
    assert {Certificates, State, CatalogMessage, Subscribed} <= set(told)


def test_a_join_asks_for_a_keyframe_and_begins_with_it(rig: Rig) -> None:
    assert rig.producer.keyframes == 1
    rig.broadcast.publish(frame(7, 3))
    rig.broadcast.publish(frame(8, 0))
    rig.broadcast.publish(frame(8, 1))
    rig.session.writable()
    assert [(f.group, f.index) for f in rig.transport.frames()] == [(8, 0), (8, 1)]


def test_frames_wait_above_quic_while_the_path_is_full(rig: Rig) -> None:
    rig.transport.space = 1
    for index in range(3):
        rig.broadcast.publish(frame(0, index))
    rig.session.writable()
    assert len(rig.transport.frames()) == 1
    assert rig.transport.awaited
    rig.transport.space = 10_000
    rig.session.writable()
    assert [f.index for f in rig.transport.frames()] == [0, 1, 2]
    assert rig.transport.urgencies == [Urgency.KEYFRAME, Urgency.DELTA, Urgency.DELTA]
    assert not rig.transport.awaited


def test_a_late_stream_is_reset_and_the_group_given_up(rig: Rig, clock: Clock) -> None:
    rig.broadcast.publish(frame(0, 0))
    rig.session.writable()
    before = set(rig.transport.sent)
    clock.now += 2.0  # so much later that nothing waits for the keyframe any more
    rig.broadcast.publish(frame(0, 1))
    rig.session.writable()
    (stream,) = (k for k in rig.transport.sent if k not in before)
    rig.transport.stuck.add(stream)
    asked = rig.producer.keyframes
    clock.now += 0.6
    rig.session.tick(clock.now)
    assert rig.transport.resets == {stream: ResetCode.LATE}
    assert rig.session.streams_reset == 1
    rig.broadcast.publish(frame(0, 2))
    rig.session.writable()
    assert len(rig.transport.frames()) == 2
    assert rig.producer.keyframes == asked + 1


def test_a_stream_that_arrived_is_forgotten(rig: Rig, clock: Clock) -> None:
    rig.broadcast.publish(frame(0, 0))
    rig.session.writable()
    clock.now += 10
    rig.session.tick(clock.now)
    assert rig.transport.resets == {}


def test_malformed_control_bytes_close_this_session_with_words(rig: Rig) -> None:
    rig.session.stream_data(CONTROL, b"\0\0\0\1\xc1", False)
    assert rig.transport.closed_with is not None
    assert rig.transport.closed_with[0] == CloseCode.MALFORMED
    rig.session.closed(CloseCode.MALFORMED, "")
    assert rig.closed == [rig.session]
    assert rig.broadcast.viewers == 0


def test_other_streams_of_a_viewer_are_refused(rig: Rig) -> None:
    rig.session.stream_data(2, b"hello", True)
    assert rig.transport.stops == {2: ResetCode.UNEXPECTED}
    assert rig.transport.closed_with is None


def test_a_keyframe_request_reaches_the_producer(rig: Rig, clock: Clock) -> None:
    rig.broadcast.publish(frame(0, 0))
    asked = rig.producer.keyframes
    clock.now += 1
    rig.session.stream_data(CONTROL, pack(KeyframeRequest(track=0, reason="decoder")), False)
    assert rig.producer.keyframes == asked + 1


def test_frames_go_in_datagrams_as_there_is_room(lossy: Rig) -> None:
    lossy.broadcast.publish(frame(0, 0, size=5_000))
    lossy.transport.space = 2_500
    lossy.session.writable()
    assert len(lossy.transport.datagrams) == 3, "a little more than there is room for"
    assert lossy.transport.awaited
    lossy.transport.space = 10_000
    lossy.session.writable()
    pieces = [
        decode_fragment(data) for urgency, data in lossy.transport.datagrams if urgency is Urgency.KEYFRAME
    ]
    assert [(piece.number, piece.count) for piece in pieces] == [(n, 6) for n in range(6)]
    whole = b"".join(piece.data for piece in pieces)
    assert FrameParser().feed(whole) == [frame(0, 0, size=5_000)]
    assert not lossy.transport.awaited


def test_a_keyframe_is_asked_for_when_the_path_opens_and_not_before(rig: Rig, clock: Clock) -> None:
    rig.broadcast.publish(frame(0, 0))
    rig.session.writable()
    rig.transport.space = 0
    asked = rig.producer.keyframes
    for index in range(1, 100):  # a tunnel of three seconds
        clock.now += 1 / 30
        rig.broadcast.publish(frame(0, index))
        rig.session.writable()
        rig.session.tick(clock.now)
    assert rig.producer.keyframes == asked
    assert rig.transport.awaited, "the first acknowledgement wakes the session"
    rig.transport.space = 10_000
    rig.session.writable()
    assert rig.producer.keyframes == asked + 1
    assert not rig.transport.awaited


def test_what_a_viewer_lacks_is_sent_again(lossy: Rig, clock: Clock) -> None:
    lossy.broadcast.publish(frame(0, 0, size=5_000))
    lossy.session.writable()
    del lossy.transport.datagrams[:]
    clock.now += 0.05
    flushes = lossy.transport.flushes
    lossy.session.datagram(encode_nacks([NackEntry(0, 0, 0, 0, 2, 3)]))
    assert lossy.transport.flushes == flushes + 1
    lossy.session.writable()
    again = [(urgency, decode_fragment(data).number) for urgency, data in lossy.transport.datagrams]
    assert again == [(Urgency.RETRANSMISSION, 2), (Urgency.RETRANSMISSION, 3)]


def test_arrivals_are_paired_with_when_frames_were_sent(lossy: Rig, clock: Clock) -> None:
    lossy.broadcast.publish(frame(0, 0, size=500))
    lossy.session.writable()
    sent = clock.now
    clock.now += 0.1
    came = [Arrival(0, 0, index, True, False, 576, 7_000, 8_000) for index in range(2)]
    lossy.session.datagram(encode_arrivals(came))
    assert lossy.transport.arrivals == [(sent, 7_000, 576)], "of the frame that was sent"


@pytest.mark.parametrize("data", [b"\x20", b"\x20\x00", b"\x21\x01", b"\x20\x01" + bytes(13)])
def test_malformed_datagrams_close_this_session_with_words(lossy: Rig, data: bytes) -> None:
    lossy.session.datagram(data)
    assert lossy.transport.closed_with is not None
    assert lossy.transport.closed_with[0] == CloseCode.MALFORMED
    assert kinds(lossy.transport.messages())[-1] is Error


def test_a_flood_of_datagrams_closes_this_session(lossy: Rig) -> None:
    nack = encode_nacks([NackEntry(0, 0, 9, 9, 0, 0)])
    for _ in range(2_000):
        lossy.session.datagram(nack)
        if lossy.transport.closed_with is not None:
            break
    assert lossy.transport.closed_with is not None
    assert lossy.transport.closed_with[0] == CloseCode.FLOOD


@pytest.mark.parametrize("data", [b"", b"\x7f", b"\x10" + bytes(40)])
def test_datagrams_of_later_versions_are_ignored(lossy: Rig, data: bytes) -> None:
    lossy.session.datagram(data)
    assert lossy.transport.closed_with is None


def test_padding_probes_the_path_only_while_nothing_else_is_to_be_sent(lossy: Rig, rig: Rig) -> None:
    for each in (lossy, rig):
        each.transport.padding_wanted = 1_500
        each.session.writable()
    assert [(urgency, data[0]) for urgency, data in lossy.transport.datagrams] == [(Urgency.FEC, 0x1F)] * 2
    assert rig.transport.datagrams == [], "who takes streams only was not told of padding"
    lossy.transport.space = 0
    lossy.broadcast.publish(frame(0, 0))
    lossy.session.writable()
    assert len(lossy.transport.datagrams) == 2


def test_what_the_path_carries_becomes_a_wish_and_a_bound_for_probing(rig: Rig, clock: Clock) -> None:
    rig.broadcast.set_catalog(replace(CATALOG, tracks=(with_rate(4_000_000),)))
    rig.transport.estimate_bps = 1_000_000
    clock.now += 1
    rig.session.tick(clock.now)
    ((wish, viewers),) = rig.broadcast.wishes
    assert (wish.track, wish.rendition, viewers) == (0, 0, 1)
    assert 500_000 < wish.bitrate_bps < 1_000_000
    assert rig.producer.wishes > 0
    assert rig.transport.wanted_bps > 4_000_000
    rig.session.closed(0, "")
    assert rig.broadcast.wishes == ()


def test_a_hidden_page_gets_no_pictures_until_it_is_seen(rig: Rig, clock: Clock) -> None:
    rig.broadcast.publish(frame(0, 0))
    rig.session.writable()
    rig.session.stream_data(CONTROL, pack(Viewport(width=640, height=360, visible=0)), False)
    for _ in range(20):
        clock.now += 0.25
        rig.session.tick(clock.now)
    assert rig.session.core.wanted() == frozenset()
    before = len(rig.transport.frames())
    rig.broadcast.publish(frame(0, 1))
    rig.session.writable()
    assert len(rig.transport.frames()) == before
    rig.session.stream_data(CONTROL, pack(Viewport(width=640, height=360, visible=1)), False)
    assert rig.session.core.wanted() == {(0, 0)}
    rig.session.writable()
    assert [f.index for f in rig.transport.frames()[before:]] == [0, 1], "at once, of the cached group"


def test_statistics_come_once_a_second_with_the_paths_figures(rig: Rig, clock: Clock) -> None:
    before = kinds(rig.transport.messages()).count(Statistics)
    for _ in range(4):
        clock.now += 0.25
        rig.session.tick(clock.now)
    told = [m for m in rig.transport.messages() if isinstance(m, Statistics)]
    assert len(told) == before + 1
    assert (told[-1].rtt_us, told[-1].lost_packets) == (40_000, 4)


def test_feedback_is_kept_for_the_operator(rig: Rig) -> None:
    rig.session.stream_data(CONTROL, pack(Feedback(track=0, frames_painted=5)), False)
    assert rig.session.feedback[0].frames_painted == 5


def test_traces_are_counted_for_their_broadcast_and_nonsense_ends_this_session(rig: Rig) -> None:
    good = {"track": 0, "group": 1, "index": 2, "stages": [*range(9)]}
    rig.session.stream_data(CONTROL, pack(Trace(frames=[good])), False)
    assert rig.traced == [("cam", (TracedFrame(0, 1, 2, tuple(range(9))),))]
    rig.session.stream_data(CONTROL, pack(Trace(frames=[good | {"stages": [-1] * 9}])), False)
    assert rig.transport.closed_with is not None
    assert rig.transport.closed_with[0] == CloseCode.MALFORMED
    assert len(rig.traced) == 1


async def test_who_has_to_leave_is_told_so_and_nothing_more(rig: Rig) -> None:
    rig.session.on_frame(frame(1, 0), b"x", Kind.VIDEO)
    rig.session.writable()
    (stream,) = (stream for stream in rig.transport.sent if stream != CONTROL)
    rig.session.part(CloseCode.GOING_AWAY, "restarting", 500)
    last = rig.transport.messages()[-1]
    assert isinstance(last, Goodbye)
    assert (last.code, last.reason, last.retry_after_ms) == (CloseCode.GOING_AWAY, "restarting", 500)
    assert stream in rig.transport.resets
    assert rig.transport.closed_with is None
    assert rig.broadcast.viewers == 0
    said = rig.transport.messages()
    rig.session.part(CloseCode.KICKED, "another reason")
    rig.session.stream_data(CONTROL, b"\xff" * 100, False)  # nothing that it says matters any more
    rig.session.datagram(b"\xff")
    rig.session.tick(1e6)
    rig.session.writable()
    assert rig.transport.messages() == said
    rig.session.closed(0, "the viewer closed")
    assert rig.session.end == (CloseCode.GOING_AWAY, "restarting")


async def test_a_token_that_is_good_too_late_begins_nothing(clock: Clock) -> None:
    rig = watching("stream", grant=None)
    rig.session.part(CloseCode.UNAUTHORIZED, "no token in time")
    rig.session.granted(GRANT)
    assert rig.broadcast.viewers == 0
    assert isinstance(rig.transport.messages()[-1], Goodbye)
    rig.session.closed(0, "the viewer closed")
    in_time = watching("stream", grant=None)
    in_time.session.granted(GRANT)
    assert in_time.broadcast.viewers == 1


async def test_who_has_to_leave_and_does_not_is_closed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "PARTING_S", 0.0)
    closed = asyncio.Event()
    monkeypatch.setattr(rig.transport, "flush", lambda: None)
    monkeypatch.setattr(rig.transport, "close", lambda code, reason: (closed.set(), close(code, reason)))
    close = FakeTransport.close.__get__(rig.transport)
    rig.session.part(CloseCode.REVOKED, "taken back", -1)
    await asyncio.wait_for(closed.wait(), 5)
    assert rig.transport.closed_with == (CloseCode.REVOKED, "taken back")


def test_a_viewers_goodbye_closes_in_order(rig: Rig) -> None:
    rig.session.stream_data(CONTROL, pack(Goodbye(code=0)), False)
    assert rig.transport.closed_with is not None
    assert rig.transport.closed_with[0] == CloseCode.NORMAL


def test_nothing_is_sent_after_the_end(rig: Rig) -> None:
    rig.session.closed(0, "")
    before = dict(rig.transport.sent)
    rig.broadcast.publish(frame(0, 0))
    rig.session.tick(1e9)
    rig.session.set_certificates([])
    assert rig.transport.sent == before
