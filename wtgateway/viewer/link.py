"""Joins the protocol's ClientSession and a WebTransport session: feeds, collects, sends, and little else.

Imports protocol and the transport's interface.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from wtgateway.errors import ProtocolError
from wtgateway.protocol.client_events import ClientEvent, GatewayGoodbye, GatewaySilent
from wtgateway.protocol.client_session import ClientSession
from wtgateway.protocol.codes import ResetCode
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.websocket_client import ClientWebSocket
from wtgateway.transport.webtransport import WebTransportSession


class ViewerLink:
    """A SessionHandler for one session; ``ended`` gets its close code and reason."""

    def __init__(self, core: ClientSession, on_events: Callable[[list[ClientEvent]], None]) -> None:
        self.core = core
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[tuple[int, str]] = self._loop.create_future()
        self._on_events = on_events
        self.on_heard: Callable[[], None] = lambda: None  # before anything is made of what came
        self._session: WebTransportSession | ClientWebSocket | None = None
        self._control: int | None = None
        self.transport = ""  # that it was opened over
        self._timer: asyncio.TimerHandle | None = None

    def opened(self, session: WebTransportSession | ClientWebSocket) -> None:
        """The gateway said yes: its clocks start."""
        self.transport = "websocket" if isinstance(session, ClientWebSocket) else "webtransport"
        self._session = session
        self.core.handle_timeout(time.monotonic())
        self.settle()

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        """Bytes of the control stream (the first bidirectional one) or of media."""
        now = time.monotonic()
        self.on_heard()
        try:
            if stream_id & 0x02:  # unidirectional (RFC 9000, section 2.1)
                self.core.receive_stream(stream_id, data, fin, now)
            elif self._control in (None, stream_id):
                self._control = stream_id
                self._on_events(self.core.receive_control(data, now))
            elif self._session is not None:
                self._session.stop(stream_id, ResetCode.UNEXPECTED)
        except ProtocolError as error:
            self._on_events(self.core.poll_events())
            self.close(error.code, str(error))
            return
        self.settle()

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The gateway gave a frame up, or the whole session with its control stream."""
        if stream_id == self._control:
            return  # its close follows
        self.on_heard()
        self.core.reset_stream(stream_id, time.monotonic())
        self.settle()

    def stop_sending(self, stream_id: int, code: int) -> None:
        """The gateway does not read us any more; its close follows."""

    def datagram(self, data: bytes) -> None:
        """A piece of a frame, most likely."""
        self.on_heard()
        try:
            self.core.receive_datagram(data, time.monotonic())
        except ProtocolError as error:
            self._on_events(self.core.poll_events())
            self.close(error.code, str(error))
            return
        self.settle()

    def writable(self) -> None:
        """Control messages are few: they are handed over at once and need no turn."""

    def closed(self, code: int, reason: str) -> None:
        """The session is over, whoever ended it."""
        self._session = None
        if self._timer is not None:
            self._timer.cancel()
        if not self.ended.done():
            self.ended.set_result((code, reason))

    def close(self, code: int, reason: str) -> None:
        """Close the session; :meth:`closed` follows."""
        if self._session is not None:
            self._session.close(code, reason)
            self._session.flush()

    def settle(self) -> None:
        """After anything was done to the core: act on its events, send what it says, set its timer."""
        events = self.core.poll_events()
        if events:
            self._on_events(events)
        for event in events:
            if isinstance(event, GatewaySilent | GatewayGoodbye):  # whoever has heard that leaves
                self.close(event.code, event.reason)
        session = self._session
        if session is None:
            return
        if self._control is not None and (data := self.core.control_to_send()):
            session.send(self._control, data)
            session.flush()
        if datagrams := self.core.datagrams_to_send():
            session.send_datagrams(datagrams, Urgency.CONTROL)
            session.flush()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.core.next_timeout()
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.core.handle_timeout(time.monotonic())
        self.settle()
