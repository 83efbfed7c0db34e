"""Error codes: WebTransport's space inside HTTP/3's (draft-ietf-webtrans-http3-16, sections 4.4 and 9.5).

Pure arithmetic; imports nothing.
"""

from __future__ import annotations

_FIRST = 0x52E4A40FA8DB
_LAST = 0x52E5AC983162

H3_NO_ERROR = 0x100
H3_INTERNAL_ERROR = 0x102
H3_EXCESSIVE_LOAD = 0x107
H3_ID_ERROR = 0x108
H3_REQUEST_REJECTED = 0x10B
H3_MESSAGE_ERROR = 0x10E
SESSION_GONE = 0x170D7B68
BUFFERED_STREAM_REJECTED = 0x3994BD84
FLOW_CONTROL_ERROR = 0x045D4487
ALPN_ERROR = 0x0817B3DD
REQUIREMENTS_NOT_MET = 0x212C0D48

NOT_APPLICATION = -1  # what a peer's code outside the application space is shown as


def to_http3(code: int) -> int:
    """The HTTP/3 code of an application code (0..2**32-1); code points 0x1f*N+0x21 are left out."""
    code &= 0xFFFFFFFF
    return _FIRST + code + code // 0x1E


def from_http3(code: int) -> int:
    """The application code of an HTTP/3 code, or ``NOT_APPLICATION``."""
    if not _FIRST <= code <= _LAST or (code - 0x21) % 0x1F == 0:
        return NOT_APPLICATION
    shifted = code - _FIRST
    return shifted - shifted // 0x1F
