"""What takes bytes from the network, each as a function of bytes, with valid inputs to begin from.

A target raises what its decoder may raise for bytes that are wrong; anything else is a fault. Valid inputs
are those of tests/vectors, where both ends of the protocol are held to them.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aioquic.buffer import encode_uint_var
from aioquic.quic.connection import QuicConnectionError

from scripts.storms.h3scene import SCENES, scene
from scripts.support.processes import ROOT
from wtgateway.errors import WtgatewayError
from wtgateway.protocol import messages, websocket_messages
from wtgateway.protocol.arrivals import decode_arrivals
from wtgateway.protocol.client_session import ClientSession
from wtgateway.protocol.fragments import decode_fragment
from wtgateway.protocol.nacks import decode_nacks
from wtgateway.protocol.resume import KEY_BYTES, ResumeTokens, TokenRefused
from wtgateway.protocol.session import ServerSession
from wtgateway.protocol.subscribe_query import SubscribeQuery, parse_connect_path
from wtgateway.protocol.wire import FrameParser
from wtgateway.transport import capsules, retry
from wtgateway.transport.opening import read_frames
from wtgateway.transport.structured_fields import parse_strings

_ADDRESS = ("192.0.2.1", 4433)
_SECRET = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder. ``share``: how many inputs it gets for each of the slowest ones."""

    name: str
    corpus: tuple[bytes, ...]
    feed: Callable[[bytes], object]
    share: int = 8


# What a decoder may raise: errors of ours, which say a code and words.
ALLOWED = (WtgatewayError, TokenRefused, retry.ForeignToken, retry.StaleToken, QuicConnectionError)


@functools.cache
def vectors(*names: str) -> tuple[bytes, ...]:
    """All bytes that stand in these files of tests/vectors."""
    found: list[bytes] = []
    for name in names:
        text = (ROOT / "tests" / "vectors" / f"{name}.json").read_text()
        found += [bytes.fromhex(value) for value in _hex(json.loads(text)) if len(value) < 16_000]
    return tuple(dict.fromkeys(found))


def _hex(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _hex(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _hex(inner, key)
    elif isinstance(value, str) and key in ("hex", "object", "fragments", "parity"):
        yield value


def _server() -> ServerSession:
    session = ServerSession(session_id="s", broadcast="b", query=SubscribeQuery(broadcast="b"), now_us=1)
    session.handle_timeout(0.0)
    return session


def _to_server(data: bytes) -> None:
    session = _server()
    try:
        session.receive_control(data, 0.0, 1)
    finally:
        session.handle_timeout(1.0)
        session.control_to_send()


def _to_server_in_datagrams(data: bytes) -> None:
    _server().receive_datagram(data, 0.0)


def _to_viewer(data: bytes) -> None:
    session = ClientSession()
    session.handle_timeout(0.0)
    try:
        session.receive_control(data, 0.0)
    finally:
        session.handle_timeout(30.0)
        session.control_to_send()


def _to_viewer_on_streams(data: bytes) -> None:
    session = ClientSession()
    middle = len(data) // 2
    session.receive_stream(3, data[:middle], False, 0.0)
    session.receive_stream(3, data[middle:], True, 0.0)


def _to_viewer_in_datagrams(data: bytes) -> None:
    session = ClientSession()
    session.receive_datagram(data, 0.0)
    session.handle_timeout(1.0)
    session.datagrams_to_send()


def _frames(data: bytes) -> None:
    FrameParser().feed(data)


def _capsules(data: bytes) -> None:
    for flow_control in (False, True):
        capsules.CapsuleParser(flow_control=flow_control).feed(data)


def _websocket(data: bytes) -> None:
    kind, body = websocket_messages.parse(data)
    if kind == websocket_messages.MessageType.CONTROL:
        _to_server(body)


def _path(data: bytes) -> None:
    parse_connect_path(data.decode("utf-8", "replace"))


def _offers(data: bytes) -> None:
    parse_strings(data.decode("utf-8", "replace"))
    parse_strings(data.decode("utf-8", "replace"), tokens=True)


def _resume_token(data: bytes) -> None:
    ResumeTokens(bytes(KEY_BYTES)).open(data.decode("latin-1"), broadcast="b", now_us=1)


def _retry_token(data: bytes) -> None:
    _RETRY.open(data, _ADDRESS, b"12345678", 1000.0)


_RETRY = retry.RetryTokens(_SECRET, random=lambda size: bytes(size))
_CAPSULES = (
    capsules.encode_close(16, "words about it"),
    capsules.encode_drain(),
    encode_uint_var(0x190B4D3D) + b"\x04" + encode_uint_var(1 << 20),
    encode_uint_var(0x190B4D3F) + b"\x02" + encode_uint_var(100),
    encode_uint_var(0x17) + b"\x05hello",
)
_PATHS = (
    b"/cam1?v=1&subscribe=video,audio&delivery=auto&deadline=500",
    b"/a/b?v=1&codecs=avc1:3840x2160@60,av01,vp09.02:1920x1080@30,opus",
    b"/cam1?v=1&subscribe=video&resume=AbC-_123&after=0.0.17.203,1.0.40.12",
    b"/cam1?auth=later&token=abc",
)
_OFFERS = (b'"wtgateway-1"', b'"moq-00", "wtgateway-1";q=1', b"wtgateway-1, other", b'"\\"\\\\", ?1, 12')
_PACKETS = (
    b"\x02\x05\x00\x00\x05",
    b"\x02\x40\xff\x19\x02\x03\x01\x02\x05",
    b"\x01\x10\x80\x10\x00\x00\x11\x00\x80\x10\x00\x00\x12\x40\x80",
    b"\x03\x05\x00\x00\x05\x01\x01\x01",
    b"\x0f\x00\x02\x00\x05hello\x31\x03abc",
    b"\x06\x00\x04abcd\x1e\x1c\x00\x00\x00",
    b"\x18\x01\x00\x08abcdefgh0123456789abcdef\x19\x00\x1a01234567",
)


def targets() -> tuple[Target, ...]:
    """All of them."""
    control = vectors("messages", "malformed")
    datagrams = vectors("fragments", "nacks", "arrivals", "parity", "malformed")
    socketed = tuple(b"\0" + each for each in control) + tuple(b"\1" + each for each in vectors("frames"))
    sealed = (_RETRY.seal(_ADDRESS, b"original", b"12345678", 1000.0),)
    return (
        Target("control messages, at the gateway", control, _to_server),
        Target("control messages, at a viewer", control, _to_viewer),
        Target("datagrams, at the gateway", datagrams, _to_server_in_datagrams),
        Target("datagrams, at a viewer", datagrams, _to_viewer_in_datagrams),
        Target("fragments", datagrams, decode_fragment, 16),
        Target("NACKs", datagrams, decode_nacks, 16),
        Target("arrivals", datagrams, decode_arrivals, 16),
        Target("frames", vectors("frames", "malformed"), _frames, 16),
        Target("frames on streams, at a viewer", vectors("frames", "malformed"), _to_viewer_on_streams),
        Target("messages", control, lambda data: messages.MessageReader().feed(data), 16),
        Target("WebSocket messages", socketed, _websocket, 16),
        Target("capsules", _CAPSULES, _capsules, 16),
        Target("H3 frames and streams", SCENES, scene, 4),
        Target("QUIC frames, on the short path", _PACKETS, read_frames, 16),
        Target("paths of CONNECT", _PATHS, _path),
        Target("offers of sub-protocols", _OFFERS, _offers),
        Target("tokens of resumption", (b"AQ" + b"A" * 80,), _resume_token),
        Target("tokens of Retry", sealed, _retry_token),
    )


def check() -> Counter[str]:
    """How many valid inputs each has: none would make the storm one of noise."""
    return Counter({each.name: len(each.corpus) for each in targets()})
