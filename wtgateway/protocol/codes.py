"""Numbers that both ends know: session close codes and stream reset codes (docs/protocol.md)."""

from __future__ import annotations

import enum

SUBPROTOCOL = "wtgateway-1"


class CloseCode(enum.IntEnum):
    """WebTransport session close codes (32 bit, CLOSE_WEBTRANSPORT_SESSION capsule)."""

    NORMAL = 0
    GOING_AWAY = 1  # the gateway shuts down or restarts: reconnect after a pause
    INTERNAL = 2  # a fault of the gateway: reconnect after a pause
    MALFORMED = 0x10  # bytes that the protocol does not allow
    UNKNOWN_MESSAGE = 0x11  # a control message kind this version does not know
    VERSION = 0x12  # no common protocol version
    TOO_LARGE = 0x13  # a message or payload over its limit
    FLOOD = 0x14  # more control messages than allowed
    NOT_FOUND = 0x20  # no such broadcast, or it was removed
    TOO_SLOW = 0x21  # the viewer did not read for too long
    UNAUTHORIZED = 0x30  # a token is needed, or the one there was is over
    FORBIDDEN = 0x31  # the token does not allow it
    REVOKED = 0x32  # the operator took the token or the identity back
    KICKED = 0x33  # the operator ended this session
    LIMIT = 0x34  # a limit of the gateway: come back later


class ResetCode(enum.IntEnum):
    """Stream reset codes (WebTransport application error space)."""

    LATE = 1  # the frame's deadline passed
    SUPERSEDED = 2  # a newer group made it worthless
    UNSUBSCRIBED = 3
    UNEXPECTED = 4  # a stream of a kind that the protocol does not have
