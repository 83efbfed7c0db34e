"""One viewer: joins the protocol's ServerSession, what carries it (a SessionLink) and a hub broadcast.

It feeds, collects, sends, and does little else; what to send and when is the protocol core's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from wtgateway import clock
from wtgateway.access.permissions import EVERYTHING, Grant
from wtgateway.errors import ProtocolError
from wtgateway.hub import Broadcast, CutFrame, Status
from wtgateway.limits import RateCap
from wtgateway.media import Catalog, Frame, Kind, Track
from wtgateway.protocol.access_term import AUTHENTICATE_S
from wtgateway.protocol.codes import CloseCode, ResetCode
from wtgateway.protocol.messages import Feedback, State
from wtgateway.protocol.outgoing import PieceKind, Pieces, Whole
from wtgateway.protocol.resume import RENEW_US
from wtgateway.protocol.send_queue import QueuedFrame
from wtgateway.protocol.session import (
    Arrived,
    Event,
    FeedbackReceived,
    KeyframeNeeded,
    PeerGoodbye,
    ProgressMade,
    RenditionAwaited,
    RenditionSwitched,
    ServerSession,
    SessionExpired,
    StatisticsDue,
    SubscriptionChanged,
    TokenShown,
    TraceReceived,
)
from wtgateway.protocol.traces import TracedFrame
from wtgateway.protocol.wire import ObjectType
from wtgateway.transport import qlog
from wtgateway.transport.link import SessionLink
from wtgateway.transport.patience import Patience
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import WebTransportSession

log = logging.getLogger("wtgateway.session")

_MOST_STREAMS = 64  # remembered, of which most have arrived meanwhile
_PATH_S = 0.02  # what is known of the path is looked up so often at most
FIT_S = 1.0
MUCH_LESS = 0.9  # of what the path was taken to carry when pictures were last fitted to it
PROBED = 2.5  # times what pictures and sound take: keyframes and repair want more than the mean
RENEW_S = RENEW_US / 1e6
PARTING_S = 0.5  # for a viewer that is told to leave, to do so
SETTLED_S = 2.0  # after which a viewer has chosen between two sessions
_PADDING = bytes((ObjectType.PADDING,)) + bytes(1000)
_URGENCY = {
    PieceKind.SOUND: Urgency.AUDIO,
    PieceKind.KEYFRAME: Urgency.KEYFRAME,
    PieceKind.DELTA: Urgency.DELTA,
    PieceKind.ANSWER: Urgency.RETRANSMISSION,
    PieceKind.PARITY: Urgency.FEC,
}


_ANYTHING = Grant(permissions=EVERYTHING)

MakeToken = Callable[["ViewerSession"], tuple[str, int]]
"""The resume token, and for how many ms it is valid."""


class ViewerSession:
    """A SessionHandler towards the endpoint and a Viewer towards the hub.

    ``make_token`` makes what the viewer is told to resume with; ``former`` is the id of the session whose
    place this one takes, if it does. ``grant`` is what the viewer may do; None: the core waits for a token.
    ``on_token`` is told of each that the viewer shows; :meth:`granted` or :meth:`refused` follows.
    """

    def __init__(
        self,
        core: ServerSession,
        broadcast: Broadcast,
        *,
        certificates: list[dict[str, Any]],
        on_closed: Callable[[ViewerSession], None],
        on_traced: Callable[[str, tuple[TracedFrame, ...]], None] = lambda broadcast, frames: None,
        make_token: MakeToken | None = None,
        former: str = "",
        grant: Grant | None = _ANYTHING,
        on_token: Callable[[ViewerSession, str], None] = lambda session, token: session.refused(),
    ) -> None:
        self.core, self.broadcast = core, broadcast
        self.grant, self._on_token = grant, on_token
        self.feedback: dict[int, Feedback] = {}
        self.opened_at = time.monotonic()
        self._on_closed, self._on_traced = on_closed, on_traced
        self._transport: SessionLink | None = None
        self._control = -1
        self._streams: dict[int, QueuedFrame] = {}  # handed to QUIC, not yet acknowledged
        self.streams_reset = 0
        self.stages_us: tuple[int, ...] = ()  # of the last frame that the viewer traced
        self.end = (0, "")  # code and reason, once it is over
        self._qlog: qlog.Trace | None = None
        self.tracks_continued = self.tracks_anew = 0  # of a viewer who said where it goes on
        self.former = former
        self._make_token = make_token
        self._token_at, self._token_revision = 0.0, -1
        self._path_at = -_PATH_S
        self._fit_at = 0.0
        self._fitted_bps = 0
        self._cap = RateCap()
        self._capped: asyncio.TimerHandle | None = None  # until the cap lets something through
        self._farewell: tuple[int, str] | None = None  # code and reason why the viewer was told to leave
        self._parting: asyncio.TimerHandle | None = None  # until it has to have left
        self._patience = Patience()
        core.set_certificates(certificates)

    @property
    def id(self) -> str:
        """The session's id for logs and the API."""
        return self.core.session_id

    @property
    def address(self) -> str:
        """The viewer's IP address; empty when there is no session any more."""
        remote = self._transport.request.remote if self._transport is not None else ()
        return str(remote[0]) if remote else ""

    # --- SessionHandler ------------------------------------------------------------------------

    def opened(self, session: SessionLink) -> None:
        """The CONNECT was answered: open the control stream and join the broadcast."""
        self._transport = session
        self._control = session.open_bidi()
        log.info(
            "viewer joined session=%s broadcast=%s remote=%s",
            self.id,
            self.broadcast.name,
            _address(session.request.remote),
        )
        if self.grant is None:
            self.core.handle_timeout(self.opened_at)
            self._settle()
        else:
            self._join_broadcast(self.grant)

    def granted(self, grant: Grant) -> None:
        """A token was good: the first one, or one that follows it."""
        first, self.grant = self.grant is None, grant
        self.core.identity = grant.identity
        if self._transport is None or self._farewell is not None:
            return
        if first:
            self._join_broadcast(grant)
        else:
            self._tell_access(grant)
            self._settle()

    def refused(self) -> None:
        """A token was no good: nothing changes."""
        self.core.refuse_access()
        self._settle()

    def _tell_access(self, grant: Grant) -> None:
        actions = grant.actions(self.broadcast.name)
        self.core.grant_access(actions, grant.expires_us, clock.now_us())

    def _join_broadcast(self, grant: Grant) -> None:
        self.broadcast.attach(self)
        self.core.handle_timeout(self.opened_at)
        self.core.set_state(_state(self.broadcast.status))
        if self.broadcast.catalog.tracks:
            self.core.set_catalog(self.broadcast.catalog)
        self._tell_access(grant)
        self._renew_token(self.opened_at)
        self._settle()

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        """Control bytes; any other stream of a viewer is refused."""
        if self._transport is None or self._farewell is not None:
            return
        if stream_id != self._control:
            self._transport.stop(stream_id, ResetCode.UNEXPECTED)
            if self._patience.unexpected(stream_id):
                self.close(CloseCode.FLOOD, "streams that nobody asked for")
            return
        try:
            self._handle(self.core.receive_control(data, time.monotonic(), clock.now_us()))
        except ProtocolError as error:
            self._refuse(error)
            return
        if fin and self._transport is not None:
            self.close(CloseCode.NORMAL, "the viewer ended the control stream")
        else:
            self._settle()

    def stream_reset(self, stream_id: int, code: int) -> None:
        """A viewer that resets the control stream is gone."""
        if stream_id == self._control:
            self.close(CloseCode.NORMAL, "the viewer reset the control stream")

    def stop_sending(self, stream_id: int, code: int) -> None:
        """The viewer does not want that stream's rest."""
        queued = self._streams.pop(stream_id, None)
        if self._transport is not None and queued is not None:
            self._transport.reset(stream_id, ResetCode.UNSUBSCRIBED)

    def datagram(self, data: bytes) -> None:
        """What the viewer lacks, and when what came to it."""
        transport = self._transport
        if transport is None or self.grant is None or self._farewell is not None:
            return
        try:
            self.core.receive_datagram(data, time.monotonic())
        except ProtocolError as error:
            self._refuse(error)
            return
        if self.core.has_events:
            self._handle(self.core.poll_events())
        if self.core.outgoing.pending or self.core.has_control:
            transport.flush()

    def writable(self) -> None:
        """Hand frames to the transport while little waits there."""
        transport = self._transport
        if transport is None:
            return
        if self._farewell is not None:
            self._send_control()
            return
        core = self.core
        now = time.monotonic()
        if transport.waiting or len(self._streams) > _MOST_STREAMS:
            self._review_streams(transport, now)
        outgoing, room = core.outgoing, self._room(transport, now)
        core.path_opens(room > 0, now)
        if outgoing.pending:
            self._look_at_path(transport, now)
        while outgoing.pending and room > 0:
            item = core.next_send(now, room)
            if item is None:
                break
            self._hand_over(transport, item)
            room = self._room(transport, now)
        # Sound overtakes what was handed over of the picture: a keyframe, say, that takes the path a while.
        while core.queue.ahead and transport.room(Urgency.AUDIO) > 0 and (item := core.next_ahead(now)):
            self._hand_over(transport, item)
        # A path that is shut is waited for as well where a keyframe is lacking: it is asked for then.
        transport.await_room(outgoing.pending or (bool(core.queue.starved) and room <= 0))
        self._probe(transport, now)
        if core.has_events:
            self._handle(core.poll_events())
        self._send_control()

    def _room(self, transport: SessionLink, now: float) -> int:
        """What path and limit let through; where the limit is in the way, it is asked again in time."""
        room = transport.room()
        if not self._cap.bps:
            return room
        capped = self._cap.room(now)
        if capped <= 0 and self._capped is None:
            wait = max(0.001, self._cap.wait(now))
            self._capped = asyncio.get_running_loop().call_later(wait, self._uncapped)
        return min(room, capped)

    def _uncapped(self) -> None:
        self._capped = None
        if self._transport is not None:
            self._transport.flush()

    def _hand_over(self, transport: SessionLink, item: Whole | Pieces) -> None:
        self._cap.spend(len(item.queued.data) if isinstance(item, Whole) else sum(map(len, item.payloads)))
        if isinstance(item, Whole):
            stream_id = transport.send_frame(item.queued.data, _urgency(item.queued))
            self._streams[stream_id] = item.queued
        else:  # what is refused is lost, as on the way: the viewer asks for it
            transport.send_datagrams(item.payloads, _URGENCY[item.kind])
            self._patience.delivered()  # the window has room for more, so what went before was acknowledged

    def closed(self, code: int, reason: str) -> None:
        """The session is over, whoever ended it."""
        code, reason = self._farewell or (code, reason)
        log.info(
            "viewer left session=%s broadcast=%s code=%d after=%.1fs reason=%s",
            self.id,
            self.broadcast.name,
            code,
            time.monotonic() - self.opened_at,
            reason or "-",
        )
        self.end = (code, reason)
        self._end_qlog()
        self._transport = None
        for timer in (self._capped, self._parting):
            if timer is not None:
                timer.cancel()
        self._streams.clear()
        self.broadcast.detach(self)
        self._on_closed(self)

    # --- Viewer --------------------------------------------------------------------------------

    def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
        """Queue a frame; it leaves at the end of this turn of the loop if there is room."""
        age = (clock.now_us() - frame.capture_us) / 1e6
        self.core.offer(frame, data, kind, time.monotonic(), age=age)
        if self._transport is not None:
            self._transport.flush()

    def on_catalog(self, catalog: Catalog) -> None:
        """Tell the viewer; begin with tracks it wished for before they existed."""
        self.core.set_catalog(catalog)
        self._settle()

    def on_state(self, status: Status) -> None:
        """Tell the viewer."""
        self.core.set_state(_state(status))
        self._settle()

    # --- the gateway's wishes --------------------------------------------------------------------

    def set_certificates(self, hashes: list[dict[str, Any]]) -> None:
        """Push the hashes that a reconnect will need."""
        self.core.set_certificates(hashes)
        self._settle()

    def tick(self, now: float) -> None:
        """A few times a second: late streams, statistics, silence."""
        transport = self._transport
        if transport is None or self._farewell is not None:
            return
        if self.grant is None:
            if now - self.opened_at >= AUTHENTICATE_S:
                self.part(CloseCode.UNAUTHORIZED, "no token that is good was shown in time")
            return
        self.core.check_access(clock.now_us())
        self._review_streams(transport, now)
        if self._qlog is not None and self._qlog.full:
            self._end_qlog()  # not when it notices that, in the middle of what aioquic does
        self._fit(transport, now)
        self._renew_token(now)
        self.core.handle_timeout(now)
        self._settle()
        waiting = bool(self._streams or self.core.outgoing.pending)
        if self._patience.exhausted(waiting, now):
            self.close(CloseCode.TOO_SLOW, "the viewer takes nothing of what it is sent")
        elif transport.unacknowledged(self._control) > self.core.limits.control_backlog_bytes:
            self.close(CloseCode.TOO_SLOW, "the viewer does not read its messages")

    def set_limit(self, bps: int, now: float) -> None:
        """What this viewer may be sent, in bits a second; 0: any. Quality follows, and at last it is kept."""
        if bps != self._cap.bps:
            self._cap.set(bps, now)
            self.core.path.limit_bps = bps
            self._fit_at = now

    @property
    def demand_bps(self) -> int:
        """What the viewer could use and its path carries; 0: not known."""
        known = (self.core.fitting.state.useful_bps, self.core.path.estimate_bps)
        return min((bps for bps in known if bps), default=0)

    def drain(self, within_ms: int, reason: str) -> None:
        """Tell the viewer to open another session elsewhere."""
        self.core.set_drain(within_ms, reason)
        self._settle()

    @property
    def delivers(self) -> bool:
        """Whether the viewer has said that frames came, and had the time to choose this session for good."""
        settled = time.monotonic() - self.opened_at >= SETTLED_S
        return settled and any(feedback.frames_received for feedback in self.feedback.values())

    def part(self, code: CloseCode, reason: str, retry_after_ms: int = 0) -> None:
        """Tell the viewer why it has to leave, and nothing more; one that does not leave is closed.

        A close of ours overtakes what was said before it, so it is the viewer who closes.
        """
        if self._transport is None or self._farewell is not None:
            return
        self._farewell = (code, reason)
        self.broadcast.detach(self)
        for stream_id in self._streams:
            self._transport.reset(stream_id, ResetCode.UNSUBSCRIBED)
        self._streams.clear()
        self.core.say_goodbye(code, reason, retry_after_ms)
        self._send_control()
        self._transport.flush()
        self._parting = asyncio.get_running_loop().call_later(PARTING_S, self.close, code, reason)

    @property
    def carrier(self) -> str:
        """What carries the session: "webtransport", also before it is opened, or "websocket"."""
        return self._transport.request.transport if self._transport is not None else "webtransport"

    @property
    def rtt_us(self) -> int:
        """The path's round-trip time in µs; 0 without a path."""
        return self._transport.path().rtt_us if self._transport is not None else 0

    # --- qlog ------------------------------------------------------------------------------------

    def start_qlog(self) -> str:
        """Begin to note what the connection does; in words why not, where that cannot be."""
        if not isinstance(self._transport, WebTransportSession):
            return "there is no QUIC connection whose packets could be noted"
        if self._qlog is None:
            self._qlog = qlog.begin(self._transport.lane)
        return "" if self._qlog is not None else "the connection is noted already, for another session of it"

    def qlog(self) -> bytes | None:
        """What was noted so far; None: nothing is."""
        return self._qlog.text() if self._qlog is not None else None

    def stop_qlog(self) -> bool:
        """Note nothing more and forget it; False: nothing was noted."""
        noted = self._qlog is not None
        self._end_qlog()
        self._qlog = None
        return noted

    def _end_qlog(self) -> None:
        if self._qlog is not None and isinstance(self._transport, WebTransportSession):
            qlog.end(self._transport.lane)

    def close(self, code: int, reason: str) -> None:
        """Close the session; :meth:`closed` follows."""
        if self._transport is not None:
            self._transport.close(*(self._farewell or (code, reason)))

    # --- inside ----------------------------------------------------------------------------------

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case SubscriptionChanged(track_id=track, rendition=rendition):
                    self.broadcast.want(self, self.core.wanted())
                    if rendition is not None:
                        self._join(track, rendition)
                case RenditionAwaited(track_id=track, rendition=rendition):
                    self.broadcast.want(self, self.core.wanted())
                    self.broadcast.request_keyframe(track, rendition, clock.now_us())
                case RenditionSwitched():
                    self.broadcast.want(self, self.core.wanted())
                case KeyframeNeeded(track_id=track, rendition=rendition):
                    self.broadcast.request_keyframe(track, rendition, clock.now_us())
                case FeedbackReceived(feedback=feedback):
                    self.feedback[feedback.track] = feedback
                case TraceReceived(frames=frames):
                    self.stages_us = frames[-1].stages if frames else ()
                    self._on_traced(self.broadcast.name, frames)
                case Arrived(sent_at=sent_at, arrived_us=arrived_us, size=size):
                    self._note_arrival(sent_at, arrived_us, size)
                case ProgressMade(octets=octets, waited_us=waited_us):
                    if self._transport is not None:
                        self._transport.note_progress(octets, waited_us)
                case TokenShown(token=token):
                    self._on_token(self, token)
                case StatisticsDue():
                    self._report()
                case PeerGoodbye():
                    self.close(CloseCode.NORMAL, "the viewer said goodbye")
                case SessionExpired(code=CloseCode.TOO_SLOW as code, reason=reason):
                    self.close(code, reason)  # would not hear why
                case SessionExpired(code=code, reason=reason):
                    self.part(code, reason)

    def _report(self) -> None:
        if self._transport is None or self.grant is None:
            return
        path = self._transport.path()
        self.core.queue_statistics(
            rtt_us=path.rtt_us,
            congestion_window_bytes=path.congestion_window,
            in_flight_bytes=path.bytes_in_flight,
            streams_reset=self.streams_reset,
            lost_packets=path.lost_packets,
        )

    def _join(self, track_id: int, rendition: int) -> None:
        track = self.broadcast.catalog.track(track_id)
        if track is None:
            return
        now = time.monotonic()
        frames: Iterable[CutFrame] | None = self._missed(track, rendition)
        if frames is None:
            frames = self.broadcast.join(track_id, rendition, clock.now_us())
        for cut in frames:
            self.core.offer(cut.frame, cut.data, track.kind, now)

    def _missed(self, track: Track, rendition: int) -> list[CutFrame] | None:
        """What came since the viewer's former session stopped, and follows it; None: it begins anew."""
        position = self.core.take_position(track.id, rendition)
        if position is None:
            return None
        frames = self.broadcast.since(track.id, rendition, position.group, position.index)
        if frames is None:
            self.tracks_anew += 1
        else:
            self.tracks_continued += 1
            self.core.go_on(track.id, track.kind)
        return frames

    def _renew_token(self, now: float) -> None:
        """Tell the viewer how to resume: at first, when it wishes for something else, and in good time."""
        if self._make_token is None or self._transport is None or self.grant is None:
            return
        revision = self.core.wishes_revision
        if revision == self._token_revision and now - self._token_at < RENEW_S:
            return
        self._token_at, self._token_revision = now, revision
        self.core.set_resume(*self._make_token(self))

    def _note_arrival(self, sent_at: float, arrived_us: int, size: int) -> None:
        if self._transport is not None:
            self._transport.note_arrival(sent_at, arrived_us, size)

    def _fit(self, transport: SessionLink, now: float) -> None:
        """Let pictures follow path and screen: once a second, and at once where the path gets much less."""
        self._look_at_path(transport, now)
        estimate = self.core.path.estimate_bps
        if now < self._fit_at and estimate >= MUCH_LESS * self._fitted_bps:
            return
        self._fit_at, self._fitted_bps = now + FIT_S, estimate
        self.core.fit(self.broadcast.rate_bps, now, shared=self.broadcast.shared)
        fitted = self.core.fitting.state
        wanted = round(PROBED * fitted.useful_bps)
        transport.set_wanted_rate(min(wanted or self._cap.bps, self._cap.bps) if self._cap.bps else wanted)
        self.broadcast.wish(self, fitted.wish)

    def _look_at_path(self, transport: SessionLink, now: float) -> None:
        """Keep what the core goes by current; what changes slowly is looked up now and then."""
        path = self.core.path
        path.datagram_bytes = transport.max_datagram_bytes
        if now - self._path_at < _PATH_S:
            return
        self._path_at = now
        stats = transport.path()
        path.rtt, path.base_rtt, path.loss = stats.rtt_us / 1e6, stats.min_rtt_us / 1e6, stats.loss
        path.queueing, path.estimate_bps = stats.queueing_us / 1e6, stats.estimate_bps
        path.estimate_bounded = stats.estimate_bounded

    def _probe(self, transport: SessionLink, now: float) -> None:
        """Padding, when nothing else is there to show what the path carries."""
        if not self.core.takes_datagrams or self.core.outgoing.pending:
            return
        wanted = transport.probe_bytes(now)
        if wanted > 0 and transport.room() > 0:
            transport.send_datagrams((_PADDING,) * -(-wanted // len(_PADDING)), Urgency.FEC)

    def _settle(self) -> None:
        """Act on what the core found out, and let the endpoint flush at the end of the turn."""
        self._handle(self.core.poll_events())
        self._send_control()
        if self._transport is not None:
            self._transport.flush()

    def _send_control(self) -> None:
        if self._transport is not None and self.core.has_control:
            self._transport.send(self._control, self.core.control_to_send(), False)

    def _review_streams(self, transport: SessionLink, now: float) -> None:
        """Forget streams that arrived; reset those of which something is still to be sent too late."""
        for stream_id, queued in list(self._streams.items()):
            if transport.unacknowledged(stream_id) == 0:
                del self._streams[stream_id]
                self._patience.delivered()
            elif now >= self.core.queue.deadline_of(queued) and transport.unsent(stream_id) > 0:
                transport.reset(stream_id, ResetCode.LATE)
                del self._streams[stream_id]
                self.streams_reset += 1
                self.core.abandoned(queued, now)

    def _refuse(self, error: ProtocolError) -> None:
        log.info("viewer broke the protocol session=%s code=%d reason=%s", self.id, error.code, error)
        self._send_control()  # a version mismatch has been put into words by the core
        self.close(error.code, str(error))


def _urgency(queued: QueuedFrame) -> Urgency:
    if queued.kind is Kind.AUDIO:
        return Urgency.AUDIO
    return Urgency.KEYFRAME if queued.frame.keyframe else Urgency.DELTA


def _state(status: Status) -> State:
    return State(state=str(status.state), reason=status.reason, retry_in_ms=status.retry_in_ms)


def _address(remote: tuple[Any, ...]) -> str:
    return f"[{remote[0]}]:{remote[1]}" if ":" in str(remote[0]) else f"{remote[0]}:{remote[1]}"
