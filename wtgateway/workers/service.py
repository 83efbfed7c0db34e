"""One process's viewers: its QUIC endpoint, their sessions, and what is counted of them.

The gateway has one of these in its own process, or each of its workers has one. May import transport,
hub and protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from wtgateway import __version__, clock
from wtgateway.access.origins import Origins
from wtgateway.access.permissions import Grant
from wtgateway.access.revocations import Revocation
from wtgateway.errors import ProtocolError
from wtgateway.hub import Broadcast
from wtgateway.limits import Party, network_of
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import ServerSession, parse_connect_path
from wtgateway.protocol.subscribe_query import SubscribeQuery
from wtgateway.protocol.traces import TracedFrame
from wtgateway.transport.endpoint import QuicEndpoint, ServerCertificate
from wtgateway.transport.session import PARTING_S, ViewerSession
from wtgateway.transport.webtransport import Refusal, SessionRequest
from wtgateway.web.histograms import StageTimes
from wtgateway.web.view import SessionSummary, WorkerSummary
from wtgateway.workers import desk
from wtgateway.workers.entrance import ANY_ORIGIN, Answer, Asked, Entrance, credentials_of
from wtgateway.workers.limiting import Limiting
from wtgateway.workers.resuming import Member, Resuming
from wtgateway.workers.websockets import WebSocketSessions

TICK_S = 0.25
CLOSE_PATIENCE_S = 1.0
DRAIN_PAUSE_S = 0.04  # between two viewers who are sent elsewhere: each costs another node a handshake
REMOVED, REMOVED_RETRY_MS = "the broadcast was removed", 5000
DRAIN_SHARE = 0.5  # of the time they have, at most, until the last one is told

Hashes = list[dict[str, Any]]


class ViewerService:
    """``find`` gives the broadcast of a name; ``make_endpoint`` the endpoint that asks for sessions.

    ``admitting``: until it is set, and after the end has begun, viewers are told to come back. ``member`` is
    who the gateway is among others; ``on_used`` is told of each resume token used here. ``authority`` says
    who may watch, and ``origins`` whose pages; ``publish`` is told of sessions that come and go.
    """

    def __init__(
        self,
        find: Callable[[str], Broadcast | None],
        certificate: ServerCertificate,
        hashes: Hashes,
        *,
        make_endpoint: Callable[..., QuicEndpoint] = QuicEndpoint,
        worker: int = 0,
        member: Member | None = None,
        on_used: Callable[[bytes, int], None] = lambda number, expires_us: None,
        authority: Asked | None = None,
        origins: Origins = ANY_ORIGIN,
        publish: Callable[..., None] = lambda kind, **fields: None,
    ) -> None:
        self._publish = publish
        self.resuming = Resuming(member or Member(), on_used=on_used)
        self.limiting = Limiting(publish)
        self.entrance = Entrance(authority, origins, on_identified=self._identified)
        self.draining = False
        self._drains: asyncio.Task[None] | None = None
        self.sessions: dict[str, ViewerSession] = {}
        self.admitting = False
        self.changes = 0  # grows with every session that is opened or closed
        self._find, self._hashes, self._worker = find, hashes, worker
        self._over: Counter[str] = Counter()  # the figures of sessions that are over
        self._stage_times: dict[str, StageTimes] = {}  # by broadcast, as viewers told
        self.endpoint = make_endpoint(on_request=self._on_request, certificate=certificate)
        self.websockets = WebSocketSessions(self._on_request)
        self._ticker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after the sessions; the endpoint is started by whoever knows its sockets."""
        self._ticker = asyncio.create_task(self._tick(), name="sessions")

    def use_certificate(self, certificate: ServerCertificate, hashes: Hashes) -> None:
        """New connections get this one; viewers are told the hashes."""
        self._hashes = hashes
        self.endpoint.use_certificate(certificate)
        for session in list(self.sessions.values()):
            session.set_certificates(hashes)

    @property
    def session_count(self) -> int:
        """How many viewers' sessions there are."""
        return len(self.sessions)

    def drain(self, within_s: float, reason: str) -> None:
        """Take nobody in any more, and send the viewers elsewhere: not all at the same moment."""
        if self._drains is not None:
            return
        self.admitting, self.draining = False, True
        self.endpoint.refuse_connections()
        self._drains = asyncio.create_task(self._drain(within_s, reason), name="drain")

    async def _drain(self, within_s: float, reason: str) -> None:
        deadline = time.monotonic() + within_s
        pause = min(DRAIN_PAUSE_S, DRAIN_SHARE * within_s / (len(self.sessions) or 1))
        for session in list(self.sessions.values()):
            if session.id in self.sessions:  # it has not gone by itself meanwhile
                session.drain(max(0, round((deadline - time.monotonic()) * 1000)), reason)
                await asyncio.sleep(pause)

    def remove_broadcast(self, broadcast: Broadcast) -> None:
        """It is there no more: its viewers are told so."""
        for session in list(self.sessions.values()):
            if session.broadcast is broadcast:
                session.part(CloseCode.NOT_FOUND, REMOVED, REMOVED_RETRY_MS)

    def revoke(self, revocation: Revocation) -> None:
        """End the sessions of a token or an identity that was taken back."""
        self.entrance.revoke(revocation, list(self.sessions.values()))

    async def close(self, code: CloseCode, reason: str, retry_after_ms: int) -> None:
        """Tell the viewers, close all sessions and connections."""
        self.admitting = False
        if self._drains is not None:
            self._drains.cancel()
        for session in list(self.sessions.values()):
            session.part(code, reason, retry_after_ms)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARTING_S):
                while self.sessions:  # noqa: ASYNC110 - once a life
                    await asyncio.sleep(0.005)
        await asyncio.gather(
            self.endpoint.close(code, reason, CLOSE_PATIENCE_S), self.websockets.close(code, reason)
        )
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)

    # --- figures ---------------------------------------------------------------------------------

    def summaries(self) -> list[SessionSummary]:
        """All sessions, the oldest first."""
        return list(self.each_summary())

    def each_summary(self) -> Iterator[SessionSummary]:
        """The same, each made when it is asked for: a thousand at once would hold up the loop."""
        for session in list(self.sessions.values()):
            yield self._summary(session, time.monotonic())

    def counters(self) -> dict[str, int]:
        """What has been counted since the start; the values only grow."""
        counted = Counter(self.endpoint.stats)
        counted.update(self.websockets.counters)
        counted.update(self.resuming.counters)
        counted.update(self.entrance.counters)
        counted.update(self.limiting.counters)
        counted.update(self._over)
        for session in self.sessions.values():
            counted.update(_figures(session))
        return dict(counted)

    def stage_times(self) -> dict[str, list[list[int]]]:
        """Where the time of frames went, by broadcast: StageTimes.rows() of each."""
        return {name: times.rows() for name, times in self._stage_times.items()}

    def worker_summary(self) -> WorkerSummary:
        """This process as the one worker that there is."""
        return WorkerSummary(
            worker=self._worker,
            connections=self.endpoint.connections,
            sessions=len(self.sessions),
            counters=self.counters(),
            stage_times=self.stage_times(),
        )

    def _summary(self, session: ViewerSession, now: float) -> SessionSummary:
        fitted = session.core.fitting.state
        return SessionSummary(
            id=session.id,
            broadcast=session.broadcast.name,
            worker=self._worker,
            client=session.core.client,
            identity=session.core.identity,
            transport=session.carrier,
            address=session.address,
            age_s=now - session.opened_at,
            rtt_us=session.rtt_us,
            estimate_bps=session.core.path.estimate_bps,
            loss=session.core.path.loss,
            queueing_us=round(session.core.path.queueing * 1e6),
            wish_bps=fitted.wish.bitrate_bps if fitted.wish is not None else 0,
            rendition=-1 if fitted.choice.rendition is None else fitted.choice.rendition,
            rendition_reason=fitted.choice.reason,
            queued_bytes=session.core.queue.bytes,
            stages_us=session.stages_us,
            **_sent(session),
        )

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            for session in list(self.sessions.values()):
                session.tick(now)
                if session.former and session.delivers:
                    self._supersede(session)
            self.limiting.tick(self.sessions.values(), now)

    def _supersede(self, session: ViewerSession) -> None:
        """The viewer has chosen: what is left of its former session sends into the void, and is counted."""
        former, session.former = self.sessions.get(session.former), ""
        if former is not None:
            former.close(CloseCode.NORMAL, f"the viewer goes on with session {session.id}")

    # --- viewers ---------------------------------------------------------------------------------

    def _on_request(self, request: SessionRequest) -> Answer | asyncio.Task[Answer]:
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        try:
            query = parse_connect_path(request.path)
        except ProtocolError as error:
            return Refusal(421 if error.code == CloseCode.VERSION else 400, str(error))
        return self.entrance.let_in(request, query, functools.partial(self._begin, request, query))

    def _refusal(self) -> Refusal | None:
        """What whoever comes is told, whoever it is."""
        if self.draining:
            return Refusal(503, "the gateway is about to go; try again, elsewhere if there is a choice")
        if not self.admitting:
            return Refusal(503, "the gateway is starting or stopping; try again in a moment")
        return None

    def _begin(self, request: SessionRequest, query: SubscribeQuery, grant: Grant | None) -> Answer:
        """A session for who was let in; without a grant one that waits for a token, in no other's place."""
        refusal = self._refusal()  # as it was asked about access, time has passed
        if refusal is not None:
            return refusal
        broadcast = self._find(query.broadcast)
        if broadcast is None:
            return Refusal(404, f"there is no broadcast named {query.broadcast!r} here")
        identity = grant.identity if grant is not None else ""
        credentials = credentials_of(request, query)
        if grant is None:
            query = dataclasses.replace(query, resume="")
        begin = self.resuming.begin(query, clock.now_us(), identity=identity)
        party = Party(
            broadcast=broadcast.name,
            network=network_of(str(request.remote[0])) if request.remote else "",
            identity=identity,
            resumes=bool(begin.former),
        )
        if (refusal := self.limiting.refusal(party, time.monotonic())) is not None:
            return refusal
        member = self.resuming.member
        core = ServerSession(
            session_id=secrets.token_hex(6),
            broadcast=broadcast.name,
            query=begin.query,
            limits=self.limiting.session_limits,
            now_us=clock.now_us(),
            server=f"wtgateway/{__version__}",
            instance=member.instance,
            node=member.name,
            wished=begin.wished,
            goes_on=begin.goes_on,
            policy=broadcast.policy,
            identity=identity,
            awaits_access=grant is None,
        )
        session = ViewerSession(
            core,
            broadcast,
            certificates=self._hashes,
            on_closed=self._session_closed,
            on_traced=self._traced,
            make_token=self._make_token,
            former=begin.former,
            grant=grant,
            on_token=lambda session, token: self.entrance.token_shown(
                session, dataclasses.replace(credentials, token=token, user="")
            ),
        )
        self.limiting.ledger.enter(session.id, party)
        self.sessions[session.id] = session
        self.changes += 1
        fields = desk.opened_fields(session, self._worker, request)
        self._publish("session.opened", **fields)
        return session

    def _make_token(self, session: ViewerSession) -> tuple[str, int]:
        core, name = session.core, session.broadcast.name
        return self.resuming.token(session.id, name, core.wishes, clock.now_us(), identity=core.identity)

    def _identified(self, session: ViewerSession, grant: Grant) -> Refusal | None:
        """It is known now who a session is for; the answer where that one may have no other."""
        party = Party(
            broadcast=session.broadcast.name, network=network_of(session.address), identity=grant.identity
        )
        self.limiting.ledger.leave(session.id)
        refusal = self.limiting.refusal(party, time.monotonic())
        if refusal is None:
            self.limiting.ledger.enter(session.id, party)
        return refusal

    def _traced(self, broadcast: str, frames: tuple[TracedFrame, ...]) -> None:
        self._stage_times.setdefault(broadcast, StageTimes()).observe(frames)

    def _session_closed(self, session: ViewerSession) -> None:
        self.limiting.ledger.leave(session.id)
        self.entrance.left(session)
        if self.sessions.pop(session.id, None) is not None:
            self._over.update(_figures(session))
            self.changes += 1
            self._publish("session.closed", **desk.closed_fields(session, self._worker))


def _figures(session: ViewerSession) -> dict[str, int]:
    return {
        **_sent(session),
        **session.core.outgoing.counters,
        "tracks_continued": session.tracks_continued,
        "tracks_begun_anew": session.tracks_anew,
    }


def _sent(session: ViewerSession) -> dict[str, Any]:
    core = session.core
    return {
        "frames_sent": core.frames_sent,
        "frames_dropped": core.queue.dropped,
        "bytes_sent": core.bytes_sent,
        "streams_reset": session.streams_reset,
    }
