"""What a balancer may know of a QUIC packet: the version-independent part (RFC 8999). Pure.

A datagram may hold several packets; all have the same destination connection ID (RFC 9000, section 12.2), so
the first says where the whole of it goes.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_CID_BYTES = 20  # of version 1 (RFC 9000, section 17.2); RFC 8999 allows 255
LONG_CID_AT = 6  # first octet, version, length of the ID

_LONG = 0x80


class Header(NamedTuple):
    """The head of a datagram's first packet.

    ``cid``: the destination connection ID. A short header does not say how long it is, so there it is
    followed by what comes after, up to :data:`MAX_CID_BYTES` in all.
    """

    long: bool
    cid: bytes


def parse_header(data: bytes) -> Header | None:
    """The head of a UDP payload; None for what cannot be a QUIC packet."""
    if len(data) < 2:
        return None
    if not data[0] & _LONG:
        return Header(False, data[1 : 1 + MAX_CID_BYTES])
    if len(data) < LONG_CID_AT:
        return None
    length = data[LONG_CID_AT - 1]
    cid = data[LONG_CID_AT : LONG_CID_AT + length]
    return Header(True, cid) if len(cid) == length else None
