"""Sessions of every draft between two ends in memory; the current one with its flow control and resets."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from aioquic.h3.connection import FrameType, Setting, encode_frame
from aioquic.h3.events import HeadersReceived
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.netsim import BAD, MOBILE, Conditions
from tests.transport.ends import Ends, Recorder
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import capsules, connect, h3codes, headers, internals
from wtgateway.transport.capsules import encode_limit
from wtgateway.transport.drafts import ALL, Draft, Limits
from wtgateway.transport.flow_control import MAX_HELD_BYTES
from wtgateway.transport.http3 import Http3Connection
from wtgateway.transport.reset_stream_at import ResetStreamAtConnection
from wtgateway.transport.urgency import Urgency

CURRENT = (Draft.DRAFT_15,)
SMALL = Limits(max_data=10_000, max_streams_uni=4, max_streams_bidi=2)


def opened(drafts: Collection[Draft] = CURRENT, limits: Limits | None = None, **arguments: object) -> Ends:
    """``limits`` are the client's: what the server may send."""
    ends = Ends(drafts=drafts, **arguments)  # type: ignore[arg-type]
    if limits is not None:
        ends.client_end.webtransport.limits = limits
    ends.run(10)
    assert ends.client.session is not None
    return ends


def client_settings(monkeypatch: pytest.MonkeyPatch, settings: dict[int, int]) -> None:
    """Have clients announce this, and nothing else."""
    usual = Http3Connection._get_local_settings
    monkeypatch.setattr(
        Http3Connection, "_get_local_settings", lambda self: settings if self._is_client else usual(self)
    )


def send_capsule(ends: Ends, capsule: bytes) -> None:
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    h3.send_data(ends.client.open.id, capsule, end_stream=False)
    ends.client_end.mark_dirty()
    ends.run()


# --- which draft -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drafts", "spoken"),
    [
        ((Draft.DRAFT_02,), Draft.DRAFT_02),
        ((Draft.DRAFT_07,), Draft.DRAFT_07),
        ((Draft.DRAFT_02, Draft.DRAFT_07), Draft.DRAFT_07),
        ((Draft.DRAFT_13,), Draft.DRAFT_13),
        ((Draft.DRAFT_15,), Draft.DRAFT_15),
        (ALL, Draft.DRAFT_15),
    ],
)
def test_both_ends_take_the_highest_draft_that_they_share(drafts: Collection[Draft], spoken: Draft) -> None:
    ends = opened(drafts)
    assert ends.server_end.webtransport.draft == ends.client_end.webtransport.draft == spoken
    for session in (ends.server.open, ends.client.open):
        assert (session.credit is not None) == (session.window is not None) == (spoken >= Draft.DRAFT_13)
        assert session.protocol == "wtgateway-1"


def test_a_client_of_draft_02_gets_what_it_always_got(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = []
    send_headers = Http3Connection.send_headers

    def record(self: Http3Connection, stream_id: int, headers: object, end_stream: bool = False) -> None:
        answers.append(headers)
        send_headers(self, stream_id, headers, end_stream)  # type: ignore[arg-type]

    monkeypatch.setattr(Http3Connection, "send_headers", record)
    ends = Ends()
    ends.run()
    assert answers[1:] == [
        [
            (b":status", b"200"),
            (b"sec-webtransport-http3-draft", b"draft02"),
            (b"wt-protocol", b'"wtgateway-1"'),
        ]
    ]
    quic, h3 = ends.server_end.quic, ends.client_end.webtransport.h3
    assert isinstance(quic, ResetStreamAtConnection)
    assert not quic.resets_at
    assert not ends.server_end.webtransport.streams.preambles_arrive
    assert h3 is not None
    assert h3.sent_settings == {
        Setting.QPACK_MAX_TABLE_CAPACITY: 0,  # the one thing that is not: see Http3Connection
        Setting.QPACK_BLOCKED_STREAMS: 0,
        Setting.ENABLE_CONNECT_PROTOCOL: 1,
        Setting.DUMMY: 1,
        Setting.H3_DATAGRAM: 1,
        Setting.ENABLE_WEBTRANSPORT: 1,
    }


def test_an_aioquic_that_cannot_be_extended_speaks_the_old_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "EXTENSIBLE", False)
    ends = opened(ALL)
    assert ends.server_end.webtransport.draft == Draft.DRAFT_07
    quic, server = ends.server_end.quic, ends.server.open
    assert isinstance(quic, ResetStreamAtConnection)
    assert not quic.resets_at
    stream_id = server.open_uni()
    server.send(stream_id, b"x")
    server.flush()
    ends.run()
    server.reset(stream_id, 42)
    server.flush()
    ends.run()
    assert ends.client.resets == {stream_id: 42}


def test_the_bytes_of_a_session_of_draft_02() -> None:
    """As they were before there were other drafts: answer, preambles, resets, drain and close."""
    written: dict[int, bytes] = {}
    acts: list[tuple[str, int, int]] = []
    ends = Ends()
    quic = ends.server_end.quic
    send, reset, stop = quic.send_stream_data, quic.reset_stream, quic.stop_stream

    def record(stream_id: int, data: bytes, end_stream: bool = False) -> None:
        written[stream_id] = written.get(stream_id, b"") + data
        send(stream_id, data, end_stream)

    quic.send_stream_data = record  # type: ignore[method-assign]
    quic.reset_stream = lambda s, code: (acts.append(("reset", s, code)), reset(s, code))[1]  # type: ignore[method-assign]
    quic.stop_stream = lambda s, code: (acts.append(("stop", s, code)), stop(s, code))[1]  # type: ignore[method-assign]
    ends.run()
    server, client = ends.server.open, ends.client.open
    control, media = server.open_bidi(), server.open_uni()
    server.send(control, b"welcome")
    server.send(media, bytes(3))
    up = client.open_uni()
    client.send(up, b"x")
    client.flush()
    ends.run()
    server.reset(media, 42)
    server.stop(up, 7)
    server.flush()
    ends.run()
    server.drain()
    server.close(5, "bye")
    ends.run()
    assert {stream_id: data.hex() for stream_id, data in written.items() if stream_id not in (3, 7, 11)} == {
        0: "01350000d92f0d4148b782c69b07522b3d895a74a6b65692c1ca9f8592c1ca900b2f01f095abb0e9390f478bfe7c"
        "2661a4be07e960ff3f0005800078ae00000a68430700000005627965",
        control: "404100" + b"welcome".hex(),
        media: "405400" + "000000",
    }
    assert acts == [
        ("reset", media, 0x52E4A40FA906), ("stop", up, 0x52E4A40FA8E2), ("reset", control, 0x170D7B68),
    ]  # fmt: skip
    assert ends.client.closes == [(5, "bye")]


def test_the_server_announces_every_draft_and_its_limits() -> None:
    ends = opened((Draft.DRAFT_02,))
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    assert h3.received_settings is not None
    announced = {key: value for key, value in h3.received_settings.items() if key > 0x33}
    assert announced == {
        0x2B603742: 1,
        0xC671706A: connect.MAX_SESSIONS,
        0x14E9CD29: connect.MAX_SESSIONS,
        0x2C7CF000: 1,
        0x2B61: connect.LIMITS.max_data,
        0x2B64: connect.LIMITS.max_streams_uni,
        0x2B65: connect.LIMITS.max_streams_bidi,
    }


@pytest.mark.parametrize(
    ("settings", "draft", "status"),
    [
        ({0x33: 1}, Draft.DRAFT_15, 200),  # the text to be published: no draft is announced
        ({0x33: 1, 0x2C7CF000: 1}, Draft.DRAFT_15, 200),
        ({0x2C7CF000: 1}, Draft.DRAFT_15, 400),  # no HTTP Datagrams
        ({0x14E9CD29: 1}, Draft.DRAFT_13, 400),
        ({0x33: 1, 0x2B603742: 1}, Draft.DRAFT_02, 200),
        ({0x33: 1, 0x2B603742: 1, 0xC671706A: 1}, Draft.DRAFT_07, 200),  # moq-rs
        ({0x33: 1, 0x2B603742: 1, 0xC671706A: 0, 0x2C7CF000: 0}, Draft.DRAFT_02, 200),
        ({}, Draft.DRAFT_02, 200),  # as it always was
    ],
)
def test_what_a_client_announces_decides(
    monkeypatch: pytest.MonkeyPatch, settings: dict[int, int], draft: Draft, status: int
) -> None:
    client_settings(monkeypatch, settings)
    ends = Ends()
    ends.run()
    assert ends.server_end.webtransport.draft == draft
    assert (ends.client.session is not None) == (status == 200)
    assert (ends.client_end.webtransport.refusal or (200, ""))[0] == status


@pytest.mark.parametrize("settings", [{0x2C7CF000: 2}, {0x2B64: (1 << 60) + 1}, {0x2B65: (1 << 62) - 1}])
def test_settings_that_cannot_be_end_the_connection(
    monkeypatch: pytest.MonkeyPatch, settings: dict[int, int]
) -> None:
    client_settings(monkeypatch, {0x33: 1} | settings)
    ends = Ends()
    ends.run()
    event = ends.client_end.quic._close_event
    assert event is not None
    assert event.error_code == 0x109  # H3_SETTINGS_ERROR


def test_a_request_that_overtakes_the_settings_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a capsule behind it; the draft is known only with the SETTINGS."""
    ends = Ends()
    quic = ends.client_end.quic
    held: list[tuple[int, bytes]] = []
    send = quic.send_stream_data

    def hold_the_control_stream(stream_id: int, data: bytes, end_stream: bool = False) -> None:
        if stream_id == 2:
            held.append((stream_id, data))
        else:
            send(stream_id, data, end_stream)

    quic.send_stream_data = hold_the_control_stream  # type: ignore[method-assign]
    client_settings(monkeypatch, {0x33: 1, 0x2C7CF000: 1, 0x2B61: 1000})
    ends.run()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    h3.send_data(0, encode_limit(capsules.MAX_STREAMS_UNI, 5), end_stream=False)
    h3.send_data(0, encode_limit(capsules.MAX_DATA, 5000), end_stream=False)
    ends.client_end.mark_dirty()
    ends.run()
    assert not ends.requests
    for stream_id, data in held:
        send(stream_id, data)
    ends.client_end.mark_dirty()
    ends.run()
    assert [request.path for request in ends.requests] == ["/test"]
    credit = ends.server.open.credit
    assert credit is not None
    assert credit.room() == 5000


@pytest.mark.parametrize("size", [1000, 100_000])
def test_what_waits_for_settings_is_bounded(size: int) -> None:
    ends = Ends()
    ends.client_end.on_connected = lambda: None
    held = ends.server_end.webtransport.connects
    for stream_id in range(0, 80, 4):
        held.request(HeadersReceived(headers=[], stream_id=stream_id, stream_ended=False))
    assert len(held.early._requests) == 16
    for stream_id in range(0, 80, 4):
        held.data(stream_id, bytes(size), fin=False)
        assert held.early._bytes <= 64 << 10
    for stream_id in range(0, 80, 4):
        held.reset(stream_id, "")
    assert (len(held.early._requests), held.early._bytes) == (0, 0)


def test_a_server_that_speaks_no_draft_of_ours_is_left() -> None:
    ends = Ends(drafts=CURRENT)
    ends.server_end.webtransport.drafts = (Draft.DRAFT_02,)
    ends.run()
    assert ends.client.session is None
    assert ends.client_end.webtransport.refusal == (
        0,
        "the server speaks no draft of WebTransport over HTTP/3 that we do",
    )
    event = ends.client_end.quic._close_event
    assert event is not None
    assert event.error_code == h3codes.REQUIREMENTS_NOT_MET


def test_without_flow_control_a_connection_has_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    client_settings(monkeypatch, {0x33: 1, 0x2C7CF000: 1})
    ends = Ends(answer=lambda _: Recorder())
    ends.run()
    second = Recorder()
    ends.request("/second", second)
    ends.run()
    assert ends.client.session is not None
    assert second.session is None
    assert ends.client_end.webtransport.refusal == (
        429,
        "without flow control there is one session a connection",
    )
    send_capsule(ends, encode_limit(capsules.MAX_DATA, 1) * 2)  # and these mean nothing
    assert not ends.client.closes


def test_a_sub_protocol_that_was_not_offered_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "choose_protocol", lambda offered, supported: "stranger")
    ends = Ends(drafts=CURRENT)
    codes: list[int] = []
    ends.server_end.webtransport._incoming.reset = (  # type: ignore[method-assign]
        lambda event: codes.append(event.error_code)
    )
    ends.run()
    assert ends.client.session is None
    assert ends.client_end.webtransport.refusal == (0, "the server chose a sub-protocol that was not offered")
    assert codes == [h3codes.ALPN_ERROR]


# --- what sessions do, in every draft --------------------------------------------------------------


@pytest.mark.parametrize("draft", Draft)
@pytest.mark.parametrize("conditions", [Conditions(delay=0.005), MOBILE, BAD])
def test_streams_and_datagrams_of_every_kind_both_ways(draft: Draft, conditions: Conditions) -> None:
    ends = opened((draft,), down=conditions, up=conditions, seed=2)
    server, client = ends.server.open, ends.client.open
    down = [server.open_uni(), server.open_bidi()]
    up = [client.open_uni(), client.open_bidi()]
    for stream_id in down:
        server.send(stream_id, bytes([stream_id]) * 30_000, True)
    frame = server.send_frame(b"frame" * 5000, Urgency.KEYFRAME)
    for stream_id in up:
        client.send(stream_id, bytes([stream_id]) * 30_000, True)
    server.flush()
    client.flush()
    ends.run(20)
    for stream_id in down:
        assert ends.client.streams[stream_id] == bytes([stream_id]) * 30_000
    assert ends.client.streams[frame] == b"frame" * 5000
    for stream_id in up:
        assert ends.server.streams[stream_id] == bytes([stream_id]) * 30_000
    assert {*down, frame} <= ends.client.finished
    assert set(up) <= ends.server.finished
    client.send(down[1], b"answer", True)
    client.flush()
    ends.run(20)
    assert ends.server.streams[down[1]] == b"answer"
    for _ in range(20):  # a packet each: what is lost together tells nothing
        server.send_datagram(b"down")
        client.send_datagram(b"up")
        server.flush()
        client.flush()
        ends.run(0.25)
    assert set(ends.client.datagrams) == {b"down"}
    assert set(ends.server.datagrams) == {b"up"}
    client.drain()
    client.close(7, "done")
    ends.run(20)
    assert server.draining
    assert ends.server.closes == [(7, "done")]


# --- flow control: what we send --------------------------------------------------------------------


def test_media_waits_for_what_the_peer_grants_and_arrives_whole() -> None:
    ends = opened(limits=SMALL)
    server = ends.server.open
    frames = [bytes([number]) * 4000 for number in range(1, 41)]
    pending = list(frames)

    def hand_over() -> None:
        while pending and server.room() > 0:
            server.send_frame(pending.pop(0), Urgency.DELTA)

    ends.server.on_writable = hand_over
    server.flush()
    ends.run(5)
    assert not pending
    assert sorted(map(bytes, ends.client.streams.values())) == frames
    assert len(ends.client.finished) == 40
    assert not ends.client.closes


def test_a_frame_larger_than_all_credit_goes_a_piece_at_a_time() -> None:
    ends = opened(limits=SMALL)
    stream_id = ends.server.open.send_frame(bytes(300_000), Urgency.KEYFRAME)
    assert ends.server.open.unsent(stream_id) >= 300_000
    assert ends.server.open.room() <= 0
    ends.server.open.flush()
    ends.run(5)
    assert ends.client.streams[stream_id] == bytes(300_000)
    assert stream_id in ends.client.finished
    assert ends.server.open.room() > 0


def test_no_more_is_sent_than_was_granted() -> None:
    ends = opened(limits=SMALL)
    ends.client_end.webtransport.connects.grant = lambda session: None  # type: ignore[method-assign]
    server = ends.server.open
    streams = [server.open_uni() for _ in range(6)]
    for stream_id in streams:
        server.send(stream_id, bytes(3000), True)
    bidi = [server.open_bidi() for _ in range(3)]
    server.flush()
    ends.run()
    assert sum(map(len, ends.client.streams.values())) == SMALL.max_data
    assert set(ends.client.streams) == set(streams[:4])
    for stream_id in bidi:
        server.send(stream_id, b"", True)
    server.flush()
    ends.run()
    assert set(ends.client.streams) == {*streams[:4], *bidi[:2]}
    assert not ends.client.closes
    ends.client_end.webtransport.lost("")


def test_the_peer_is_told_which_limits_are_in_the_way() -> None:
    ends = opened(limits=SMALL)
    ends.client_end.webtransport.connects.grant = lambda session: None  # type: ignore[method-assign]
    told: list[object] = []
    take = ends.client_end.webtransport.connects._capsule
    ends.client_end.webtransport.connects._capsule = (  # type: ignore[method-assign]
        lambda session, capsule: (told.append(capsule), take(session, capsule))[1]
    )
    server = ends.server.open
    for stream_id in [server.open_uni() for _ in range(6)]:
        server.send(stream_id, bytes(3000), True)
    server.flush()
    ends.run()
    server.flush()
    ends.run()
    assert told == [
        capsules.Blocked(capsules.STREAMS_BLOCKED_UNI, 4),
        capsules.Blocked(capsules.DATA_BLOCKED, 10_000),
    ] or told == [
        capsules.Blocked(capsules.DATA_BLOCKED, 10_000),
        capsules.Blocked(capsules.STREAMS_BLOCKED_UNI, 4),
    ]


def test_a_peer_that_grants_nothing_is_left_when_too_much_waits() -> None:
    ends = opened(limits=SMALL)
    ends.client_end.webtransport.connects.grant = lambda session: None  # type: ignore[method-assign]
    server = ends.server.open
    stream_id = server.open_uni()
    for _ in range(MAX_HELD_BYTES // 100_000 + 2):
        server.send(stream_id, bytes(100_000))
    server.flush()
    ends.run()
    assert [code for code, _ in ends.client.closes] == [CloseCode.TOO_SLOW]


def test_resets_give_back_the_credit_of_what_was_never_sent() -> None:
    """Else a session whose frames are late would starve: the peer counts the final size only."""
    ends = opened(limits=Limits(max_data=100_000, max_streams_uni=1000, max_streams_bidi=2))
    server = ends.server.open
    for round_ in range(60):
        stream_id = server.send_frame(bytes(90_000), Urgency.DELTA) if round_ % 2 else server.open_uni()
        if not round_ % 2:
            server.send(stream_id, bytes(90_000))
        server.flush()
        ends.run(0.001)
        server.reset(stream_id, 1)
        server.flush()
        ends.run(0.2)
    last = server.send_frame(bytes(90_000), Urgency.DELTA)
    server.flush()
    ends.run(2)
    assert ends.client.streams[last] == bytes(90_000)
    assert not ends.client.closes


def test_streams_that_the_peer_stops_give_their_credit_back() -> None:
    ends = opened(limits=Limits(max_data=100_000, max_streams_uni=1000, max_streams_bidi=2))
    server = ends.server.open
    ends.client.on_data = lambda stream_id, _: ends.client.open.stop(stream_id, 3)
    for _ in range(30):
        stream_id = server.open_uni()
        server.send(stream_id, bytes(90_000))
        server.flush()
        ends.run(0.3)
        server.reset(stream_id, 1)  # again, by us: it must not count twice
        assert stream_id in ends.server.stops
    credit = server.credit
    assert credit is not None
    assert credit._sent <= credit._max_data
    ends.client.on_data = lambda *_: None
    last = server.send_frame(bytes(90_000), Urgency.DELTA)
    server.flush()
    ends.run(2)
    assert ends.client.streams[last] == bytes(90_000)


def test_a_reset_and_a_stop_that_cross_give_credit_back_once() -> None:
    ends = opened(limits=Limits(max_data=100_000, max_streams_uni=1000, max_streams_bidi=2))
    server, client = ends.server.open, ends.client.open
    for _ in range(5):
        stream_id = server.open_uni()
        server.send(stream_id, bytes(90_000))
        server.flush()
        ends.run(0.006)  # the first bytes have just arrived, the last were not sent
        client.stop(stream_id, 3)
        client.flush()
        server.reset(stream_id, 1)
        server.flush()
        ends.run(0.5)
        assert ends.server.stops[stream_id] == 3
        assert server.credit is not None
        assert client.window is not None
        assert server.credit._sent == client.window._data


# --- flow control: what the peer sends -------------------------------------------------------------


def test_more_is_granted_as_it_comes() -> None:
    ends = opened()
    client = ends.client.open
    for number in range(2 * connect.LIMITS.max_streams_uni):
        stream_id = client.open_uni()
        client.send(stream_id, bytes([number & 0xFF]) * 10_000, True)
        if number % 50 == 0:
            client.flush()
            ends.run(0.5)
    client.flush()
    ends.run(5)
    assert len(ends.server.finished) == 2 * connect.LIMITS.max_streams_uni
    assert not ends.server.closes


@pytest.mark.parametrize("kind", ["uni", "bidi", "data"])
def test_more_than_was_granted_ends_the_session(kind: str) -> None:
    ends = Ends(drafts=CURRENT)
    ends.server_end.webtransport.limits = SMALL
    ends.run()
    client = ends.client.open
    client.credit = None  # a client that does not keep to it
    ends.server_end.webtransport.connects.grant = lambda session: None  # type: ignore[method-assign]
    if kind == "data":
        client.send(client.open_uni(), bytes(SMALL.max_data + 1))
    for _ in range(SMALL.max_streams_uni + 1 if kind == "uni" else 0):
        client.send(client.open_uni(), b"x")
    for _ in range(SMALL.max_streams_bidi + 1 if kind == "bidi" else 0):
        client.send(client.open_bidi(), b"x")
    client.flush()
    resets: list[int] = []
    ends.client_end.webtransport._incoming.reset = lambda event: resets.append(event.error_code)  # type: ignore[method-assign]
    ends.run()
    assert [code for code, _ in ends.server.closes] == [CloseCode.MALFORMED]
    assert h3codes.FLOW_CONTROL_ERROR in resets
    assert ends.server_end.quic._close_event is None


@pytest.mark.parametrize(
    "capsule",
    [
        encode_limit(capsules.MAX_DATA, 1 << 30) * 2,
        encode_limit(capsules.MAX_STREAMS_UNI, 2000) + encode_limit(capsules.MAX_STREAMS_UNI, 1999),
        encode_limit(capsules.MAX_STREAMS_BIDI, (1 << 60) + 1),
        encode_limit(capsules.STREAMS_BLOCKED_UNI, (1 << 60) + 1),
        encode_limit(capsules.MAX_STREAM_DATA, 1),
        encode_limit(capsules.STREAM_DATA_BLOCKED, 1),
    ],
)
def test_capsules_that_break_flow_control_end_the_session(capsule: bytes) -> None:
    ends = opened()
    codes: list[int] = []
    ends.client_end.webtransport._incoming.reset = lambda event: codes.append(event.error_code)  # type: ignore[method-assign]
    send_capsule(ends, capsule)
    assert [code for code, _ in ends.server.closes] == [CloseCode.MALFORMED]
    assert codes == [h3codes.FLOW_CONTROL_ERROR]


def test_flow_control_capsules_mean_nothing_in_draft_02() -> None:
    ends = opened((Draft.DRAFT_02,))
    send_capsule(ends, encode_limit(capsules.MAX_DATA, 1) * 2 + encode_limit(capsules.MAX_STREAM_DATA, 1))
    assert not ends.server.closes


# --- resets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("express", [True, False])
@pytest.mark.parametrize("conditions", [Conditions(delay=0.005), BAD])
def test_a_stream_reset_at_once_still_names_its_session(express: bool, conditions: Conditions) -> None:
    ends = opened(down=conditions, seed=3)
    server = ends.server.open
    quic = ends.server_end.quic
    assert isinstance(quic, ResetStreamAtConnection)
    assert quic.resets_at
    streams = [
        server.send_frame(bytes(5000), Urgency.DELTA) if express else server.open_uni() for _ in range(30)
    ]
    for stream_id in streams:
        server.reset(stream_id, 42)
    server.flush()
    ends.run(20)
    assert ends.client.resets == dict.fromkeys(streams, 42)
    assert not quic._preambles
    assert quic._loss.bytes_in_flight == 0


def test_draft_02_resets_as_it_always_did() -> None:
    ends = opened((Draft.DRAFT_02,))
    server = ends.server.open
    stream_id = server.open_uni()
    server.reset(stream_id, 42)
    server.flush()
    ends.run()
    assert ends.client.resets == {}  # the preamble never left: nobody knows whose it was
    quic = ends.server_end.quic
    assert stream_id not in quic._streams


def test_a_webtransport_stream_begins_at_a_streams_beginning() -> None:
    ends = opened()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    ends.client_end.quic.send_stream_data(ends.client.open.id, b"\x40\x41\x00")
    ends.client_end.mark_dirty()
    ends.run()
    event = ends.server_end.quic._close_event
    assert event is not None
    assert event.error_code == 0x106  # H3_FRAME_ERROR


def test_a_webtransport_stream_is_no_frame_of_a_control_stream() -> None:
    ends = opened()
    ends.client_end.quic.send_stream_data(2, encode_frame(FrameType.WEBTRANSPORT_STREAM, b""))
    ends.client_end.mark_dirty()
    ends.run()
    event = ends.server_end.quic._close_event
    assert event is not None
    assert event.error_code == 0x106


# --- hostile bytes ---------------------------------------------------------------------------------

SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
limits = st.builds(
    encode_limit,
    st.integers(capsules.MAX_DATA, capsules.STREAMS_BLOCKED_UNI),
    st.one_of(st.integers(0, 300), st.integers(0, (1 << 62) - 1)),
)


@SLOW
@given(st.lists(st.one_of(limits, st.binary(max_size=12)), max_size=8))
def test_any_capsules_end_at_most_their_session(pieces: list[bytes]) -> None:
    ends = Ends(drafts=CURRENT)
    ends.client_end.webtransport.limits = SMALL
    ends.run(0.1)
    server = ends.server.open
    for number in range(6):
        server.send(server.open_uni(), bytes([number]) * 3000, True)
    server.flush()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    for data in pieces:
        if not ends.client.closes:  # else there is no stream any more to send them on
            h3.send_data(0, data, end_stream=False)
            ends.client_end.mark_dirty()
            ends.run(0.03)
    ends.run(0.1)
    assert len(ends.server.closes) <= 1
    assert ends.server_end.quic._close_event is None
    assert ends.counters["handler_faults"] == 0
    second = Recorder()
    ends._answer = lambda _: Recorder()
    ends.request("/again", second)
    ends.run(0.1)
    assert second.session is not None


@SLOW
@given(
    st.dictionaries(
        st.sampled_from([0x33, 0x2B603742, 0x2C7CF000, 0x2B61, 0x2B64, 0x2B65, 0x14E9CD29]),
        st.one_of(st.integers(0, 2), st.integers(0, (1 << 62) - 1)),
    )
)
def test_any_settings_end_at_most_that_connection(announced: dict[int, int]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        client_settings(monkeypatch, announced)
        ends = Ends(answer=lambda _: Recorder())
        ends.run(0.2)
    assert ends.counters["handler_faults"] == 0
    assert (ends.client.session is not None) or ends.client_end.webtransport.refusal is not None
