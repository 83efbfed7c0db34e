"""Any packet that a peer may send: the lane's state afterwards is what aioquic's own would be.

A connection in mid-flight is copied twice; the same packets go to ``Lane.receive`` of one copy and to
``QuicConnection.receive_datagram`` of the other. Packets are sealed with the real keys by the parser's
other half, so that they may hold whatever no honest peer sends.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.equivalence.fork import differences, fork, snapshot
from tests.transport.equivalence.frames import varint, write_ack
from tests.transport.equivalence.harness import SERVER_ADDRESS, Setup, client_address
from tests.transport.equivalence.ledger import CLIENT, SERVER
from tests.transport.equivalence.packets import AES_128, CHACHA20, HeaderMask, Kind, PacketKey, seal_short
from tests.transport.equivalence.play import Play
from wtgateway.transport.lane import Attention, Lane
from wtgateway.transport.urgency import Urgency

SOME = settings(max_examples=90, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HUGE = (1 << 62) - 1


@dataclass(frozen=True)
class Base:
    """A connection in mid-flight, and what is needed to speak to it as its peer."""

    lane: Lane
    key: PacketKey
    mask: HeaderMask
    phase: int
    cids: list[bytes]  # of the lane's end: in use, spare, and one that nobody has
    address: Any
    now: float
    next_number: int  # of the peer's packets
    sent: tuple[int, int]  # least and greatest packet number in flight
    streams: list[int]


def _busy(play: Play) -> None:
    """Frames in flight, lost, stalled and blocked, datagrams, a control stream, a PING."""
    play.frame(3_000, Urgency.KEYFRAME)
    play.wait(0.3)
    play.control("lane", 2_000)
    play.control("peer", 700)
    play.upload(900)
    for n in range(8):
        play.frame(900 + 700 * n)
        play.datagrams_of(2, 300)
    play.ping("lane")
    play.wait(0.004)
    play.world.dark = {play.lane.name}
    play.frame(5_000, Urgency.AUDIO)
    play.datagrams_of(3, 900)
    play.world.dark = set()
    play.wait(0.0072)


def _updated(play: Play) -> None:
    play.ping("peer")
    play.wait(0.3)
    assert play.update_key("peer")
    play.wait(0.1)
    _busy(play)


def _rested(play: Play) -> None:
    play.frame(3_000)
    play.wait(1.0)


BASES = {
    "busy": (_busy, Setup(peer_max_streams=6, peer_max_data=20_000, peer_max_stream_data=4_000)),
    "busy, without limits": (_busy, Setup()),
    "busy, as client": (_busy, Setup(lane=CLIENT, peer_max_streams=6)),
    "new keys": (_updated, Setup(suite=CHACHA20)),
    "at rest": (_rested, Setup(suite=AES_128)),
    "without datagrams": (_rested, Setup(max_datagram_frame=None)),
    "small datagrams": (_rested, Setup(max_datagram_frame=64)),
}


@functools.cache
def base(name: str) -> Base:
    script, setup = BASES[name]
    play = Play(setup, "express")
    script(play)
    lane, peer = play.lane, play.peer
    side = play.world.witness.sides[peer.name]
    numbers = lane.books.in_flight() or {0}
    lane.flush()  # events are taken
    assert isinstance(lane.driver, Lane)
    return Base(
        lane=lane.driver,
        key=side.keys[Kind.ONE_RTT],
        mask=side.masks[Kind.ONE_RTT],
        phase=side.generation & 1,
        cids=[lane.quic.host_cid, *(cid.cid for cid in lane.quic._host_cids[1:3]), b"nobody's"],
        address=client_address(play.world.place) if lane.name == SERVER else SERVER_ADDRESS,
        now=play.world.time.now,
        next_number=peer.quic._packet_number,
        sent=(min(numbers), max(numbers)),
        streams=play.frames,
    )


def compare(found: Base, packets: list[bytes], *, address: Any = None, pause: float = 0.003) -> Lane:
    """Both ways with copies of a connection; the lane's copy."""
    short, long = fork(found.lane), fork(found.lane)
    assert not differences(snapshot(short), snapshot(long))
    now = found.now
    for packet in packets:
        now += pause
        attention = short.receive(packet, address or found.address, now)
        long.quic.receive_datagram(packet, address or found.address, now)
        different = differences(snapshot(short), snapshot(long))
        assert not different, different
        due = short.sooner()
        if not attention & (Attention.SEND | Attention.FULL) and (
            due is None or due > now
        ):  # else its timer tells
            assert not fork(long.quic).datagrams_to_send(now), "aioquic would answer, and nobody is told"
            assert not fork(short).transmit(now), "there is something to send, and nobody is told"
    return short


# --- frames ----------------------------------------------------------------------------------------

small = st.integers(0, 40)
numbers = st.one_of(small, st.integers(0, 400), st.sampled_from([HUGE, HUGE - 1, 1 << 30, 1 << 60]))


def plausible_acks(lowest: int, highest: int) -> st.SearchStrategy[bytes]:
    """ACK frames of some of what was sent, with gaps, now and then of the next packet as well."""
    acknowledged = st.sets(st.integers(max(0, lowest - 2), highest), min_size=1)
    delays = st.one_of(st.integers(0, 400), st.integers(0, 4_000), numbers)  # of 8 us each
    return st.builds(lambda found, delay: write_ack(runs(found), delay), acknowledged, delays)


def runs(found: set[int]) -> list[tuple[int, int]]:
    """The ranges of an ACK, greatest first."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(found, reverse=True):
        if ranges and ranges[-1][0] == number + 1:
            ranges[-1] = (number, ranges[-1][1])
        else:
            ranges.append((number, number))
    return ranges


@st.composite
def wild_acks(draw: st.DrawFn, lowest: int, highest: int) -> bytes:
    """ACK frames of what was never sent, that go below 0, of a thousand ranges, with false counts."""
    largest = draw(st.one_of(st.integers(lowest, highest), st.integers(0, highest + 20), numbers))
    length = draw(st.one_of(st.integers(0, min(largest, 30)), st.just(largest), st.just(largest + 1)))
    count = draw(st.one_of(st.integers(0, 6), st.sampled_from([20, 63, 64, 65, 256, 257, 1_000])))
    pairs = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(min(count, 8))]
    pairs = (pairs * (count // 8 + 1))[:count] if pairs else []
    claimed = draw(st.one_of(st.just(count), st.just(count), numbers))
    kind = draw(st.sampled_from([2, 2, 3]))
    frame = varint(kind) + varint(largest) + varint(draw(numbers)) + varint(claimed)
    frame += varint(min(length, HUGE)) + b"".join(varint(gap) + varint(size) for gap, size in pairs)
    return frame + (varint(draw(small)) * 3 if kind == 3 else b"")


def limits(streams: list[int]) -> st.SearchStrategy[bytes]:
    """MAX_DATA, MAX_STREAM_DATA and MAX_STREAMS: lowered, raised, absurd, of streams of all kinds."""
    stream_ids = st.one_of(st.sampled_from(streams), st.integers(0, 40), numbers)
    values = st.one_of(numbers, st.integers(0, 1 << 20), st.just((1 << 60) + 1))
    sized = st.sampled_from([0, 8])
    return st.one_of(
        st.builds(lambda value, size: b"\x10" + varint(value, size), st.integers(0, HUGE), st.just(8)),
        st.builds(lambda value: b"\x10" + varint(value), values),
        st.builds(
            lambda stream, value, size: b"\x11" + varint(stream) + varint(value, size or 0),
            stream_ids,
            values,
            sized,
        ),
        st.builds(lambda kind, value: varint(kind) + varint(value), st.sampled_from([0x12, 0x13]), values),
    )


def datagrams() -> st.SearchStrategy[bytes]:
    """DATAGRAM frames with a length and without, which takes the packet's rest; with a wrong one."""
    sizes = st.one_of(st.integers(0, 20), st.sampled_from([60, 63, 64, 300, 1_100]))
    return st.one_of(
        st.builds(
            lambda size: b"\x31" + varint(size) + bytes(range(size % 251)) + b"." * (size - size % 251), sizes
        ),
        st.builds(lambda size: b"\x30" + b"-" * size, sizes),
        st.builds(lambda size, claimed: b"\x31" + varint(claimed) + b"+" * size, small, numbers),
        st.builds(lambda data: b"\x31" + varint(len(data), 8) + data, st.binary(max_size=9)),
    )


def others(streams: list[int]) -> st.SearchStrategy[bytes]:
    """Frames that the short path has to leave alone, legal and not."""
    stream_ids = st.one_of(st.sampled_from(streams), st.integers(0, 12))
    return st.one_of(
        st.builds(lambda stream, code: b"\x05" + varint(stream) + varint(code), stream_ids, small),
        st.builds(lambda s, c, n: b"\x04" + varint(s) + varint(c) + varint(n), stream_ids, small, small),
        st.builds(
            lambda s, data: b"\x0a" + varint(s) + varint(len(data)) + data, stream_ids, st.binary(max_size=9)
        ),
        st.builds(
            lambda kind, value: varint(kind) + varint(value),
            st.sampled_from([0x14, 0x16, 0x17, 0x19]),
            numbers,
        ),
        st.builds(lambda n: b"\x18" + varint(n) + b"\0\x08" + bytes([n]) * 24, st.integers(0, 12)),
        st.builds(lambda data: b"\x1a" + data, st.binary(min_size=8, max_size=8)),
        st.builds(lambda code: b"\x1c" + varint(code) + b"\0\0", small),
        st.sampled_from(
            [b"\x1e", b"\x07\x01a", b"\x06\0\x01a", b"\x40\x01", b"\x21", b"\x1d\0\0", b"\xff", b"\x40"]
        ),
        st.binary(min_size=1, max_size=12),
    )


@st.composite
def payloads(draw: st.DrawFn, found: Base) -> bytes:
    """Frames in any order, what the short path takes more often than not."""
    usual = st.one_of(
        plausible_acks(*found.sent),
        plausible_acks(*found.sent),
        plausible_acks(*found.sent),
        wild_acks(*found.sent),
        st.just(b"\x01"),
        datagrams(),
        st.builds(bytes, st.integers(1, 30)),
        limits(found.streams),
    )
    pieces = draw(st.lists(usual, min_size=0 if draw(st.integers(0, 30)) == 30 else 1, max_size=3))
    if draw(st.integers(0, 7)) == 7:
        pieces.insert(draw(st.integers(0, len(pieces))), draw(others(found.streams)))
    payload = b"".join(pieces)
    if draw(st.integers(0, 15)) == 15:
        payload = payload[: draw(st.integers(0, len(payload)))]
    return payload + (b"\0" * max(0, 4 - len(payload)) if draw(st.booleans()) or len(payload) < 1 else b"")


@st.composite
def packets(draw: st.DrawFn, found: Base) -> bytes:
    """A sealed packet; now and then with an odd header, or damaged after it was sealed."""
    number_bytes = draw(st.sampled_from([1, 2, 2, 2, 4]))
    ahead = draw(st.one_of(st.integers(0, 30), st.integers(0, 30), st.sampled_from([-1, -3, -200, 90])))
    payload = draw(payloads(found))
    payload += bytes(max(0, 4 - number_bytes - len(payload)))
    odd = draw(st.integers(0, 9)) == 9
    key, phase = found.key, found.phase
    if odd and draw(st.booleans()):
        phase ^= 1
        key = key.next if draw(st.booleans()) else key
    packet = seal_short(
        key,
        found.mask,
        destination=draw(st.sampled_from([found.cids[0]] * 8 + found.cids)),
        number=max(0, found.next_number + ahead),
        payload=payload,
        phase=phase,
        spin=draw(st.integers(0, 1)),
        reserved=draw(st.sampled_from([0] * 12 + [1, 2, 3])),
        number_bytes=number_bytes,
    )
    match draw(st.integers(0, 20)):
        case 18:
            at = draw(st.integers(0, 8 * len(packet) - 1))
            flipped = bytearray(packet)
            flipped[at // 8] ^= 1 << at % 8
            return bytes(flipped)
        case 19:
            return packet[: draw(st.integers(1, len(packet)))]
        case 20:
            return packet + draw(st.binary(min_size=1, max_size=30))
    return packet


garbage = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.builds(lambda first, rest: bytes([0x40 | first]) + rest, st.integers(0, 63), st.binary(max_size=60)),
)


@pytest.mark.parametrize("name", BASES)
def test_any_packets_leave_the_state_that_aioquic_would_have(name: str) -> None:
    found = base(name)

    @SOME
    @given(st.lists(packets(found), min_size=1, max_size=4), st.sampled_from([0.0, 0.003, 0.01, 0.2]))
    def check(batch: list[bytes], pause: float) -> None:
        compare(found, batch, pause=pause)

    check()


@settings(SOME, max_examples=50)
@given(st.lists(garbage, min_size=1, max_size=4), st.booleans())
def test_noise_changes_nothing(noise: list[bytes], elsewhere: bool) -> None:
    found = base("busy")
    # It may come from another address, and with a connection ID that is in use.
    noise = [data if n % 2 else data[:1] + found.cids[0] + data[1:] for n, data in enumerate(noise)]
    lane = compare(found, noise, address=client_address(77) if elsewhere else None)
    assert not differences(snapshot(lane), snapshot(found.lane))


@pytest.mark.parametrize("delay", [0, 25, 100, 300, 5_000, HUGE])
def test_round_trips_are_measured_alike(delay: int) -> None:
    """One packet after another is acknowledged, 8 us times ``delay`` after it came."""
    found = base("busy, without limits")
    batch = [
        seal_short(
            found.key,
            found.mask,
            destination=found.cids[0],
            number=found.next_number + n,
            payload=write_ack([(0, number)], delay),
        )
        for n, number in enumerate(range(found.sent[0], found.sent[1] + 1, 3))
    ]
    before, after = snapshot(found.lane), snapshot(compare(found, batch, pause=0.002))
    assert before["recovery"]["_rtt_smoothed"] != after["recovery"]["_rtt_smoothed"]
