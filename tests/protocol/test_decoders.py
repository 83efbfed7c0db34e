"""Any bytes in: a typed error or a value out, never anything else."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol import messages
from wtgateway.protocol.client_session import ClientSession
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import ServerSession, SubscribeQuery, parse_connect_path
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, FrameParser, decode_frame_header, encode_frame

U32 = st.integers(0, (1 << 32) - 1)
FRAMES = st.builds(
    Frame,
    track=st.integers(0, 255),
    rendition=st.integers(0, 255),
    group=U32,
    index=U32,
    keyframe=st.booleans(),
    pts_us=st.integers(0, (1 << 64) - 1),
    capture_us=st.integers(0, (1 << 53) - 1),
    duration_us=U32,
    payload=st.binary(max_size=100),
    discardable=st.booleans(),
)
SIMPLE = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
NESTED = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
KINDS = sorted(messages._MESSAGES)
FIELDS = sorted({name for hints in messages._HINTS.values() for name in hints})
BODIES = st.builds(
    lambda kind, fields: {"kind": kind} | fields,
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), NESTED, max_size=10),
)
RENDITION_FIELDS = st.dictionaries(
    st.sampled_from(["id", "codec", "bitrate_bps", "width", "fps", "description", "other"]), NESTED
)
TRACKS = st.lists(
    st.dictionaries(st.sampled_from(["id", "kind", "renditions"]), NESTED)
    | st.fixed_dictionaries(
        {
            "id": st.integers(-2, 300),
            "kind": st.sampled_from(["video", "audio", "smell"]),
            "renditions": st.lists(RENDITION_FIELDS, max_size=2),
        }
    ),
    max_size=3,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def length_prefixed(body: Any) -> bytes:
    data: bytes = msgpack.packb(body)
    return len(data).to_bytes(4, "big") + data


@given(st.lists(FRAMES, max_size=4), st.lists(st.integers(0, 10_000), max_size=8))
def test_frames_survive_the_wire_however_it_is_cut(frames: list[Frame], places: list[int]) -> None:
    parser = FrameParser()
    out = [
        frame for piece in cut(b"".join(map(encode_frame, frames)), places) for frame in parser.feed(piece)
    ]
    assert out == frames
    assert parser.idle


@given(st.binary(max_size=200))
def test_any_bytes_as_a_frame_header(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_frame_header(data)


@given(st.lists(st.binary(max_size=120), max_size=5))
@example([b"\x01" + bytes(FRAME_HEADER_BYTES - 1)])
def test_any_bytes_on_a_stream(pieces: list[bytes]) -> None:
    parser = FrameParser()
    with contextlib.suppress(ProtocolError):
        for piece in pieces:
            parser.feed(piece)


@given(st.binary(max_size=300))
def test_any_bytes_as_a_message(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        messages.unpack(data)
    with contextlib.suppress(ProtocolError):
        messages.MessageReader().feed(data)


@given(BODIES)
def test_any_map_as_a_message(body: dict[str, Any]) -> None:
    try:
        message = messages.unpack(msgpack.packb(body))
    except ProtocolError as error:
        assert error.code == CloseCode.MALFORMED
    else:
        assert message.kind == body["kind"]
        messages.pack(message)


@given(st.integers(), TRACKS)
def test_any_catalog(revision: int, tracks: list[dict[str, Any]]) -> None:
    with contextlib.suppress(ProtocolError):
        messages.catalog_from_message(messages.CatalogMessage(revision=revision, tracks=tracks))


@given(st.lists(BODIES, max_size=8))
def test_any_messages_to_the_gateway(bodies: list[dict[str, Any]]) -> None:
    session = ServerSession(session_id="s", broadcast="b", query=SubscribeQuery(broadcast="b"), now_us=1)
    session.handle_timeout(0.0)
    with contextlib.suppress(ProtocolError):
        for body in bodies:
            session.receive_control(length_prefixed(body), 0.0, 1)
    session.handle_timeout(1.0)
    messages.MessageReader().feed(session.control_to_send())


@given(st.lists(BODIES, max_size=8))
def test_any_messages_to_the_viewer(bodies: list[dict[str, Any]]) -> None:
    session = ClientSession()
    session.handle_timeout(0.0)
    with contextlib.suppress(ProtocolError):
        for body in bodies:
            session.receive_control(length_prefixed(body), 0.0)
    session.handle_timeout(30.0)
    messages.MessageReader().feed(session.control_to_send())


@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=80) | FRAMES.map(encode_frame), st.booleans()))
)
def test_any_streams_to_the_viewer(pieces: list[tuple[int, bytes, bool]]) -> None:
    session = ClientSession()
    for stream_id, data, fin in pieces:
        try:
            session.receive_stream(stream_id, data, fin, 0.0)
        except ProtocolError:
            return


@given(st.text(max_size=60) | st.from_regex(r"/[a-z./%]{1,10}\?([a-z]{1,9}=[a-z0-9,%]{0,6}&?){0,4}"))
def test_any_connect_path(path: str) -> None:
    with contextlib.suppress(ProtocolError):
        query = parse_connect_path(path)
        assert query.broadcast
