"""A server's HTTP/3 and WebTransport, fed with a client's bytes behind QUIC: no packets, no handshake.

The first octet of an input says where the rest goes; everything before it is as it should be. So a mutated
input reaches the frame parsers, QPACK, the CONNECT and its capsules at speed.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import Any

import pylsqpack
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import DatagramFrameReceived, ProtocolNegotiated, StreamDataReceived
from aioquic.quic.packet import QuicFrameType

from wtgateway.transport import capsules
from wtgateway.transport.h3 import WebTransportConnection
from wtgateway.transport.webtransport import SessionRequest, WebTransportSession


class Where(enum.IntEnum):
    """Where the bytes of an input go."""

    CONTROL = 0  # the client's control stream, behind its SETTINGS
    SETTINGS = 1  # the client's control stream from its beginning
    REQUEST = 2  # a request stream
    CAPSULES = 3  # a request stream behind its CONNECT, in a DATA frame
    UNIDIRECTIONAL = 4  # a new unidirectional stream, beside a session
    BIDIRECTIONAL = 5
    ENCODER = 6  # the QPACK encoder's stream
    DATAGRAM = 7


_CONTROL_STREAM, _ENCODER_STREAM, _UNI_STREAM = 2, 6, 14
_SESSION_STREAM, _BIDI_STREAM = 0, 4
_SETTINGS = {0x08: 1, 0x33: 1, 0x2B603742: 1, 0x01: 4096, 0x07: 16}
_FIELDS = [
    (b":method", b"CONNECT"),
    (b":protocol", b"webtransport"),
    (b":scheme", b"https"),
    (b":authority", b"localhost"),
    (b":path", b"/x?v=1&subscribe=video"),
    (b"sec-webtransport-http3-draft02", b"1"),
    (b"origin", b"https://localhost"),
    (b"wt-available-protocols", b'"wtgateway-1"'),
]


class Deaf:
    """A SessionHandler that minds nothing."""

    def opened(self, session: WebTransportSession) -> None: ...
    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None: ...
    def stream_reset(self, stream_id: int, code: int) -> None: ...
    def stop_sending(self, stream_id: int, code: int) -> None: ...
    def datagram(self, data: bytes) -> None: ...
    def writable(self) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...


def _frame(kind: int, payload: bytes) -> bytes:
    return encode_uint_var(kind) + encode_uint_var(len(payload)) + payload


def _settings() -> bytes:
    return _frame(4, b"".join(encode_uint_var(k) + encode_uint_var(v) for k, v in _SETTINGS.items()))


def _connect() -> bytes:
    return _frame(1, pylsqpack.Encoder().encode(_SESSION_STREAM, _FIELDS)[1])


_OPENING, _CONNECT = b"\0" + _settings(), _connect()


class _Scene:
    """A server that has shaken hands, as far as HTTP/3 can tell."""

    def __init__(self) -> None:
        configuration = QuicConfiguration(
            is_client=False, alpn_protocols=H3_ALPN, max_datagram_frame_size=65536
        )
        nothing: Any = object()  # aioquic wants a certificate; with no handshake it looks at none
        configuration.certificate = configuration.private_key = nothing
        self._quic = QuicConnection(
            configuration=configuration, original_destination_connection_id=b"12345678"
        )
        self._quic._remote_max_datagram_frame_size = 65536
        self.server = WebTransportConnection(
            self._quic,
            on_request=_take,
            protocols=("wtgateway-1",),
            mark_dirty=lambda: None,
            counters=Counter(),
            remote=("::1", 1),
        )
        self.server.handle(ProtocolNegotiated(alpn_protocol=H3_ALPN[0]))

    def stream(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        """What came on a stream, as QUIC tells it."""
        self._quic._get_or_create_stream(QuicFrameType.STREAM_BASE, stream_id)
        self.server.handle(StreamDataReceived(data=data, end_stream=fin, stream_id=stream_id))

    def datagram(self, data: bytes) -> None:
        """What came in a datagram."""
        self.server.handle(DatagramFrameReceived(data=data))


def _take(request: SessionRequest) -> Deaf:
    return Deaf()


def scene(data: bytes) -> None:
    """Play one input: its first octet modulo 8 says where the rest goes (:class:`Where`)."""
    where, rest = (data[0] % 8, data[1:]) if data else (0, b"")
    played = _Scene()
    if where != Where.SETTINGS:
        played.stream(_CONTROL_STREAM, _OPENING)
    if where in (Where.CAPSULES, Where.UNIDIRECTIONAL, Where.BIDIRECTIONAL, Where.DATAGRAM):
        played.stream(_SESSION_STREAM, _CONNECT)
    match where:
        case Where.CONTROL | Where.SETTINGS:
            played.stream(_CONTROL_STREAM, rest)
        case Where.REQUEST:
            played.stream(_SESSION_STREAM, rest, fin=len(rest) % 2 == 1)
        case Where.CAPSULES:
            played.stream(_SESSION_STREAM, _frame(0, rest))
        case Where.UNIDIRECTIONAL:
            played.stream(_UNI_STREAM, rest, fin=len(rest) % 2 == 1)
        case Where.BIDIRECTIONAL:
            played.stream(_BIDI_STREAM, rest, fin=len(rest) % 2 == 1)
        case Where.ENCODER:
            played.stream(_ENCODER_STREAM, rest)
        case _:
            played.datagram(rest)
    played.server.settle()
    if played.server.counters["handler_faults"]:
        raise AssertionError("a session's handler failed")


def _to(where: Where, data: bytes) -> bytes:
    return bytes((where,)) + data


SCENES = (
    _to(Where.CONTROL, _frame(0x07, b"\0") + _frame(0x0D, b"\x05") + _frame(0x21, b"grease")),
    _to(Where.CONTROL, _frame(0xF0700, b"\0u=1,i")),
    _to(Where.SETTINGS, _OPENING),
    _to(Where.REQUEST, _CONNECT),
    _to(Where.REQUEST, _CONNECT + _frame(0, capsules.encode_drain())),
    _to(Where.REQUEST, _frame(0x21, b"grease") + _CONNECT),
    _to(Where.CAPSULES, capsules.encode_close(0, "done")),
    _to(Where.CAPSULES, capsules.encode_drain() + capsules.encode_close(7, "")),
    _to(Where.UNIDIRECTIONAL, encode_uint_var(0x54) + b"\0hello"),
    _to(Where.UNIDIRECTIONAL, encode_uint_var(0x54) + encode_uint_var(400) + b"early"),
    _to(Where.BIDIRECTIONAL, encode_uint_var(0x41) + b"\0hello"),
    _to(Where.ENCODER, b"\2" + b"\x3f\xe1\x1f\xc0\x05value\x4a\x0bcustom-key1\x05value"),
    _to(Where.DATAGRAM, b"\0\x20\x01" + bytes(14)),
)
