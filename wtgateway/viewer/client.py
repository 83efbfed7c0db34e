"""A native viewer on the same protocol core: `wtgateway view`, tests, load.

Connects, hands what comes to its :class:`~wtgateway.viewer.reception.Reception`, comes back by itself
when the session is lost, and says in words what it is doing. Composes the viewer's helpers, the
transport's client and the protocol core.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from wtgateway.errors import ConfigError, SessionRefused, TransportError
from wtgateway.media import Frame
from wtgateway.protocol.client_session import ClientLimits, ClientSession
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import Access
from wtgateway.transport import client as transport_client
from wtgateway.viewer.address import Address, resolve
from wtgateway.viewer.decode import Decoded
from wtgateway.viewer.link import ViewerLink
from wtgateway.viewer.opening import Connect, Disconnect, Opening, Session
from wtgateway.viewer.reception import Reception
from wtgateway.viewer.record import check_path
from wtgateway.viewer.roamer import Roamer
from wtgateway.viewer.stats import ViewerFigures
from wtgateway.viewer.token import headers_of, read_token, split_token

__all__ = ["Decoded", "ViewOptions", "Viewer"]

log = logging.getLogger("wtgateway.viewer")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
UNKNOWN_PAUSE_S = 2.0  # a broadcast that does not exist may come, but not in a hurry
RENEW_MS = 30_000  # a token that is over so soon is to be followed by another
STEADY_S = 5.0  # a session that lived so long starts the back-off anew
FATAL_STATUS = {400, 401, 403, 421}
FATAL_CODES = {
    *(CloseCode.VERSION, CloseCode.UNKNOWN_MESSAGE),
    *(CloseCode.FORBIDDEN, CloseCode.REVOKED, CloseCode.KICKED),
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewOptions:
    """What to watch and what to do with it. ``seconds`` None: until stopped."""

    url: str
    record: Path | None = None
    seconds: float | None = None
    hashes: tuple[bytes, ...] = ()
    insecure: bool = False
    json: bool = False
    video: bool = True
    audio: bool = True
    decode: bool = True
    delivery: str = "stream"  # or "datagram", or "auto"
    deadline_ms: int = 0  # after its capture a frame is worth nothing; 0: the gateway's default
    transport: str = "auto"  # or "webtransport", or "websocket"
    token: str = field(default="", repr=False)  # for access; @FILE: read from there, again when it is needed

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of tracks to subscribe to."""
        return ("video",) * self.video + ("audio",) * self.audio


class Viewer:
    """Watches one broadcast until :meth:`stop`; one use only.

    ``on_frame`` is called on the loop with each frame in order, ``on_media`` in the decoder's thread
    with each picture and block of samples, ``on_notice`` on the loop with a line for the user.
    ``connect`` and ``disconnect`` are those of wtgateway.transport.client.
    """

    def __init__(
        self,
        options: ViewOptions,
        *,
        on_frame: Callable[[Frame], None] = lambda frame: None,
        on_media: Callable[[Decoded], None] = lambda decoded: None,
        on_notice: Callable[[str], None] = log.info,
        connect: Connect = transport_client.connect,
        disconnect: Disconnect = transport_client.disconnect,
    ) -> None:
        if options.record is not None:
            check_path(options.record)
        address, token = split_token(options.url)
        self.options = replace(options, url=address, token=options.token or token)
        self._token = ""  # the one in use
        self.figures = ViewerFigures(time.monotonic())
        self._on_notice = on_notice
        self._opening = Opening(self.options, connect, disconnect)
        self._stopped = asyncio.Event()
        self._renewing: asyncio.Future[None] | None = None
        self._address: Address | None = None
        self._pause = FIRST_PAUSE_S
        self._reception = Reception(
            self.figures,
            decode=options.decode,
            record=options.record,
            on_frame=on_frame,
            on_media=on_media,
            on_notice=on_notice,
            on_said=lambda: self._roamer.settle(),
            on_broken=self.stop,
            on_access=self._access_changed,
        )
        self._roamer = Roamer(
            self._reception, make_core=self._make_core, open_=self._open, disconnect=self._opening.leave
        )

    @property
    def core(self) -> ClientSession | None:
        """The session that plays, or is to."""
        return self._roamer.core

    def authenticate(self, token: str) -> None:
        """Go on with another access token, in this session and those that follow it."""
        self._token = token
        core = self._roamer.core
        if core is not None:
            core.authenticate(token)
            self._roamer.settle()

    def _access_changed(self, access: Access) -> None:
        """Told by the gateway: in time before a token is over the next one is looked for in its file."""
        self.figures.access = access
        if not access.granted:
            self._on_notice("the gateway does not take this token")
        elif 0 < access.expires_in_ms <= RENEW_MS and self.options.token.startswith("@"):
            self._renewing = asyncio.ensure_future(self._renew())

    async def _renew(self) -> None:
        try:
            token = await asyncio.to_thread(read_token, self.options.token)
        except ConfigError as error:
            self._on_notice(str(error))
            return
        if token and token != self._token:
            self.authenticate(token)

    def stop(self) -> None:
        """Leave in order; :meth:`run` returns soon."""
        self._stopped.set()

    def stats(self) -> dict[str, Any]:
        """The figures under the names of the page's ``player.stats()``."""
        self._absorb()
        return self.figures.as_dict(time.monotonic())

    def _absorb(self) -> None:
        self._reception.absorb()
        self.figures.transport = self._roamer.transport or self.figures.transport

    async def run(self) -> None:
        """Watch until stopped, reconnecting as often as needed.

        Raises ConfigError for an address that cannot be, SessionRefused or TransportError when coming
        back is of no use, RecordError when the recording cannot be written.
        """
        timer = None
        if self.options.seconds is not None:
            timer = asyncio.get_running_loop().call_later(self.options.seconds, self.stop)
        try:
            while not self._stopped.is_set():
                await self._once()
        finally:
            if timer is not None:
                timer.cancel()
            self._reception.absorb()
            self.figures.state = "stopped"
            await asyncio.to_thread(self._reception.close)
        # The threads' last words are on the loop's list by now: they count too.
        await asyncio.sleep(0)
        self._reception.check()

    async def _once(self) -> None:
        """One attempt, one session, and the pause after it."""
        began = time.monotonic()
        try:
            address = await self._unless_stopped(asyncio.to_thread(self._resolve))
            if address is None:
                return
            reason = await self._watch(address)
        except SessionRefused as error:
            if error.status in FATAL_STATUS:
                raise
            reason = str(error)
            if error.status == 404:
                self._pause = max(self._pause, UNKNOWN_PAUSE_S)
        except TransportError as error:
            reason = str(error)
        if not self._stopped.is_set():
            await self._rest(reason, steady=time.monotonic() - began > STEADY_S)

    async def _rest(self, reason: str, *, steady: bool) -> None:
        """The pause before the next attempt; raises TransportError if there must be none."""
        retry_after_ms, self._reception.retry_after_ms = self._reception.retry_after_ms, None
        if retry_after_ms == -1:
            raise TransportError(reason)
        if steady:
            self._pause = FIRST_PAUSE_S
        pause = max(self._pause, (retry_after_ms or 0) / 1000)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_S)
        self.figures.state = "reconnecting"
        self.figures.reconnects += 1
        self._on_notice(f"{reason}; connecting again in {pause:.2g} s")
        await self._unless_stopped(asyncio.sleep(pause))

    def _resolve(self) -> Address:
        options = self.options
        if not self._token or options.token.startswith("@"):
            self._token = read_token(options.token)
        address = resolve(options.url, hashes=options.hashes, insecure=options.insecure, token=self._token)
        if self.options.hashes and address.hashes:
            # Given by hand they cannot be fetched again; what the gateway pushed continues them.
            known = dict.fromkeys((*address.hashes, *self._reception.pushed_hashes))
            return replace(address, hashes=tuple(known))
        return address

    async def _watch(self, address: Address) -> str:
        """Sessions that take each other's place, from CONNECT to the last one's end; the reason of that."""
        self._address = address
        roamer = self._roamer
        self.figures.state = "connecting"
        began = time.monotonic()
        roamer.start()
        either: set[asyncio.Future[Any]] = {roamer.opened, roamer.ended}
        try:
            await self._unless_stopped(asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED))
            if roamer.opened.done():
                self._connected(address, began)
            end = await self._unless_stopped(asyncio.shield(roamer.ended))
        finally:
            self._absorb()
            await roamer.stop()
        if end is not None and end.error is not None:
            raise end.error
        return self._judge(end.code, end.reason) if end is not None else "stopped"

    def _connected(self, address: Address, began: float) -> None:
        if self.figures.state == "connecting":
            self.figures.state = "joining"
        if self.figures.connected_at is None:
            self.figures.connected_at = began
        self._on_notice(f"connected to {address.base}/{address.broadcast}")

    def _make_core(self, former: ClientSession | None) -> ClientSession:
        deadline_ms = self.options.deadline_ms
        limits = ClientLimits(deadline=deadline_ms / 1000) if deadline_ms else ClientLimits()
        return ClientSession(client="wtgateway view", limits=limits, former=former)

    async def _open(
        self, link: ViewerLink, former: ClientSession | None, patience_s: float | None
    ) -> Session:
        assert self._address is not None
        return await self._opening.open(
            self._address,
            link,
            former,
            pushed_hashes=tuple(self._reception.pushed_hashes),
            headers=headers_of(self._token) if self._token else None,
            patience_s=patience_s,
        )

    def _judge(self, code: int, reason: str) -> str:
        """Why the session ended, in words; sees to it that there is no other if that is of no use."""
        if code in FATAL_CODES:
            self._reception.retry_after_ms = -1
        return f"the session ended: {reason or f'code {code}'}"

    async def _unless_stopped(self, work: Awaitable[T]) -> T | None:
        """The result of ``work``, or None if :meth:`stop` came first."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
