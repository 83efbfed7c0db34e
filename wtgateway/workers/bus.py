"""The frame bus: all that happens to broadcasts, from the process that has them to all others, once.

Frames (as the hub cut them), catalogs and states go through one ring in shared memory, in the order in
which they happened, and so does which broadcasts there are: each has a number that no other ever gets. Each
worker has an eventfd whose counter holds the bytes that were written since it
last looked: one wake-up for a burst, never a wait for the writer, and what is told is surely there to be
read. A worker that does not keep up is overtaken; it then asks for a snapshot of catalogs and states and
goes on with the next group. Shared memory and eventfds have no names, so nothing is left behind whatever
dies. It leads from the main process to its workers, and from the process of a source to the main process
(wtgateway.isolation). May import hub, protocol, media; Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from wtgateway.errors import WtgatewayError
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
from wtgateway.protocol.targets import Policy
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, decode_frame_header
from wtgateway.workers.entries import Entry
from wtgateway.workers.ring import Overtaken, RingReader, RingWriter, buffer_bytes

# More than the longest frame (16 MiB), and some seconds of many broadcasts for a worker that begins.
RING_BYTES = 32 << 20
HISTORY_MARGIN_BYTES = RING_BYTES // 4  # what may be written while a new worker reads what was
RECORDS_PER_TURN = 64
BYTES_PER_TURN = 2 << 20
MAX_BROADCASTS = 1 << 24  # that there ever were: a record's tag has no room for more

# The low byte of a record's tag; above it is the broadcast's number. Entry: it came, or has another policy.
_FRAME, _MESSAGE, _ENTRY, _REMOVED = range(4)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All broadcasts as of a position of the ring."""

    position: int
    messages: list[bytes]  # an Entry of each


@dataclass(frozen=True, slots=True)
class Start:
    """Where a reader begins: the ring's position, its record's number, and the bytes that are there."""

    position: int
    record: int
    readable: int


class Copy(Protocol):
    """What a reader keeps like the broadcast at the other end: a Broadcast, or what stands for one."""

    @property
    def catalog(self) -> Catalog:
        """What it offers now."""

    def publish_cut(self, cut: CutFrame) -> None:
        """A frame came."""

    def set_catalog(self, catalog: Catalog) -> None:
        """It offers something else now."""

    def set_status(self, status: Status) -> None:
        """Its state, changed or not."""


def state_bytes(broadcast: Broadcast) -> bytes:
    """A broadcast's catalog and state as they are now."""
    return pack(catalog_message(broadcast.catalog)) + pack(_state(broadcast.status))


def apply_state(broadcast: Copy, data: bytes) -> None:
    """Make a broadcast what the bytes of :func:`state_bytes` say. Raises ProtocolError."""
    for message in MessageReader().feed(data):
        if isinstance(message, CatalogMessage):
            catalog = catalog_from_message(message)
            if catalog != broadcast.catalog:
                broadcast.set_catalog(catalog)
        elif isinstance(message, State):
            state = BroadcastState(message.state)
            broadcast.set_status(Status(state, message.reason, message.retry_in_ms))


def new_memory(capacity: int = RING_BYTES) -> int:
    """Shared memory for a bus, of a size that nobody can change: who maps it may rely on that."""
    import fcntl

    fd = os.memfd_create("wtgateway-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, buffer_bytes(capacity))
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def new_eventfd() -> int:
    """What a reader is woken by."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class FrameBus:
    """The writing end. Everything belongs to the event loop's thread.

    ``fd`` is taken over: the memory (:func:`new_memory`), if another process has made it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, capacity: int = RING_BYTES, fd: int | None = None
    ) -> None:
        self._loop = loop
        self.fd = new_memory(capacity) if fd is None else fd
        self._memory = mmap.mmap(self.fd, os.fstat(self.fd).st_size)
        self._view = memoryview(self._memory)
        self._ring = RingWriter(self._view)
        self._margin = min(HISTORY_MARGIN_BYTES, self._ring.capacity // 4)
        self._broadcasts: dict[int, Broadcast] = {}
        self._next_number = 0
        self._readers: set[int] = set()
        self._unpublished = 0
        self._group_starts: dict[tuple[int, int, int], tuple[int, int]] = {}  # position, record
        self._closed = False
        self.oversized = 0  # records that no ring could take

    @property
    def position(self) -> int:
        """All bytes written so far."""
        return self._ring.position

    @property
    def broadcasts(self) -> Mapping[int, Broadcast]:
        """What is carried, by number."""
        return MappingProxyType(self._broadcasts)

    def carry(self, broadcast: Broadcast) -> None:
        """From now on all of a broadcast's frames and changes go over the bus. Raises WtgatewayError."""
        number = self._next_number
        if number >= MAX_BROADCASTS:
            raise WtgatewayError("no number is left for one broadcast more: the gateway has to be restarted")
        self._next_number += 1
        self._broadcasts[number] = broadcast
        self.announce(broadcast)
        broadcast.relay_to(_Relay(self, number))

    def announce(self, broadcast: Broadcast) -> None:
        """Tell anew of what is carried: it has another policy."""
        for number, carried in self._broadcasts.items():
            if carried is broadcast:
                self._write(number << 8 | _ENTRY, self._entry(number, broadcast))

    def drop(self, broadcast: Broadcast) -> None:
        """It is there no more."""
        for number in [n for n, carried in self._broadcasts.items() if carried is broadcast]:
            del self._broadcasts[number]
            self.forget_groups(number, set())
            self._write(number << 8 | _REMOVED, b"")

    def add_reader(self, fd: int | None = None) -> tuple[int, Start]:
        """A new reader: its eventfd (``fd``, which is taken over, or a new one), and where it begins.

        That is the oldest group that is current, as far as the ring still holds it.
        """
        self._publish()
        fd = new_eventfd() if fd is None else fd
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
        entries = [self._entry(number, broadcast) for number, broadcast in self._broadcasts.items()]
        return Snapshot(self._ring.position, entries)

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
        if number not in self._broadcasts:  # removed, and its source still on its way out
            return
        start = (self._ring.position, self._ring.records)
        if self._write(number << 8 | _FRAME, data) and kind is Kind.VIDEO and frame.index == 0:
            self._group_starts[number, frame.track, frame.rendition] = start

    def message(self, number: int, message: Message) -> None:
        """A broadcast's new catalog or state."""
        if number in self._broadcasts:
            self._write(number << 8 | _MESSAGE, pack(message))

    def forget_groups(self, number: int, alive: set[tuple[int, int]]) -> None:
        """Of a broadcast only the groups of these (track, rendition) are worth beginning with."""
        self._group_starts = {
            key: start for key, start in self._group_starts.items() if key[0] != number or key[1:] in alive
        }

    def _entry(self, number: int, broadcast: Broadcast) -> bytes:
        return Entry(number, broadcast.name, broadcast.policy, state_bytes(broadcast)).pack()

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


class Members(Protocol):
    """Who has the broadcasts at the reading end, where these may come and go."""

    def entered(self, number: int, name: str) -> Copy:
        """There is another one."""

    def changed(self, number: int, policy: Policy) -> None:
        """How the viewers of one adapt; also called for each new one."""

    def removed(self, number: int) -> None:
        """One is there no more."""


class BusReader:
    """The reading end: keeps ``broadcasts`` what they are where the bus is written.

    Takes over both file descriptors. ``on_overtaken`` is called when something was missed: a snapshot is
    needed. ``on_broken`` is called when what is read is nonsense, after which nothing is read any more;
    without it, and from a writer that never crashes, that is a defect. ``broadcasts`` have the numbers 0, 1
    and so on; ``members`` makes copies of those that come besides, without it they are ignored.
    """

    def __init__(
        self,
        broadcasts: Sequence[Copy],
        *,
        memory_fd: int,
        event_fd: int,
        start: Start,
        on_overtaken: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        on_broken: Callable[[Exception], None] | None = None,
        members: Members | None = None,
    ) -> None:
        self._broadcasts: dict[int, Copy] = dict(enumerate(broadcasts))
        self._on_overtaken, self._loop = on_overtaken, loop
        self._members = members
        self._on_broken = on_broken
        self._closed = False
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
    def closed(self) -> bool:
        """Whether nothing is read any more."""
        return self._closed

    @property
    def lost(self) -> int:
        """Records that were overwritten before they were read."""
        return self._ring.lost

    def start(self, snapshot: Snapshot, caught_up: Callable[[], None]) -> None:
        """Begin to read; ``caught_up`` is called when all that was there is read."""
        self.apply(snapshot)
        self._loop.add_reader(self._event_fd, self._woken)
        self.when_caught_up(caught_up)

    def when_caught_up(self, call: Callable[[], None]) -> None:
        """Call it once, soon, when all that was written by now is read."""
        self._caught_up.append(call)
        self._plan()

    def apply(self, snapshot: Snapshot) -> None:
        """All broadcasts are these, as of the snapshot's position. Raises ProtocolError, ValueError."""
        self._states_from = snapshot.position
        entries = [Entry.unpack(data) for data in snapshot.messages]
        for number in self._broadcasts.keys() - {entry.number for entry in entries}:
            self._remove(number)
        for entry in entries:
            self._enter(entry)

    def close(self) -> None:
        """Read no more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._event_fd)
            os.close(self._event_fd)
            self._ring.release()
            self._memory.close()

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
        if not self._closed:
            self._woken()

    def _drain(self) -> None:
        try:
            self._read_some()
        except Exception as error:
            if self._on_broken is None:
                raise
            self.close()
            self._on_broken(error)

    def _read_some(self) -> None:
        """Some records; the rest in the next turn, after everybody else's work."""
        began = self._ring.position
        for _ in range(RECORDS_PER_TURN):
            if self._closed:
                return
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
        number, kind = tag >> 8, tag & 0xFF
        broadcast = self._broadcasts.get(number)
        if kind == _FRAME:
            if broadcast is not None:  # else it was removed since
                frame = decode_frame_header(body).frame(body[FRAME_HEADER_BYTES:])
                broadcast.publish_cut(CutFrame(frame, body))
        elif position < self._states_from:
            return  # the snapshot was newer
        elif kind == _ENTRY:
            self._enter(Entry.unpack(body))
        elif kind == _REMOVED:
            self._remove(number)
        elif broadcast is not None:
            apply_state(broadcast, body)

    def _enter(self, entry: Entry) -> None:
        broadcast = self._broadcasts.get(entry.number)
        if self._members is not None:
            if broadcast is None:
                broadcast = self._broadcasts[entry.number] = self._members.entered(entry.number, entry.name)
            self._members.changed(entry.number, entry.policy)
        if broadcast is not None:
            apply_state(broadcast, entry.state)

    def _remove(self, number: int) -> None:
        if self._members is not None and self._broadcasts.pop(number, None) is not None:
            self._members.removed(number)


def _state(status: Status) -> State:
    return State(state=str(status.state), reason=status.reason, retry_in_ms=status.retry_in_ms)
