"""The frame bus: two processes, the same frames; overruns; what a worker that begins late is given."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.reduction
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from wtgateway.hub import Audience, Broadcast, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol.targets import Wish
from wtgateway.protocol.wire import encode_frame
from wtgateway.workers import messages
from wtgateway.workers.bus import RECORDS_PER_TURN, BusReader, FrameBus, Snapshot, Start
from wtgateway.workers.replica import Replica

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd and eventfd are Linux's")

VIDEO = Track(id=0, kind=Kind.VIDEO, renditions=(Rendition(id=0, codec="avc1.42E01F", fps=30.0),))
AUDIO = Track(id=1, kind=Kind.AUDIO, renditions=(Rendition(id=0, codec="opus"),))
CATALOG = Catalog(revision=1, tracks=(VIDEO, AUDIO))


def picture(group: int, index: int, size: int = 100) -> Frame:
    number = group * 1000 + index
    return Frame(
        track=0,
        rendition=0,
        group=group,
        index=index,
        keyframe=index == 0,
        pts_us=number * 33_333,
        capture_us=1_700_000_000_000_000 + number,
        duration_us=33_333,
        payload=bytes([number % 251]) * size,
        grabbed_us=1_700_000_000_000_000 + number + 5,
    )


def sound(number: int) -> Frame:
    return Frame(
        track=1,
        rendition=0,
        group=0,
        index=number,
        keyframe=True,
        pts_us=number,
        capture_us=number,
        duration_us=20_000,
        payload=b"sound %d" % number,
    )


@dataclass
class Upstream:
    """What replicas ask for."""

    audiences: list[tuple[int, Audience]] = field(default_factory=list)
    keyframes: list[tuple[int, int, int]] = field(default_factory=list)

    def audience(self, number: int, audience: Audience) -> None:
        self.audiences.append((number, audience))

    def keyframe(self, number: int, track: int, rendition: int) -> None:
        self.keyframes.append((number, track, rendition))


@dataclass(eq=False)
class Seen:
    """A viewer that writes down what it is told."""

    frames: list[Frame] = field(default_factory=list)
    wire: list[bytes] = field(default_factory=list)
    catalogs: list[Catalog] = field(default_factory=list)
    states: list[Status] = field(default_factory=list)

    def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
        self.frames.append(frame)
        self.wire.append(data)

    def on_catalog(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)

    def on_state(self, status: Status) -> None:
        self.states.append(status)


class Reading:
    """A worker's end in this process, with a viewer on its first replica."""

    def __init__(self, bus: FrameBus, names: list[str]) -> None:
        self.loop = asyncio.get_running_loop()
        self.upstream, self.seen = Upstream(), Seen()
        self.replicas = [Replica(name, n, self.upstream, self.loop) for n, name in enumerate(names)]
        self.event_fd, start = bus.add_reader()
        self.snapshots_needed = 0
        self.reader = BusReader(
            self.replicas,
            memory_fd=os.dup(bus.fd),
            event_fd=os.dup(self.event_fd),
            start=start,
            on_overtaken=self._overtaken,
            loop=self.loop,
        )
        self._bus = bus
        self._caught_up = asyncio.Event()

    def _overtaken(self) -> None:
        self.snapshots_needed += 1
        self.reader.apply(self._bus.snapshot())

    async def start(self, snapshot: Snapshot) -> None:
        self.reader.start(snapshot, self._caught_up.set)
        await self._caught_up.wait()
        self.replicas[0].attach(self.seen)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0)

    def close(self) -> None:
        self.reader.close()


@dataclass
class Setting:
    bus: FrameBus
    broadcasts: list[Broadcast]
    open: list[Reading] = field(default_factory=list)

    async def reading(self) -> Reading:
        reading = Reading(self.bus, [broadcast.name for broadcast in self.broadcasts])
        await reading.start(self.bus.snapshot())
        self.open.append(reading)
        return reading


def go_live(broadcast: Broadcast) -> None:
    broadcast.set_catalog(CATALOG)
    broadcast.set_status(Status(BroadcastState.LIVE))


@pytest.fixture(params=[1 << 20])
async def setting(request: pytest.FixtureRequest) -> AsyncIterator[Setting]:
    bus = FrameBus(asyncio.get_running_loop(), request.param)
    broadcasts = [Broadcast("one"), Broadcast("two")]
    for broadcast in broadcasts:
        bus.carry(broadcast)
    setting = Setting(bus, broadcasts)
    yield setting
    for reading in setting.open:
        reading.close()
    bus.close()


async def test_frames_come_as_they_were_cut_and_in_their_order(setting: Setting) -> None:
    go_live(setting.broadcasts[0])
    reading = await setting.reading()
    sent: list[Frame] = []
    for group in range(3):
        for index in range(10):
            sent += [picture(group, index), sound(group * 10 + index)]
    for frame in sent:
        setting.broadcasts[0].publish(frame)
    await reading.until(lambda: len(reading.seen.frames) == len(sent))
    assert reading.seen.frames == sent
    assert reading.seen.wire == [encode_frame(frame) for frame in sent]
    assert reading.replicas[1].frames_published == 0


async def test_a_change_comes_between_the_frames_that_it_came_between(setting: Setting) -> None:
    first = setting.broadcasts[0]
    go_live(first)
    reading = await setting.reading()
    first.publish(picture(0, 0))
    more = Catalog(revision=2, tracks=(VIDEO, AUDIO, Track(id=5, kind=Kind.DATA, renditions=())))
    first.set_catalog(more)
    first.publish(picture(0, 1))
    first.set_status(Status(BroadcastState.RETRYING, "the source is away", 500))
    await reading.until(lambda: len(reading.seen.states) == 1)
    assert reading.seen.catalogs == [more]
    assert reading.seen.states == [Status(BroadcastState.RETRYING, "the source is away", 500)]
    assert len(reading.seen.frames) == 2
    assert reading.replicas[0].catalog == more
    assert not list(reading.replicas[0].join(0, 0, 1)), "what is cached is the past"


async def test_one_wake_up_for_a_burst(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    go_live(setting.broadcasts[0])
    reading = await setting.reading()
    written: list[int] = []
    write = os.eventfd_write
    monkeypatch.setattr(os, "eventfd_write", lambda fd, n: (written.append(n), write(fd, n)))
    for index in range(20):
        setting.broadcasts[0].publish(picture(0, index))
    await reading.until(lambda: len(reading.seen.frames) == 20)
    assert len(written) == 1


async def test_a_reader_gives_way_to_others_in_a_flood(setting: Setting) -> None:
    go_live(setting.broadcasts[0])
    reading = await setting.reading()
    for index in range(RECORDS_PER_TURN * 3):
        setting.broadcasts[0].publish(picture(0, index))
    seen: list[int] = []
    async with asyncio.timeout(20):
        while len(reading.seen.frames) < RECORDS_PER_TURN * 3:
            await asyncio.sleep(0)
            seen.append(len(reading.seen.frames))
    assert max(b - a for a, b in zip([0, *seen], seen, strict=False)) <= RECORDS_PER_TURN


@pytest.mark.parametrize("setting", [64 << 10], indirect=True)
async def test_a_reader_that_is_overtaken_goes_on_with_a_whole_group(setting: Setting) -> None:
    first = setting.broadcasts[0]
    go_live(first)
    reading = await setting.reading()
    reading.replicas[0].want(reading.seen, frozenset({(0, 0)}))
    for index in range(200):  # more than the ring holds, while the reader has no turn
        first.publish(picture(0, index, 1000))
    first.set_catalog(Catalog(revision=9, tracks=(VIDEO,)))
    await reading.until(lambda: reading.snapshots_needed == 1)
    assert reading.replicas[0].catalog.revision == 9, "the change that was missed is in the snapshot"
    before = len(reading.seen.frames)
    for index in range(200, 205):
        first.publish(picture(0, index, 1000))
    first.publish(picture(1, 0, 1000))
    first.publish(picture(1, 1, 1000))
    await reading.until(lambda: len(reading.seen.frames) == before + 2)
    assert [(f.group, f.index) for f in reading.seen.frames[before:]] == [(1, 0), (1, 1)]
    assert reading.replicas[0].frames_undecodable == 5
    assert reading.reader.lost == 201
    assert reading.upstream.keyframes == [(0, 0, 0)], "asked for once, though five frames were missed"


async def test_the_bus_waits_for_no_reader(setting: Setting) -> None:
    """One that never reads: the writer goes on, and another one misses nothing."""
    first = setting.broadcasts[0]
    go_live(first)
    stuck = Reading(setting.bus, ["one", "two"])
    reading = await setting.reading()
    for group in range(40):
        for index in range(10):
            first.publish(picture(group, index, 10_000))
        await reading.until(lambda g=group: len(reading.seen.frames) == g * 10 + 10)
    assert reading.reader.lost == 0
    assert not stuck.seen.frames
    stuck.close()


async def test_who_begins_late_is_given_the_current_group_and_what_changed_since(setting: Setting) -> None:
    first, second = setting.broadcasts
    go_live(first)
    for group in range(3):
        for index in range(5):
            first.publish(picture(group, index))
    go_live(second)
    reading = await setting.reading()
    assert [cut.frame for cut in reading.replicas[0].join(0, 0, 1)] == [
        picture(2, index) for index in range(5)
    ]
    assert reading.replicas[1].catalog == CATALOG
    assert reading.replicas[1].status == Status(BroadcastState.LIVE)
    assert not reading.upstream.keyframes


async def test_states_that_are_older_than_the_snapshot_do_not_come_back(setting: Setting) -> None:
    first, second = setting.broadcasts
    go_live(first)
    first.publish(picture(0, 0))  # from here on a new reader reads
    second.set_status(Status(BroadcastState.CONNECTING))
    second.set_status(Status(BroadcastState.RETRYING, "away"))
    reading = Reading(setting.bus, ["one", "two"])
    other = Seen()
    reading.replicas[1].attach(other)
    await reading.start(setting.bus.snapshot())
    setting.open.append(reading)
    assert other.states == [Status(BroadcastState.RETRYING, "away")]


@pytest.mark.parametrize("setting", [64 << 10], indirect=True)
async def test_a_group_that_the_ring_cannot_hold_is_not_begun_with(setting: Setting) -> None:
    first = setting.broadcasts[0]
    go_live(first)
    for index in range(100):
        first.publish(picture(0, index, 1000))
    reading = await setting.reading()
    assert not list(reading.replicas[0].join(0, 0, 1))
    assert reading.upstream.keyframes == [(0, 0, 0)]
    first.publish(picture(1, 0))
    await reading.until(lambda: [f.group for f in reading.seen.frames] == [1])


async def test_a_frame_that_no_ring_could_hold_is_counted(setting: Setting) -> None:
    go_live(setting.broadcasts[0])
    reading = await setting.reading()
    setting.broadcasts[0].publish(picture(0, 0, 2 << 20))
    setting.broadcasts[0].publish(picture(1, 0))
    await reading.until(lambda: len(reading.seen.frames) == 1)
    assert setting.bus.oversized == 1


async def test_after_the_end_of_the_bus_frames_go_nowhere_and_harm_nobody() -> None:
    bus = FrameBus(asyncio.get_running_loop(), 1 << 16)
    broadcast = Broadcast("one")
    bus.carry(broadcast)
    go_live(broadcast)
    broadcast.publish(picture(0, 0))
    bus.close()
    broadcast.publish(picture(0, 1))
    broadcast.set_status(Status(BroadcastState.ENDED))


# --- replicas --------------------------------------------------------------------------------------


async def test_a_replica_tells_its_audience_once_a_turn(setting: Setting) -> None:
    go_live(setting.broadcasts[0])
    reading = await setting.reading()
    replica, upstream = reading.replicas[0], reading.upstream
    await asyncio.sleep(0)
    upstream.audiences.clear()
    more = [Seen() for _ in range(3)]
    for viewer in more:
        replica.attach(viewer)
        replica.want(viewer, frozenset({(0, 0), (1, 0)}))
    assert not upstream.audiences
    await asyncio.sleep(0)
    assert upstream.audiences == [(0, Audience(4, frozenset({(0, 0), (1, 0)})))]
    for viewer in more:
        replica.detach(viewer)
    await asyncio.sleep(0)
    assert upstream.audiences[1:] == [(0, Audience(1, frozenset()))]


async def test_a_replica_tells_what_its_viewers_can_take(setting: Setting) -> None:
    go_live(setting.broadcasts[0])
    reading = await setting.reading()
    replica, upstream = reading.replicas[0], reading.upstream
    await asyncio.sleep(0)
    upstream.audiences.clear()
    replica.wish(reading.seen, Wish(0, 0, 500_000, 640, 360))
    replica.wish(reading.seen, Wish(0, 0, 1_000_000, 640, 360))
    await asyncio.sleep(0)
    ((number, audience),) = upstream.audiences
    ((wish, count),) = audience.wishes
    assert (number, wish.width, wish.height, count) == (0, 640, 384, 1)
    assert 950_000 < wish.bitrate_bps <= 1_000_000
    travelled = messages.decode(messages.encode(messages.from_audience(0, audience))[messages.LENGTH.size :])
    assert isinstance(travelled, messages.Wishes)
    setting.broadcasts[0].serve_elsewhere("worker", messages.to_audience(travelled))
    assert setting.broadcasts[0].wishes == audience.wishes
    replica.detach(reading.seen)
    await asyncio.sleep(0)
    assert upstream.audiences[-1][1].wishes == ()


async def test_a_wish_for_a_keyframe_comes_after_the_wish_for_its_rendition(setting: Setting) -> None:
    go_live(setting.broadcasts[0])
    reading = await setting.reading()
    replica = reading.replicas[0]
    said: list[str] = []
    replica._upstream = type(
        "Order",
        (),
        {"audience": lambda *_: said.append("audience"), "keyframe": lambda *_: said.append("keyframe")},
    )()
    viewer = Seen()
    replica.attach(viewer)
    replica.want(viewer, frozenset({(0, 0)}))
    assert not list(replica.join(0, 0, 1))
    assert said == ["audience", "keyframe"]


async def test_a_broadcast_counts_viewers_elsewhere_and_forgets_those_of_a_place_that_is_gone() -> None:
    demands: list[Any] = []
    broadcast = Broadcast("one")
    broadcast.bind(
        type(
            "Producer",
            (),
            {
                "request_keyframe": lambda *_: None,
                "demand_changed": lambda _, viewers: demands.append(viewers),
                "wanted_changed": lambda _, wanted: demands.append(set(wanted)),
            },
        )()
    )
    here = Seen()
    broadcast.attach(here)
    broadcast.want(here, frozenset({(0, 1)}))
    broadcast.serve_elsewhere("w0", Audience(3, frozenset({(0, 0)})))
    broadcast.serve_elsewhere("w1", Audience(2, frozenset({(0, 0), (1, 0)})))
    assert broadcast.viewers == 6
    broadcast.serve_elsewhere("w1", Audience())
    broadcast.detach(here)
    broadcast.serve_elsewhere("w0", Audience())
    broadcast.serve_elsewhere("w0", Audience())
    assert demands == [
        1, {(0, 1)}, 4, {(0, 0), (0, 1)}, 6, {(0, 0), (0, 1), (1, 0)},
        4, {(0, 0), (0, 1)}, 3, {(0, 0)}, 0, set(),
    ]  # fmt: skip


# --- two processes -----------------------------------------------------------------------------------


def _read_in_another_process(
    memory: Any, event: Any, start: Start, snapshot: Snapshot, total: int, pipe: Any
) -> None:
    async def read() -> None:
        loop = asyncio.get_running_loop()
        replica, seen = Replica("one", 0, Upstream(), loop), Seen()
        replica.attach(seen)
        reader = BusReader(
            [replica],
            memory_fd=memory.detach(),
            event_fd=event.detach(),
            start=start,
            on_overtaken=lambda: None,
            loop=loop,
        )
        reader.start(snapshot, lambda: pipe.send("ready"))
        while len(seen.frames) < total:
            await asyncio.sleep(0.001)
        pipe.send((seen.frames, reader.lost))

    asyncio.run(read())


async def test_another_process_reads_the_same_frames() -> None:
    loop = asyncio.get_running_loop()
    bus = FrameBus(loop, 4 << 20)
    broadcast = Broadcast("one")
    bus.carry(broadcast)
    go_live(broadcast)
    sent = [picture(group, index, 5000 + 37 * index) for group in range(10) for index in range(30)]
    event_fd, start = bus.add_reader()
    assert start.readable == 0
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(
        target=_read_in_another_process,
        args=(
            _Inherited(bus.fd),
            _Inherited(event_fd),
            start,
            bus.snapshot(),
            len(sent),
            theirs,
        ),
        daemon=True,
    )
    await asyncio.to_thread(process.start)
    assert await asyncio.to_thread(ours.recv) == "ready"
    for at in range(0, len(sent), 10):
        for frame in sent[at : at + 10]:
            broadcast.publish(frame)
        await asyncio.sleep(0)
    frames, lost = await asyncio.to_thread(ours.recv)
    assert lost == 0
    assert frames == sent
    await asyncio.to_thread(process.join)
    assert process.exitcode == 0
    ours.close()
    bus.close()


class _Inherited:
    """A file descriptor that a spawned process gets."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> Any:
        return _inherited, (multiprocessing.reduction.DupFd(self._fd),)


def _inherited(handle: Any) -> Any:
    return handle
