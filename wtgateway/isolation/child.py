"""The process of a source: a pipeline with a broadcast of its own, whose frames go to the main process.

It loads its modules, says that it is warm, and waits to be told what to do: so one that stands by is quick.
Signals are the main process's business; it ends when it is told to, or when the main process is gone.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import logging
import os
import pickle
import socket
from typing import NoReturn

# Loaded while nobody waits.
import wtgateway.encoders
import wtgateway.sources  # noqa: F401
from wtgateway import clock
from wtgateway.config import BroadcastConfig
from wtgateway.hub import Broadcast, CutFrame
from wtgateway.isolation import limits, messages
from wtgateway.isolation.lines import PipeHandler
from wtgateway.media import Catalog
from wtgateway.pipeline import Pipeline
from wtgateway.workers import child
from wtgateway.workers.bus import FrameBus
from wtgateway.workers.channel import Channel
from wtgateway.workers.messages import (
    Keyframe,
    Message,
    Overtaken,
    Snapshot,
    Stopped,
    Warm,
    Wishes,
    to_audience,
)

log = logging.getLogger("wtgateway.isolation")

REPORT_EVERY_S = 0.5
MAIN = "main"  # the place where all viewers are


def main(fd: int) -> NoReturn:
    """The process's body."""
    child.begin()
    faulthandler.enable(all_threads=False)
    logging.raiseExceptions = False
    logging.getLogger().addHandler(PipeHandler())
    _log_from(logging.INFO)
    child.run(_serve(socket.socket(fileno=fd)))
    os._exit(0)  # whatever hangs in a library's thread, or in what it does at the end


async def _serve(sock: socket.socket) -> None:
    source = SourceChild(sock)
    await source.done.wait()


def _log_from(level: int) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("wtgateway").setLevel(level)


class Outlet(Broadcast):
    """The broadcast as its pipeline knows it. Nothing is kept of it: viewers join in the main process."""

    def __init__(self, name: str, next_groups: dict[int, int], revision: int) -> None:
        super().__init__(name)
        self.catalog = Catalog(revision=revision)
        self._go_on_at = next_groups

    def next_group(self, track_id: int) -> int:
        """Where the main process says that groups go on."""
        return self._go_on_at.get(track_id, 0)

    def publish_cut(self, cut: CutFrame) -> None:
        """Hand it to the bus."""
        track = self.catalog.track(cut.frame.track)
        if track is not None:
            self.frames_published += 1
            for relay in self._relays:
                relay.on_frame(cut.frame, cut.data, track.kind)


class SourceChild:
    """``done`` is set when the process is to end."""

    def __init__(self, sock: socket.socket) -> None:
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: _Running | None = None
        self._channel = Channel(
            sock,
            on_message=self._message,
            on_lost=self._orphaned,
            loop=self._loop,
            decode=messages.decode_in_child,
        )
        self._channel.send(Warm())

    def _orphaned(self) -> None:
        os._exit(1)

    def _message(self, message: Message) -> None:
        try:
            self._handle(message)
        except Exception:  # a defect: the next process does better than one that is half made
            log.exception("the process of a source cannot go on")
            os._exit(1)

    def _handle(self, message: Message) -> None:
        running = self._running
        match message:
            case messages.Begin():
                running = self._running = _Running(message, self._channel, self._loop)
                self._start(running.pipeline.run())
                self._start(running.report())
            case messages.LogLevel(level=level):
                _log_from(level)
            case Wishes() if running is not None:
                running.broadcast.serve_elsewhere(MAIN, to_audience(message))
            case Keyframe(track=track) if running is not None:
                running.pipeline.request_keyframe(track)
            case Overtaken() if running is not None:
                snapshot = running.bus.snapshot()
                self._channel.send(Snapshot(snapshot.position, snapshot.messages))
            case messages.End():
                self._ending = asyncio.create_task(self._end())

    def _start(self, body: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(body)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the process of a source cannot go on", exc_info=error)
            os._exit(1)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # the source is closed when this is over
        self._channel.send(Stopped())
        self.done.set()


class _Running:
    """All that a process has which was told what to do."""

    def __init__(self, begin: messages.Begin, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self._channel = channel
        memory_fd, event_fd = channel.take_fds()
        clock.follow(begin.epoch_offset_ns)
        _log_from(begin.log_level)
        config, make_source = pickle.loads(begin.recipe)  # noqa: S301 - of the main process
        assert isinstance(config, BroadcastConfig)
        limits.apply(config.isolate_memory_bytes)
        groups = dict(begin.next_groups)
        self.broadcast = Outlet(config.name, groups, begin.revision)
        self.bus = FrameBus(loop, fd=memory_fd)
        self.bus.add_reader(event_fd)
        self.bus.carry(self.broadcast)
        self.pipeline = Pipeline(config, self.broadcast, functools.partial(make_source, config))

    async def report(self) -> None:
        """Tell the main process how it is, again and again."""
        told = None
        while True:
            pipeline = self.pipeline
            figures = messages.Figures(
                stats=pipeline.stats,
                targets=pipeline.adapting.targets,
                nominals=pipeline.adapting.nominals,
                changes=pipeline.adapting.changes,
                coded=pipeline.coded,
                info=pipeline.info,
            ).pack()
            self._channel.send(messages.Report(figures if figures != told else None))
            told = figures
            await asyncio.sleep(REPORT_EVERY_S)
