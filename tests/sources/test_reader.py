"""The demuxing thread: bounded whatever the pace, losses counted, gone when it is told to go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from wtgateway.errors import SourceError
from wtgateway.sources import SourceOptions
from wtgateway.sources.reader import MAX_BYTES, MAX_PACKETS, Manner, PacketReader
from wtgateway.sources.uri import make_plan

ENDLESS = "lavfi:testsrc=size=320x240:rate=1000"


@pytest.fixture
def readers() -> Iterator[list[PacketReader]]:
    made: list[PacketReader] = []
    yield made
    for reader in made:
        reader.close()
    for thread in threading.enumerate():
        if thread.name.startswith("reader lavfi"):
            thread.join(20)
            assert not thread.is_alive()


def start(readers: list[PacketReader], manner: Manner, uri: str = ENDLESS) -> PacketReader:
    reader = PacketReader(make_plan(uri, SourceOptions()), lambda _: manner, read_timeout_s=5)
    readers.append(reader)
    reader.open()
    return reader


def test_when_the_peer_sets_the_pace_what_is_not_fetched_is_dropped(
    readers: list[PacketReader], tools: Any
) -> None:
    reader = start(readers, Manner(lossy=True))
    tools.wait_for(lambda: reader.dropped > 0 or None)
    for _ in range(50):
        item = reader.next()
        assert item.packet is not None
        assert reader._bytes <= MAX_BYTES
        assert len(reader._items) <= MAX_PACKETS


def test_otherwise_nothing_is(readers: list[PacketReader], tools: Any) -> None:
    reader = start(readers, Manner())
    tools.wait_for(lambda: reader._bytes + 320 * 240 * 4 > MAX_BYTES or None)
    stamps = [item.packet.pts for item in (reader.next() for _ in range(400)) if item.packet]
    assert stamps == list(range(400))
    assert reader.dropped == 0
    assert reader._bytes <= MAX_BYTES


def test_an_end_of_what_has_none_is_a_loss(readers: list[PacketReader]) -> None:
    reader = start(readers, Manner(endless=True), "lavfi:testsrc=size=64x64:duration=0.1")
    with pytest.raises(SourceError, match="closed the connection"):
        while True:
            reader.next()


def test_who_waits_can_be_woken_and_misses_nothing(readers: list[PacketReader]) -> None:
    reader = start(readers, Manner(), "lavfi:testsrc=size=64x64:rate=1:duration=3")
    reader.wake()
    assert reader.wait() is None
    items = [reader.wait() for _ in range(3)]
    assert [item.packet.pts for item in items if item is not None and item.packet] == [0, 1, 2]
    assert reader.next().packet is not None and reader.next().packet is None, (
        "the flush, and the end of the pass"
    )
    waker = threading.Thread(target=reader.wake)
    waker.start()
    with pytest.raises(SourceError, match="came to its end"):
        while True:
            assert reader.wait() is None
    waker.join()
    assert reader.poll() is None


def test_closed_twice_and_never_opened(readers: list[PacketReader]) -> None:
    reader = start(readers, Manner())
    reader.close()
    reader.close()
    with pytest.raises(SourceError, match="closed"):
        reader.next()
    PacketReader(make_plan(ENDLESS, SourceOptions()), lambda _: Manner()).close()
