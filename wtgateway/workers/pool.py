"""All workers: started, given their share, watched, replaced when they die, stopped in order.

The main process binds the sockets, holds them all, and never reads from them. So a worker that dies
changes nothing for the others, and what arrives for it waits in its socket for the process that takes its
place. One process more than needed stands by with its modules loaded, since loading them takes longer than
a viewer should wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wtgateway import clock
from wtgateway.access.origins import Origins
from wtgateway.access.revocations import Revocation
from wtgateway.errors import TransportError
from wtgateway.hub import Audience, Broadcast
from wtgateway.limits import Occupancy
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.resume import UsedTokens
from wtgateway.transport import steering
from wtgateway.transport.endpoint import resolve_bind
from wtgateway.transport.identity import Identity
from wtgateway.web.view import SessionSummary, WorkerSummary
from wtgateway.workers import messages
from wtgateway.workers.asking import Asking
from wtgateway.workers.authority import AuthorityDesk
from wtgateway.workers.board import Board
from wtgateway.workers.bus import FrameBus
from wtgateway.workers.process import Stage, WorkerProcess
from wtgateway.workers.resuming import Member
from wtgateway.workers.spread import inboxes
from wtgateway.workers.standby import Standby, backoff

log = logging.getLogger("wtgateway.workers")

START_PATIENCE_S = 30.0
STOP_PATIENCE_S = 3.0
WATCH_EVERY_S = 1.0
MOST_SILENT = 10  # looks of the watchdog without a word from a worker: it hangs
ASSIGN_AGAIN_S = 1.0
STEADY_S = 10.0  # a worker that lived so long is replaced without a pause


@dataclass(slots=True)
class _Place:
    """One worker's place: who is in it, and what it said last."""

    number: int
    process: WorkerProcess | None = None
    event_fd: int = -1
    restarts: int = 0
    quick_deaths: int = 0
    vacant_since: float = 0.0
    filled_at: float = 0.0
    paused: bool = False
    connections: int = 0
    sessions: int = 0
    figures: messages.Figures = field(default_factory=lambda: messages.Figures({}, [], {}))
    reported: bool = False
    lag: messages.Lag = field(default_factory=lambda: messages.Lag(0, [], 0))
    occupied: list[Any] = field(default_factory=lambda: Occupancy().to_row())

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.stage is Stage.READY


class WorkerPool:
    """``workers`` processes for the viewers of ``broadcasts``. ``settings`` go to each one's endpoint.

    Raises ConfigError if the connection IDs of ``identity`` have no room for so many.
    """

    def __init__(
        self,
        workers: int,
        broadcasts: Sequence[Broadcast],
        certificate: messages.Certificate,
        *,
        json_log: bool = False,
        log_level: str = "info",
        settings: dict[str, Any] | None = None,
        identity: Identity | None = None,
        member: Member | None = None,
        access: AuthorityDesk | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._certificate = certificate
        self._json_log, self._log_level, self._settings = json_log, log_level, settings or {}
        self._identity = identity or Identity()
        self._identity.check(workers)
        self._places = [_Place(number) for number in range(workers)]
        self._standby = Standby(self._loop, on_message=self._said, on_gone=self._gone, on_change=self._fill)
        self._member = member or Member()
        self._access = access or AuthorityDesk()
        self._limits: list[Any] = []
        self._occupied_here = Occupancy().to_row()
        self.on_occupied: Callable[[list[Any]], None] = lambda row: None  # what all workers have
        self.publish: Callable[..., None] = lambda kind, **fields: None
        self._asking = Asking()
        self._used = UsedTokens()  # by any worker, or by the main process
        self.on_used: Callable[[bytes, int], None] = lambda number, expires_us: None  # by a worker
        self._drained_until: float | None = None
        self._drain_reason = ""
        self._admitting = self._closing = self._started = False
        self._changed = asyncio.Event()
        self._watchdog: asyncio.Task[None] | None = None
        self._groups: list[list[socket.socket]] = []
        self._bus = FrameBus(self._loop)
        self._board = Board(workers)
        self._inboxes, self._outboxes = inboxes(workers)
        for broadcast in broadcasts:
            self._bus.carry(broadcast)

    async def start(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """Bind, start all workers and wait until they serve; the bound addresses. Raises TransportError."""
        addresses = await resolve_bind(self._loop, host, port)
        try:
            self._groups = steering.bind_groups(addresses, self._identity.rule(len(self._places)))
        except OSError as error:
            raise steering.unusable(host, port, error) from error
        self._standby.start(len(self._places))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_PATIENCE_S):
                while not all(place.up for place in self._places) and self._standby.failures <= len(
                    self._places
                ):
                    self._changed.clear()
                    await self._changed.wait()
        if not all(place.up for place in self._places):
            raise TransportError("the workers do not start: the log says why; --workers 1 does without them")
        self._started = True
        self._standby.keep_one()
        self._watchdog = asyncio.create_task(self._watch(), name="workers")
        return [group[0].getsockname() for group in self._groups]

    def admit(self) -> None:
        """Viewers are taken in from now on."""
        self._admitting = True
        self._tell(messages.Admit())

    def use_limits(self, row: list[Any]) -> None:
        """Limits as :func:`wtgateway.workers.limiting.limits_to_row` has them, from now on."""
        self._limits = row
        self._tell(messages.Limits(row))

    def note_occupied(self, row: list[Any]) -> None:
        """How many sessions the main process has itself."""
        self._occupied_here = row
        self._tell_occupied()

    def _tell_occupied(self) -> None:
        """Each process is told what all others have."""
        rows = [place.occupied for place in self._places]
        for number, place in enumerate(self._places):
            others = Occupancy.sum([*rows[:number], *rows[number + 1 :], self._occupied_here])
            if place.process is not None:
                place.process.send(messages.Occupied(others.to_row()))
        self.on_occupied(Occupancy.sum(rows).to_row())

    def drain(self, within_s: float, reason: str) -> None:
        """Take nobody in any more, and send the viewers elsewhere."""
        self._admitting = False
        self._drained_until, self._drain_reason = self._loop.time() + within_s, reason
        self._tell(messages.Drain(within_s, reason))

    def use_origins(self, origins: Origins) -> None:
        """Who may watch is judged anew, and whose pages may connect."""
        self._access.use_origins(origins)
        self._tell(messages.AccessChanged(self._access.row()))

    def set_log_level(self, level: str) -> None:
        """How much all workers log from now on, and those that will replace them."""
        self._log_level = level
        self._tell(messages.LogLevel(level))

    def add_broadcast(self, broadcast: Broadcast) -> None:
        """Another one may be watched from now on. Raises WtgatewayError if there is no number for it."""
        self._bus.carry(broadcast)

    def change_broadcast(self, broadcast: Broadcast) -> None:
        """Its viewers adapt in another way from now on."""
        self._bus.announce(broadcast)

    def remove_broadcast(self, broadcast: Broadcast) -> None:
        """It is there no more: workers tell its viewers."""
        self._bus.drop(broadcast)

    def note_used(self, number: bytes, expires_us: int) -> None:
        """The main process took a resume token."""
        self._used.note(number, expires_us, clock.now_us())
        self._tell(messages.TokenUsed(number, expires_us))

    @property
    def session_count(self) -> int:
        """How many viewers' sessions there are, as of some tenths of a second ago."""
        return sum(place.sessions for place in self._places)

    def use_certificate(self, certificate: messages.Certificate) -> None:
        """New connections get this one; viewers are told the hashes."""
        self._certificate = certificate
        self._tell(certificate)

    def session_summaries(self) -> list[SessionSummary]:
        """All sessions, as of some tenths of a second ago."""
        return [messages.from_row(row) for place in self._places for row in place.figures.sessions]

    def worker_summaries(self) -> list[WorkerSummary]:
        """All workers."""
        return [
            WorkerSummary(
                worker=place.number,
                up=place.up,
                restarts=place.restarts,
                connections=place.connections,
                sessions=place.sessions,
                counters=place.figures.counters,
                stage_times=place.figures.stage_times,
            )
            for place in self._places
        ]

    async def ask(self, what: str, session: str, *arguments: Any) -> Any:
        """Have a session's worker do something (:mod:`wtgateway.workers.desk`); None: nobody has it.

        Raises Unavailable, in words.
        """
        sends = [place.process.send for place in self._places if place.up and place.process is not None]
        return await self._asking.ask(sends, what, session, arguments)

    def lags(self) -> dict[int, messages.Lag]:
        """How late the workers' loops are, by number, as they said last."""
        return {place.number: place.lag for place in self._places if place.lag.rows}

    def revoke(self, revocation: Revocation) -> None:
        """Have the sessions ended of what was taken back."""
        self._tell(messages.Revoked(revocation.to_row()))

    def process_ids(self) -> list[int | None]:
        """Of each worker's process; None while its place is vacant."""
        return [place.process.pid if place.process else None for place in self._places]

    async def close(self, code: CloseCode, reason: str, retry_after_ms: int) -> None:
        """Have all viewers told, and end all processes."""
        self._closing = True
        self._access.close()
        self._standby.close()
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        processes = self._processes()
        for process in processes:
            if process.stage is Stage.READY:
                process.send(messages.Stop(int(code), reason, retry_after_ms))
            else:
                process.kill()
        ends = asyncio.gather(*(process.over.wait() for process in processes))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ends), STOP_PATIENCE_S)
        for process in processes:
            process.kill()
        await ends
        steering.close_groups([*self._groups, self._inboxes, self._outboxes])
        self._bus.close()
        self._board.close()

    # --- processes -------------------------------------------------------------------------------

    def _processes(self) -> list[WorkerProcess]:
        placed = [place.process for place in self._places if place.process is not None]
        return [*placed, *self._standby.processes]

    def _tell(self, message: messages.Message, *, but: WorkerProcess | None = None) -> None:
        for place in self._places:
            if place.process is not None and place.process is not but:
                place.process.send(message)

    def _fill(self) -> None:
        """Fill vacant places with what stands by, and have started what is missing."""
        self._changed.set()
        if self._closing:
            return
        vacant = [place for place in self._places if place.process is None and not place.paused]
        vacant.sort(key=lambda place: place.vacant_since)
        if vacant and (process := self._standby.take()) is not None:
            self._assign(vacant.pop(0), process)
        self._standby.start(len(vacant))
        if self._started:
            self._standby.keep_one()

    def _assign(self, place: _Place, process: WorkerProcess) -> None:
        try:
            event_fd, start = self._bus.add_reader()
        except OSError:  # no file descriptor is left, for now
            process.kill()
            self._standby.later(ASSIGN_AGAIN_S, self._fill)
            return
        place.process, process.stage, place.event_fd = process, Stage.ASSIGNED, event_fd
        snapshot = self._bus.snapshot()
        fds = [
            self._bus.fd,
            self._board.fd,
            place.event_fd,
            self._inboxes[place.number].fileno(),
            *(sock.fileno() for sock in self._outboxes),
            *(group[place.number].fileno() for group in self._groups),
        ]
        assign = messages.Assign(
            worker=place.number,
            workers=len(self._places),
            identity=self._identity.to_row(),
            epoch_offset_ns=clock.epoch_offset_ns(),
            start=[start.position, start.record, start.readable],
            admit=self._admitting,
            json_log=self._json_log,
            log_level=self._log_level,
            settings=self._settings,
            member=self._member.to_row(),
            used=[list(used) for used in self._used.all()],
            access=self._access.row(),
        )
        process.send(assign, fds)
        process.send(self._certificate)
        process.send(messages.Limits(self._limits))
        process.send(messages.Snapshot(snapshot.position, snapshot.messages))

    def _gone(self, process: WorkerProcess, how: str) -> None:
        place = next((place for place in self._places if place.process is process), None)
        if place is None:
            return
        was_up = place.reported
        self._vacate(place)
        if self._closing:
            return
        place.restarts += 1
        place.vacant_since = self._loop.time()
        self.publish("worker.died", worker=place.number, how=how)
        log.warning("worker died worker=%d pid=%d how=%s", place.number, process.pid, how)
        if not was_up:
            self._standby.failed(how)
        steady = place.vacant_since - place.filled_at >= STEADY_S
        place.quick_deaths = 0 if steady else place.quick_deaths + 1
        if place.quick_deaths > 1:
            place.paused = True
            self._standby.later(backoff(place.quick_deaths - 2), lambda: self._resume(place))
        self._fill()

    def _vacate(self, place: _Place) -> None:
        self._board.down(place.number)
        self._bus.remove_reader(place.event_fd)
        place.process, place.reported = None, False
        place.connections = place.sessions = 0
        place.occupied = Occupancy().to_row()
        if not self._closing:
            self._tell_occupied()
        place.figures, place.lag = messages.Figures({}, [], {}), messages.Lag(0, [], 0)
        for broadcast in self._bus.broadcasts.values():
            broadcast.serve_elsewhere(place.number, Audience())

    def _resume(self, place: _Place) -> None:
        place.paused = False
        self._fill()

    async def _watch(self) -> None:
        """A worker whose loop stands still is as good as dead. Counts looks: we may have stood still, too."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            for place in self._places:
                process = place.process
                if process is None:
                    continue
                process.silent = 0 if process.heard else process.silent + 1
                process.heard = False
                if process.silent >= MOST_SILENT:
                    log.error("worker hangs worker=%d pid=%d: it is ended", place.number, process.pid)
                    process.kill()

    # --- what they say ---------------------------------------------------------------------------

    def _said(self, process: WorkerProcess, message: messages.Message) -> None:
        process.heard = True
        place = next((place for place in self._places if place.process is process), None)
        if place is None:
            return
        match message:
            case messages.Ready():
                self._ready(place, process)
            case messages.Wishes(broadcast=number):
                # One that was removed meanwhile has no viewers to think of.
                if (broadcast := self._bus.broadcasts.get(number)) is not None:
                    broadcast.serve_elsewhere(place.number, messages.to_audience(message))
            case messages.Keyframe(broadcast=number, track=track, rendition=rendition):
                if (broadcast := self._bus.broadcasts.get(number)) is not None:
                    broadcast.request_keyframe(track, rendition, clock.now_us())
            case messages.Overtaken():
                snapshot = self._bus.snapshot()
                process.send(messages.Snapshot(snapshot.position, snapshot.messages))
            case messages.TokenUsed(number=token, expires_us=expires_us):
                self._used.note(token, expires_us, clock.now_us())
                self._tell(message, but=process)
                self.on_used(token, expires_us)
            case messages.Occupied(row=row):
                place.occupied = row
                self._tell_occupied()
            case messages.Told():
                self._asking.told(message)
            case messages.Happened(event=kind, fields=fields):
                self.publish(kind, **fields)
            case messages.AccessAsked():
                self._access.asked(message, process.send)
            case messages.Lag():
                place.lag = message
            case messages.Report(connections=connections, sessions=sessions, figures=figures):
                place.reported, place.connections, place.sessions = True, connections, sessions
                if figures is not None:
                    place.figures = messages.Figures(*figures)

    def _ready(self, place: _Place, process: WorkerProcess) -> None:
        process.stage = Stage.READY
        place.filled_at = self._loop.time()
        self._standby.failures = 0
        if self._admitting:
            process.send(messages.Admit())
        elif self._drained_until is not None:
            left = max(0.0, self._drained_until - self._loop.time())
            process.send(messages.Drain(left, self._drain_reason))
        if place.restarts:
            away = place.filled_at - place.vacant_since
            log.info("worker replaced worker=%d pid=%d after=%.0fms", place.number, process.pid, away * 1000)
        self._changed.set()
