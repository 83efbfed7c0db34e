"""Viewers who harm: what they take is bounded, they are closed with a code, and others miss nothing."""

from __future__ import annotations

import asyncio
import itertools
import struct

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import FrameType, encode_frame

from tests.abuse.stage import MEGABYTE, Attacker, attacking, footprint, staged
from wtgateway.config.model import LimitsConfig
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import KeyframeRequest, Ping, pack
from wtgateway.transport import connect, h3codes, patience
from wtgateway.transport.capsules import MAX_DATA, encode_drain, encode_limit
from wtgateway.transport.connect import MAX_SESSIONS

MOST = 4 * MEGABYTE  # of one connection, whatever its peer does


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STALLED_S", 1.0)


@pytest.fixture
def few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect.MAX_REQUESTS <= 256
    monkeypatch.setattr(connect, "MAX_REQUESTS", 64)


@pytest.mark.parametrize("per_second", [0, 1])
async def test_who_takes_nothing_is_sent_away(hasty: None, per_second: int) -> None:
    """Flow control lets nothing through: neither of the connection nor of streams; or a byte a second."""
    async with staged() as stage, attacking(stage, max_data=6000, max_stream_data=6000) as attacker:
        quic = attacker.quic
        quic._local_max_data.value = quic._local_max_data.sent = 6000 + per_second
        quic._write_connection_limits = lambda builder, space: None  # type: ignore[method-assign]
        quic._write_stream_limits = lambda builder, space, stream: None  # type: ignore[method-assign]
        biggest = 0
        for granted in itertools.count(6001):
            if len(stage.service.sessions) == 1:
                break
            assert granted < 6100, "it is still there after twenty seconds"
            biggest = max(biggest, footprint(attacker.link))
            if per_second:
                attacker.send_frames(encode_uint_var(0x10) + encode_uint_var(granted))
            await asyncio.sleep(0.2)
        assert biggest < MOST
        assert stage.counters["sessions_closed"] == 1


async def test_who_acknowledges_nothing_costs_no_memory() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        attacker.reads = False
        sizes = []
        for _ in range(5):
            await asyncio.sleep(0.2)
            sizes.append(footprint(attacker.link))
        assert max(sizes) < MOST


async def test_control_messages_that_nobody_reads() -> None:
    """Pings whose pongs are not read: what waits for the viewer is bounded, by messages a second first."""
    async with staged(LimitsConfig(control_messages_per_s=10)) as stage, attacking(stage) as attacker:
        ping = pack(Ping(id=1, client_us=1))
        attacker.quic.send_stream_data(attacker.control, ping * 39)
        attacker.flush()
        await asyncio.sleep(0.05)
        assert attacker.session_end is None
        attacker.quic.send_stream_data(attacker.control, ping * 20)
        attacker.flush()
        await stage.until(lambda: attacker.session_end)
        assert attacker.session_end == (
            CloseCode.FLOOD, "more than 10 control messages a second (and 40 at once)",
        )  # fmt: skip


async def test_a_gigabyte_of_control_data_is_cut_off() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        blob = pack(Ping(id=1, client_us=1))[4:]
        message = struct.pack(">I", 60_000) + blob.replace(b"\x83", b"\x84") + b"\xa1x\xc5" + struct.pack(
            ">H", 60_000 - len(blob) - 5
        ) + bytes(60_000 - len(blob) - 5)  # fmt: skip
        offered = 0
        while attacker.session_end is None and offered < 16 * MEGABYTE:
            attacker.quic.send_stream_data(attacker.control, message)
            offered += len(message)
            attacker.flush()
            await asyncio.sleep(0.001)
            if (link := stage.link_of(attacker.port)) is not None:
                assert footprint(link) < MOST
        assert attacker.session_end is not None
        assert attacker.session_end[0] == CloseCode.FLOOD
        assert offered < 4 * MEGABYTE


async def test_a_message_without_an_end() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        attacker.quic.send_stream_data(attacker.control, struct.pack(">I", 1 << 30))
        attacker.flush()
        await stage.until(lambda: attacker.session_end)
        assert attacker.session_end is not None
        assert attacker.session_end[0] == CloseCode.TOO_LARGE


async def test_a_flood_of_datagrams() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        assert attacker.h3 is not None
        for _ in range(40):
            for _ in range(60):
                attacker.quic.send_datagram_frame(b"\x00" + bytes(200))
            attacker.flush()
            await asyncio.sleep(0)
            if attacker.session_end:
                break
        await stage.until(lambda: attacker.session_end)
        assert attacker.session_end is not None
        assert attacker.session_end[0] == CloseCode.FLOOD
        if (link := stage.link_of(attacker.port)) is not None:
            assert footprint(link) < MOST


@pytest.mark.parametrize("unidirectional", [True, False], ids=["uni", "bidi"])
@pytest.mark.parametrize("ends", [True, False], ids=["closed", "open"])
async def test_ten_thousand_streams(unidirectional: bool, ends: bool) -> None:
    """Each names the session; nobody asked for them."""
    async with staged() as stage, attacking(stage) as attacker:
        quic = attacker.quic
        head = b"\x40\x54\x00" if unidirectional else b"\x40\x41\x00"
        biggest = 0
        for _ in range(10_000):
            if attacker.end or attacker.session_end:
                break
            limit = quic._remote_max_streams_uni if unidirectional else quic._remote_max_streams_bidi
            stream_id = quic.get_next_available_stream_id(is_unidirectional=unidirectional)
            if stream_id // 4 >= limit:
                await asyncio.sleep(0.01)
                break
            quic.send_stream_data(stream_id, head + b"x", end_stream=ends)
            if stream_id % 256 < 4:
                attacker.flush()
                await asyncio.sleep(0)
                if (link := stage.link_of(attacker.port)) is not None:
                    biggest = max(biggest, footprint(link))
        attacker.flush()
        await stage.until(lambda: attacker.end or attacker.session_end)
        if attacker.session_end is not None:
            assert attacker.session_end == (CloseCode.FLOOD, "streams that nobody asked for")
        assert biggest < MOST


async def test_streams_beyond_the_limit_end_the_connection() -> None:
    """A client that does not heed the limit: STREAM frames of 10,000 streams at once."""
    async with staged() as stage, attacking(stage) as attacker:
        for first in range(1000, 11_000, 200):
            attacker.send_frames(*(b"\x08" + encode_uint_var(4 * n) for n in range(first, first + 200)))
        await stage.until(lambda: attacker.end)
        assert attacker.end is not None
        assert attacker.end[0] == 0x04  # STREAM_LIMIT_ERROR


async def test_thousands_of_connects_on_one_connection(few_requests: None) -> None:
    async with staged() as stage, attacking(stage, session=False) as attacker:
        biggest = 0
        finished: set[int] = set()
        for number in range(3000):
            if attacker.end:
                break
            for refused, status in list(attacker.statuses.items()):
                if status != "200" and refused not in finished:
                    finished.add(refused)
                    attacker.quic.send_stream_data(refused, b"", end_stream=True)
            stream_id = attacker.quic.get_next_available_stream_id()
            if stream_id // 4 >= attacker.quic._remote_max_streams_bidi:
                attacker.flush()
                await asyncio.sleep(0.001)
                continue
            attacker.ask()
            if number % 16 == 0:
                attacker.flush()
                await asyncio.sleep(0)
                if (link := stage.link_of(attacker.port)) is not None:
                    biggest = max(biggest, footprint(link))
        await stage.until(lambda: attacker.end)
        assert attacker.end == (h3codes.H3_EXCESSIVE_LOAD, "too many requests")
        assert biggest < 3 * MOST  # sixteen sessions with their queues
        assert list(attacker.statuses.values()).count("200") <= MAX_SESSIONS
        assert "429" in attacker.statuses.values()
        await stage.until(lambda: len(stage.service.sessions) == 1)


async def test_rapid_reset(few_requests: None) -> None:
    """Sessions that are reset as soon as they are asked for, again and again."""
    async with staged() as stage, attacking(stage, session=False) as attacker:
        for number in range(3000):
            if attacker.end:
                break
            stream_id = attacker.quic.get_next_available_stream_id()
            if stream_id // 4 >= attacker.quic._remote_max_streams_bidi:
                attacker.flush()
                await asyncio.sleep(0.005)
                continue
            attacker.ask()
            if number % 8 == 0:
                attacker.flush()
            attacker.quic.reset_stream(stream_id, 0x10C)
            attacker.quic.stop_stream(stream_id, 0x10C)
            attacker.flush()
        await stage.until(lambda: attacker.end)
        assert attacker.end == (h3codes.H3_EXCESSIVE_LOAD, "too many requests")
        await stage.until(lambda: len(stage.service.sessions) == 1)


async def test_a_flood_of_keyframe_requests_is_coalesced() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        asked: list[int] = []
        stage.cam.request_keyframe = lambda track, rendition, now_us: asked.append(track)  # type: ignore[method-assign]
        request = pack(KeyframeRequest(track=0, reason="gap"))
        attacker.quic.send_stream_data(attacker.control, request * 190)
        attacker.flush()
        await asyncio.sleep(0.3)
        assert attacker.session_end is None
        assert 1 <= len(asked) <= 2


# --- HTTP/3 ------------------------------------------------------------------------------------------


async def until_end(attacker: Attacker) -> tuple[int, str]:
    attacker.flush()
    await attacker.stage.until(lambda: attacker.end)
    assert attacker.end is not None
    return attacker.end


async def test_headers_without_an_end() -> None:
    async with staged() as stage, attacking(stage, session=False) as attacker:
        stream_id = attacker.quic.get_next_available_stream_id()
        head = encode_uint_var(FrameType.HEADERS) + encode_uint_var(1 << 40)
        attacker.quic.send_stream_data(stream_id, head + bytes(200_000))
        assert (await until_end(attacker))[0] == h3codes.H3_EXCESSIVE_LOAD


async def test_a_bomb_of_headers() -> None:
    """There is no dynamic table, so nothing long can be referred to; what is sent is what there is."""
    async with staged() as stage, attacking(stage, session=False) as attacker:
        assert attacker.h3 is not None
        assert attacker.h3.received_settings is not None
        assert attacker.h3.received_settings.get(0x01, 0) == 0  # QPACK_MAX_TABLE_CAPACITY
        assert attacker.h3.received_settings.get(0x07, 0) == 0  # QPACK_BLOCKED_STREAMS
        encoder = attacker.h3._local_encoder_stream_id
        assert encoder is not None
        attacker.quic.send_stream_data(encoder, b"\x3f\xe1\x1f" + b"\x41a\x7f\xe1\x1e" + bytes(4000))
        assert (await until_end(attacker))[0] == 0x201  # QPACK_ENCODER_STREAM_ERROR


async def test_references_to_a_table_that_is_not_there() -> None:
    async with staged() as stage, attacking(stage, session=False) as attacker:
        stream_id = attacker.quic.get_next_available_stream_id()
        attacker.quic.send_stream_data(
            stream_id, encode_frame(FrameType.HEADERS, b"\x02\x00" + b"\x80" * 9000)
        )
        assert (await until_end(attacker))[0] == 0x200  # QPACK_DECOMPRESSION_FAILED


async def test_many_short_references_are_few_bytes() -> None:
    async with staged() as stage, attacking(stage, session=False) as attacker:
        for _ in range(20):
            stream_id = attacker.quic.get_next_available_stream_id()
            data = encode_frame(
                FrameType.HEADERS, b"\x00\x00" + b"\xff\x15" * 8000
            )  # the longest of the static
            attacker.quic.send_stream_data(stream_id, data, end_stream=True)
        attacker.flush()
        await asyncio.sleep(0.3)
        if (link := stage.link_of(attacker.port)) is not None:
            assert footprint(link) < MOST


@pytest.mark.parametrize("kind", [0x04, 0x07, 0x0D, 0x21, 0x3FFFFFFF])
async def test_frames_of_absurd_lengths_on_the_control_stream(kind: int) -> None:
    async with staged() as stage, attacking(stage, session=False) as attacker:
        assert attacker.h3 is not None
        control = attacker.h3._local_control_stream_id
        assert control is not None
        attacker.quic.send_stream_data(
            control, encode_uint_var(kind) + encode_uint_var(1 << 61) + bytes(150_000)
        )
        attacker.flush()
        await stage.until(lambda: attacker.end or attacker.quic._remote_max_data_used >= 150_000)
        await asyncio.sleep(0.05)
        if (link := stage.link_of(attacker.port)) is not None:
            assert footprint(link) < MOST


async def test_a_flood_of_capsules() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        session_id = next(iter(attacker.statuses))
        data = encode_frame(FrameType.DATA, (b"\x21\x00" + encode_drain()) * 3000)
        for _ in range(8):
            attacker.quic.send_stream_data(session_id, data)
        attacker.flush()
        await stage.until(lambda: len(stage.service.sessions) == 1 or attacker.end)
        if (link := stage.link_of(attacker.port)) is not None:
            assert footprint(link) < MOST


async def test_a_capsule_that_never_ends_is_not_held() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        session_id = next(iter(attacker.statuses))
        capsule = encode_uint_var(0x3FFF) + encode_uint_var(1 << 60)
        attacker.quic.send_stream_data(session_id, encode_uint_var(0) + encode_uint_var(1 << 60) + capsule)
        before = footprint(attacker.link)
        for _ in range(10):
            attacker.quic.send_stream_data(session_id, bytes(100_000))
            attacker.flush()
            await asyncio.sleep(0.02)
        assert footprint(attacker.link) < before + MEGABYTE
        assert len(stage.service.sessions) == 2


async def test_limits_that_do_not_rise_are_refused() -> None:
    """Flow control capsules mean nothing to a session of draft 02: no memory, no change."""
    async with staged() as stage, attacking(stage) as attacker:
        session_id = next(iter(attacker.statuses))
        attacker.quic.send_stream_data(
            session_id, encode_frame(FrameType.DATA, encode_limit(MAX_DATA, 1) * 900)
        )
        attacker.flush()
        await asyncio.sleep(0.1)
        assert footprint(attacker.link) < MOST


# --- QUIC ----------------------------------------------------------------------------------------------


async def test_a_flood_of_new_connection_ids() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        for number in range(10, 3000):
            frame = b"\x18" + encode_uint_var(number) + encode_uint_var(number) + b"\x08"
            attacker.send_frames(frame + number.to_bytes(8, "big") + bytes(16))
            if number % 50 == 0:
                await asyncio.sleep(0)
                if (link := stage.link_of(attacker.port)) is not None:
                    assert footprint(link) < MOST
            if attacker.end:
                break
        await stage.until(lambda: len(stage.service.sessions) == 1)


async def test_a_flood_of_retired_connection_ids() -> None:
    """Each that is retired is replaced: the table does not grow."""
    async with staged() as stage, attacking(stage) as attacker:
        quic = attacker.quic
        for _ in range(60):
            known = [cid.sequence_number for cid in quic._peer_cid_available]
            if known and not attacker.end:
                quic.change_connection_id()
            attacker.flush()
            await asyncio.sleep(0.002)
        link = stage.link_of(attacker.port)
        if link is not None:
            assert len(link.cids) <= 20
            assert footprint(link) < MOST


async def test_a_flood_of_path_challenges() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        for number in range(120):
            attacker.send_frames(*(b"\x1a" + (number * 100 + n).to_bytes(8, "big") for n in range(100)))
            if number % 20 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        if (link := stage.link_of(attacker.port)) is not None:
            assert footprint(link) < MOST


async def test_crypto_data_without_an_end() -> None:
    async with staged() as stage, attacking(stage) as attacker:
        for number in range(800):
            offset = 1000 + number * 1000
            attacker.send_frames(b"\x06" + encode_uint_var(offset) + encode_uint_var(1000) + bytes(1000))
            if number % 20 == 0:
                await asyncio.sleep(0)
                if (link := stage.link_of(attacker.port)) is not None:
                    assert footprint(link) < MOST
        await stage.until(lambda: len(stage.service.sessions) == 1)
