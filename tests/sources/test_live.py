"""A live feed of coded packets: gaps, clocks that jump or start again, units without a time."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests.sources.coded import check_rules, decode, luma, number, write
from wtgateway.errors import SourceError
from wtgateway.sources import CodedVideo, RawVideo, SourceOptions
from wtgateway.sources.live import LiveFeed
from wtgateway.sources.passing import PassedVideo
from wtgateway.sources.reader import Item, Manner, PacketReader
from wtgateway.sources.uri import make_plan

FRAME_US = 33_333
START_US = 10**9


class Peer:
    """Stands where the reader is: packets of a real file, each arriving when the test says so."""

    def __init__(self, path: Path) -> None:
        self.dropped = 0
        self._items: deque[Item] = deque()
        self._reader = PacketReader(make_plan(str(path), SourceOptions()), lambda _: Manner())
        self.opened = self._reader.open()
        self.packets: list[Any] = []
        while (packet := self._reader.next().packet) is not None:
            if packet.size:
                self.packets.append(packet)

    def send(self, packet: Any, arrival_us: int, shift_us: int | None = 0) -> None:
        """``shift_us`` is added to its times; None: it has none."""
        copy = av.Packet(bytes(packet))
        copy.time_base, copy.duration = Fraction(1, 1_000_000), FRAME_US
        if shift_us is not None:
            copy.pts, copy.dts = (
                round(float(ticks * packet.time_base) * 1e6) + shift_us for ticks in (packet.pts, packet.dts)
            )
        self._items.append(Item(copy, arrival_us, self.opened))

    def next(self) -> Item:
        if not self._items:
            raise SourceError("that was all")
        return self._items.popleft()

    wait = next

    def wake(self) -> None:
        """It never waits."""

    def poll(self) -> Item | None:
        return self._items.popleft() if self._items else None


def make(path: Path) -> tuple[Peer, LiveFeed]:
    peer = Peer(path)
    passed = PassedVideo(peer.opened, peer.opened.tracks[0], "a peer")
    feed = LiveFeed(peer, "a peer", wall_clock=False, passed={0: passed})  # type: ignore[arg-type]
    return peer, feed


def drain(feed: LiveFeed) -> list[CodedVideo]:
    found = []
    with pytest.raises(SourceError, match="that was all"):
        while True:
            piece = feed.read()
            assert isinstance(piece, CodedVideo)
            found.append(piece)
    return found


def shown(video: list[CodedVideo]) -> list[int]:
    return sorted(piece.pts_us for piece in video)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "a.ts", "h264 B-frames", frames=48)


def test_times_are_those_of_the_stream_whatever_the_network_does(file: Path) -> None:
    peer, feed = make(file)
    for at, packet in enumerate(peer.packets):
        peer.send(packet, START_US + at * FRAME_US + (at * 7919) % 25_000)
    video = drain(feed)
    assert [piece.payload for piece in video] and len(video) == 48
    assert [number(picture) for _, picture in sorted(decode(video).items())] == list(range(1, 49))
    steps = [b - a for a, b in pairwise(shown(video)[13:])]  # the clock is known by then
    assert all(abs(step - FRAME_US) < 3_000 for step in steps)
    check_rules(video)


def test_a_burst_at_the_beginning_keeps_the_order(file: Path) -> None:
    """A server that sends the group so far at once: each packet says that all before it were delayed."""
    peer, feed = make(file)
    for at, packet in enumerate(peer.packets):
        peer.send(packet, START_US + max(0, at - 20) * FRAME_US)
    video = drain(feed)
    assert [number(picture) for _, picture in sorted(decode(video).items())] == list(range(1, 49))
    assert all(b > a for a, b in pairwise(shown(video)))
    check_rules(video)
    assert all(piece.capture_us <= START_US + 28 * FRAME_US for piece in video)


@pytest.mark.parametrize("jump_us", [3_600_000_000, -3_600_000_000, -1_600_000])
def test_a_clock_that_jumps_at_a_keyframe_or_within_a_group(file: Path, jump_us: int) -> None:
    for where in (24, 30):
        peer, feed = make(file)
        for at, packet in enumerate(peer.packets):
            shift_us = 7_200_000_000 + (jump_us if at >= where else 0)
            peer.send(packet, START_US + at * FRAME_US, shift_us)
        video = drain(feed)
        assert len(video) == 48
        check_rules(video)
        if where == 24:
            assert [number(picture) for _, picture in sorted(decode(video).items())] == list(range(1, 49))
        assert shown(video)[-1] - shown(video)[0] < 60 * FRAME_US, "it goes on at once"


def test_after_a_gap_it_goes_on_at_a_keyframe(file: Path) -> None:
    peer, feed = make(file)
    for at, packet in enumerate(peer.packets[:20]):
        peer.send(packet, START_US + at * FRAME_US)
    assert len(drain(feed)) == 20
    peer.dropped += 10
    for at, packet in enumerate(peer.packets[30:], 30):
        peer.send(packet, START_US + at * FRAME_US)
    video = drain(feed)
    assert video[0].keyframe and len(video) == 12
    assert [number(picture) for _, picture in sorted(decode(video).items())] == list(range(37, 49))


def test_the_first_units_without_a_time_are_counted_back(file: Path) -> None:
    peer, feed = make(write(file.with_name("plain.ts"), "h264", frames=24))
    for at, packet in enumerate(peer.packets):
        peer.send(packet, START_US + at * FRAME_US, None if at < 3 else 0)
    video = drain(feed)
    assert len(video) == 24
    assert all(abs(b.pts_us - a.pts_us - FRAME_US) < 10 for a, b in pairwise(video))


def test_a_stream_without_any_times_is_stamped_as_it_comes(file: Path) -> None:
    peer, feed = make(write(file.with_name("plain.ts"), "h264", frames=48))
    for at, packet in enumerate(peer.packets):
        peer.send(packet, START_US + at * FRAME_US, None)
    video = drain(feed)
    assert len(video) == 48
    assert [piece.pts_us for piece in video[31:]] == [START_US + at * FRAME_US for at in range(31, 48)]
    check_rules(video)


def test_damage_is_waited_out(file: Path) -> None:
    peer, feed = make(file)
    for at, packet in enumerate(peer.packets):
        if at == 14:
            packet = av.Packet(b"\0\0\0\1\x21\0")
            packet.time_base, packet.pts, packet.dts = Fraction(1, 90_000), 45_000, 45_000
        peer.send(packet, START_US + at * FRAME_US)
    video = drain(feed)
    assert len(video) == 12 + 2 + 24
    check_rules(video)


def test_pictures_come_though_nothing_comes_from_the_peer_meanwhile(file: Path) -> None:
    peer, feed = make(file)
    for at, packet in enumerate(peer.packets[:9]):
        peer.send(packet, START_US + at * FRAME_US)
    assert len(drain(feed)) == 9
    feed.want_pictures(True)
    picture = feed.read()
    assert isinstance(picture, RawVideo) and number(luma(picture.frame)) == 7, "two are still in the decoder"
