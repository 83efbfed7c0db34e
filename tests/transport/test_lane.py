"""What the lane is made of: sealing and opening against aioquic's own, and what goes first."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, pull_ack_frame, push_ack_frame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.rangeset import RangeSet
from aioquic.tls import CipherSuite, Epoch
from hypothesis import given
from hypothesis import strategies as st

from tests.netsim import Conditions
from tests.transport.ends import Ends
from tests.transport.test_endpoint import HASHES, Served, Waiting, served
from wtgateway.transport import internals
from wtgateway.transport.batch import Batch, Datagrams, run_of
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.frame_stream import FrameStream
from wtgateway.transport.lane import BATCH_PACKETS, SHALLOW_S, Lane
from wtgateway.transport.media_queue import MediaQueue
from wtgateway.transport.opening import Opener, Unreadable, read_frames
from wtgateway.transport.pacer import BURST_PACKETS, INITIAL_BURST_PACKETS, MediaPacer
from wtgateway.transport.sealing import LEAST_PAYLOAD, Sealer
from wtgateway.transport.udp import Peer, UdpSocket
from wtgateway.transport.urgency import Urgency

__all__ = ["served"]  # the fixture
express = pytest.mark.skipif(not internals.EXPRESS, reason="the lane goes aioquic's own way")

# --- sealing and opening ------------------------------------------------------------------------------

SUITES = [
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
]


def keys(suite: CipherSuite, version: int = QuicProtocolVersion.VERSION_1) -> CryptoPair:
    pair = CryptoPair()
    secret = bytes(range(48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32))
    for context in (pair.send, pair.recv):
        context.setup(cipher_suite=suite, secret=secret, version=version)
    return pair


@pytest.mark.parametrize("suite", SUITES)
@given(
    cid=st.binary(min_size=0, max_size=20),
    spin=st.booleans(),
    number=st.integers(0, (1 << 40)),
    payloads=st.lists(st.binary(min_size=LEAST_PAYLOAD, max_size=64), min_size=1, max_size=5),
)
def test_packets_are_sealed_as_aioquic_seals_them(
    suite: CipherSuite, cid: bytes, spin: bool, number: int, payloads: list[bytes]
) -> None:
    pair = keys(suite)
    ours = Sealer(pair.send).seal(cid, spin, number, payloads)
    for at, payload in enumerate(payloads):
        header = bytes([0x41 | spin << 5]) + cid + ((number + at) & 0xFFFF).to_bytes(2, "big")
        assert ours[at] == pair.encrypt_packet(header, payload, number + at)


@pytest.mark.parametrize("suite", SUITES)
@given(
    number=st.integers(0, 1 << 40),
    behind=st.integers(0, 1000),
    payload=st.binary(min_size=LEAST_PAYLOAD, max_size=64),
    spin=st.booleans(),
)
def test_what_was_sealed_is_opened(
    suite: CipherSuite, number: int, behind: int, payload: bytes, spin: bool
) -> None:
    pair = keys(suite)
    (packet,) = Sealer(pair.send).seal(bytes(8), spin, number, [payload])
    opened = Opener(pair.recv).open(packet, 8, max(0, number - behind))
    if len(packet) < 1 + 8 + 4 + 16:
        assert opened is None
    else:
        assert opened == (number, spin, payload)


@given(place=st.integers(1, 60), flip=st.integers(1, 255))
def test_a_changed_packet_is_refused_or_left_alone(place: int, flip: int) -> None:
    pair = keys(CipherSuite.AES_128_GCM_SHA256)
    (packet,) = Sealer(pair.send).seal(bytes(8), False, 1000, [bytes(range(40))])
    changed = bytearray(packet)
    changed[place % len(packet)] ^= flip
    with contextlib.suppress(Unreadable):
        assert Opener(pair.recv).open(bytes(changed), 8, 1000) is None


def test_another_key_phase_is_left_to_aioquic() -> None:
    pair = keys(CipherSuite.AES_128_GCM_SHA256)
    pair.send.key_phase = 1
    (packet,) = Sealer(pair.send).seal(bytes(8), False, 1, [bytes(40)])
    assert Opener(pair.recv).open(packet, 8, 1) is None


@given(
    starts=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=40),
    delay=st.integers(0, (1 << 62) - 1),
    padding=st.integers(0, 3),
)
def test_ack_frames_are_read_as_aioquic_reads_them(
    starts: list[tuple[int, int]], delay: int, padding: int
) -> None:
    ranges, at = RangeSet(), 0
    for gap, length in starts:
        ranges.add(at + gap, at + gap + length)
        at += gap + length
    buffer = Buffer(capacity=4000)
    push_ack_frame(buffer, ranges, delay, 3000)
    frames = read_frames(b"\x02" + buffer.data + bytes(padding))
    assert frames is not None
    theirs, their_delay = pull_ack_frame(Buffer(data=buffer.data))
    assert frames[0] == [(r.start, r.stop - 1) for r in reversed(list(theirs))]
    assert frames[1:] == (their_delay, [], [], False)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_left(payload: bytes) -> None:
    frames = read_frames(payload)
    if frames is not None:
        ranges, _, limits, datagrams, eliciting = frames
        assert all(0 <= low <= high for low, high in ranges)
        assert eliciting or not (limits or datagrams)
        assert sum(map(len, datagrams)) < len(payload)


# --- cutting ------------------------------------------------------------------------------------------


def test_small_datagrams_share_packets_and_lose_nothing() -> None:
    payloads = [bytes([n]) * (n % 90) for n in range(100)]
    waiting = Datagrams(b"\x07", payloads)
    found: list[bytes] = []
    packets = 0
    while waiting:
        frames, count, size = waiting.next(500)
        assert len(frames) <= 500
        assert size == sum(map(len, payloads[len(found) : len(found) + count]))
        packets += 1
        waiting.took(count)
        buffer = Buffer(data=frames)
        while not buffer.eof():
            kind = buffer.pull_uint8()
            length = buffer.pull_uint_var() if kind == 0x31 else len(frames) - buffer.tell()
            data = buffer.pull_bytes(length)
            assert data[:1] == b"\x07"
            found.append(data[1:])
    assert found == payloads
    assert packets <= sum(map(len, payloads)) // 400 + 2


def test_a_batch_is_bounded_in_packets_and_in_bytes() -> None:
    batch = Batch(3, 1000, 300, 30)
    assert [batch.add(bytes(270), (None, 0, 0)) for _ in range(4)] == [True, True, True, False]
    batch = Batch(10, 1000, 300, 30)
    assert [batch.add(bytes(300), (None, 0, 0)) for _ in range(4)] == [True, True, True, False]
    assert batch.add(bytes(1), (None, 0, 0)) is False


@given(st.lists(st.sampled_from([100, 700, 1200]), min_size=1, max_size=30))
def test_runs_can_be_segmented_by_the_kernel(sizes: list[int]) -> None:
    packets = [bytes(size) for size in sizes]
    runs = run_of(Peer(("::1", 1)), packets)
    assert [packet for run in runs for packet in run.packets] == packets
    for run in runs:
        first, *rest, last = [len(packet) for packet in run.packets] * (1 + (len(run.packets) == 1))
        assert last <= first
        assert all(size == first for size in rest)


# --- pacing -------------------------------------------------------------------------------------------


def test_the_pacer_gives_bursts_and_then_its_rate() -> None:
    pacer = MediaPacer(max_datagram_size=1200)
    assert pacer.available(0.0) > 1000  # nothing is known yet
    pacer.update_rate(congestion_window=12_000, smoothed_rtt=0.1)  # 200 packets a second
    assert pacer.bytes_per_second == pytest.approx(200 * 1200)
    burst = pacer.available(0.0)
    assert burst == INITIAL_BURST_PACKETS
    pacer.spend(0.0, burst * 1200 - 600)
    assert pacer.available(0.0) == 0, "half a packet's worth is left"
    pacer.spend(0.0, 600)
    later = pacer.next_send_time(0.0)
    assert later is not None
    assert pacer.available(later + 1e-6) == 1
    assert pacer.available(10.0) == BURST_PACKETS


# --- what goes first ------------------------------------------------------------------------------------


def opened(**conditions: float) -> Ends:
    ends = Ends(down=Conditions(**{"delay": 0.020, **conditions}))
    ends.run()
    return ends


@express
def test_what_is_more_urgent_overtakes_what_waits() -> None:
    ends = opened()
    session = ends.server.open
    arrived: list[int] = []
    ends.client.on_data = lambda stream_id, _: arrived.append(stream_id)
    big = session.send_frame(bytes(400_000), Urgency.DELTA)  # more than the window takes
    session.flush()
    ends.run(0.005)
    assert session.waiting > 100_000
    key = session.send_frame(bytes(20_000), Urgency.KEYFRAME)
    sound = session.send_frame(bytes(200), Urgency.AUDIO)
    session.flush()
    ends.run(5)
    order = [next(i for i, s in enumerate(arrived) if s == stream) for stream in (sound, key)]
    last = max(i for i, stream in enumerate(arrived) if stream == big)
    assert order == sorted(order)
    assert order[1] < last
    assert set(ends.client.finished) >= {big, key, sound}
    assert ends.client.streams[big] == bytes(400_000)


@express
def test_lost_bytes_go_before_what_is_new_in_their_class() -> None:
    ends = opened()
    quic = ends.server_end.quic
    queue = MediaQueue(quic)

    def frame(stream_id: int, urgency: Urgency) -> FrameStream:
        stream = FrameStream(
            stream_id,
            b"head",
            bytes(2000),
            urgency=urgency,
            max_stream_data=1 << 20,
            on_lost=queue.on_lost,
            on_over=lambda *_: None,
        )
        queue.add_stream(stream)
        return stream

    def cut(packets: int) -> list[tuple[int, int]]:
        batch = Batch(packets, 1 << 20, 1000, 30)
        queue.fill(batch)
        return [(stream.stream_id, start) for stream, start, _ in batch.contents if stream is not None]

    first, second = frame(3, Urgency.DELTA), frame(7, Urgency.DELTA)
    sound = frame(11, Urgency.AUDIO)
    sent = cut(5)
    assert [stream_id for stream_id, _ in sent] == [11, 11, 11, 3, 3]
    waiting = queue.unsent
    first.on_data_delivery(QuicDeliveryState.LOST, 0, sent[4][1], False)
    assert queue.unsent == waiting + sent[4][1]
    late = frame(15, Urgency.AUDIO)
    again = cut(100)
    assert [stream_id for stream_id, _ in again] == [15, 15, 15, 3, 3, 7, 7, 7]
    assert again[3] == (3, 0)
    assert again[4][1] > sent[4][1]  # and then what of it had not been sent
    assert queue.unsent == 0
    assert not queue.ready
    assert {sound.next, late.next, second.next} == {2004}


@express
def test_only_so_much_is_taken_that_what_comes_later_can_overtake() -> None:
    ends = opened()
    session = ends.server.open
    pace = internals.pace(ends.server_end.quic)
    taken = 0
    while session.room() > 0:
        session.send_frame(bytes(1000), Urgency.DELTA)
        taken += 1000
    assert taken <= pace * SHALLOW_S + 2000


@express
async def test_a_greedy_viewer_has_one_batch_a_turn(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy, modest = Waiting(), Waiting()
    one = await connect(served.url("127.0.0.1"), greedy, certificate_hashes=HASHES)
    two = await connect(served.url("127.0.0.1"), modest, certificate_hashes=HASHES)
    runs: list[tuple[Peer, int]] = []
    send_run = UdpSocket.send_run

    def record(self: UdpSocket, packets: list[bytes], peer: Peer) -> None:
        if peer.address[1] != self.address[1] and self.address[1] == served.addresses[0][1]:
            runs.append((peer, len(packets)))
        send_run(self, packets, peer)

    monkeypatch.setattr(UdpSocket, "send_run", record)
    first, second = (handler.open for handler in served.handlers)
    for _ in range(40):
        first.send_frame(bytes(50_000), Urgency.DELTA)
    first.flush()
    await asyncio.sleep(0)
    for _ in range(5):
        second.send_frame(bytes(3000), Urgency.DELTA)
    second.flush()
    await modest.until(lambda: len(modest.finished) >= 5)
    assert max(count for _, count in runs) <= BATCH_PACKETS
    sizes = [len(stream) for stream in greedy.streams.values()]
    assert sum(sizes) < 40 * 50_000  # the modest viewer did not wait for all of that
    await greedy.until(lambda: len(greedy.finished) >= 40)
    await disconnect(one)
    await disconnect(two)


# --- without it ---------------------------------------------------------------------------------------


def test_an_aioquic_that_is_not_known_is_used_its_own_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(internals, "version", lambda _: "9.9.9")
    monkeypatch.delenv("WTGATEWAY_EXPRESS", raising=False)
    assert not internals._express()
    assert "aioquic 9.9.9" in caplog.text
    monkeypatch.setattr(internals, "EXPRESS", False)
    ends = opened()
    assert not ends.server_end.lane.express
    stream = ends.server.open.send_frame(bytes(100_000), Urgency.KEYFRAME)
    assert ends.server.open.send_datagrams([b"one", b"two"], Urgency.AUDIO) == 2
    ends.server.open.flush()
    ends.run(2)
    assert ends.client.streams[stream] == bytes(100_000)
    assert ends.client.datagrams == [b"one", b"two"]


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("WTGATEWAY_EXPRESS", "0")
    assert not internals._express()
    assert not caplog.records


def test_a_new_key_long_before_the_old_one_has_sealed_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wtgateway.transport.lane.PACKETS_PER_KEY", 50)
    ends = opened()
    lane: Lane = ends.server_end.lane
    phases = set()
    for _ in range(8):
        stream = ends.server.open.send_frame(bytes(30_000), Urgency.DELTA)
        ends.server.open.flush()
        ends.run(1)
        assert ends.client.streams[stream] == bytes(30_000)
        phases.add(lane.quic._cryptos[Epoch.ONE_RTT].send.key_phase)
    assert phases == {0, 1}
