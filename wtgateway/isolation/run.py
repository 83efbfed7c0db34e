"""One life of a source's process, as the main process sees it: told what to do, listened to, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from wtgateway import clock
from wtgateway.errors import SourceError
from wtgateway.hub import Audience, Broadcast, CutFrame, Status
from wtgateway.isolation import messages
from wtgateway.isolation.processes import SourceProcess
from wtgateway.media import Catalog, Kind
from wtgateway.workers import bus
from wtgateway.workers.messages import Keyframe, Message, Overtaken, Snapshot, from_audience
from wtgateway.workers.process import Stage
from wtgateway.workers.replica import WholeGroups

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.sources.base import Source

RING_BYTES = 20 << 20  # more than the longest frame (16 MiB); in use by two processes, in memory once
STOP_PATIENCE_S = 3.0  # to say goodbye to a camera
TRACKS = (0, 1)  # whose groups go on where those of the process before ended


class SourceDied(SourceError):
    """The process of a source is gone. ``how``: by which signal, or why we ended it; ``at``: where it was."""

    def __init__(self, pid: int, how: str, at: str) -> None:
        super().__init__(f"the source's process died ({how})")
        self.pid, self.how, self.at = pid, how, at


class Listener(Protocol):
    """Who runs the process."""

    def on_status(self, status: Status) -> None:
        """The state of the broadcast over there."""

    def on_report(self, figures: messages.Figures | None) -> None:
        """A sign of life, and what is counted over there; None: the same as before."""


class Mirror:
    """What keeps the broadcast here like the one in the process of its source. Only whole groups pass."""

    def __init__(
        self, broadcast: Broadcast, on_status: Callable[[Status], None], want_keyframe: Callable[[int], None]
    ) -> None:
        self.lost = 0  # frames before which one of their group is missing
        self._broadcast, self._on_status, self._want_keyframe = broadcast, on_status, want_keyframe
        self._whole = WholeGroups()

    @property
    def catalog(self) -> Catalog:
        """What is offered here."""
        return self._broadcast.catalog

    def publish_cut(self, cut: CutFrame) -> None:
        """Hand a frame on, unless one before it in its group is missing."""
        frame = cut.frame
        track = self.catalog.track(frame.track)
        if track is None or track.kind is not Kind.VIDEO or self._whole.take(frame):
            self._broadcast.publish_cut(cut)
            return
        self.lost += 1
        self._broadcast.forget_group(frame.track, frame.rendition)
        if (frame.track, frame.rendition) in self._broadcast.wanted:
            # By the hub, which coalesces them until the keyframe comes.
            self._broadcast.request_keyframe(frame.track, frame.rendition, clock.now_us())

    def set_catalog(self, catalog: Catalog) -> None:
        """What is offered now. Before the source is open nothing is, and here the last catalog stays."""
        if catalog.tracks:
            self._broadcast.set_catalog(catalog)

    def set_status(self, status: Status) -> None:
        """The pipeline here decides what it means."""
        self._on_status(status)


class Run:
    """``over`` is done when the source needs another process: with the reason, if it is none of ours."""

    def __init__(
        self,
        process: SourceProcess,
        config: BroadcastConfig,
        make_source: Callable[[BroadcastConfig], Source],
        broadcast: Broadcast,
        listener: Listener,
    ) -> None:
        """Raises PicklingError or AttributeError for a ``make_source`` that has no name."""
        self._process, self._broadcast, self._listener = process, broadcast, listener
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[BaseException] = self._loop.create_future()
        self._mirror = Mirror(broadcast, self._status, self.want_keyframe)
        self._told_soon = self._closing = False
        self._log_level = logging.getLogger("wtgateway").getEffectiveLevel()
        recipe = pickle.dumps((config, make_source))
        process.owner, process.lines.broadcast = self, config.name
        memory_fd, event_fd = bus.new_memory(RING_BYTES), bus.new_eventfd()
        begin = messages.Begin(
            recipe=recipe,
            epoch_offset_ns=clock.epoch_offset_ns(),
            log_level=self._log_level,
            next_groups=[(track, broadcast.next_group(track)) for track in TRACKS],
            revision=broadcast.catalog.revision,
        )
        process.send(begin, [memory_fd, event_fd])
        self._reader = bus.BusReader(
            [self._mirror],
            memory_fd=memory_fd,
            event_fd=event_fd,
            start=bus.Start(0, 0, 0),
            on_overtaken=lambda: process.send(Overtaken()),
            on_broken=lambda error: process.end_for("what it wrote made no sense"),
            loop=self._loop,
        )
        self._reader.start(bus.Snapshot(0, []), lambda: None)
        self._tell_audience()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def lost(self) -> int:
        """Frames that were written over there and not handed on here."""
        return self._reader.lost + self._mirror.lost

    # --- wishes ----------------------------------------------------------------------------------

    def want_keyframe(self, track: int) -> None:
        """The next picture over there should begin a group."""
        self._tell_audience()  # first of all it is to be known that somebody wants this
        self._process.send(Keyframe(0, track, 0))

    def audience_changed(self) -> None:
        """Viewers came or went, or want something else; it is told once a turn of the loop."""
        if not self._told_soon:
            self._told_soon = True
            self._loop.call_soon(self._tell_audience)

    def _tell_audience(self) -> None:
        self._told_soon = False
        there = self._broadcast
        self._process.send(from_audience(0, Audience(there.viewers, there.wanted, there.wishes)))

    # --- the process (Owner) ---------------------------------------------------------------------

    def on_message(self, message: Message) -> None:
        """What it says. Raises anything for nonsense."""
        match message:
            case messages.Report(figures=figures):
                self._listener.on_report(messages.Figures.unpack(figures) if figures is not None else None)
            case Snapshot(position=position, states=states):
                self._reader.apply(bus.Snapshot(position, states))

    def on_gone(self, how: str) -> None:
        """What it had published before is handed on first."""
        died = SourceDied(self.pid, how, self._process.lines.crashed_at())
        if self._closing or self._reader.closed:
            self.end(died)
        else:
            self._reader.when_caught_up(lambda: self.end(died))

    def on_look(self) -> None:
        """It logs what we log."""
        level = logging.getLogger("wtgateway").getEffectiveLevel()
        if level != self._log_level:
            self._log_level = level
            self._process.send(messages.LogLevel(level))

    # --- the end ---------------------------------------------------------------------------------

    async def close(self) -> None:
        """Nothing is handed on any more; return when the process is gone."""
        self._closing = True
        process = self._process
        self._reader.close()
        if process.stage is not Stage.GONE:
            process.send(messages.End())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.over.wait(), STOP_PATIENCE_S)
            process.kill()
            await process.over.wait()

    def _status(self, status: Status) -> None:
        if not self.over.done():
            self._listener.on_status(status)

    def end(self, error: BaseException) -> None:
        """The source needs another process, or none any more."""
        if not self.over.done():
            self.over.set_result(error)
