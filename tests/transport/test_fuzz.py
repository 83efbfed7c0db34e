"""Hostile bytes: nothing but the connection they came on is touched, and no traceback is logged."""

from __future__ import annotations

import asyncio
import logging
import random
import socket

import pytest
from aioquic.buffer import encode_uint_var
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.ends import Ends, Recorder, fingerprint, make_certificate
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.endpoint import QuicEndpoint
from wtgateway.transport.webtransport import Refusal

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

preambles = st.sampled_from(
    [
        b"",
        b"\x00",  # control stream
        b"\x02",  # QPACK encoder stream
        b"\x03",
        encode_uint_var(0x54) + b"\x00",  # WebTransport, first session
        encode_uint_var(0x54) + encode_uint_var(400),
        encode_uint_var(0x41) + b"\x00",
        b"\x01\x10",  # HEADERS
        b"\x00\x10",  # DATA
        b"\x04\x02",  # SETTINGS
    ]
)
pieces = st.lists(
    st.tuples(st.booleans(), preambles, st.binary(max_size=60), st.booleans()), min_size=1, max_size=8
)


@SLOW
@given(pieces)
def test_any_bytes_on_streams_end_at_most_that_connection(
    streams: list[tuple[bool, bytes, bytes, bool]],
) -> None:
    ends = Ends()
    ends.run(0.1)
    quic = ends.client_end.quic
    for unidirectional, preamble, data, fin in streams:
        stream = quic.get_next_available_stream_id(is_unidirectional=unidirectional)
        quic.send_stream_data(stream, preamble + data, fin)
    ends.client_end.mark_dirty()
    ends.run(1)
    assert len(ends.server.closes) <= 1


@SLOW
@given(st.lists(st.binary(max_size=40), max_size=5), st.booleans())
def test_any_bytes_as_datagrams_and_capsules(pieces: list[bytes], as_capsules: bool) -> None:
    ends = Ends()
    ends.run(0.1)
    h3 = ends.client_end.webtransport.h3
    assert h3 is not None
    for data in pieces:
        if as_capsules:
            h3.send_data(ends.client.open.id, data, end_stream=False)
        else:
            ends.client_end.quic.send_datagram_frame(data)
    ends.client_end.mark_dirty()
    ends.run(1)
    assert len(ends.server.closes) <= 1


def hostile_datagrams(seed: int) -> list[bytes]:
    """Noise, noise with the headers of QUIC, and Initials of versions nobody has."""
    dice = random.Random(seed)
    versions = (b"\0\0\0\1", b"\0\0\0\0", b"\x6b\x33\x43\xcf", dice.randbytes(4))
    datagrams = []
    for _ in range(150):
        size = dice.choice((0, 1, 7, 8, 9, 20, 21, 40, 1199, 1200, 1400))
        noise = dice.randbytes(size)
        match dice.randrange(4):
            case 0:
                noise = bytes([dice.choice((0xC0, 0xD0, 0xE0, 0xF0))]) + dice.choice(versions) + noise
            case 1:
                cids = b"\x08" + dice.randbytes(8) + b"\x08" + dice.randbytes(8)
                length = b"\x44\x80" + noise
                noise = bytes([0xC3]) + dice.choice(versions) + cids + b"\x00" + length
            case 2:
                noise = bytes([0x40 | dice.randrange(64)]) + noise
        datagrams.append(noise)
    return datagrams


@pytest.mark.parametrize("seed", range(3))
async def test_noise_on_the_port_does_nothing(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    certificate = make_certificate()
    endpoint = QuicEndpoint(on_request=lambda _: Recorder(), certificate=certificate)
    address, *_ = await endpoint.start("127.0.0.1", 0)
    with caplog.at_level(logging.WARNING):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noisy:
            for datagram in hostile_datagrams(seed):
                noisy.sendto(datagram, address)
                await asyncio.sleep(0)
        session = await connect(
            f"https://127.0.0.1:{address[1]}/x", Recorder(), certificate_hashes=[fingerprint(certificate)]
        )
        await disconnect(session)
        await endpoint.close(0, "", 1.0)
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert endpoint.stats["sessions"] == 1
    assert endpoint.stats["datagrams_dropped"] > 0
    assert endpoint.connections == 0


async def test_unknown_versions_are_answered_once_and_only_when_large() -> None:
    endpoint = QuicEndpoint(on_request=lambda _: Refusal(404, ""), certificate=make_certificate())
    address, *_ = await endpoint.start("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        header = b"\xc0\x1a\x2a\x3a\x4a\x08" + b"d" * 8 + b"\x08" + b"s" * 8
        await loop.sock_sendto(sock, header + bytes(100), address)
        await loop.sock_sendto(sock, header + bytes(1200), address)
        answer = await loop.sock_recv(sock, 2000)
    assert answer[0] & 0x80
    assert answer[1:5] == bytes(4)
    assert answer[5:23] == b"\x08" + b"s" * 8 + b"\x08" + b"d" * 8
    assert endpoint.stats["version_negotiations"] == 1
    await endpoint.close(0, "", 1.0)
