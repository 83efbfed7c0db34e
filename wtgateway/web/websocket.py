"""WebSockets of the pages' server: from the upgrade to the last message, as hypercorn serves them over ASGI.

Who is let in and what is said there is somebody else's: :class:`Upgrade` is handed to whoever serves viewers.
ASGI hides the connection below, and hypercorn would compress whatever a browser offers to have compressed, so
:class:`Connections` looks behind what hypercorn calls ``send``. With a hypercorn that looks different inside
everything works, but is compressed, and nothing is known of the connection's buffers. Imports errors,
protocol, and the web room.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import SUBPROTOCOL, CloseCode

log = logging.getLogger(__name__)

PATH = "/_ws/"
_SIOCOUTQNSD = 0x894B  # linux/sockios.h: octets that TCP has not sent yet
_CANCEL = 8  # RFC 9113, section 7
_STREAM = "wtgateway.stream"  # the key in a scope's extensions

Serve = Callable[["Upgrade"], Awaitable[None]]


class Connections:
    """The outermost ASGI layer: notes for each WebSocket what of hypercorn carries it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, _STREAM: Carrier.find(send)}
        await self._app(scope, receive, send)


class Carrier:
    """A WebSocket's stream, its protocol and the connection, inside of hypercorn."""

    def __init__(self, stream: Any, protocol: Any, writer: Any) -> None:
        self._stream, self._protocol, self._writer = stream, protocol, writer

    @classmethod
    def find(cls, send: Any) -> Carrier | None:
        """Behind ``send``, as hypercorn hands it to an application; None: it looks different inside."""
        try:
            stream = send.__self__
            protocol = stream.send.__self__
            writer = protocol.send.__self__.writer
            carrier = cls(stream, protocol, writer)
            carrier.unsent()
            carrier._stream.handshake.extensions  # noqa: B018 - is it there?
        except (AttributeError, OSError):
            log.debug("hypercorn is not what it was: WebSockets are served without looking at their sockets")
            return None
        return carrier

    def refuse_extensions(self) -> None:
        """As if the viewer had offered none."""
        self._stream.handshake.extensions = None

    def unsent(self) -> int:
        """Octets in hypercorn's, asyncio's and TCP's buffers that were not sent; of all of the connection."""
        transport = self._writer.transport
        octets: int = transport.get_write_buffer_size()
        buffers = getattr(self._protocol, "stream_buffers", None)
        if buffers is not None and (mine := buffers.get(self._stream.stream_id)) is not None:
            octets += len(mine.buffer)
        sock = transport.get_extra_info("socket")
        if sock is not None and not transport.is_closing():
            with contextlib.suppress(OSError):  # not TCP, or not Linux
                octets += struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQNSD, bytes(4)))[0]
        return octets

    async def abort(self) -> None:
        """Give up what was not sent: the stream, or the connection where that is what is stuck."""
        buffers = getattr(self._protocol, "stream_buffers", None)
        number = self._stream.stream_id
        if buffers is None or self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        elif number in buffers:  # HTTP/2: others may go on
            await buffers[number].close()
            with contextlib.suppress(Exception):  # h2 has its own words for a stream that is over
                self._protocol.connection.reset_stream(number, _CANCEL)
                await self._protocol._flush()


class Upgrade:
    """A viewer's wish for a WebSocket, and the WebSocket once it is granted."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: dict[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.remote: tuple[Any, ...] = tuple(scope.get("client") or ("", 0))
        self.protocols: tuple[str, ...] = tuple(scope.get("subprotocols") or ())
        self.http_version: str = scope["http_version"]
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        query = scope.get("query_string", b"").decode("latin-1")
        name = raw.decode("latin-1").partition(PATH)[2]
        self.path = f"/{name}?{query}" if query else f"/{name}"
        self._receive, self._send = receive, send
        self._carrier: Carrier | None = scope.get(_STREAM)
        self._may_answer = "websocket.http.response" in (scope.get("extensions") or {})
        self._gone = False

    @property
    def name(self) -> str:
        """The broadcast's name as it was asked for, for the log."""
        return unquote(self.path.partition("?")[0])[1:]

    async def accept(self) -> None:
        """Grant it."""
        if self._carrier is not None:
            self._carrier.refuse_extensions()
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in self.protocols else None
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    async def refuse(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        """Answer as a CONNECT would be answered."""
        words = " ".join(reason.encode("ascii", "replace").decode().split())
        fields = {
            "wtgateway-reason": words,
            "content-type": "text/plain",
            "cache-control": "no-cache",
            **(headers or {}),
        }
        if not self._may_answer:
            await self._send({"type": "websocket.close", "code": 1000})
            return
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": encoded})
        await self._send({"type": "websocket.http.response.body", "body": words.encode() + b"\n"})

    # --- the WebSocket -----------------------------------------------------------------------------

    async def receive(self) -> bytes | int:
        """The next message, or the close code. Raises ProtocolError for a text."""
        while True:
            message: Message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._gone = True
                return int(message.get("code") or 1005)
            if message["type"] == "websocket.receive":
                data: bytes | None = message.get("bytes")
                if data is None:
                    raise ProtocolError(CloseCode.MALFORMED, "a message of text")
                return data

    async def send(self, message: bytes) -> None:
        """Send a message; waits while hypercorn's buffers are full."""
        await self._send({"type": "websocket.send", "bytes": message})

    async def close(self, code: int, reason: str) -> None:
        """Say the close; the answer is hypercorn's to wait for."""
        if not self._gone:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def abort(self) -> None:
        """Give up what was not sent."""
        if self._carrier is not None:
            await self._carrier.abort()

    def unsent(self) -> int:
        """Octets that wait in this process and its kernel; 0: none, or not known."""
        if self._carrier is None:
            return 0
        try:
            return self._carrier.unsent()
        except (AttributeError, OSError):  # it is just closing
            return 0


class WebSockets:
    """The ASGI endpoint of :data:`PATH`; ``serve`` is given each upgrade, and returns when it is over."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upgrade = Upgrade(scope, receive, send)
        first = await receive()
        if first["type"] != "websocket.connect":
            return
        try:
            await self._serve(upgrade)
        except asyncio.CancelledError:
            raise
        except Exception:  # a fault of ours must not take the connection's other streams down
            log.exception("a WebSocket could not be served: this is a bug of the gateway")
