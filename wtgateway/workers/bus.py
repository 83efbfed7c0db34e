"""The frame bus: all that happens to the broadcasts, from the main process to every worker, once.

Frames (as the hub cut them), catalogs and states go through one ring in shared memory, in the order in
which they happened. Each worker has an eventfd whose counter holds the bytes that were written since it
last looked: one wake-up for a burst, never a wait for the writer, and what is told is surely there to be
read. A worker that does not keep up is overtaken; it then asks for a snapshot of catalogs and states and
goes on with the next group. Shared memory and eventfds have no names, so nothing is left behind whatever
dies. May import hub, protocol, media; Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wtgateway.hub import Broadcast, CutFrame, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind
from wtgateway.protocol.messages import (
    CatalogMessage,
    Message,
    MessageReader,
    State,
    catalog_from_message,
    catalog_message,
    pack,
)
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, decode_frame_header
from wtgateway.workers.ring import Overtaken, RingReader, RingWriter, buffer_bytes

# More than the longest frame (16 MiB), and some seconds of many broadcasts for a worker that begins.
RING_BYTES = 32 << 20
HISTORY_MARGIN_BYTES = RING_BYTES // 4  # what may be written while a new worker reads what was
RECORDS_PER_TURN = 64
BYTES_PER_TURN = 2 << 20
MAX_BROADCASTS = 1 << 16

_FRAME, _MESSAGE = 0, 1  # the low byte of a record's tag; above it is the broadcast's number


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Catalog and state of all broadcasts, in their order, as of a position of the ring."""

    position: int
    messages: list[bytes]  # for each broadcast: its catalog and its state


@dataclass(frozen=True, slots=True)
class Start:
    """Where a reader begins: the ring's position, its record's number, and the bytes that are there."""

    position: int
    record: int
    readable: int


def state_bytes(broadcast: Broadcast) -> bytes:
    """A broadcast's catalog and state as they are now."""
    return pack(catalog_message(broadcast.catalog)) + pack(_state(broadcast.status))


def apply_state(broadcast: Broadcast, data: bytes) -> None:
    """Make a broadcast what the bytes of :func:`state_bytes` say. Raises ProtocolError."""
    for message in MessageReader().feed(data):
        if isinstance(message, CatalogMessage):
            catalog = catalog_from_message(message)
            if catalog != broadcast.catalog:
                broadcast.set_catalog(catalog)
        elif isinstance(message, State):
            state = BroadcastState(message.state)
            broadcast.set_status(Status(state, message.reason, message.retry_in_ms))


class FrameBus:
    """The writing end. Everything belongs to the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, capacity: int = RING_BYTES) -> None:
        self._loop = loop
        self.fd = os.memfd_create("wtgateway-frames")
        os.ftruncate(self.fd, buffer_bytes(capacity))
        self._memory = mmap.mmap(self.fd, buffer_bytes(capacity))
        self._view = memoryview(self._memory)
        self._ring = RingWriter(self._view)
        self._margin = min(HISTORY_MARGIN_BYTES, capacity // 4)
        self._broadcasts: list[Broadcast] = []
        self._readers: set[int] = set()
        self._unpublished = 0
        self._group_starts: dict[tuple[int, int, int], tuple[int, int]] = {}  # position, record
        self._closed = False
        self.oversized = 0  # records that no ring could take

    @property
    def position(self) -> int:
        """All bytes written so far."""
        return self._ring.position

    def carry(self, broadcast: Broadcast) -> None:
        """From now on all of a broadcast's frames and changes go over the bus."""
        broadcast.relay_to(_Relay(self, len(self._broadcasts)))
        self._broadcasts.append(broadcast)

    def add_reader(self) -> tuple[int, Start]:
        """A new reader: its eventfd, and where it begins.

        That is the oldest group that is current, as far as the ring still holds it.
        """
        self._publish()
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._readers.add(fd)
        held = [
            start for start in self._group_starts.values() if self._ring.still_there(start[0], self._margin)
        ]
        position, record = min(held, default=(self._ring.position, self._ring.records))
        return fd, Start(position, record, self._ring.position - position)

    def remove_reader(self, fd: int) -> None:
        """It is gone."""
        if fd in self._readers:
            self._readers.remove(fd)
            os.close(fd)

    def snapshot(self) -> Snapshot:
        """All that a reader needs to know besides frames."""
        return Snapshot(self._ring.position, [state_bytes(broadcast) for broadcast in self._broadcasts])

    def close(self) -> None:
        """Let go of the memory; it lives as long as some reader has it."""
        for fd in list(self._readers):
            self.remove_reader(fd)
        self._closed = True
        self._view.release()
        self._memory.close()
        os.close(self.fd)

    # --- from the relays -------------------------------------------------------------------------

    def frame(self, number: int, frame: Frame, data: bytes, kind: Kind) -> None:
        """A frame of a broadcast."""
        start = (self._ring.position, self._ring.records)
        if self._write(number << 8 | _FRAME, data) and kind is Kind.VIDEO and frame.index == 0:
            self._group_starts[number, frame.track, frame.rendition] = start

    def message(self, number: int, message: Message) -> None:
        """A broadcast's new catalog or state."""
        self._write(number << 8 | _MESSAGE, pack(message))

    def forget_groups(self, number: int, alive: set[tuple[int, int]]) -> None:
        """Of a broadcast only the groups of these (track, rendition) are worth beginning with."""
        self._group_starts = {
            key: start for key, start in self._group_starts.items() if key[0] != number or key[1:] in alive
        }

    def _write(self, tag: int, body: bytes) -> bool:
        if self._closed:
            return False
        begin = self._ring.position
        if len(body) > self._ring.max_body:
            self.oversized += 1
            return False
        self._ring.write(tag, body)
        if self._readers and not self._unpublished:
            self._loop.call_soon(self._publish)
        self._unpublished += self._ring.position - begin
        return True

    def _publish(self) -> None:
        size, self._unpublished = self._unpublished, 0
        if size and not self._closed:
            for fd in self._readers:
                os.eventfd_write(fd, size)


class _Relay:
    """What the hub tells of one broadcast, put on the bus."""

    def __init__(self, bus: FrameBus, number: int) -> None:
        self._bus, self._number = bus, number

    def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
        self._bus.frame(self._number, frame, data, kind)

    def on_catalog(self, catalog: Catalog) -> None:
        self._bus.forget_groups(self._number, {(t.id, r.id) for t in catalog.tracks for r in t.renditions})
        self._bus.message(self._number, catalog_message(catalog))

    def on_state(self, status: Status) -> None:
        if status.state is not BroadcastState.LIVE:
            self._bus.forget_groups(self._number, set())
        self._bus.message(self._number, _state(status))


class BusReader:
    """The reading end, in a worker: keeps ``broadcasts`` what they are in the main process.

    Takes over both file descriptors. ``on_overtaken`` is called when something was missed: a snapshot is
    needed.
    """

    def __init__(
        self,
        broadcasts: Sequence[Broadcast],
        *,
        memory_fd: int,
        event_fd: int,
        start: Start,
        on_overtaken: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._broadcasts, self._on_overtaken, self._loop = broadcasts, on_overtaken, loop
        self._event_fd = event_fd
        size = os.fstat(memory_fd).st_size
        self._memory = mmap.mmap(memory_fd, size, prot=mmap.PROT_READ)
        os.close(memory_fd)
        self._ring = RingReader(memoryview(self._memory), start.position, start.record)
        self._ring.publish(start.readable)
        self._states_from = 0  # older catalogs and states than those of the last snapshot are ignored
        self._planned = False
        self._caught_up: list[Callable[[], None]] = []
        self.records = 0
        self.overtaken = 0

    @property
    def lost(self) -> int:
        """Records that were overwritten before they were read."""
        return self._ring.lost

    def start(self, snapshot: Snapshot, caught_up: Callable[[], None]) -> None:
        """Begin to read; ``caught_up`` is called when all that was there is read."""
        self.apply(snapshot)
        self._caught_up.append(caught_up)
        self._loop.add_reader(self._event_fd, self._woken)
        self._plan()

    def apply(self, snapshot: Snapshot) -> None:
        """Catalogs and states are these, as of the snapshot's position. Raises ProtocolError."""
        self._states_from = snapshot.position
        for broadcast, data in zip(self._broadcasts, snapshot.messages, strict=True):
            apply_state(broadcast, data)

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._event_fd)
        os.close(self._event_fd)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._ring.publish(os.eventfd_read(self._event_fd))
        self._drain()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._planned = False
        self._drain()

    def _drain(self) -> None:
        """Some records; the rest in the next turn, after everybody else's work."""
        began = self._ring.position
        for _ in range(RECORDS_PER_TURN):
            try:
                record = self._ring.read()
            except Overtaken:
                self.overtaken += 1
                self._on_overtaken()
                break
            if record is None:
                break
            self.records += 1
            self._take(record.position, record.tag, record.body)
            if self._ring.position - began > BYTES_PER_TURN:
                break
        if self._ring.pending:
            self._plan()
        elif self._caught_up:
            waiting, self._caught_up = self._caught_up, []
            for call in waiting:
                call()

    def _take(self, position: int, tag: int, body: bytes) -> None:
        broadcast = self._broadcasts[tag >> 8]
        if tag & 0xFF == _FRAME:
            frame = decode_frame_header(body).frame(body[FRAME_HEADER_BYTES:])
            broadcast.publish_cut(CutFrame(frame, body))
        elif position >= self._states_from:
            apply_state(broadcast, body)


def _state(status: Status) -> State:
    return State(state=str(status.state), reason=status.reason, retry_in_ms=status.retry_in_ms)
