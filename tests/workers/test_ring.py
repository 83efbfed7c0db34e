"""The ring: whatever the order of writes and reads, a reader gets whole records, in order, or is told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.workers.ring import HEAD_BYTES, Overtaken, Record, RingReader, RingWriter, buffer_bytes


def ring(capacity: int) -> tuple[RingWriter, RingReader]:
    buffer = memoryview(bytearray(buffer_bytes(capacity)))
    return RingWriter(buffer), RingReader(buffer)


def body(number: int, size: int) -> bytes:
    """Bytes that tell which record they are of, at every place of them."""
    return random.Random(number).randbytes(size)


class Feed:
    """Writes numbered records, publishes them as told, and checks what comes out."""

    def __init__(self, capacity: int) -> None:
        self.writer, self.reader = ring(capacity)
        self.sizes: list[int] = []
        self.read_numbers: list[int] = []
        self.overtaken = 0
        self._unpublished = 0

    def write(self, size: int) -> None:
        before = self.writer.position
        size = min(size, self.writer.max_body)
        self.writer.write(len(self.sizes), body(len(self.sizes), size))
        self.sizes.append(size)
        self._unpublished += self.writer.position - before

    def publish(self) -> None:
        self.reader.publish(self._unpublished)
        self._unpublished = 0

    def read(self) -> bool:
        try:
            record = self.reader.read()
        except Overtaken:
            self.overtaken += 1
            return False
        if record is None:
            return False
        assert record.body == body(record.tag, self.sizes[record.tag])
        assert not self.read_numbers or record.tag > self.read_numbers[-1]
        self.read_numbers.append(record.tag)
        return True


ACTIONS = st.lists(
    st.one_of(
        st.integers(0, 700).map(lambda size: ("write", size)), st.sampled_from([("publish", 0), ("read", 0)])
    ),
    max_size=120,
)


@given(capacity=st.integers(64, 900), actions=ACTIONS)
def test_records_come_whole_and_in_order_or_are_counted_as_lost(
    capacity: int, actions: list[tuple[str, int]]
) -> None:
    feed = Feed(capacity)
    for action, size in actions:
        if action == "write":
            feed.write(size)
        elif action == "publish":
            feed.publish()
        else:
            feed.read()
    feed.publish()
    while feed.read():
        pass
    feed.write(8)
    feed.publish()
    while feed.read():
        pass
    assert feed.read_numbers[-1] == len(feed.sizes) - 1, "what was written last is there"
    assert feed.reader.lost == len(feed.sizes) - len(feed.read_numbers)
    assert (feed.reader.lost > 0) <= (feed.overtaken > 0)


class Slow(RingReader):
    """A reader whose writer is at work whenever it has copied something and not yet looked."""

    def __init__(self, feed: Feed, writes: list[int]) -> None:
        super().__init__(feed.writer._buffer)
        self._feed, self._writes = feed, writes

    def _get(self, position: int, size: int) -> bytes:
        half = size // 2
        first = super()._get(position, half)
        if self._writes:
            self._feed.write(self._writes.pop())
        rest = super()._get(position + half, size - half)
        if self._writes:
            self._feed.write(self._writes.pop())
        return first + rest


@given(
    capacity=st.integers(64, 500),
    sizes=st.lists(st.integers(0, 200), min_size=1, max_size=20),
    during=st.lists(st.integers(0, 200), max_size=60),
)
def test_a_writer_at_work_while_a_record_is_copied_tears_none(
    capacity: int, sizes: list[int], during: list[int]
) -> None:
    feed = Feed(capacity)
    feed.reader = Slow(feed, during)
    for size in sizes:
        feed.write(size)
    feed.publish()
    while feed.read():
        feed.publish()


@pytest.mark.parametrize("written_before", range(16, 400, 12))
@pytest.mark.parametrize("written_meanwhile", [0, 40, 90, 160, 230])
def test_a_body_that_is_overwritten_while_it_is_copied_is_thrown_away(
    written_before: int, written_meanwhile: int
) -> None:
    """From far behind the writer to nearly overtaken, with the writer at work between two halves."""
    feed = Feed(400)
    feed.reader = reader = Slow(feed, [])
    feed.write(100)
    feed.publish()
    feed.write(written_before - 16)
    held = feed.reader._get

    def get(position: int, size: int) -> bytes:
        if size == 100:  # the body: its header was there
            reader._writes.append(written_meanwhile)
        return held(position, size)

    reader._get = get  # type: ignore[method-assign]
    feed.read()


def test_a_record_in_time_survives_being_ahead_of_the_writer_by_nearly_the_whole_ring() -> None:
    feed = Feed(4096)
    for _ in range(7):
        feed.write(300)
    feed.publish()
    for _ in range(7):
        assert feed.read()
    assert not feed.overtaken


def test_the_longest_record_can_be_read() -> None:
    writer, reader = ring(10_000)
    data = body(1, writer.max_body)
    for _ in range(3):
        before = writer.position
        writer.write(7, data)
        reader.publish(writer.position - before)
        assert reader.read() == Record(before, 7, data)


def test_a_longer_one_is_refused_and_leaves_the_ring_as_it_was() -> None:
    writer, reader = ring(1000)
    with pytest.raises(ValueError, match="over the ring's"):
        writer.write(0, bytes(writer.max_body + 1))
    writer.write(1, b"next")
    reader.publish(writer.position)
    record = reader.read()
    assert record is not None
    assert record.body == b"next"


def test_what_is_not_published_is_not_read() -> None:
    writer, reader = ring(1000)
    writer.write(0, b"secret")
    assert reader.read() is None


def test_the_announcement_runs_ahead_of_what_is_written() -> None:
    """A reader on a processor that reorders accesses sees it in time."""
    writer, _ = ring(1000)
    for _ in range(20):
        ahead = writer.announced
        writer.write(0, bytes(60))
        assert ahead >= writer.position


def test_a_position_is_there_until_it_is_overwritten() -> None:
    writer, _ = ring(1000)
    first = writer.write(0, bytes(100))
    assert writer.still_there(first)
    assert not writer.still_there(first, margin=900)
    while writer.position < 1000:
        writer.write(0, bytes(100))
    assert not writer.still_there(first)


def test_a_reader_that_begins_late_begins_at_a_record() -> None:
    writer, _ = ring(10_000)
    writer.write(0, b"old")
    position = writer.write(1, b"new")
    reader = RingReader(writer._buffer, position, 1)
    reader.publish(writer.position - position)
    assert reader.read() == Record(position, 1, b"new")
    assert reader.lost == 0


def test_a_buffer_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        RingWriter(memoryview(bytearray(HEAD_BYTES + 4)))
