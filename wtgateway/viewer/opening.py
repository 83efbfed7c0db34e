"""How a viewer's session is opened, over which transport, and how it is left.

Imports errors, protocol and the transport's clients.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wtgateway.errors import TransportError
from wtgateway.protocol.client_session import ClientSession
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.wire import PROTOCOL_VERSION
from wtgateway.transport.websocket_client import ClientWebSocket, connect_websocket, disconnect_websocket
from wtgateway.transport.webtransport import SessionHandler, WebTransportSession
from wtgateway.viewer.address import Address
from wtgateway.viewer.link import ViewerLink
from wtgateway.viewer.race import Race

if TYPE_CHECKING:
    from wtgateway.viewer.client import ViewOptions

Session = WebTransportSession | ClientWebSocket
Connect = Callable[..., Awaitable[WebTransportSession]]
Disconnect = Callable[[WebTransportSession, int, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Opening:
    """``connect`` and ``disconnect`` are those of wtgateway.transport.client."""

    options: ViewOptions
    connect: Connect
    disconnect: Disconnect

    async def open(
        self,
        address: Address,
        link: ViewerLink,
        former: ClientSession | None,
        *,
        pushed_hashes: tuple[bytes, ...] = (),
        headers: dict[str, str] | None = None,
        patience_s: float | None = None,
    ) -> Session:
        """A session for ``link``, in the place of ``former``. Raises SessionRefused, TransportError."""
        resume = former.resume if former is not None else None
        url = functools.partial(
            address.url,
            self.options.kinds,
            PROTOCOL_VERSION,
            delivery=self.options.delivery,
            deadline_ms=self.options.deadline_ms,
            resume=resume.token if resume is not None else "",
            after=former.positions() if former is not None else (),
        )
        hashes = address.hashes
        if hashes:  # another node may show another certificate, that it was told of meanwhile
            hashes = tuple(dict.fromkeys((*hashes, *pushed_hashes)))
        given: dict[str, Any] = {} if patience_s is None else {"timeout": patience_s}
        if headers:
            given["headers"] = headers

        async def webtransport(handler: SessionHandler) -> WebTransportSession:
            insecure = address.insecure and not address.hashes
            return await self.connect(url(), handler, certificate_hashes=hashes, insecure=insecure, **given)

        async def websocket(handler: SessionHandler) -> ClientWebSocket:
            return await connect_websocket(url(websocket=True), handler, insecure=address.insecure, **given)

        wish = self.options.transport
        if wish == "websocket" and not address.websockets:
            raise TransportError("the gateway tells of no WebSockets: give the address of its page")
        if wish == "websocket":
            return await websocket(link)
        if wish == "webtransport" or not address.websockets:
            return await webtransport(link)
        won: Session = await Race(link, self._close).run(webtransport, websocket)
        return won

    async def leave(self, session: Session, code: int, reason: str) -> None:
        """Close what :meth:`open` opened, and wait until its socket is closed."""
        if isinstance(session, ClientWebSocket):
            await disconnect_websocket(session, code, reason)
        else:
            await self.disconnect(session, code, reason)

    async def _close(self, session: Session) -> None:
        await self.leave(session, CloseCode.NORMAL, "")
