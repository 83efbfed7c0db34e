"""HTTP/3 and WebTransport on one QUIC connection, without sockets, clocks or loop.

QUIC events in; calls to session handlers and bytes into the QUIC connection out. Several sessions
share a connection. What a peer does wrong closes the session or this connection with a code, and is
counted, never raised. Imports aioquic, errors and this package.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import (
    DatagramReceived,
    DataReceived,
    H3Event,
    HeadersReceived,
    WebTransportStreamDataReceived,
)
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    ProtocolNegotiated,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import h3codes, headers, internals
from wtgateway.transport.capsules import (
    CapsuleParser,
    CloseSession,
    encode_close,
    encode_drain,
    encode_varint,
)
from wtgateway.transport.early import EarlyStreams
from wtgateway.transport.streams import StreamTable, is_unidirectional
from wtgateway.transport.lane import Lane
from wtgateway.transport.webtransport import (
    LOST,
    Refusal,
    SessionHandler,
    SessionRequest,
    WebTransportSession,
)

log = logging.getLogger("wtgateway.transport")

OnRequest = Callable[[SessionRequest], SessionHandler | Refusal]

_MAX_HEADER_BYTES = 16 * 1024  # of one HTTP/3 frame that has to be held whole
_MAX_REORDERING_BYTES = 1 << 20  # of all streams of a connection, waiting for what is missing before them
_MAX_SESSIONS = 16
_MAX_GONE = 64  # sessions that ended, remembered so that their late streams are rejected


class WebTransportConnection:
    """The sessions of one QUIC connection. ``mark_dirty`` asks the owner to flush it, ``mark_sending`` to
    send what the lane has."""

    def __init__(
        self,
        quic: QuicConnection,
        *,
        on_request: OnRequest | None,
        protocols: Sequence[str],
        mark_dirty: Callable[[], None],
        counters: Counter[str],
        remote: tuple[Any, ...] = (),
        lane: Lane | None = None,
        mark_sending: Callable[[], None] | None = None,
    ) -> None:
        self.quic = quic
        self.lane = lane or Lane(quic)
        self.is_client = quic.configuration.is_client
        self.h3: H3Connection | None = None
        self.sessions: dict[int, WebTransportSession] = {}
        self.mark_dirty = mark_dirty
        self.mark_sending = mark_sending or mark_dirty  # cheaper: nothing but media was handed over
        self.remote = remote
        self.refusal: tuple[int, str] | None = None  # client: how the CONNECT was answered
        self._on_request = on_request
        self._protocols = tuple(protocols)
        self._counters = counters
        self._capsules: dict[int, CapsuleParser] = {}
        self.streams = StreamTable(quic, counters)
        self._early = EarlyStreams(limit_bytes=(1 << 20) if self.is_client else (64 << 10))
        self._gone: set[int] = set()
        self._closed: list[tuple[WebTransportSession, int, str]] = []
        self._asked: dict[int, tuple[SessionRequest, SessionHandler]] = {}
        self._delivered_bytes = 0

    # --- in --------------------------------------------------------------------------------------

    def handle(self, event: QuicEvent) -> None:
        """Act on one QUIC event."""
        if isinstance(event, StreamDataReceived):
            self._delivered_bytes += len(event.data)
            self._stream_data(event)
        elif isinstance(event, DatagramFrameReceived):
            self._h3_events(event)
        elif isinstance(event, StreamReset):
            self._stream_reset(event)
        elif isinstance(event, StopSendingReceived):
            self._stop_sending(event)
        elif isinstance(event, ProtocolNegotiated):
            if event.alpn_protocol in H3_ALPN:  # our SETTINGS leave in the first flight
                self.h3 = self.streams.h3 = H3Connection(self.quic, enable_webtransport=True)
        elif isinstance(event, ConnectionTerminated):
            self.lost(event.reason_phrase or f"the connection ended with code {event.error_code:#x}")

    def settle(self) -> None:
        """After a batch of events: notice a closing connection, bound memory, tell of closed sessions."""
        event = internals.close_event(self.quic)
        if event is not None:
            self.lost(event.reason_phrase or f"the connection ended with code {event.error_code:#x}")
        elif internals.received_stream_bytes(self.quic) - self._delivered_bytes > _MAX_REORDERING_BYTES:
            held = internals.reordering_bytes(self.quic)
            self._delivered_bytes = internals.received_stream_bytes(self.quic) - held
            if held > _MAX_REORDERING_BYTES:
                self.fail(h3codes.H3_EXCESSIVE_LOAD, "too many bytes out of order")
        while self._closed:
            session, code, reason = self._closed.pop(0)
            self._counters["sessions_closed"] += 1
            self._call(session, session.handler.closed, code, reason)

    def writable(self) -> None:
        """Let every session hand over what there is room for."""
        self.streams.release_held_resets()
        for session in list(self.sessions.values()):
            if not session.closed:
                self._call(session, session.handler.writable)

    def lost(self, reason: str) -> None:
        """The connection is gone, and every session with it."""
        for session in list(self.sessions.values()):
            self._end(session, LOST, reason)
        if self._asked and self.refusal is None:
            self.refusal = (0, reason)

    def fail(self, error_code: int, reason: str) -> None:
        """Close the connection for what the peer did."""
        self._counters["malformed"] += 1
        self.quic.close(error_code=error_code, reason_phrase=reason)
        self.mark_dirty()

    # --- out: what sessions call ------------------------------------------------------------------

    def open_stream(self, session: WebTransportSession, *, unidirectional: bool) -> int:
        """A new stream of the session, its preamble already queued."""
        assert self.h3 is not None
        stream_id = self.h3.create_webtransport_stream(session.id, is_unidirectional=unidirectional)
        self.streams.add(stream_id, session)
        return stream_id

    def send_datagram(self, session_id: int, data: bytes) -> None:
        """Queue a datagram whose size was checked."""
        assert self.h3 is not None
        self.h3.send_datagram(session_id, data)

    def max_datagram_bytes(self, session_id: int) -> int:
        """What fits one datagram of that session."""
        return max(0, internals.max_datagram_frame_payload(self.quic) - len(encode_varint(session_id // 4)))

    def close_session(self, session: WebTransportSession, code: int, reason: str) -> None:
        """Send the close capsule and FIN; bidirectional streams may finish what was written."""
        self._finish_connect_stream(session.id, encode_close(code, reason))
        for stream_id in self.streams.live(session):
            if is_unidirectional(stream_id):
                self.streams.reject(stream_id, h3codes.SESSION_GONE)
            else:  # the peer ends its half when it has read the capsule
                self.streams.write(stream_id, b"", True)
        internals.send_last(self.quic, session.id)  # so that parting words arrive before the close
        self._end(session, code, reason, streams_done=True)
        self.mark_dirty()

    def drain_session(self, session: WebTransportSession) -> None:
        """Send the drain capsule."""
        assert self.h3 is not None
        self.h3.send_data(session.id, encode_drain(), end_stream=False)
        self.mark_dirty()

    def request(self, authority: str, path: str, extra: dict[str, str], handler: SessionHandler) -> None:
        """Client: CONNECT; ``handler.opened`` or :attr:`refusal` follows."""
        assert self.h3 is not None
        stream_id = self.quic.get_next_available_stream_id()
        asked = SessionRequest(path=path, authority=authority, headers=extra, protocols=self._protocols)
        self._asked[stream_id] = (asked, handler)
        self.h3.send_headers(stream_id, headers.request(authority, path, self._protocols, extra))

    # --- QUIC and HTTP/3 events --------------------------------------------------------------------

    def _stream_data(self, event: StreamDataReceived) -> None:
        stream_id = event.stream_id
        if self.streams.is_answer(stream_id):
            self._deliver(self.streams.owner(stream_id), stream_id, event.data, event.end_stream)
            return
        self._h3_events(event)
        if self.h3 is not None and internals.request_bytes_buffered(self.h3, stream_id) > _MAX_HEADER_BYTES:
            self.fail(h3codes.H3_EXCESSIVE_LOAD, "an HTTP/3 frame is over its limit")

    def _h3_events(self, event: QuicEvent) -> None:
        if self.h3 is None:
            return
        for h3_event in self.h3.handle_event(event):
            self._h3_event(h3_event)

    def _h3_event(self, event: H3Event) -> None:
        if isinstance(event, WebTransportStreamDataReceived):
            self._webtransport_data(event)
        elif isinstance(event, HeadersReceived):
            if event.stream_id in self.sessions:  # trailers
                if event.stream_ended:
                    self._connect_data(event.stream_id, b"", fin=True)
            elif self.is_client:
                self._response(event)
            elif event.stream_id not in self._gone:
                self._request(event)
        elif isinstance(event, DataReceived):
            self._connect_data(event.stream_id, event.data or b"", fin=event.stream_ended)
        elif isinstance(event, DatagramReceived):
            session = self.sessions.get(event.stream_id)
            if session is not None:
                self._call(session, session.handler.datagram, event.data)
            elif event.stream_id not in self._gone:  # DATAGRAM frames go before the HEADERS in a packet
                self._early.put_datagram(event.stream_id, event.data)

    def _request(self, event: HeadersReceived) -> None:
        assert self._on_request is not None
        parsed = headers.parse_request(event.headers, self.remote)
        if event.stream_ended and isinstance(parsed, SessionRequest):
            parsed = Refusal(400, "the CONNECT stream ended with its headers")
        if len(self.sessions) >= _MAX_SESSIONS:
            parsed = Refusal(429, f"at most {_MAX_SESSIONS} sessions a connection")
        answer: SessionHandler | Refusal
        try:
            answer = parsed if isinstance(parsed, Refusal) else self._on_request(parsed)
        except Exception:  # a fault of ours must not take the endpoint down
            log.exception("a CONNECT could not be answered: this is a bug of the gateway")
            answer = Refusal(500, "the gateway failed")
        if isinstance(answer, Refusal) or isinstance(parsed, Refusal):
            assert isinstance(answer, Refusal)
            self._refuse(event.stream_id, answer)
            return
        chosen = headers.choose_protocol(parsed.protocols, self._protocols)
        assert self.h3 is not None
        self.h3.send_headers(event.stream_id, headers.acceptance(chosen))
        self._open(event.stream_id, parsed, answer, chosen)

    def _refuse(self, stream_id: int, answer: Refusal) -> None:
        assert self.h3 is not None
        self._counters["sessions_refused"] += 1
        self._forget_session(stream_id)
        self.h3.send_headers(stream_id, headers.refusal(answer), end_stream=True)
        self._reject_early(stream_id)

    def _response(self, event: HeadersReceived) -> None:
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        status = int(fields[":status"])
        asked = self._asked.get(event.stream_id)
        if asked is None or status < 200:
            return
        if not 200 <= status < 300:
            self.refusal = (status, fields.get(headers.REASON_FIELD.decode(), ""))
            return
        del self._asked[event.stream_id]
        protocol = headers.parse_protocols(fields.get("wt-protocol", ""))
        self._open(event.stream_id, asked[0], asked[1], protocol[0] if protocol else "")

    def _open(self, session_id: int, request: SessionRequest, handler: SessionHandler, protocol: str) -> None:
        session = WebTransportSession(self, session_id, request, handler, protocol=protocol)
        self.sessions[session_id] = session
        self._capsules[session_id] = CapsuleParser()
        self._counters["sessions"] += 1
        self._call(session, handler.opened, session)
        for data in self._early.take_datagrams(session_id):
            self._call(session, handler.datagram, data)
        for stream_id, data, fin in self._early.take(session_id):
            self.streams.add(stream_id, session)
            self._deliver(session, stream_id, data, fin)

    def _connect_data(self, session_id: int, data: bytes, *, fin: bool) -> None:
        session = self.sessions.get(session_id)
        if session is None:
            return
        parser = self._capsules[session_id]
        try:
            for capsule in parser.feed(data):
                if isinstance(capsule, CloseSession):
                    self._peer_closed(session, capsule.code, capsule.reason)
            if fin and not session.closed:
                if parser.in_capsule:
                    raise ProtocolError(CloseCode.MALFORMED, "the CONNECT stream ended inside a capsule")
                self._peer_closed(session, 0, "")
        except ProtocolError as error:
            self._counters["malformed"] += 1
            if not session.closed:
                self.streams.reset(session_id, h3codes.H3_MESSAGE_ERROR)
                self.streams.stop(session_id, h3codes.H3_MESSAGE_ERROR)
                self._end(session, error.code, str(error))

    def _peer_closed(self, session: WebTransportSession, code: int, reason: str) -> None:
        self._finish_connect_stream(session.id, b"")
        self._end(session, code, reason)

    def _webtransport_data(self, event: WebTransportStreamDataReceived) -> None:
        session_id, stream_id = event.session_id, event.stream_id
        session = self.streams.owner(stream_id) or self.sessions.get(session_id)
        if session is not None and not session.closed:
            self.streams.add(stream_id, session)
            self._deliver(session, stream_id, event.data, event.stream_ended)
        elif session_id % 4:
            self.fail(h3codes.H3_ID_ERROR, "a stream names a session that cannot be")
        elif session_id in self._gone:
            self.streams.reject(stream_id, h3codes.SESSION_GONE)
        elif not self._early.put(session_id, stream_id, event.data, event.stream_ended):
            self.streams.reject(stream_id, h3codes.BUFFERED_STREAM_REJECTED)

    def _stream_reset(self, event: StreamReset) -> None:
        stream_id = event.stream_id
        if not self.streams.is_answer(stream_id):
            self._h3_events(event)
        self._early.drop(stream_id)
        if (session := self.sessions.get(stream_id)) is not None:
            self.streams.reset(stream_id, h3codes.H3_NO_ERROR)
            self._end(session, LOST, "the peer reset the session's stream")
        elif (owner := self.streams.owner(stream_id)) is not None:
            self._call(owner, owner.handler.stream_reset, stream_id, h3codes.from_http3(event.error_code))

    def _stop_sending(self, event: StopSendingReceived) -> None:
        stream_id = event.stream_id
        if not self.streams.is_answer(stream_id):
            self._h3_events(event)
        if (session := self.sessions.get(stream_id)) is not None:
            self.streams.stop(stream_id, h3codes.H3_NO_ERROR)
            self._end(session, LOST, "the peer stopped the session's stream")
        elif (owner := self.streams.owner(stream_id)) is not None:
            self._call(owner, owner.handler.stop_sending, stream_id, h3codes.from_http3(event.error_code))

    # --- sessions and their streams ------------------------------------------------------------------

    def _deliver(self, session: WebTransportSession | None, stream_id: int, data: bytes, fin: bool) -> None:
        if session is not None and not session.closed:
            self._call(session, session.handler.stream_data, stream_id, data, fin)

    def _end(
        self, session: WebTransportSession, code: int, reason: str, *, streams_done: bool = False
    ) -> None:
        """Forget the session; its handler is told in :meth:`settle`."""
        if session.closed:
            return
        if not streams_done:
            for stream_id in self.streams.live(session):
                self.streams.reject(stream_id, h3codes.SESSION_GONE)
        session.closed = True
        self.sessions.pop(session.id, None)
        self._capsules.pop(session.id, None)
        self._forget_session(session.id)
        self.streams.forget(session)
        self._closed.append((session, code, reason))
        self.mark_dirty()

    def _forget_session(self, session_id: int) -> None:
        self._gone.add(session_id)
        if len(self._gone) > _MAX_GONE:
            self._gone.discard(min(self._gone))

    def _reject_early(self, session_id: int) -> None:
        self._early.take_datagrams(session_id)
        for stream_id, _, _ in self._early.take(session_id):
            self.streams.reject(stream_id, h3codes.SESSION_GONE)

    def _finish_connect_stream(self, session_id: int, capsule: bytes) -> None:
        """The last bytes of our side of the CONNECT stream."""
        assert self.h3 is not None
        try:
            self.h3.send_data(session_id, capsule, end_stream=True)
        except Exception as error:  # H3Connection and QuicConnection each have their own for "it is over"
            log.debug("the CONNECT stream could not be finished: %s", error)

    def _call(self, session: WebTransportSession, method: Callable[..., None], *arguments: object) -> None:
        """Call a handler; a fault of ours ends that session only."""
        try:
            method(*arguments)
        except Exception:
            self._counters["handler_faults"] += 1
            log.exception("a session's handler failed: this is a bug of the gateway")
            if not session.closed:
                self.close_session(session, CloseCode.INTERNAL, "the gateway failed")
