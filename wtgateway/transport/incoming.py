"""What comes in on the streams and datagrams of sessions, and whose it is.

Part of :mod:`wtgateway.transport.h3`, which routes events here. What comes before its session is held
for a while (:mod:`early`), what is over a session's window ends it. Imports aioquic and this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioquic.h3.events import DatagramReceived, WebTransportStreamDataReceived
from aioquic.quic.events import StopSendingReceived, StreamDataReceived, StreamReset

from wtgateway.transport import h3codes, internals
from wtgateway.transport.capsules import FlowControlError
from wtgateway.transport.early import EarlyStreams
from wtgateway.transport.streams import is_unidirectional
from wtgateway.transport.webtransport import WebTransportSession

if TYPE_CHECKING:
    from wtgateway.transport.h3 import WebTransportConnection

_EARLY_BYTES = 64 << 10
_CLIENT_EARLY_BYTES = 1 << 20  # media may overtake the answer to the CONNECT


class IncomingStreams:
    """Hands the sessions of ``connection`` what is theirs."""

    def __init__(self, connection: WebTransportConnection) -> None:
        self._connection = connection
        self._early = EarlyStreams(limit_bytes=_CLIENT_EARLY_BYTES if connection.is_client else _EARLY_BYTES)

    # --- sessions begin, or do not -----------------------------------------------------------------

    def opened(self, session: WebTransportSession) -> None:
        """Hand over what came early."""
        for data in self._early.take_datagrams(session.id):
            self._connection.call(session, session.handler.datagram, data)
        for stream_id, data, fin in self._early.take(session.id):
            if session.closed:
                self._connection.streams.reject(stream_id, h3codes.SESSION_GONE)
            else:
                self._accept(session, stream_id, data, fin)

    def refused(self, session_id: int) -> None:
        """Reject what came early."""
        self._early.take_datagrams(session_id)
        for stream_id, _, _ in self._early.take(session_id):
            self._connection.streams.reject(stream_id, h3codes.SESSION_GONE)

    # --- events ------------------------------------------------------------------------------------

    def datagram(self, event: DatagramReceived) -> None:
        """An HTTP Datagram."""
        connection = self._connection
        session = connection.sessions.get(event.stream_id)
        if session is not None:
            connection.call(session, session.handler.datagram, event.data)
        elif event.stream_id not in connection.connects.gone:  # DATAGRAM goes before HEADERS in a packet
            self._early.put_datagram(event.stream_id, event.data)

    def data(self, event: WebTransportStreamDataReceived) -> None:
        """Bytes of a stream that the peer opened."""
        connection = self._connection
        session_id, stream_id = event.session_id, event.stream_id
        session = connection.streams.owner(stream_id) or connection.sessions.get(session_id)
        if session is not None and not session.closed:
            self._accept(session, stream_id, event.data, event.stream_ended)
        elif session_id % 4:
            connection.fail(h3codes.H3_ID_ERROR, "a stream names a session that cannot be")
        elif session_id in connection.connects.gone:
            connection.streams.reject(stream_id, h3codes.SESSION_GONE)
        elif not self._early.put(session_id, stream_id, event.data, event.stream_ended):
            connection.streams.reject(stream_id, h3codes.BUFFERED_STREAM_REJECTED)

    def answer(self, event: StreamDataReceived) -> None:
        """Bytes that answer on a stream we opened."""
        session = self._connection.streams.owner(event.stream_id)
        if session is not None:
            self._deliver(session, event.stream_id, event.data, event.end_stream)

    def reset(self, event: StreamReset) -> None:
        """The peer gave up sending a stream, of whatever kind."""
        connection, stream_id = self._connection, event.stream_id
        self._recognize(stream_id)
        if not connection.streams.is_answer(stream_id):
            connection.h3_events(event)
        self._early.drop(stream_id)
        connection.connects.reset(stream_id, "the peer reset the session's stream")
        owner = connection.streams.owner(stream_id)
        if owner is None:
            return
        rest = internals.undelivered(connection.quic, stream_id)  # counts, although it never comes
        if self._count(owner, stream_id, rest, ended=True):
            code = h3codes.from_http3(event.error_code)
            connection.call(owner, owner.handler.stream_reset, stream_id, code)

    def stopped(self, event: StopSendingReceived) -> None:
        """The peer will not read a stream, of whatever kind."""
        connection, stream_id = self._connection, event.stream_id
        if not connection.streams.is_answer(stream_id):
            connection.h3_events(event)
        connection.connects.reset(stream_id, "the peer stopped the session's stream")
        owner = connection.streams.owner(stream_id)
        if owner is not None:
            connection.streams.stopped(stream_id)
            code = h3codes.from_http3(event.error_code)
            connection.call(owner, owner.handler.stop_sending, stream_id, code)

    # --- whose, and how much -----------------------------------------------------------------------

    def _recognize(self, stream_id: int) -> None:
        """A stream may be reset when nothing but its preamble has come, of which aioquic tells nobody."""
        connection = self._connection
        streams = connection.streams
        if connection.h3 is None or not streams.preambles_arrive or streams.owner(stream_id) is not None:
            return
        session_id = internals.session_of(connection.h3, stream_id)
        session = connection.sessions.get(session_id) if session_id is not None else None
        if session is not None:
            self._adopt(session, stream_id)

    def _accept(self, session: WebTransportSession, stream_id: int, data: bytes, fin: bool) -> None:
        self._adopt(session, stream_id)
        self._deliver(session, stream_id, data, fin)

    def _adopt(self, session: WebTransportSession, stream_id: int) -> None:
        """A stream that the peer opened belongs to that session, if it may open so many."""
        self._connection.streams.add(stream_id, session)
        if session.window is not None:
            try:
                session.window.stream(stream_id, unidirectional=is_unidirectional(stream_id))
            except FlowControlError as error:
                self._connection.connects.abort(session, error)

    def _deliver(self, session: WebTransportSession, stream_id: int, data: bytes, fin: bool) -> None:
        if not session.closed and self._count(session, stream_id, len(data), ended=fin):
            self._connection.call(session, session.handler.stream_data, stream_id, data, fin)

    def _count(self, session: WebTransportSession, stream_id: int, size: int, *, ended: bool) -> bool:
        """Count ``size`` bytes of a stream against the session's window; False: they end the session."""
        window = session.window
        if window is None:
            return True
        try:
            window.data(size)
        except FlowControlError as error:
            self._connection.connects.abort(session, error)
            return False
        if ended:
            window.ended(stream_id)
        self._connection.connects.grant(session)
        return True
