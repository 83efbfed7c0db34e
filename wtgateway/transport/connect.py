"""The CONNECT streams of a connection: how sessions begin, what capsules say, how sessions end.

Part of :mod:`wtgateway.transport.h3`, which routes events here. What a peer does wrong ends its session
with a code. Imports aioquic, errors and this package.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aioquic.h3.events import HeadersReceived

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import h3codes, headers, internals
from wtgateway.transport.asking import Asking, Wish
from wtgateway.transport.capsules import (
    Capsule,
    CapsuleParser,
    CloseSession,
    DrainSession,
    FlowControlError,
    MaxData,
    MaxStreams,
    encode_close,
    encode_drain,
)
from wtgateway.transport.drafts import Draft, Limits
from wtgateway.transport.early import EarlyRequests
from wtgateway.transport.flow_control import MAX_HELD_BYTES, Credit, Window
from wtgateway.transport.streams import is_unidirectional
from wtgateway.transport.webtransport import (
    LOST,
    PendingAnswer,
    Refusal,
    SessionHandler,
    SessionRequest,
    WebTransportSession,
)

if TYPE_CHECKING:
    from wtgateway.transport.h3 import WebTransportConnection

log = logging.getLogger("wtgateway.transport")

FAILED = Refusal(500, "the gateway failed")
MAX_SESSIONS = 16
MAX_REQUESTS = 256  # of a connection's life; a page asks for one session, a viewer who comes back for some
LIMITS = Limits(max_data=1 << 20, max_streams_uni=128, max_streams_bidi=128)  # of what a viewer may send
CLIENT_LIMITS = Limits(max_data=16 << 20, max_streams_uni=512, max_streams_bidi=128)  # media comes there
_MAX_GONE = 64  # sessions that ended, remembered so that their late streams are rejected


class ConnectStreams:
    """The sessions of ``connection``, from CONNECT to close."""

    def __init__(self, connection: WebTransportConnection) -> None:
        self.gone: set[int] = set()
        self.early = EarlyRequests()
        self._requests = 0
        self._judged = EarlyRequests()  # those that somebody is being asked about
        self._judging: dict[int, PendingAnswer] = {}
        self._connection = connection
        self._capsules: dict[int, CapsuleParser] = {}
        self._asking = Asking(connection)
        self._draft: Draft | None = None
        self._initial_credit: Limits | None = None

    # --- the draft ---------------------------------------------------------------------------------

    def settings_arrived(self) -> None:
        """The peer's SETTINGS are known: choose the draft, and go on with what waited for that."""
        connection = self._connection
        assert connection.h3 is not None
        found = connection.h3.draft()
        if found is None and connection.is_client and max(connection.drafts) >= Draft.DRAFT_13:
            connection.refusal = (0, "the server speaks no draft of WebTransport over HTTP/3 that we do")
            connection.fail(h3codes.REQUIREMENTS_NOT_MET, connection.refusal[1])
            return
        self._draft = connection.draft = found or Draft.DRAFT_02
        self._initial_credit = connection.h3.credit(self._draft)
        log.debug("%s speaks draft %d of WebTransport over HTTP/3", connection.remote, self._draft)
        connection.streams.preambles_arrive = self._draft >= Draft.DRAFT_13
        for event, data, ended in self.early.take():
            self.request(event)
            if data or ended:
                self.data(event.stream_id, data, fin=ended)
        self._asking.send_waiting(self._draft)

    # --- client ------------------------------------------------------------------------------------

    def ask(self, authority: str, path: str, extra: dict[str, str], handler: SessionHandler) -> None:
        """CONNECT, as soon as the draft is known; draft 02 alone need not wait for that."""
        wish = Wish(authority, path, extra, handler)
        if self._draft is None and max(self._connection.drafts) >= Draft.DRAFT_13:
            self._asking.wait(wish)
        else:
            self._asking.send(wish, self._draft or Draft.DRAFT_02)

    def response(self, event: HeadersReceived) -> None:
        """The answer to a CONNECT, or an interim one."""
        answered = self._asking.answered(event, self._draft or Draft.DRAFT_02)
        if answered is None:
            return
        request, handler, chosen = answered
        if chosen and chosen not in request.protocols:
            self._break_stream(event.stream_id, h3codes.ALPN_ERROR)
            self._connection.refusal = (0, "the server chose a sub-protocol that was not offered")
            return
        self._open(event.stream_id, request, handler, chosen)

    def lost(self, reason: str) -> None:
        """The connection is over: so is what was asked."""
        if self._asking and self._connection.refusal is None:
            self._connection.refusal = (0, reason)
        for stream_id in list(self._judging):
            self._stop_judging(stream_id)

    # --- server ------------------------------------------------------------------------------------

    def request(self, event: HeadersReceived) -> None:
        """Answer a request; before the peer's SETTINGS it waits (section 7.1)."""
        connection = self._connection
        if event.stream_id not in self.early:
            self._requests += 1
        if self._requests > MAX_REQUESTS:  # each costs us more than its peer, also if it is reset at once
            connection.fail(h3codes.H3_EXCESSIVE_LOAD, "too many requests")
            return
        if self._draft is None:
            if not self.early.put(event):
                self._break_stream(event.stream_id, h3codes.H3_REQUEST_REJECTED)
            elif event.stream_ended:
                self.early.add(event.stream_id, b"", ended=True)
            return
        parsed = self._admit(event)
        if isinstance(parsed, Refusal):
            self._refuse(event.stream_id, parsed)
            return
        try:
            answer = connection.on_request(parsed)
        except Exception:  # a fault of ours must not take the endpoint down
            log.exception("a CONNECT could not be answered: this is a bug of the gateway")
            answer = FAILED
        if isinstance(answer, PendingAnswer):
            self._judge(event, parsed, answer)
        else:
            self._answer(event.stream_id, parsed, answer)

    def _answer(self, stream_id: int, request: SessionRequest, answer: SessionHandler | Refusal) -> None:
        connection = self._connection
        if isinstance(answer, Refusal):
            self._refuse(stream_id, answer)
            return
        chosen = headers.choose_protocol(request.protocols, connection.protocols)
        assert connection.h3 is not None
        assert self._draft is not None
        if self._is_stopped(stream_id):
            answer.closed(LOST, "the viewer left before it was let in")
            return
        connection.h3.send_headers(stream_id, headers.acceptance(chosen, self._draft))
        self._open(stream_id, request, answer, chosen)

    def _judge(self, event: HeadersReceived, request: SessionRequest, pending: PendingAnswer) -> None:
        """Somebody is being asked: what follows the request waits, and nothing else does."""
        self._judged.put(event)  # bounded by MAX_SESSIONS, which is what _admit counts
        self._judging[event.stream_id] = pending
        pending.add_done_callback(lambda _: self._was_judged(event.stream_id, request, pending))

    def _was_judged(self, stream_id: int, request: SessionRequest, pending: PendingAnswer) -> None:
        here = self._judging.get(stream_id) is pending
        if here:
            del self._judging[stream_id]
        waited = self._judged.take_one(stream_id) if here else None
        if pending.cancelled():
            answer: SessionHandler | Refusal = FAILED
        elif (fault := pending.exception()) is not None:
            log.error("a CONNECT could not be answered: this is a bug of the gateway", exc_info=fault)
            answer = FAILED
        else:
            answer = pending.result()
        if waited is None:  # the viewer has gone meanwhile
            if not isinstance(answer, Refusal):
                answer.closed(LOST, "the viewer left before it was let in")
            return
        self._answer(stream_id, request, answer)
        if waited[0] or waited[1]:
            self.data(stream_id, waited[0], fin=waited[1])
        self._connection.mark_dirty()

    def is_judging(self, stream_id: int) -> bool:
        """Whether a CONNECT on that stream waits for its answer."""
        return stream_id in self._judging

    def _stop_judging(self, stream_id: int) -> None:
        pending = self._judging.pop(stream_id, None)
        self._judged.drop(stream_id)
        if pending is not None:
            pending.cancel()

    def _admit(self, event: HeadersReceived) -> SessionRequest | Refusal:
        connection = self._connection
        assert self._draft is not None
        assert connection.h3 is not None
        parsed = headers.parse_request(event.headers, connection.remote, self._draft)
        if isinstance(parsed, SessionRequest):
            if event.stream_ended:
                return Refusal(400, "the CONNECT stream ended with its headers")
            if self._draft >= Draft.DRAFT_13 and not connection.h3.datagrams:
                return Refusal(400, "WebTransport needs SETTINGS_H3_DATAGRAM")
            others = bool(connection.sessions or self._judging)
            if self._draft >= Draft.DRAFT_13 and self._initial_credit is None and others:
                return Refusal(429, "without flow control there is one session a connection")
        if len(connection.sessions) + len(self._judging) >= MAX_SESSIONS:
            return Refusal(429, f"at most {MAX_SESSIONS} sessions a connection")
        return parsed

    def _refuse(self, stream_id: int, answer: Refusal) -> None:
        connection = self._connection
        assert connection.h3 is not None
        connection.counters["sessions_refused"] += 1
        self._forget(stream_id)
        if not self._is_stopped(stream_id):
            connection.h3.send_headers(stream_id, headers.refusal(answer), end_stream=True)
        connection.refused(stream_id)

    # --- sessions ----------------------------------------------------------------------------------

    def _open(self, session_id: int, request: SessionRequest, handler: SessionHandler, protocol: str) -> None:
        connection = self._connection
        session = WebTransportSession(connection, session_id, request, handler, protocol=protocol)
        if self._initial_credit is not None:
            session.credit = Credit(self._initial_credit)
            session.window = Window(connection.limits)
        connection.sessions[session_id] = session
        self._capsules[session_id] = CapsuleParser(flow_control=session.credit is not None)
        connection.counters["sessions"] += 1
        connection.opened(session)

    def data(self, session_id: int, data: bytes, *, fin: bool) -> None:
        """Bytes of the capsule protocol."""
        connection = self._connection
        if session_id in self.early:
            if not self.early.add(session_id, data, fin):
                self._break_stream(session_id, h3codes.H3_EXCESSIVE_LOAD)
            return
        if session_id in self._judged:
            if not self._judged.add(session_id, data, fin):
                self._stop_judging(session_id)
                self._break_stream(session_id, h3codes.H3_EXCESSIVE_LOAD)
            return
        session = connection.sessions.get(session_id)
        if session is None:
            return
        parser = self._capsules[session_id]
        try:
            for capsule in parser.feed(data):
                self._capsule(session, capsule)
            if fin and not session.closed:
                if parser.in_capsule:
                    raise ProtocolError(CloseCode.MALFORMED, "the CONNECT stream ended inside a capsule")
                self._peer_closed(session, 0, "")
        except ProtocolError as error:
            self.abort(session, error)

    def _capsule(self, session: WebTransportSession, capsule: Capsule) -> None:
        if session.closed:
            return
        if isinstance(capsule, CloseSession):
            self._peer_closed(session, capsule.code, capsule.reason)
        elif isinstance(capsule, DrainSession):
            session.draining = True
        elif isinstance(capsule, MaxData | MaxStreams) and session.credit is not None:
            session.credit.grant(capsule)
            self._connection.streams.release(session.credit)
            self._connection.mark_dirty()

    def grant(self, session: WebTransportSession) -> None:
        """Raise the session's limits that are half used up."""
        if session.window is not None and not session.closed and (granted := session.window.grants()):
            self._send(session, granted)

    def tell_blocked(self, session: WebTransportSession) -> None:
        """Say which limits are in the way; give up on a peer that lets too much pile up."""
        credit = session.credit
        if credit is None or session.closed:
            return
        if credit.held_bytes > MAX_HELD_BYTES:
            self.close(session, CloseCode.TOO_SLOW, "the session's flow control let nothing through")
        elif told := credit.blocked():
            self._send(session, told)

    def drain(self, session: WebTransportSession) -> None:
        """Ask the peer to end the session."""
        self._send(session, encode_drain())

    def _send(self, session: WebTransportSession, capsules: bytes) -> None:
        connection = self._connection
        assert connection.h3 is not None
        connection.h3.send_data(session.id, capsules, end_stream=False)
        connection.mark_dirty()

    # --- ends --------------------------------------------------------------------------------------

    def close(self, session: WebTransportSession, code: int, reason: str) -> None:
        """Send the close capsule and FIN, behind the ends of the session's streams.

        A server resets those: Chromium 156 (blink's IncomingStream::ProcessClose) brings a tab down, now and
        then, if a session ends while a stream of it can be read, or was read to its end a moment before.
        """
        connection = self._connection
        self._finish(session.id, encode_close(code, reason))
        for stream_id in connection.streams.live(session):
            waits = session.credit is not None and session.credit.waits(stream_id)
            if is_unidirectional(stream_id) or waits:
                connection.streams.reject(stream_id, h3codes.SESSION_GONE)
            elif connection.is_client:
                connection.streams.write(stream_id, b"", True)
            else:  # the peer ends its half when it has read the capsule
                connection.streams.reset(stream_id, h3codes.SESSION_GONE)
        internals.send_last(connection.quic, session.id)
        self.end(session, code, reason, streams_done=True)
        connection.mark_dirty()

    def _peer_closed(self, session: WebTransportSession, code: int, reason: str) -> None:
        self._finish(session.id, b"")
        self.end(session, code, reason)

    def abort(self, session: WebTransportSession, error: ProtocolError) -> None:
        """End a session for what the peer did in it."""
        connection = self._connection
        connection.counters["malformed"] += 1
        if not session.closed:
            broken = isinstance(error, FlowControlError)
            self._break_stream(session.id, h3codes.FLOW_CONTROL_ERROR if broken else h3codes.H3_MESSAGE_ERROR)
            self.end(session, error.code, str(error))

    def reset(self, stream_id: int, reason: str) -> None:
        """The peer broke off a CONNECT stream, or what may be one."""
        self.early.drop(stream_id)
        if stream_id in self._judging:
            self._stop_judging(stream_id)
            self._forget(stream_id)
            self._break_stream(stream_id, h3codes.H3_NO_ERROR)
            self._connection.refused(stream_id)
        session = self._connection.sessions.get(stream_id)
        if session is not None:
            self._break_stream(stream_id, h3codes.H3_NO_ERROR)
            self.end(session, LOST, reason)

    def end(
        self, session: WebTransportSession, code: int, reason: str, *, streams_done: bool = False
    ) -> None:
        """Forget the session; its handler is told when the batch of events is over."""
        connection = self._connection
        if session.closed:
            return
        if not streams_done:
            for stream_id in connection.streams.live(session):
                connection.streams.reject(stream_id, h3codes.SESSION_GONE)
        session.closed = True
        connection.sessions.pop(session.id, None)
        self._capsules.pop(session.id, None)
        self._forget(session.id)
        connection.streams.forget(session)
        connection.ended(session, code, reason)

    def _forget(self, session_id: int) -> None:
        self.gone.add(session_id)
        if len(self.gone) > _MAX_GONE:
            self.gone.discard(min(self.gone))

    def _is_stopped(self, stream_id: int) -> bool:
        """Whether the peer has stopped a CONNECT stream before it was answered: then nothing can be said."""
        return internals.COMPLETE and internals.is_reset(self._connection.quic, stream_id)

    def _break_stream(self, stream_id: int, http3_code: int) -> None:
        self._connection.streams.reset(stream_id, http3_code)
        self._connection.streams.stop(stream_id, http3_code)

    def _finish(self, session_id: int, capsule: bytes) -> None:
        """The last bytes of our side of the CONNECT stream."""
        assert self._connection.h3 is not None
        try:
            self._connection.h3.send_data(session_id, capsule, end_stream=True)
        except Exception as error:  # H3Connection and QuicConnection each have their own for "it is over"
            log.debug("the CONNECT stream could not be finished: %s", error)
