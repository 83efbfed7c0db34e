"""What one message of a WebSocket holds (docs/protocol.md, "Over a WebSocket"). Pure."""

from __future__ import annotations

import enum

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import MAX_MESSAGE_BYTES
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES

MOST_VIEWER_BYTES = 1 + 4 + MAX_MESSAGE_BYTES  # of one message of a viewer
MOST_FRAME_BYTES = 1 + FRAME_HEADER_BYTES + MAX_PAYLOAD_BYTES
NORMAL, FIRST_CODE = 1000, 4000
MOST_REASON_BYTES = 123  # RFC 6455, section 5.5: 125 with the code
_LENGTH_BYTES = 4


class MessageType(enum.IntEnum):
    """The first octet."""

    CONTROL = 0
    FRAME = 1


def control(data: bytes) -> bytes:
    """The message that carries whole control messages."""
    return b"\x00" + data


def frame(data: bytes) -> bytes:
    """The message that carries a frame object."""
    return b"\x01" + data


def parse(message: bytes) -> tuple[MessageType, bytes]:
    """The type of a message and what it carries: whole control messages, or one frame object.

    What is inside of them is not looked at. Raises ProtocolError: MALFORMED, or TOO_LARGE.
    """
    kind = message[0] if message else -1
    if kind == MessageType.CONTROL:
        body = message[1:]
        _check_whole(body)
        return MessageType.CONTROL, body
    if kind == MessageType.FRAME:
        body = message[1:]
        if len(body) < FRAME_HEADER_BYTES or len(body) - FRAME_HEADER_BYTES != int.from_bytes(body[12:16]):
            raise ProtocolError(CloseCode.MALFORMED, "a message does not end where its frame object ends")
        return MessageType.FRAME, body
    raise ProtocolError(CloseCode.MALFORMED, "a message of a type that there is not")


def _check_whole(body: bytes) -> None:
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + _LENGTH_BYTES])
        if size > MAX_MESSAGE_BYTES:
            raise ProtocolError(CloseCode.TOO_LARGE, f"a control message of {size} bytes")
        if len(body) - at < _LENGTH_BYTES + size:
            break
        at += _LENGTH_BYTES + size
    if at != len(body) or not body:
        raise ProtocolError(CloseCode.MALFORMED, "a message does not end where its control messages end")


def to_close(code: int, reason: str) -> tuple[int, str]:
    """A session's close code and reason as those of a WebSocket."""
    cut = reason.encode()[:MOST_REASON_BYTES].decode(errors="ignore")
    return (FIRST_CODE + code if 0 < code < 1000 else NORMAL), cut


def from_close(code: int) -> int | None:
    """The session's close code that a WebSocket's stands for; None: it broke."""
    if code == NORMAL:
        return 0
    return code - FIRST_CODE if FIRST_CODE < code < 5000 else None
