"""A worker process: a QUIC endpoint with its viewers, copies of the broadcasts, a line to the main process.

It loads its modules, says that it is warm, and waits to be assigned a number: so a process that stands by
takes a dead one's place in milliseconds. Signals are the main process's business; the worker ends when it
is told to, or when the main process is gone.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Coroutine
from typing import Any

import msgpack  # noqa: F401 - loaded while nobody waits
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wtgateway import clock
from wtgateway import log as logs
from wtgateway.access.revocations import Revocation
from wtgateway.hub import Audience
from wtgateway.monitoring.loop_lag import LoopLag
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.targets import Policy
from wtgateway.transport.endpoint import QuicEndpoint, ServerCertificate
from wtgateway.transport.identity import Identity
from wtgateway.web.control import Unavailable
from wtgateway.workers import bus, child, desk, messages
from wtgateway.workers.authority import FarAuthority
from wtgateway.workers.board import Board
from wtgateway.workers.channel import Channel
from wtgateway.workers.limiting import limits_from_row
from wtgateway.workers.replica import Replica
from wtgateway.workers.resuming import Member
from wtgateway.workers.service import ViewerService
from wtgateway.workers.spread import Spread

log = logging.getLogger("wtgateway.workers")

REPORT_EVERY_S = 0.25
FIGURES_EVERY_S = 1.0
FIGURES_COST_S = 0.001  # so long a session are they not made again after one came or went: they cost time


def main(fd: int) -> int:
    """The process's body; its exit code."""
    child.begin()
    logs.setup()
    child.run(_serve(socket.socket(fileno=fd)))
    return 0


async def _serve(sock: socket.socket) -> None:
    worker = Worker(sock)
    await worker.done.wait()


class Worker:
    """``done`` is set when the process is to end."""

    def __init__(self, sock: socket.socket) -> None:
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._assigned: messages.Assign | None = None
        self._certificate: messages.Certificate | None = None
        self._serving: _Serving | None = None
        self._limits: list[Any] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel = Channel(sock, on_message=self._message, on_lost=self._orphaned, loop=self._loop)
        self._channel.send(messages.Warm())

    def _orphaned(self) -> None:
        """Without the main process there are no frames: viewers do better to find another gateway at once."""
        os._exit(1)

    def _message(self, message: messages.Message) -> None:
        try:
            self._handle(message)
        except Exception:  # a defect: whoever is next does better than one that is half made
            log.exception("a worker cannot go on")
            os._exit(1)

    def _handle(self, message: messages.Message) -> None:
        match message:
            case messages.Assign():
                self._assigned = message
            case messages.Certificate():
                self._certificate = message
                if self._serving is not None:
                    self._serving.service.use_certificate(_certificate(message), message.hashes)
            case messages.Snapshot():
                snapshot = bus.Snapshot(message.position, message.states)
                if self._serving is None:
                    self._begin(snapshot)
                else:
                    self._serving.reader.apply(snapshot)
            case messages.Admit():
                if self._serving is not None:
                    self._serving.service.admitting = True
            case messages.Limits(row=row):
                self._limits = row
                if self._serving is not None:
                    self._serving.service.limiting.use(*limits_from_row(row))
            case messages.AccessChanged(row=row):
                if self._serving is not None:
                    self._serving.authority.use(row)
                    self._serving.service.entrance.use_origins(self._serving.authority.origins)
            case messages.AccessAnswered():
                if self._serving is not None:
                    self._serving.authority.answered(message)
            case messages.Revoked(row=row):
                if self._serving is not None:
                    self._serving.service.revoke(Revocation.from_row(row))
            case messages.Occupied(row=row):
                if self._serving is not None:
                    self._serving.service.limiting.others(row)
            case messages.Drain():
                if self._serving is not None:
                    self._serving.service.drain(message.within_s, message.reason)
            case messages.Ask():
                self._channel.send(self._told(message))
            case messages.LogLevel():
                logs.set_level(message.level)
            case messages.TokenUsed():
                if self._serving is not None:
                    used = self._serving.service.resuming.used
                    used.note(message.number, message.expires_us, clock.now_us())
            case messages.Stop():
                self._start(self._stop(message))

    def _told(self, asked: messages.Ask) -> messages.Told:
        sessions = self._serving.service.sessions if self._serving is not None else {}
        try:
            return messages.Told(asked.number, desk.ask(sessions, asked.what, asked.session, asked.arguments))
        except Unavailable as error:
            return messages.Told(asked.number, None, str(error))

    def _start(self, body: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(body)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a worker cannot go on", exc_info=error)
            os._exit(1)

    def _begin(self, snapshot: bus.Snapshot) -> None:
        assert self._assigned is not None
        assert self._certificate is not None
        assigned = self._assigned
        logs.setup(json_log=assigned.json_log, level=assigned.log_level, fields={"worker": assigned.worker})
        clock.follow(assigned.epoch_offset_ns)
        self._serving = _Serving(assigned, self._certificate, self._channel, self._loop)
        self._serving.service.limiting.use(*limits_from_row(self._limits))
        self._serving.begin(snapshot)
        self._start(self._serving.report())

    async def _stop(self, message: messages.Stop) -> None:
        if self._serving is not None:
            await self._serving.close(CloseCode(message.code), message.reason, message.retry_after_ms)
        self._channel.send(messages.Stopped())
        self.done.set()


class _Serving:
    """All that an assigned worker has."""

    def __init__(
        self,
        assigned: messages.Assign,
        certificate: messages.Certificate,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._assigned, self._channel, self._loop = assigned, channel, loop
        memory_fd, board_fd, event_fd, inbox_fd, *rest = channel.take_fds()
        outboxes, sockets = rest[: assigned.workers], rest[assigned.workers :]
        self._replicas: dict[int, Replica] = {}  # by their number on the bus
        self._by_name: dict[str, Replica] = {}
        self._undecodable = 0  # frames of broadcasts that are there no more
        self._board = Board(assigned.workers, board_fd)
        self._spread = Spread(
            assigned.worker,
            self._board,
            socket.socket(fileno=inbox_fd),
            [socket.socket(fileno=fd) for fd in outboxes],
            loop,
        )
        self.reader = bus.BusReader(
            (),
            memory_fd=memory_fd,
            event_fd=event_fd,
            start=bus.Start(*assigned.start),
            on_overtaken=lambda: channel.send(messages.Overtaken()),
            loop=loop,
            members=self,
        )
        self._sockets = [socket.socket(fileno=fd) for fd in sockets]
        identity = Identity.from_row(assigned.identity)
        self.authority = FarAuthority(assigned.access, channel.send)
        self.service = ViewerService(
            self._by_name.get,
            _certificate(certificate),
            certificate.hashes,
            make_endpoint=functools.partial(
                QuicEndpoint,
                connection_ids=identity.connection_ids(assigned.worker, assigned.workers),
                elsewhere=self._spread,
                secret=identity.retry_secret,
                **assigned.settings,
            ),
            worker=assigned.worker,
            member=Member.from_row(assigned.member),
            on_used=lambda number, expires_us: channel.send(messages.TokenUsed(number, expires_us)),
            authority=self.authority,
            origins=self.authority.origins,
            publish=self._publish,
        )
        for number, expires_us in assigned.used:
            self.service.resuming.used.note(number, expires_us, clock.now_us())
        self.service.limiting.tell = lambda row: channel.send(messages.Occupied(row))
        self.service.admitting = assigned.admit

    def _publish(self, kind: str, **fields: Any) -> None:
        self._channel.send(messages.Happened(kind, fields))

    def begin(self, snapshot: bus.Snapshot) -> None:
        """Read what the bus holds, then serve."""
        self.reader.start(snapshot, self._caught_up)

    def _caught_up(self) -> None:
        endpoint = self.service.endpoint
        endpoint.start_on(self._sockets)
        self.service.start()
        self._spread.start(endpoint.take_over, lambda: endpoint.connections)
        self._channel.send(messages.Ready())
        log.info("worker serves pid=%d", os.getpid())

    async def report(self) -> None:
        """Tell the main process how it is, again and again."""
        changes, told_at = -1, 0.0
        lag = LoopLag(self._loop)
        lag.start()
        while True:
            now, service = time.monotonic(), self.service
            soon = len(service.sessions) * FIGURES_COST_S if changes != service.changes else FIGURES_EVERY_S
            figures = None
            if now - told_at >= min(soon, FIGURES_EVERY_S):
                changes, told_at = service.changes, now
                rows = [messages.row(s) for s in service.summaries()]
                figures = messages.Figures(self._counters(), rows, service.stage_times())
                self._channel.send(messages.Lag(lag.take_worst_us(), lag.rows(), len(asyncio.all_tasks())))
            self._spread.tell()
            report = messages.Report(
                service.endpoint.connections, len(service.sessions), figures and list(figures)
            )
            self._channel.send(report)
            await asyncio.sleep(REPORT_EVERY_S)

    def _counters(self) -> dict[str, int]:
        return self.service.counters() | {
            "bus_records": self.reader.records,
            "bus_lost": self.reader.lost,
            "frames_undecodable": self._undecodable
            + sum(replica.frames_undecodable for replica in self._replicas.values()),
            "connections_handed_over": self._spread.handed_over,
        }

    async def close(self, code: CloseCode, reason: str, retry_after_ms: int) -> None:
        """Tell the viewers and close all."""
        await self.service.close(code, reason, retry_after_ms)
        self._spread.close()
        self.reader.close()
        self._board.close()

    # --- bus.Members -------------------------------------------------------------------------------

    def entered(self, number: int, name: str) -> Replica:
        """There is another broadcast."""
        replica = self._replicas[number] = self._by_name[name] = Replica(name, number, self, self._loop)
        return replica

    def changed(self, number: int, policy: Policy) -> None:
        """How the viewers of one adapt."""
        self._replicas[number].policy = policy

    def removed(self, number: int) -> None:
        """One is there no more: its viewers are told, unless another one has its name already."""
        replica = self._replicas.pop(number)
        if self._by_name.get(replica.name) is replica:
            del self._by_name[replica.name]
        self._undecodable += replica.frames_undecodable
        self.service.remove_broadcast(replica)

    # --- Upstream ----------------------------------------------------------------------------------

    def audience(self, number: int, audience: Audience) -> None:
        """The viewers of a broadcast changed, or what they want."""
        self._channel.send(messages.from_audience(number, audience))

    def keyframe(self, number: int, track: int, rendition: int) -> None:
        """A rendition's next frame should be a keyframe."""
        self._channel.send(messages.Keyframe(number, track, rendition))


def _certificate(message: messages.Certificate) -> ServerCertificate:
    key = serialization.load_der_private_key(message.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return ServerCertificate(x509.load_der_x509_certificate(message.certificate), key)
