"""The native client's side of a session over a WebSocket (docs/protocol.md), on wsproto's sans-I/O core.

To its handler it is a WebTransport session: control messages come as the first bidirectional stream, each
frame as a unidirectional one that ends with it, and there are no datagrams. Over HTTP/1.1, as this client
offers no other. Imports asyncio, wsproto, protocol and this package.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from wtgateway.errors import ProtocolError, SessionRefused, TransportError
from wtgateway.protocol import messages
from wtgateway.protocol import websocket_messages as ws
from wtgateway.protocol.codes import SUBPROTOCOL, CloseCode
from wtgateway.protocol.progress import REPORT_BYTES, REPORT_S
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import LOST, SessionHandler, SessionRequest

CONTROL = 1
_FIRST_FRAME, _STEP = 3, 4
CLOSE_PATIENCE_S = 1.0
_READ_BYTES = 64 * 1024


class ClientWebSocket:
    """One session; what ViewerLink uses of a WebTransportSession."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        wire: WSConnection,
        request: SessionRequest,
        handler: SessionHandler,
    ) -> None:
        self.request, self.handler = request, handler
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._reader, self._writer, self._wire = reader, writer, wire
        self._message = bytearray()
        self._next_id = _FIRST_FRAME
        self._bytes = self._told = 0
        self._newest_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._end: tuple[int, str] | None = None
        self._task: asyncio.Task[None] | None = None

    # --- what the handler uses -----------------------------------------------------------------------

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        """Send whole control messages."""
        if not self.closed and data:
            self._say(BytesMessage(data=ws.control(data)))

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int:
        """There are none here, so none is taken."""
        return 0

    def stop(self, stream_id: int, code: int) -> None:
        """There is no stream that could be."""

    def flush(self) -> None:
        """What was sent is on its way already."""

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the session; ``handler.closed`` follows."""
        if not self.closed:
            self.closed, self._end = True, (code, reason)
            self._say(CloseConnection(*ws.to_close(code, reason)))
            self._loop.call_later(CLOSE_PATIENCE_S, self._writer.transport.abort)

    # --- life --------------------------------------------------------------------------------------

    def start(self, first: Sequence[Event]) -> None:
        """The upgrade was answered with yes; ``first`` came with the answer."""
        self._task = self._loop.create_task(self._run(list(first)), name="websocket")

    async def wait_closed(self) -> None:
        """Until the connection is closed."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self, pending: list[Event]) -> None:
        self.handler.opened(self)
        reason = "the connection broke"
        try:
            while self._take(pending):
                data = await self._reader.read(_READ_BYTES)
                self._wire.receive_data(data or None)
                pending = list(self._wire.events())
        except (OSError, RemoteProtocolError) as error:
            reason = f"the connection broke: {error}"
        finally:
            self.closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await self._writer.wait_closed()
            self.handler.closed(*(self._end or (LOST, reason)))

    def _take(self, happened: list[Event]) -> bool:
        """Whether it goes on after that."""
        for event in happened:
            match event:
                case BytesMessage(data=data, message_finished=finished):
                    self._message += data
                    if len(self._message) > ws.MOST_FRAME_BYTES:
                        self.close(CloseCode.TOO_LARGE, "a message that no frame fills")
                    elif finished:
                        message, self._message = bytes(self._message), bytearray()
                        self._handle(message)
                case TextMessage():
                    self.close(CloseCode.MALFORMED, "a message of text")
                case Ping():
                    self._say(event.response())
                case CloseConnection(code=code, reason=reason):
                    if self._end is None:
                        meant = ws.from_close(code)
                        self._end = (LOST if meant is None else meant, reason or "")
                        self._say(event.response())
                    return False
        return True

    def _handle(self, message: bytes) -> None:
        if self.closed:
            return
        try:
            kind, body = ws.parse(message)
        except ProtocolError as error:
            self.close(error.code, str(error))
            return
        if kind is ws.MessageType.CONTROL:
            self.handler.stream_data(CONTROL, body, False)
            return
        number, self._next_id = self._next_id, self._next_id + _STEP
        self._note(len(body))
        self.handler.stream_data(number, body, True)

    # --- progress ------------------------------------------------------------------------------------

    def _note(self, octets: int) -> None:
        self._bytes += octets
        self._newest_at = time.monotonic()
        if self._bytes - self._told >= REPORT_BYTES:
            self._tell()
        elif self._timer is None:
            self._timer = self._loop.call_later(REPORT_S, self._tell)

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._told = self._bytes
        waited_us = round((time.monotonic() - self._newest_at) * 1e6)
        self.send(CONTROL, messages.pack(messages.Progress(bytes=self._bytes, waited_us=waited_us)))

    def _say(self, event: Event) -> None:
        try:
            data = self._wire.send(event)
        except LocalProtocolError:  # it is over, or about to be
            return
        if not self._writer.is_closing():
            self._writer.write(data)


async def connect_websocket(
    url: str,
    handler: SessionHandler,
    *,
    insecure: bool = False,
    timeout: float = 10.0,  # noqa: ASYNC109 - part of the interface
    headers: Mapping[str, str] | None = None,
) -> ClientWebSocket:
    """Open a session at ``ws://`` or ``wss://host:port/_ws/name?query``.

    Raises SessionRefused when the server answers no, TransportError when there is no connection.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise TransportError(f"{url!r} is not an address to connect to: expected ws(s)://host/_ws/name")
    try:
        async with asyncio.timeout(timeout):
            return await _connect(url, handler, insecure, dict(headers or {}))
    except TimeoutError:
        raise TransportError(f"{parts.netloc} does not answer over TCP within {timeout:.0f} s") from None
    except (OSError, ssl.SSLError, RemoteProtocolError) as error:
        raise TransportError(f"no WebSocket to {parts.netloc}: {error}") from error


async def _connect(
    url: str, handler: SessionHandler, insecure: bool, headers: dict[str, str]
) -> ClientWebSocket:
    parts = urlsplit(url)
    context: ssl.SSLContext | None = None
    if parts.scheme == "wss":
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        if insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = parts.port or (443 if context is not None else 80)
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=context, happy_eyeballs_delay=0.25, limit=2 * _READ_BYTES
    )
    try:
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        wire = WSConnection(ConnectionType.CLIENT)
        host = parts.netloc.rpartition("@")[2]
        writer.write(
            wire.send(Request(host=host, target=path, subprotocols=[SUBPROTOCOL], extra_headers=extra))
        )
        rest = await _answered(reader, wire)
    except BaseException:
        writer.transport.abort()
        raise
    peer: tuple[Any, ...] = writer.get_extra_info("peername") or ()
    request = SessionRequest(
        path=path, authority=host, remote=peer, protocols=(SUBPROTOCOL,), transport="websocket"
    )
    session = ClientWebSocket(reader, writer, wire, request, handler)
    session.start(rest)
    return session


async def _answered(reader: asyncio.StreamReader, wire: WSConnection) -> list[Event]:
    """What came behind the yes. Raises SessionRefused, TransportError."""
    refused: RejectConnection | None = None
    while True:
        data = await reader.read(_READ_BYTES)
        wire.receive_data(data or None)
        happened = list(wire.events())
        for at, event in enumerate(happened):
            match event:
                case AcceptConnection():
                    return happened[at + 1 :]
                case RejectConnection():
                    refused = event
                    if not event.has_body:
                        raise _refusal(event)
                case RejectData(body_finished=True) if refused is not None:
                    raise _refusal(refused)
        if not data:
            raise _refusal(refused) if refused else TransportError("the server closed without an answer")


def _refusal(event: RejectConnection) -> SessionRefused:
    words = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
    return SessionRefused(event.status_code, words.get("wtgateway-reason", ""))


async def disconnect_websocket(session: ClientWebSocket, code: int = 0, reason: str = "") -> None:
    """Close a session of :func:`connect_websocket`, and wait until its socket is closed."""
    session.close(code, reason)
    await session.wait_closed()
