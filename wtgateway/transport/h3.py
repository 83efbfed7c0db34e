"""HTTP/3 and WebTransport on one QUIC connection, without sockets, clocks or loop.

QUIC events in; calls to session handlers and bytes into the QUIC connection out. Several sessions
share a connection. What a peer does wrong closes the session or this connection with a code, and is
counted, never raised. CONNECT streams are read in :mod:`wtgateway.transport.connect`, all others in
:mod:`wtgateway.transport.incoming`. Imports aioquic, errors and this package.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from aioquic.h3.connection import H3_ALPN
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

from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import connect, h3codes, internals
from wtgateway.transport.drafts import Draft
from wtgateway.transport.http3 import Http3Connection, spoken
from wtgateway.transport.incoming import IncomingStreams
from wtgateway.transport.lane import Lane
from wtgateway.transport.streams import StreamTable, preamble
from wtgateway.transport.varint import encode_varint
from wtgateway.transport.webtransport import (
    LOST,
    PendingAnswer,
    Refusal,
    SessionHandler,
    SessionRequest,
    WebTransportSession,
)

log = logging.getLogger("wtgateway.transport")

OnRequest = Callable[[SessionRequest], SessionHandler | Refusal | PendingAnswer]

_MAX_HEADER_BYTES = 16 * 1024  # of one HTTP/3 frame that has to be held whole
_MAX_REORDERING_BYTES = 1 << 20  # of all streams of a connection, waiting for what is missing before them


class WebTransportConnection:
    """The sessions of one QUIC connection. ``mark_dirty`` asks the owner to flush it, ``mark_sending`` to
    send what the lane has. ``offered``: the drafts to announce; a server speaks all, a client draft 02."""

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
        offered: Collection[Draft] | None = None,
    ) -> None:
        self.quic = quic
        self.lane = lane or Lane(quic)
        self.is_client = quic.configuration.is_client
        self.drafts = offered or ((Draft.DRAFT_02,) if self.is_client else spoken())
        self.draft: Draft | None = None  # known with the peer's SETTINGS
        self.limits = connect.CLIENT_LIMITS if self.is_client else connect.LIMITS
        self.h3: Http3Connection | None = None
        self.sessions: dict[int, WebTransportSession] = {}
        self.mark_dirty = mark_dirty
        self.mark_sending = mark_sending or mark_dirty  # cheaper: nothing but media was handed over
        self.remote = remote
        self.refusal: tuple[int, str] | None = None  # client: how the CONNECT was answered
        self.protocols = tuple(protocols)
        self.counters = counters
        self.streams = StreamTable(quic, counters)
        self._on_request = on_request
        self.connects = connect.ConnectStreams(self)
        self._incoming = IncomingStreams(self)
        self._closed: list[tuple[WebTransportSession, int, str]] = []
        self._delivered_bytes = 0

    # --- in --------------------------------------------------------------------------------------

    def handle(self, event: QuicEvent) -> None:
        """Act on one QUIC event."""
        if isinstance(event, StreamDataReceived):
            self._delivered_bytes += len(event.data)
            self._stream_data(event)
        elif isinstance(event, DatagramFrameReceived):
            self.h3_events(event)
        elif isinstance(event, StreamReset):
            self._incoming.reset(event)
        elif isinstance(event, StopSendingReceived):
            self._incoming.stopped(event)
        elif isinstance(event, ProtocolNegotiated):
            if event.alpn_protocol in H3_ALPN:  # our SETTINGS leave in the first flight
                self.h3 = self.streams.h3 = Http3Connection(
                    self.quic, offered=self.drafts, limits=self.limits, max_sessions=connect.MAX_SESSIONS
                )
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
            self.counters["sessions_closed"] += 1
            self.call(session, session.handler.closed, code, reason)

    def writable(self) -> None:
        """Let every session hand over what there is room for."""
        self.streams.release_held_resets()
        for session in list(self.sessions.values()):
            if not session.closed:
                self.call(session, session.handler.writable)
                self.connects.tell_blocked(session)

    def settle_hunger(self) -> None:
        """The lane looks out for room as long as a session waits for some."""
        self.lane.hungry = any(session.hungry for session in self.sessions.values())

    def lost(self, reason: str) -> None:
        """The connection is gone, and every session with it."""
        for session in list(self.sessions.values()):
            self.connects.end(session, LOST, reason)
        self.connects.lost(reason)

    def fail(self, error_code: int, reason: str) -> None:
        """Close the connection for what the peer did."""
        self.counters["malformed"] += 1
        self.quic.close(error_code=error_code, reason_phrase=reason)
        self.mark_dirty()

    # --- out: what sessions call ------------------------------------------------------------------

    def open_stream(self, session: WebTransportSession, *, unidirectional: bool) -> int:
        """A new stream of the session, its preamble already queued, or waiting for the session's credit."""
        stream_id = self.quic.get_next_available_stream_id(is_unidirectional=unidirectional)
        head = preamble(session.id, unidirectional=unidirectional)
        if session.credit is not None:
            head = session.credit.open(stream_id, head, unidirectional=unidirectional)
        self.quic.send_stream_data(stream_id, head)
        self.streams.add(stream_id, session)
        return stream_id

    def max_datagram_bytes(self, session_id: int) -> int:
        """What fits one datagram of that session."""
        return max(0, internals.max_datagram_frame_payload(self.quic) - len(encode_varint(session_id // 4)))

    def close_session(self, session: WebTransportSession, code: int, reason: str) -> None:
        """End the session's streams, and send the close capsule and FIN."""
        self.connects.close(session, code, reason)

    def drain_session(self, session: WebTransportSession) -> None:
        """Send the drain capsule."""
        self.connects.drain(session)

    def request(self, authority: str, path: str, extra: dict[str, str], handler: SessionHandler) -> None:
        """Client: CONNECT; ``handler.opened`` or :attr:`refusal` follows."""
        assert self.h3 is not None
        self.connects.ask(authority, path, extra, handler)

    # --- QUIC and HTTP/3 events --------------------------------------------------------------------

    def _stream_data(self, event: StreamDataReceived) -> None:
        stream_id = event.stream_id
        if self.streams.is_answer(stream_id):
            self._incoming.answer(event)
            return
        self.h3_events(event)
        if self.h3 is not None and internals.request_bytes_buffered(self.h3, stream_id) > _MAX_HEADER_BYTES:
            self.fail(h3codes.H3_EXCESSIVE_LOAD, "an HTTP/3 frame is over its limit")

    def h3_events(self, event: QuicEvent) -> None:
        """What a QUIC event means in HTTP/3."""
        if self.h3 is None:
            return
        h3_events = self.h3.handle_event(event)
        if self.draft is None and self.h3.received_settings is not None:
            self.connects.settings_arrived()
        for h3_event in h3_events:
            self._h3_event(h3_event)

    def _h3_event(self, event: H3Event) -> None:
        if isinstance(event, WebTransportStreamDataReceived):
            self._incoming.data(event)
        elif isinstance(event, HeadersReceived):
            if event.stream_id in self.sessions or event.stream_id in self.connects.early:  # trailers
                if event.stream_ended:
                    self.connects.data(event.stream_id, b"", fin=True)
            elif self.is_client:
                self.connects.response(event)
            elif self.connects.is_judging(event.stream_id):  # trailers of one that waits for its answer
                if event.stream_ended:
                    self.connects.data(event.stream_id, b"", fin=True)
            elif event.stream_id not in self.connects.gone:
                self.connects.request(event)
        elif isinstance(event, DataReceived):
            self.connects.data(event.stream_id, event.data or b"", fin=event.stream_ended)
        elif isinstance(event, DatagramReceived):
            self._incoming.datagram(event)

    # --- what CONNECT streams ask for --------------------------------------------------------------

    def on_request(self, request: SessionRequest) -> SessionHandler | Refusal | PendingAnswer:
        """Ask the owner of the endpoint."""
        assert self._on_request is not None
        return self._on_request(request)

    def opened(self, session: WebTransportSession) -> None:
        """A session began: tell its handler, and hand over what came early."""
        self.call(session, session.handler.opened, session)
        self._incoming.opened(session)

    def refused(self, session_id: int) -> None:
        """A session does not begin: reject what came early."""
        self._incoming.refused(session_id)

    def ended(self, session: WebTransportSession, code: int, reason: str) -> None:
        """A session is over; its handler is told in :meth:`settle`."""
        self._closed.append((session, code, reason))
        self.settle_hunger()
        self.mark_dirty()

    def call(self, session: WebTransportSession, method: Callable[..., None], *arguments: object) -> None:
        """Call a handler; a fault of ours ends that session only."""
        try:
            method(*arguments)
        except Exception:
            self.counters["handler_faults"] += 1
            log.exception("a session's handler failed: this is a bug of the gateway")
            if not session.closed:
                self.close_session(session, CloseCode.INTERNAL, "the gateway failed")
