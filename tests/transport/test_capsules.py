"""Capsules: any bytes in, capsules or a typed error out, however they are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import capsules
from wtgateway.transport.capsules import (
    CapsuleParser,
    CloseSession,
    DrainSession,
    encode_close,
    encode_drain,
    encode_limit,
)
from wtgateway.transport.varint import decode_varint, encode_varint


def cut(data: bytes, borders: list[int]) -> list[bytes]:
    points = sorted({min(border, len(data)) for border in borders} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(points)]


@given(st.integers(0, (1 << 62) - 1), st.binary(max_size=4))
def test_a_varint_comes_back(value: int, rest: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded + rest, 0) == (value, len(encoded))
    assert decode_varint(encoded[:-1], 0) is None


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(37, "25"), (15293, "7bbd"), (494878333, "9d7f3e7d"), (151288809941952652, "c2197c5eff14e88c")],
)
def test_varints_are_those_of_rfc_9000(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded


@pytest.mark.parametrize("value", [-1, 1 << 62])
def test_what_no_varint_holds_is_an_error(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_varint(value)


@given(st.integers(0, 0xFFFFFFFF), st.text(), st.lists(st.integers(0, 1100)))
def test_a_close_capsule_comes_back_however_it_is_cut(code: int, reason: str, borders: list[int]) -> None:
    parser, found = CapsuleParser(), []
    for piece in cut(encode_drain() + encode_close(code, reason), borders):
        found += parser.feed(piece)
    drain, close = found
    assert drain == DrainSession()
    assert isinstance(close, CloseSession)
    assert close.code == code
    assert reason.encode("utf-8", "replace").decode().startswith(close.reason)
    assert len(close.reason.encode()) <= 1024
    assert not parser.in_capsule


@given(st.lists(st.integers(0, 70_000)), st.integers(0, 60_000))
def test_unknown_capsules_are_skipped_without_being_kept(borders: list[int], size: int) -> None:
    parser, found = CapsuleParser(), []
    for piece in cut(
        encode_varint(0x1234) + encode_varint(size) + bytes(size) + encode_close(1, ""), borders
    ):
        found += parser.feed(piece)
        assert len(parser._buffer) < 1100
    assert found == [CloseSession(1, "")]


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_any_bytes_give_capsules_or_a_protocol_error(pieces: list[bytes]) -> None:
    parser = CapsuleParser()
    try:
        for piece in pieces:
            parser.feed(piece)
    except ProtocolError as error:
        assert error.code in (CloseCode.MALFORMED, CloseCode.TOO_LARGE)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode_close(0, "") + b"\x00", CloseCode.MALFORMED),
        (encode_varint(0x2843) + b"\x03abc", CloseCode.MALFORMED),
        (encode_varint(0x2843) + b"\x05\0\0\0\0\xff", CloseCode.MALFORMED),
        (encode_varint(0x2843) + encode_varint(1029), CloseCode.TOO_LARGE),
        (encode_varint(0x78AE) + encode_varint(1 << 61), CloseCode.TOO_LARGE),
    ],
)
def test_what_no_peer_may_send(data: bytes, code: CloseCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        CapsuleParser().feed(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode_varint(capsules.MAX_DATA) + b"\x00", CloseCode.MALFORMED),
        (encode_varint(capsules.MAX_DATA) + b"\x02\x01\x02", CloseCode.MALFORMED),
        (encode_varint(capsules.MAX_DATA) + b"\x01\x40", CloseCode.MALFORMED),
        (encode_varint(capsules.MAX_STREAMS_UNI) + b"\x09", CloseCode.TOO_LARGE),
        (encode_varint(capsules.MAX_STREAM_DATA) + b"\x01", CloseCode.MALFORMED),
        (encode_limit(capsules.MAX_STREAMS_BIDI, (1 << 60) + 1), CloseCode.MALFORMED),
    ],
)
def test_what_no_peer_with_flow_control_may_send(data: bytes, code: CloseCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        CapsuleParser(flow_control=True).feed(data)
    assert caught.value.code == code
    CapsuleParser().feed(data)  # without, it means nothing


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_any_bytes_with_flow_control_give_capsules_or_a_protocol_error(pieces: list[bytes]) -> None:
    parser = CapsuleParser(flow_control=True)
    try:
        for piece in pieces:
            parser.feed(piece)
    except ProtocolError as error:
        assert error.code in (CloseCode.MALFORMED, CloseCode.TOO_LARGE)


def test_a_begun_capsule_shows() -> None:
    parser = CapsuleParser()
    parser.feed(encode_close(1, "reason")[:5])
    assert parser.in_capsule
