"""What one message of a WebSocket holds: taken apart whatever comes, and close codes both ways."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol import messages
from wtgateway.protocol import websocket_messages as ws
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.wire import encode_frame

PING = messages.pack(messages.Ping(id=1, client_us=2))
FRAME = encode_frame(
    Frame(
        track=0,
        rendition=0,
        group=1,
        index=0,
        keyframe=True,
        pts_us=1,
        capture_us=1,
        duration_us=1,
        payload=b"abc",
    )
)


def test_what_is_made_is_taken_apart_again() -> None:
    assert ws.parse(ws.control(PING)) == (ws.MessageType.CONTROL, PING)
    assert ws.parse(ws.control(PING * 3)) == (ws.MessageType.CONTROL, PING * 3)
    assert ws.parse(ws.frame(FRAME)) == (ws.MessageType.FRAME, FRAME)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", CloseCode.MALFORMED),
        (b"\x00", CloseCode.MALFORMED),
        (b"\x02" + PING, CloseCode.MALFORMED),
        (b"\x00" + PING[:-1], CloseCode.MALFORMED),
        (b"\x00" + PING + b"\x00", CloseCode.MALFORMED),
        (b"\x00\x00\x00\x00", CloseCode.MALFORMED),
        (b"\x00\x00\x01\x00\x01" + bytes(65537), CloseCode.TOO_LARGE),
        (b"\x01", CloseCode.MALFORMED),
        (b"\x01" + FRAME[:-1], CloseCode.MALFORMED),
        (b"\x01" + FRAME + b"x", CloseCode.MALFORMED),
        (b"\x01" + FRAME + FRAME, CloseCode.MALFORMED),
    ],
)
def test_what_makes_no_sense_is_refused(message: bytes, code: CloseCode) -> None:
    with pytest.raises(ProtocolError) as refused:
        ws.parse(message)
    assert refused.value.code == code


@given(
    st.binary(max_size=400)
    | st.builds(lambda head, rest: head + rest, st.just(b"\x00") | st.just(b"\x01"), st.binary())
)
@example(ws.control(PING + PING))
def test_anything_is_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        kind, body = ws.parse(data)
    except ProtocolError as error:
        assert error.code in (CloseCode.MALFORMED, CloseCode.TOO_LARGE)
        return
    assert bytes([kind]) + body == data
    if kind is ws.MessageType.CONTROL:
        rest = body
        while rest:  # whole ones only
            size = int.from_bytes(rest[:4])
            assert len(rest) >= 4 + size
            rest = rest[4 + size :]


def test_close_codes_go_both_ways() -> None:
    for code in CloseCode:
        sent, reason = ws.to_close(code, "why")
        assert ws.from_close(sent) == code
        assert reason == "why"
    assert ws.to_close(-1, "")[0] == 1000
    assert [ws.from_close(code) for code in (1001, 1005, 1006, 3000, 4000, 5000)] == [None] * 6


@given(st.text(max_size=300))
def test_a_reason_fits_and_is_text(reason: str) -> None:
    cut = ws.to_close(1, reason.encode("utf-8", "ignore").decode())[1]
    assert len(cut.encode()) <= ws.MOST_REASON_BYTES
