"""WebTransport sessions between two ends in memory."""

from __future__ import annotations

import logging

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import encode_frame

from tests.netsim import BAD, MOBILE, Conditions
from tests.transport.ends import Ends, Recorder
from wtgateway.errors import TransportError
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport.lane import SHALLOW_S
from wtgateway.transport.media_queue import MAX_DATAGRAM_BYTES
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import LOST, Refusal, SessionRequest


def opened(**arguments: object) -> Ends:
    ends = Ends(**arguments)  # type: ignore[arg-type]
    ends.run()
    assert ends.client.session is not None
    return ends


def test_a_session_opens_in_two_round_trips() -> None:
    ends = Ends(down=Conditions(delay=0.050))
    ends.client.on_opened = lambda _: opened_at.append(ends.time.now)
    opened_at: list[float] = []
    start = ends.time.now
    ends.run()
    assert opened_at[0] - start == pytest.approx(0.200, abs=0.005)
    assert ends.requests[0].path == "/test"
    assert ends.requests[0].origin == "https://page.example"
    assert ends.client.open.protocol == ends.server.open.protocol == "wtgateway-1"


def test_settings_leave_in_the_servers_first_flight() -> None:
    ends = Ends(down=Conditions(delay=0.050))
    ends.run(0.101)
    assert ends.client_end.webtransport.h3 is not None
    assert ends.client_end.webtransport.h3.received_settings is not None


def test_a_refusal_has_its_status_and_words() -> None:
    ends = Ends(answer=lambda _: Refusal(404, "no such broadcast"))
    ends.run()
    assert ends.client_end.webtransport.refusal == (404, "no such broadcast")
    assert ends.client.session is None
    assert ends.counters["sessions_refused"] == 1


def test_streams_of_every_kind_carry_bytes() -> None:
    ends = opened()
    payload = bytes(range(256)) * 400
    uni = ends.server.open.open_uni()
    bidi = ends.server.open.open_bidi()
    ends.server.open.send(uni, payload, True)
    ends.server.open.send(bidi, b"welcome")
    ends.server.open.flush()
    ends.client.on_data = lambda stream_id, _: stream_id == bidi and ends.client.open.send(bidi, b"answer")
    mine = ends.client.open.open_bidi()
    ends.client.open.send(mine, b"question", True)
    up = ends.client.open.open_uni()
    ends.client.open.send(up, b"", True)
    ends.client.open.flush()
    ends.run()
    assert ends.client.streams[uni] == payload
    assert uni in ends.client.finished
    assert ends.client.streams[bidi] == b"welcome"
    assert ends.server.streams[bidi] == b"answer"
    assert ends.server.streams[mine] == b"question"
    assert {mine, up} <= ends.server.finished


def test_the_answer_on_a_stream_we_opened_is_not_read_as_http3() -> None:
    ends = opened()
    bidi = ends.server.open.open_bidi()
    ends.server.open.send(bidi, b"x")
    ends.server.open.flush()
    ends.run()
    goaway = encode_frame(0x7, b"\x00")  # would be an error on a request stream
    ends.client.open.send(bidi, goaway)
    ends.client.open.flush()
    ends.run()
    assert ends.server.streams[bidi] == goaway
    assert not ends.server.closes


def test_resets_and_stops_carry_application_codes_both_ways() -> None:
    ends = opened()
    down = ends.server.open.open_uni()
    ends.server.open.send(down, bytes(100))
    ends.server.open.flush()
    ends.run()
    ends.server.open.reset(down, 42)
    ends.server.open.flush()
    up = ends.client.open.open_uni()
    ends.client.open.send(up, bytes(100))
    ends.client.open.flush()
    ends.run()
    assert ends.client.resets == {down: 42}
    ends.server.open.stop(up, 0xFFFFFFFF)
    ends.server.open.flush()
    ends.run()
    assert ends.client.stops == {up: 0xFFFFFFFF}
    assert ends.server.resets == {up: 0xFFFFFFFF}  # QUIC answers STOP_SENDING with RESET_STREAM


def test_bytes_for_a_stopped_stream_are_dropped_and_counted() -> None:
    ends = opened()
    down = ends.server.open.open_uni()
    ends.server.open.send(down, b"x")
    ends.server.open.flush()
    ends.run()
    ends.client.open.stop(down, 3)
    ends.client.open.flush()
    ends.run()
    assert ends.server.stops == {down: 3}
    ends.server.open.send(down, b"more")
    ends.server.open.reset(down, 1)
    assert ends.counters["late_writes"] + ends.counters["late_resets"] >= 1 or not ends.server.open.unsent(
        down
    )
    assert not ends.server.closes


def test_a_stream_of_another_session_cannot_be_written() -> None:
    ends = opened()
    second = Recorder()
    ends._answer = lambda _: Recorder()
    ends.request("/second", second)
    ends.run()
    stream = second.open.open_uni()
    ends.client.open.send(stream, b"stolen", True)
    second.open.send(stream, b"own", True)
    second.open.flush()
    assert second.open.unsent(stream) > 0
    ends.run()
    assert ends.client.open.unsent(stream) == 0


def test_several_sessions_share_a_connection() -> None:
    servers: dict[str, Recorder] = {}

    def answer(request: SessionRequest) -> Recorder | Refusal:
        if request.path == "/missing":
            return Refusal(404, "no")
        servers[request.path] = Recorder()
        return servers[request.path]

    ends = opened(answer=answer, path="/a")
    clients = {"/b": Recorder(), "/missing": Recorder(), "/c": Recorder()}
    for path, handler in clients.items():
        ends.request(path, handler)
    ends.run()
    assert clients["/missing"].session is None
    for path in ("/b", "/c"):
        session = servers[path].open
        stream = session.open_uni()
        session.send(stream, path.encode(), True)
        session.flush()
        assert session.send_datagram(path.encode())
    ends.run()
    for path in ("/b", "/c"):
        assert list(clients[path].streams.values()) == [path.encode()]
        assert clients[path].datagrams == [path.encode()]
    assert not ends.client.streams
    servers["/b"].open.close(5, "b is over")
    ends.run()
    assert clients["/b"].closes == [(5, "b is over")]
    assert not clients["/c"].closes
    assert not ends.client.closes


def test_room_is_looked_out_for_as_long_as_some_session_waits_for_it() -> None:
    """Else the connection of a viewer who left while frames waited would be visited again and again."""
    ends = opened(answer=lambda _: Recorder())
    ends.request("/other", Recorder())
    ends.run()
    first, second = ends.server_end.webtransport.sessions.values()
    lane = ends.server_end.webtransport.lane
    first.await_room(True)
    second.await_room(False)
    assert lane.hungry
    second.await_room(True)
    first.close(0, "over")
    assert lane.hungry
    ends.run()
    second.close(0, "over")
    assert not lane.hungry


def test_at_most_so_many_sessions_on_a_connection() -> None:
    ends = opened(answer=lambda _: Recorder())
    clients = [Recorder() for _ in range(20)]
    for handler in clients:
        ends.request("/more", handler)
    ends.run()
    assert sum(handler.session is not None for handler in clients) == 15
    assert ends.client_end.webtransport.refusal is not None
    assert ends.client_end.webtransport.refusal[0] == 429


@pytest.mark.parametrize("closer", ["server", "client"])
def test_a_close_tells_both_ends_once(closer: str) -> None:
    ends = opened()
    handler: Recorder = getattr(ends, closer)
    handler.open.close(CloseCode.GOING_AWAY, "back soon")
    assert handler.closes == []  # never from inside close()
    handler.open.close(9, "twice")
    ends.run()
    ends.run(60)
    assert ends.server.closes == ends.client.closes == [(CloseCode.GOING_AWAY, "back soon")]


def test_what_a_client_said_before_its_close_arrives() -> None:
    ends = opened()
    control = ends.client.open.open_bidi()
    ends.client.open.send(control, b"goodbye")
    ends.client.open.close(1, "")
    ends.run()
    assert ends.server.streams[control] == b"goodbye"
    assert ends.server.closes == [(1, "")]


def test_a_server_resets_its_streams_before_it_closes_the_session() -> None:
    """A browser that is told first of the session's end may break down over streams that it reads."""
    ends = opened()
    streams = [ends.server.open.open_bidi(), ends.server.open.open_uni()]
    for stream in streams:
        ends.server.open.send(stream, b"x")
    ends.server.open.flush()
    ends.run()
    assert set(streams) == set(ends.client.streams)
    ends.client.on_closed = lambda: reset.update(ends.client.resets)
    reset: dict[int, int] = {}
    ends.server.open.close(1, "")
    ends.run()
    assert set(reset) == set(streams)


def test_streams_of_a_closed_session_are_reset() -> None:
    ends = opened()
    stream = ends.server.open.open_uni()
    ends.server.open.send(stream, bytes(1_000_000))
    ends.server.open.flush()
    ends.run(0.006)
    ends.server.open.close(0, "")
    ends.run()
    assert stream not in ends.client.finished
    assert ends.server_end.quic._loss.bytes_in_flight == 0
    assert stream not in ends.server_end.quic._streams


def test_a_closed_session_takes_nothing_and_raises_only_for_new_streams() -> None:
    ends = opened()
    session = ends.server.open
    stream = session.open_uni()
    session.close()
    session.send(stream, b"x")
    session.reset(stream, 1)
    session.stop(stream, 1)
    session.flush()
    assert session.room() == 0
    assert not session.send_datagram(b"x")
    with pytest.raises(TransportError):
        session.open_uni()


def test_a_broken_connection_ends_its_sessions_at_once() -> None:
    ends = opened()
    ends.client_end.quic.close(error_code=0x100, reason_phrase="page closed")
    ends.client_end.flush()
    ends.run(0.006)
    assert ends.server.closes == [(LOST, "page closed")]


def test_silence_ends_sessions_by_the_idle_timeout() -> None:
    ends = opened()
    ends.down.conditions = ends.up.conditions = Conditions(loss=1.0, burst=1.0)
    ends.run(100)
    assert [code for code, _ in ends.server.closes] == [LOST]
    assert [code for code, _ in ends.client.closes] == [LOST]


def test_a_fault_of_a_handler_ends_that_session_only(caplog: pytest.LogCaptureFixture) -> None:
    faulty = Recorder()

    def fail(*_: object) -> None:
        raise RuntimeError("bug")

    faulty.on_data = fail
    ends = opened(answer=lambda request: faulty if request.path == "/faulty" else Recorder())
    client = Recorder()
    ends.request("/faulty", client)
    ends.run()
    with caplog.at_level(logging.ERROR):
        stream = client.open.open_uni()
        client.open.send(stream, b"x", True)
        client.open.flush()
        ends.run()
    assert client.closes == [(CloseCode.INTERNAL, "the gateway failed")]
    assert not ends.client.closes
    assert "bug of the gateway" in caplog.text


def test_datagrams_fit_or_are_refused_and_never_stall_the_queue() -> None:
    ends = opened()
    session = ends.server.open
    largest = session.max_datagram_bytes
    assert 1100 < largest < 1200
    assert session.send_datagram(bytes(largest))
    assert not session.send_datagram(bytes(largest + 1))
    session.flush()
    ends.run()
    assert session.send_datagram(b"after")
    session.flush()
    ends.run()
    assert ends.client.datagrams == [bytes(largest), b"after"]


def test_the_datagram_queue_is_bounded() -> None:
    ends = opened()
    taken = [ends.server.open.send_datagram(bytes(1000)) for _ in range(1000)]
    assert 0 < taken.count(True) * 1000 < MAX_DATAGRAM_BYTES
    assert not any(taken[taken.count(True) :])
    ends.server.open.flush()
    ends.run(2)
    assert len(ends.client.datagrams) == taken.count(True)
    assert ends.server.open.send_datagram(b"x")  # there is room again


def test_datagrams_are_taken_in_batches_from_the_first_on() -> None:
    ends = opened()
    session = ends.server.open
    payloads = [bytes([number]) * 700 for number in range(20)]
    assert session.send_datagrams(payloads, Urgency.DELTA) == 20
    too_large = [b"small", bytes(2000), b"small"]
    assert session.send_datagrams(too_large, Urgency.DELTA) == 1
    session.flush()
    ends.run()
    assert ends.client.datagrams == [*payloads, b"small"]


def test_room_falls_with_what_is_handed_over_and_comes_back_with_acks() -> None:
    ends = opened(down=Conditions(delay=0.020))
    session = ends.server.open
    before = session.room()
    assert before == pytest.approx(
        2 * 64 * 1024 / 0.040 * SHALLOW_S, rel=0.1
    )  # twice the window a round trip
    stream = session.open_uni()
    session.send(stream, bytes(200_000), True)
    assert session.room() <= before - 200_000
    assert session.unsent(stream) == 200_000 + 3
    session.flush()
    calls: list[int] = []
    ends.server.on_writable = lambda: calls.append(session.room())
    ends.run(1)
    assert session.unsent(stream) == session.unacknowledged(stream) == 0
    assert max(calls) >= before
    path = session.path()
    assert path.rtt_us == pytest.approx(40_000, rel=0.1)
    assert path.bytes_in_flight == 0
    assert path.mtu == 1200


def test_no_room_while_the_peers_stream_limit_is_reached() -> None:
    ends = opened()
    for _ in range(200):
        ends.server.open.send(ends.server.open.open_uni(), b"x")
    assert ends.server.open.room() <= 0


def test_a_long_life_of_streams_leaves_nothing_behind() -> None:
    ends = opened()
    for _ in range(40):
        for _ in range(50):
            ends.server.open.send(ends.server.open.open_uni(), bytes(10), True)
        ends.server.open.flush()
        ends.run(0.1)
    connection = ends.server_end.webtransport
    assert len(ends.client.finished) == 2000
    assert len(connection.streams) <= 600
    assert len(ends.server_end.quic._streams) < 60


@pytest.mark.parametrize("conditions", [MOBILE, BAD])
@pytest.mark.parametrize("seed", range(3))
def test_sessions_live_through_loss_reordering_and_duplicates(conditions: Conditions, seed: int) -> None:
    def on_opened(session: object) -> None:
        control = ends.server.open.open_bidi()
        ends.server.open.send(control, b"welcome")
        for n in range(20):
            ends.server.open.send(ends.server.open.open_uni(), bytes([n]) * 5000, True)

    ends = Ends(down=conditions, up=conditions, seed=seed)
    ends.server.on_opened = on_opened
    ends.run(20)
    assert sorted(bytes(data) for data in ends.client.streams.values() if len(data) == 5000) == [
        bytes([n]) * 5000 for n in range(20)
    ]
    assert b"welcome" in ends.client.streams.values()
    ends.client.open.close(3, "enough")
    ends.run(20)
    assert ends.server.closes == [(3, "enough")]


# --- what a hostile peer may do -------------------------------------------------------------------


def test_an_unfinished_header_frame_is_bounded() -> None:
    ends = opened()
    quic = ends.client_end.quic
    stream = quic.get_next_available_stream_id()
    quic.send_stream_data(stream, encode_uint_var(1) + encode_uint_var(1 << 30) + bytes(100_000))
    ends.client_end.mark_dirty()
    ends.run()
    assert ends.server.closes == [(LOST, "an HTTP/3 frame is over its limit")]
    assert ends.counters["malformed"] == 1


def test_bytes_out_of_order_are_bounded() -> None:
    ends = opened()
    quic = ends.client_end.quic
    streams = [ends.client.open.open_uni() for _ in range(12)]
    for stream in streams:  # the first bytes never leave, the rest does
        sender = quic._streams[stream].sender
        sender.write(bytes(240_000))
        sender._pending.subtract(0, 1)
    ends.client_end.mark_dirty()
    ends.run(5)
    assert ends.server.closes == [(LOST, "too many bytes out of order")]


def test_streams_for_sessions_that_are_not_there_are_rejected() -> None:
    ends = opened()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    for session_id in (400, 404):
        for _ in range(20):
            stream = h3.create_webtransport_stream(session_id, is_unidirectional=True)
            ends.client_end.quic.send_stream_data(stream, bytes(4000))
    ends.client_end.mark_dirty()
    ends.run()
    assert not ends.server.closes
    assert ends.server_end.webtransport._incoming._early._bytes <= 64 << 10


def test_a_stream_for_an_impossible_session_closes_the_connection() -> None:
    ends = opened()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    ends.client_end.quic.send_stream_data(h3.create_webtransport_stream(401, is_unidirectional=True), b"x")
    ends.client_end.mark_dirty()
    ends.run()
    assert [code for code, _ in ends.server.closes] == [LOST]


@pytest.mark.parametrize("data", [b"\x68\x43\x03abc", b"\x68\x43\x44\x05", b"\x68\x43\x04\0\0\0\0\0"])
def test_a_malformed_capsule_ends_the_session_not_the_connection(data: bytes) -> None:
    ends = opened()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    h3.send_data(ends.client.open.id, data, end_stream=False)
    ends.client_end.mark_dirty()
    ends.run()
    assert len(ends.server.closes) == 1
    second = Recorder()
    ends._answer = lambda _: Recorder()
    ends.request("/again", second)
    ends.run()
    assert second.session is not None


def test_a_connect_stream_that_just_ends_is_a_close_without_words() -> None:
    ends = opened()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    h3.send_data(ends.client.open.id, b"", end_stream=True)
    ends.client_end.mark_dirty()
    ends.run()
    assert ends.server.closes == [(0, "")]


def test_a_connect_stream_that_is_reset_loses_the_session() -> None:
    ends = opened()
    ends.client_end.quic.reset_stream(ends.client.open.id, 0x10C)
    ends.client_end.mark_dirty()
    ends.run()
    assert [code for code, _ in ends.server.closes] == [LOST]


def test_a_plain_request_is_told_where_it_is() -> None:
    ends = opened()
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    get = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]
    h3.send_headers(ends.client_end.quic.get_next_available_stream_id(), get, end_stream=True)
    ends.client_end.mark_dirty()
    ends.run()
    assert not ends.server.closes
    assert len(ends.requests) == 1
    assert ends.counters["sessions_refused"] == 1


def test_a_stream_over_the_peers_limit_is_not_reset_before_the_limit_allows() -> None:
    """aioquic would send RESET_STREAM for a stream that may not be opened; browsers then close."""
    ends = opened()
    quic, session = ends.server_end.quic, ends.server.open
    allowed = quic._remote_max_streams_uni
    quic._remote_max_streams_uni = quic._local_next_stream_id_uni // 4  # the peer allows no more
    stream_id = session.open_uni()
    session.send(stream_id, b"x", True)
    session.reset(stream_id, 1)
    session.flush()
    ends.run()
    assert ends.client.resets == {}
    quic._remote_max_streams_uni = allowed
    quic._unblock_streams(is_unidirectional=True)
    session.flush()
    ends.run()
    assert quic._streams.get(stream_id) is None  # reset, acknowledged and forgotten
    assert ends.client.closes == []
