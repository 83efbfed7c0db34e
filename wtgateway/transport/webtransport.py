"""WebTransport sessions as the rest of the gateway sees them: values, the handler, the session.

A session hands bytes to its QUIC connection at once and is flushed at the end of the loop turn. It
never blocks and never raises for what a peer does: bytes for a stream that the peer stopped are
dropped. The HTTP/3 side is in :mod:`wtgateway.transport.h3`. Imports aioquic,
errors and this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import StreamType

from wtgateway.errors import ProtocolError, TransportError
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport import h3codes, internals
from wtgateway.transport.urgency import Urgency

if TYPE_CHECKING:
    from wtgateway.transport.flow_control import Credit, Window
    from wtgateway.transport.h3 import WebTransportConnection
    from wtgateway.transport.lane import Lane

PROBE_STEP_S = 0.004
LOST = -1  # close code of a session whose connection or CONNECT stream broke without a close capsule


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """A CONNECT, or the wish for a WebSocket.

    ``path`` has its query; ``remote`` begins with address and port; ``transport`` is "webtransport" or
    "websocket".
    """

    path: str
    authority: str = ""
    origin: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    remote: tuple[Any, ...] = ()
    protocols: tuple[str, ...] = ()  # sub-protocols the client offers, best first
    transport: str = "webtransport"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer no: an HTTP ``status`` and words that go into the header wtgateway-reason.

    ``retry_after_s``: when to come back, in a header of its own; 0: that is not said.
    """

    status: int
    reason: str
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStats:
    """What QUIC knows about the path now; times in µs, windows in bytes."""

    rtt_us: int
    min_rtt_us: int
    congestion_window: int
    bytes_in_flight: int
    lost_packets: int
    sent_packets: int
    mtu: int
    loss: float = 0.0  # share of the packets of the last three seconds, 0..1
    estimate_bps: int = 0  # what the path is taken to carry for this connection; 0: not known
    estimate_bounded: bool = False  # it carries no more; else it has carried so much, and may carry more
    queueing_us: int = 0  # the queue that stands on the path


class SessionHandler(Protocol):
    """What a session's owner does. All is called on the loop; the connection is flushed afterwards."""

    def opened(self, session: Any) -> None:
        """The CONNECT was answered with 200: a SessionLink."""

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        """Bytes of any stream of the session, answers on streams we opened included."""

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The peer reset a stream; ``code`` is -1 when it is not an application code."""

    def stop_sending(self, stream_id: int, code: int) -> None:
        """The peer will not read that stream; QUIC has reset it already."""

    def datagram(self, data: bytes) -> None:
        """A datagram of the session."""

    def writable(self) -> None:
        """There may be room again: after ACKs and before each flush. Must be cheap."""

    def closed(self, code: int, reason: str) -> None:
        """Exactly once, also after our own ``close`` (never from inside it); ``LOST`` when it broke."""


@runtime_checkable
class PendingAnswer(Protocol):
    """A handler or a Refusal that is yet to come: what asyncio.Future has of use here."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Call it when the answer is here."""

    def cancel(self) -> bool:
        """Nobody waits any more."""

    def cancelled(self) -> bool:
        """Whether there will be no answer."""

    def exception(self) -> BaseException | None:
        """The fault that came instead of an answer."""

    def result(self) -> SessionHandler | Refusal:
        """The answer."""


class WebTransportSession:
    """One session; ``id`` is that of its CONNECT stream."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_datagram_prefix",
        "_preamble",
        "closed",
        "credit",
        "draining",
        "handler",
        "hungry",
        "id",
        "is_client",
        "protocol",
        "request",
        "window",
    )

    def __init__(
        self,
        connection: WebTransportConnection,
        session_id: int,
        request: SessionRequest,
        handler: SessionHandler,
        *,
        protocol: str = "",
    ) -> None:
        self._connection = connection
        self.id = session_id
        self.request = request
        self.handler = handler
        self.is_client = connection.is_client
        self.protocol = protocol  # the sub-protocol agreed on, or empty
        self.closed = False
        self.draining = False  # the peer asked for the session's end
        self.hungry = False  # its handler waits for room
        self.credit: Credit | None = None  # session flow control: what may be sent, what may come
        self.window: Window | None = None
        self._preamble = encode_uint_var(StreamType.WEBTRANSPORT) + encode_uint_var(session_id)
        self._datagram_prefix = encode_uint_var(session_id // 4)  # RFC 9297, section 2.1

    # --- streams ---------------------------------------------------------------------------------

    def open_uni(self) -> int:
        """A new unidirectional stream; raises TransportError after the session's end."""
        return self._open(unidirectional=True)

    @property
    def lane(self) -> Lane:
        """The connection's."""
        return self._connection.lane

    def open_bidi(self) -> int:
        """A new bidirectional stream; raises TransportError after the session's end."""
        return self._open(unidirectional=False)

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        """Queue bytes; dropped when the stream was finished, reset, or stopped by the peer."""
        if self._owns(stream_id):
            self._connection.streams.write(stream_id, data, fin)

    def send_frame(self, data: bytes, urgency: Urgency) -> int:
        """A whole media frame as one new unidirectional stream; its id. ``data`` is shared, not copied.

        Raises TransportError after the session's end.
        """
        if self.closed:
            raise TransportError("the session is closed: open a new one")
        connection, credit = self._connection, self.credit
        if credit is not None:
            if not credit.may_open(len(data)):  # a piece at a time, as the peer grants
                stream_id = self.open_uni()
                self.send(stream_id, data, fin=True)
                return stream_id
            credit.opened(len(data))
        stream_id = connection.lane.open_frame(self._preamble, data, urgency)
        connection.streams.add(stream_id, self)
        return stream_id

    def reset(self, stream_id: int, code: int) -> None:
        """Give up sending that stream (RESET_STREAM), with an application code."""
        if self._owns(stream_id):
            self._connection.streams.reset(stream_id, h3codes.to_http3(code))

    def stop(self, stream_id: int, code: int) -> None:
        """Refuse to read that stream (STOP_SENDING), with an application code."""
        if self._owns(stream_id):
            self._connection.streams.stop(stream_id, h3codes.to_http3(code))

    def unsent(self, stream_id: int) -> int:
        """Bytes of that stream that wait to be sent, for the first time or again after a loss."""
        waiting = self.credit.waiting(stream_id) if self.credit is not None else 0
        return waiting + self._connection.lane.unsent_bytes(stream_id)

    def unacknowledged(self, stream_id: int) -> int:
        """Bytes of that stream that the peer has not acknowledged yet."""
        waiting = self.credit.waiting(stream_id) if self.credit is not None else 0
        return waiting + self._connection.lane.unacknowledged_bytes(stream_id)

    # --- datagrams -------------------------------------------------------------------------------

    @property
    def max_datagram_bytes(self) -> int:
        """The greatest payload that :meth:`send_datagram` takes now; 0: the peer takes none."""
        return self._connection.max_datagram_bytes(self.id)

    def send_datagram(self, data: bytes) -> bool:
        """Queue a datagram; False when it is too large, the queue is full or the session is over."""
        return self.send_datagrams((data,), Urgency.DELTA) == 1

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int:
        """Queue datagrams, all for one purpose; how many were taken, from the first on.

        The rest is too large, or the queue is full, or the session is over: each is the caller's to drop.
        """
        if self.closed:
            return 0
        return self._connection.lane.send_datagrams(payloads, urgency, self._datagram_prefix)

    # --- the whole session -----------------------------------------------------------------------

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the session: CLOSE_WEBTRANSPORT_SESSION; ``handler.closed`` follows later.

        Streams are reset, but for what a client wrote to bidirectional ones: that is still sent.
        """
        if not self.closed:
            self._connection.close_session(self, code, reason)

    def drain(self) -> None:
        """Ask the peer to end the session soon (DRAIN_WEBTRANSPORT_SESSION)."""
        if not self.closed:
            self._connection.drain_session(self)

    def flush(self) -> None:
        """Have the connection flushed at the end of this turn of the loop, once."""
        self._connection.mark_sending()

    def room(self, urgency: Urgency | None = None) -> int:
        """Bytes that may be handed over now so that QUIC's own queue stays shallow; may be <= 0.

        ``urgency``: of that class, whatever waits in those behind it.
        """
        if self.closed:
            return 0
        room = self._connection.lane.room(urgency)
        return room if self.credit is None else min(room, self.credit.room())

    @property
    def waiting(self) -> int:
        """Bytes of streams and datagrams of the connection that wait to be sent."""
        return self._connection.lane.waiting

    def await_room(self, waiting: bool) -> None:
        """Whether ``handler.writable`` is wanted as soon as acknowledgements make room."""
        if self.hungry != waiting:
            self.hungry = waiting
            self._connection.settle_hunger()

    def path(self) -> PathStats:
        """What QUIC knows about the path."""
        return PathStats(**internals.path_statistics(self._connection.quic))

    def note_arrival(self, sent_s: float, arrived_us: int, size: int) -> None:
        """The peer says that what left at ``sent_s`` arrived at ``arrived_us`` of its own clock.

        Anything it says is bounded in what it can do; ``size`` in bytes, an arrival of nothing is none.
        """
        controller = internals.controller(self._connection.quic)
        if controller is not None and size > 0:
            controller.on_arrival(sent_s, arrived_us)

    def note_progress(self, octets: int, waited_us: int) -> None:
        """Only what comes over a WebSocket is told so. Raises ProtocolError (MALFORMED)."""
        raise ProtocolError(CloseCode.MALFORMED, "progress is for sessions over a WebSocket")

    def probe_bytes(self, now: float) -> int:
        """Bytes of padding or FEC that should be sent now so that the estimate can rise; mostly 0.

        To be asked in ``handler.writable`` when nothing else waits. While a probe is under way that is called
        every few milliseconds.
        """
        connection = self._connection
        controller = internals.controller(connection.quic)
        if controller is None or now < controller.prober.look_at or self.closed:
            return 0
        size = internals.probe_bytes(connection.quic, now, self.room())
        if controller.prober.target:
            connection.lane.wake(now + PROBE_STEP_S)
        return size

    def set_wanted_rate(self, bits_per_second: int) -> None:
        """What could be used if the path carried it; 0: two and a half times what is sent."""
        controller = internals.controller(self._connection.quic)
        if controller is not None:
            controller.prober.wanted = bits_per_second / 8

    def _open(self, *, unidirectional: bool) -> int:
        if self.closed:
            raise TransportError("the session is closed: open a new one")
        return self._connection.open_stream(self, unidirectional=unidirectional)

    def _owns(self, stream_id: int) -> bool:
        return not self.closed and self._connection.streams.owner(stream_id) is self
