"""RESET_STREAM_AT on aioquic's connection: the promised bytes come before the reset, whatever the order."""

from __future__ import annotations

import contextlib

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.events import StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicErrorCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.ends import Ends
from wtgateway.transport.drafts import Draft
from wtgateway.transport.reset_stream_at import FRAME_TYPE, PARAMETERS, ResetStreamAtConnection, announced
from wtgateway.transport.varint import encode_varint

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
STREAM = 4 * 20 + 2  # the client's, unidirectional, not in use


def connected(drafts: tuple[Draft, ...] = (Draft.DRAFT_15,)) -> ResetStreamAtConnection:
    """A server's connection with a client; its events so far are read."""
    ends = Ends(drafts=drafts)
    ends.run(0.2)
    quic = ends.server_end.quic
    assert isinstance(quic, ResetStreamAtConnection)
    return quic


def reset_at(
    quic: ResetStreamAtConnection, code: int, final: int, reliable: int, stream: int = STREAM
) -> None:
    data = b"".join(map(encode_varint, (stream, code, final, reliable)))
    quic._handle_reset_stream_at_frame(None, FRAME_TYPE, Buffer(data=data))


def stream_data(quic: ResetStreamAtConnection, offset: int, data: bytes, fin: bool = False) -> None:
    frame = encode_varint(STREAM) + encode_varint(offset) + encode_varint(len(data)) + data
    quic._handle_stream_frame(None, 0x0E | fin, Buffer(data=frame))


def events(quic: ResetStreamAtConnection) -> list[object]:
    """Bytes, and the codes of resets, as they were told of."""
    told: list[object] = []
    while (event := quic.next_event()) is not None:
        if isinstance(event, StreamDataReceived) and event.stream_id == STREAM:
            told.append(event.data)
        elif isinstance(event, StreamReset):
            told.append(event.error_code)
    return told


# --- the transport parameter -----------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_any_bytes_are_parameters_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert set(announced(data)) <= set(PARAMETERS)


@given(
    st.lists(st.tuples(st.integers(0, 1 << 40), st.binary(max_size=9)), max_size=6),
    st.sampled_from(PARAMETERS),
)
def test_the_parameter_is_found_among_others(others: list[tuple[int, bytes]], codepoint: int) -> None:
    encoded = [
        encode_varint(key) + encode_varint(len(value)) + value
        for key, value in others
        if key not in PARAMETERS
    ]
    for place in range(len(encoded) + 1):
        data = b"".join([*encoded[:place], encode_varint(codepoint) + b"\x00", *encoded[place:]])
        assert announced(data) == (codepoint,)
    assert announced(b"".join(encoded)) == ()


def test_a_parameter_with_a_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="not empty"):
        announced(encode_varint(PARAMETERS[0]) + b"\x01x")


def test_a_server_answers_it_to_clients_that_sent_it_and_to_no_others() -> None:
    assert connected()._announced == PARAMETERS
    old = connected((Draft.DRAFT_02,))
    assert (old._announced, old.resets_at) == ((), False)
    with pytest.raises(KeyError):
        old._QuicConnection__frame_handlers[FRAME_TYPE]  # type: ignore[attr-defined]


# --- receiving -------------------------------------------------------------------------------------


def test_what_is_promised_comes_before_the_reset() -> None:
    quic = connected()
    reset_at(quic, 42, 100, 10)
    assert events(quic) == []
    stream_data(quic, 4, b"efghij")
    assert events(quic) == []
    stream_data(quic, 0, b"abcd")
    assert events(quic) == [b"abcdefghij", 42]
    stream_data(quic, 10, b"late")
    reset_at(quic, 42, 100, 10)
    assert events(quic) == []


def test_a_reset_of_what_has_come_is_told_at_once() -> None:
    quic = connected()
    stream_data(quic, 0, b"abcdef")
    reset_at(quic, 42, 6, 6)
    assert events(quic) == [b"abcdef", 42]


def test_a_promise_may_shrink_and_not_grow() -> None:
    quic = connected()
    reset_at(quic, 42, 100, 10)
    reset_at(quic, 42, 100, 20)
    reset_at(quic, 42, 100, 5)
    stream_data(quic, 0, b"abcde")
    assert events(quic) == [b"abcde", 42]
    quic = connected()
    reset_at(quic, 42, 100, 5)
    reset_at(quic, 42, 100, 10)
    stream_data(quic, 0, b"abcde")
    assert events(quic) == [b"abcde", 42]


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([(1, 5, 6)], QuicErrorCode.FRAME_ENCODING_ERROR),
        ([(1, 1 << 30, 6)], QuicErrorCode.FLOW_CONTROL_ERROR),
        ([(1, 9, 6), (2, 9, 6)], QuicErrorCode.STREAM_STATE_ERROR),
        ([(1, 9, 6), (1, 8, 6)], QuicErrorCode.FINAL_SIZE_ERROR),
    ],
)
def test_what_no_peer_may_send(frames: list[tuple[int, int, int]], error: QuicErrorCode) -> None:
    quic = connected()
    with pytest.raises(QuicConnectionError) as caught:
        for frame in frames:
            reset_at(quic, *frame)
    assert caught.value.error_code == error


def test_bytes_beyond_the_final_size_are_an_error() -> None:
    quic = connected()
    reset_at(quic, 1, 9, 6)
    with pytest.raises(QuicConnectionError) as caught:
        stream_data(quic, 8, b"xy")
    assert caught.value.error_code == QuicErrorCode.FINAL_SIZE_ERROR
    quic = connected()
    stream_data(quic, 0, bytes(10))
    with pytest.raises(QuicConnectionError) as caught:
        reset_at(quic, 1, 9, 6)
    assert caught.value.error_code == QuicErrorCode.FINAL_SIZE_ERROR


def test_our_own_stream_cannot_be_reset_by_the_peer() -> None:
    with pytest.raises(QuicConnectionError) as caught:
        reset_at(connected(), 1, 9, 6, stream=3)
    assert caught.value.error_code == QuicErrorCode.STREAM_STATE_ERROR


def test_the_final_size_counts_against_flow_control_once() -> None:
    quic = connected()
    before = quic._local_max_data.used
    reset_at(quic, 1, 500, 6)
    reset_at(quic, 1, 500, 6)
    stream_data(quic, 0, b"abcdef")
    assert quic._local_max_data.used == before + 500


@SLOW
@given(st.data(), st.integers(0, 40), st.integers(0, 40))
def test_frames_in_any_order_and_often(data: st.DataObject, size: int, reliable: int) -> None:
    """Whatever arrives, and however often: the promised bytes, then one reset."""
    quic = connected()
    reliable = min(reliable, size)
    whole = bytes(range(size))
    frames = data.draw(
        st.lists(st.tuples(st.integers(0, size), st.integers(0, size)).map(sorted), max_size=10),
        label="pieces",
    )
    pieces: list[tuple[int, int] | None] = [(start, stop) for start, stop in frames]
    order = data.draw(st.permutations([*pieces, (0, reliable), None, None]), label="order")
    for piece in order:
        if piece is None:
            reset_at(quic, 42, size, reliable)
        else:
            stream_data(quic, piece[0], whole[piece[0] : piece[1]])
    told = events(quic)
    assert told[-1] == 42
    assert told.count(42) == 1
    delivered = b"".join(part for part in told if isinstance(part, bytes))
    assert whole.startswith(delivered)
    assert len(delivered) >= reliable


@SLOW
@given(st.binary(max_size=40))
def test_any_bytes_of_a_frame_are_an_error_of_that_connection_at_most(data: bytes) -> None:
    ends = Ends(drafts=(Draft.DRAFT_15,))
    ends.run(0.2)
    quic = ends.client_end.quic
    write = quic._write_ping_frame

    def write_frame(builder: object, *rest: object) -> None:
        write(builder, *rest)  # type: ignore[arg-type]
        buffer = builder.start_frame(FRAME_TYPE, capacity=60)  # type: ignore[attr-defined]
        buffer.push_bytes(data)

    quic._write_ping_frame = write_frame  # type: ignore[method-assign]
    quic.send_ping(1)
    ends.client_end.mark_dirty()
    ends.run(1)
    assert len(ends.server.closes) <= 1


# --- sending ---------------------------------------------------------------------------------------


def test_a_reset_waits_for_flow_control_that_its_preamble_needs() -> None:
    ends = Ends(drafts=(Draft.DRAFT_15,))
    ends.run(0.2)
    quic, server = ends.server_end.quic, ends.server.open
    granted = quic._remote_max_data
    stream_id = server.open_uni()
    quic._remote_max_data = quic._remote_max_data_used + 2  # one byte less than the preamble
    server.reset(stream_id, 42)
    server.flush()
    ends.run(0.2)
    assert ends.client.resets == {}
    quic._remote_max_data = granted
    server.flush()
    ends.run(0.2)
    assert ends.client.resets == {stream_id: 42}


def test_a_peer_without_the_extension_gets_its_preamble_and_a_plain_reset() -> None:
    ends = Ends(drafts=(Draft.DRAFT_13,))  # our client announces the extension with draft 15
    ends.run(0.2)
    quic, server = ends.server_end.quic, ends.server.open
    assert isinstance(quic, ResetStreamAtConnection)
    assert not quic.resets_at
    stream_id = server.open_uni()
    server.reset(stream_id, 42)
    server.flush()
    ends.run(0.2)
    assert ends.client.resets == {stream_id: 42}
    assert not quic._preambles
