"""The second opinion itself: against the examples of the RFCs, and that it objects where it should."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transport.equivalence.frames import (
    Ack,
    Crypto,
    Frame,
    FrameError,
    MaxData,
    Padding,
    Ping,
    parse,
    varint,
    write_ack,
)
from tests.transport.equivalence.packets import (
    AES_128,
    AES_256,
    CHACHA20,
    VERSION_1,
    VERSION_2,
    HeaderMask,
    Kind,
    PacketError,
    PacketKey,
    Protected,
    expand_number,
    initial_secret,
    number_bytes_needed,
    seal_short,
    split,
)

CID = bytes.fromhex("8394c8f03e515708")  # RFC 9001 appendix A and RFC 9369 appendix A
SERVER_INITIALS = {  # appendix A.3 of each
    VERSION_1: "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a"
    "1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9"
    "c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d"
    "20398c276456cbc42158407dd074ee",
    VERSION_2: "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d"
    "9b89237bbf87263017915358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4c"
    "fa52382dd16a393e42757507698075b2c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a"
    "3e2c43edd9ce7ca84bed8521e2e140",
}
CHACHA_SECRET = bytes.fromhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
CHACHA_PACKETS = {  # appendix A.5 of each: packet number 654360564, a PING
    VERSION_1: "4cfe4189655e5cd55c41f69080575d7999c25a5bfb",
    VERSION_2: "5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba",
}


def opened(packet: Protected, mask: HeaderMask, key: PacketKey, largest: int = -1) -> tuple[int, list[Frame]]:
    header, size = packet.unmask(mask)
    number = expand_number(int.from_bytes(header[-size:], "big"), size, largest)
    return number, list(parse(key.open(header, number, packet.data[packet.number_at + size :])))


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
def test_the_server_initials_of_the_rfcs_open(version: int) -> None:
    (packet,) = split(bytes.fromhex(SERVER_INITIALS[version]), 0)
    assert isinstance(packet, Protected)
    assert packet.kind is Kind.INITIAL
    assert packet.version == version
    secret = initial_secret(CID, version, client=False)
    number, frames = opened(packet, HeaderMask(AES_128, secret, version), PacketKey(AES_128, secret, version))
    assert number == 1
    assert isinstance(frames[0], Ack)
    assert frames[0].ranges == ((0, 0),)
    assert isinstance(frames[1], Crypto)
    assert frames[1].data.startswith(bytes.fromhex("020000560303"))


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
def test_the_chacha20_packets_of_the_rfcs_open(version: int) -> None:
    (packet,) = split(bytes.fromhex(CHACHA_PACKETS[version]), 0)
    assert isinstance(packet, Protected)
    mask, key = HeaderMask(CHACHA20, CHACHA_SECRET, version), PacketKey(CHACHA20, CHACHA_SECRET, version)
    assert opened(packet, mask, key, largest=654_360_563) == (654_360_564, [Ping()])


def test_the_next_key_of_the_rfc() -> None:
    key = PacketKey(CHACHA20, CHACHA_SECRET, VERSION_1)
    updated = "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9"  # RFC 9001 section A.5
    assert key.next.secret.hex() == updated


def test_packet_number_sizes_of_the_rfc() -> None:
    assert number_bytes_needed(0xAC5C02, 0xABE8B3) == 2  # RFC 9000 section A.2
    assert number_bytes_needed(0xACE8FE, 0xABE8B3) == 3
    assert number_bytes_needed(0, -1) == 1
    assert number_bytes_needed(128, 0) == 1
    assert number_bytes_needed(129, 0) == 2
    assert expand_number(0x9B32, 2, 0xA82F30EA) == 0xA82F9B32  # section A.3


@given(st.integers(0, 1 << 40), st.integers(1, 1 << 23))
def test_a_number_of_the_size_needed_is_expanded_right(largest: int, ahead: int) -> None:
    number = largest + ahead
    size = number_bytes_needed(number, largest)
    assert size <= 4
    assert expand_number(number & ((1 << 8 * size) - 1), size, largest) == number


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([AES_128, AES_256, CHACHA20]),
    st.sampled_from([VERSION_1, VERSION_2]),
    st.integers(0, 1 << 30),
    st.integers(1, 4),
    st.binary(min_size=3, max_size=40),
    st.integers(0, 1),
    st.integers(0, 1),
)
def test_what_is_sealed_opens(
    suite: int, version: int, number: int, size: int, payload: bytes, spin: int, phase: int
) -> None:
    secret = bytes(48 if suite == AES_256 else 32)
    key, mask = PacketKey(suite, secret, version), HeaderMask(suite, secret, version)
    data = seal_short(
        key, mask, destination=CID, number=number, payload=payload, number_bytes=size, spin=spin, phase=phase
    )
    (packet,) = split(data, len(CID))
    assert isinstance(packet, Protected)
    header, found = packet.unmask(mask)
    assert found == size
    assert header[0] == 0x40 | spin << 5 | phase << 2 | size - 1
    assert key.open(header, number, data[packet.number_at + size :]) == payload
    with pytest.raises(PacketError):
        key.next.open(header, number, data[packet.number_at + size :])
    with pytest.raises(PacketError):
        key.open(header, number + 1, data[packet.number_at + size :])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "without frames"),
        ("4001", "shortest form"),  # PING in two bytes
        ("21", "unknown frame type"),
        ("0200000005", "below packet number 0"),
        ("02050000", "wanted"),
        ("0a0340ff00", "wanted"),  # a STREAM frame longer than the packet
        ("13d000000000000001", r"2\^60"),
        ("1801020401020304" + "00" * 16, "NEW_CONNECTION_ID"),  # retires more than it brings
        ("0700", "without a token"),
        ("1a00", "wanted"),
    ],
)
def test_malformed_frames_are_refused(payload: str, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        list(parse(bytes.fromhex(payload)))


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)), min_size=1, max_size=20))
def test_acks_are_read_as_they_were_written(steps: list[tuple[int, int]]) -> None:
    ranges: list[tuple[int, int]] = []
    at = 0
    for gap, length in reversed(steps):
        at += gap + 2
        ranges.insert(0, (at, at + length))
        at += length
    (frame,) = parse(write_ack(ranges, 17))
    assert frame == Ack(17, tuple(ranges))


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(payload: bytes) -> None:
    try:
        frames: list[Any] = list(parse(payload))
    except FrameError:
        return
    assert frames


@given(st.integers(0, (1 << 62) - 1))
def test_integers(value: int) -> None:
    assert list(parse(b"\x10" + varint(value))) == [MaxData(value)]


def test_padding_is_one_frame() -> None:
    assert list(parse(bytes(7) + b"\x01\0\0")) == [Padding(7), Ping(), Padding(2)]
