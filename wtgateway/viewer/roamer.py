"""A viewer's sessions: the one that plays, and at times a second one beside it.

When there is a second one, and which is kept, is decided by :class:`wtgateway.protocol.roaming.Roaming`; here
it is told what happens, and done what it says. Composes the protocol core and the transport's interface.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from wtgateway.errors import SessionRefused, TransportError
from wtgateway.media import Kind
from wtgateway.protocol import client_events as events
from wtgateway.protocol.client_session import ClientSession
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.roaming import Action, Roaming
from wtgateway.transport.websocket_client import ClientWebSocket
from wtgateway.transport.webtransport import WebTransportSession
from wtgateway.viewer.link import ViewerLink

Session = WebTransportSession | ClientWebSocket
Open = Callable[[ViewerLink, ClientSession | None, float | None], Awaitable[Session]]
"""Connects a link; gives the session that it may take the place of, and the s that it may take."""


@dataclass(slots=True)
class Contact:
    """One session, from CONNECT to its end."""

    core: ClientSession
    link: ViewerLink
    former: ClientSession | None
    opening: asyncio.Task[Session] | None = None
    said: list[events.ClientEvent] = field(default_factory=list)  # until it is the one that plays


@dataclass(frozen=True, slots=True)
class End:
    """Why there is no session any more. ``error`` None: ``code`` and ``reason`` are those of its close."""

    code: int = 0
    reason: str = ""
    error: TransportError | None = None


class Audience(Protocol):
    """What becomes of what comes. All calls are on the loop."""

    def begin(self, core: ClientSession) -> None:
        """What follows comes from this session."""

    def handle(self, happened: list[events.ClientEvent]) -> None:
        """Events of that session."""

    def roaming_changed(self, roaming: Roaming) -> None:
        """Whether the viewer is looking for a better path, how often it found one, and what that cost."""


class Roamer:
    """Keeps a viewer in touch with its broadcast: :meth:`start`, and wait for ``ended``.

    ``make_core`` makes a session's core, given the one whose place it may take; ``disconnect`` closes what
    ``open_`` has opened.
    """

    def __init__(
        self,
        audience: Audience,
        *,
        make_core: Callable[[ClientSession | None], ClientSession],
        open_: Open,
        disconnect: Callable[[Session, int, str], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.roaming = Roaming()
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[End] = self._loop.create_future()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self._audience, self._make_core, self._open = audience, make_core, open_
        self._disconnect, self._clock = disconnect, clock
        self._main: Contact | None = None
        self._spare: Contact | None = None
        self._former: ClientSession | None = None  # the last one that had a token
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def core(self) -> ClientSession | None:
        """The session that plays, or is to."""
        return self._main.core if self._main is not None else None

    @property
    def transport(self) -> str:
        """Over which it plays: "webtransport" or "websocket"; empty before it is open."""
        return self._main.link.transport if self._main is not None else ""

    def start(self) -> None:
        """Open a session, where there is none; it takes the place of the one that was lost, if it can."""
        self.ended, self.opened = self._loop.create_future(), self._loop.create_future()
        contact = self._main = self._contact()
        self._audience.begin(contact.core)
        self._begin(contact, None)

    def settle(self) -> None:
        """The audience has told the session to say something."""
        if self._main is not None:
            self._main.link.settle()

    async def stop(self) -> None:
        """Say goodbye to all, and wait until the sockets are closed."""
        self._stop_timer()
        for contact in (self._main, self._spare):
            if contact is not None:
                self._leave(contact)
        self._main = self._spare = None
        while self._tasks:
            await asyncio.wait(self._tasks)

    # --- contacts ----------------------------------------------------------------------------------

    def _contact(self) -> Contact:
        if self._main is not None and self._main.core.resume is not None:
            self._former = self._main.core
        former = self._former
        core = self._make_core(former)
        contact = Contact(core, ViewerLink(core, lambda happened: self._said(contact, happened)), former)
        contact.link.on_heard = lambda: self._heard(contact)
        contact.link.ended.add_done_callback(lambda ended: self._ended(contact, *ended.result()))
        return contact

    def _begin(self, contact: Contact, patience_s: float | None) -> None:
        contact.opening = asyncio.ensure_future(self._open(contact.link, contact.former, patience_s))
        contact.opening.add_done_callback(lambda opening: self._answered(contact, opening))

    def _answered(self, contact: Contact, opening: asyncio.Task[Session]) -> None:
        if opening.cancelled():
            return
        error = opening.exception()
        if error is None:
            if contact is self._main and not self.opened.done():
                self.opened.set_result(None)
        elif not isinstance(error, SessionRefused | TransportError):
            self._over(contact, End(error=TransportError(repr(error))))
        else:
            self._over(contact, End(error=error))

    def _ended(self, contact: Contact, code: int, reason: str) -> None:
        self._over(contact, End(code, reason))

    def _over(self, contact: Contact, end: End) -> None:
        """A session is over by itself, or could not be opened."""
        if contact is self._spare:
            self._spare = None
            self._leave(contact)
            self._do(self.roaming.spare_failed(self._now_us()))
        elif contact is self._main:
            if contact.core.resume is not None:
                self._former = contact.core
            self._main = None
            self._leave(contact)
            self._do(self.roaming.ended(self._now_us()), end)

    def _leave(self, contact: Contact) -> None:
        """Close a session that is not needed, in order and in the background."""
        task = asyncio.ensure_future(self._close(contact))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, contact: Contact) -> None:
        opening = contact.opening
        assert opening is not None
        if not opening.done():
            opening.cancel()
        try:
            session = await opening
        except (asyncio.CancelledError, SessionRefused, TransportError):
            return
        if not contact.link.ended.done():
            contact.core.say_goodbye()
            contact.link.settle()
        await self._disconnect(session, CloseCode.NORMAL, "")

    # --- what happens ------------------------------------------------------------------------------

    def _heard(self, contact: Contact) -> None:
        if contact is self._main:
            self.roaming.rtt_us = contact.core.clock.rtt_us
            self._do(self.roaming.heard(self._now_us()))
        elif contact is self._spare:
            self._do(self.roaming.spare_heard(self._now_us()))

    def _said(self, contact: Contact, happened: list[events.ClientEvent]) -> None:
        for event in happened:
            if contact is self._main:
                self._main_said(contact, event)
            elif contact is self._spare:
                self._spare_said(contact, event)

    def _main_said(self, contact: Contact, event: events.ClientEvent) -> None:
        match event:
            case events.FrameReady(frame=frame):
                self._audience.handle([event])
                self._do(self.roaming.frame(_kind(contact.core, frame.track), self._now_us()))
                return
            case events.StateChanged(state=state):
                self.roaming.live = state.state == "live"
            case events.GatewayDrains():
                self._do(self.roaming.drain(self._now_us()))
        self._audience.handle([event])

    def _spare_said(self, contact: Contact, event: events.ClientEvent) -> None:
        """Its frames count; what else it says is kept for when it plays."""
        if not isinstance(event, events.FrameReady):
            contact.said.append(event)
            return
        # In the order of both sessions what is delivered is newer; of another instance anything is.
        kind = _kind(contact.core, event.frame.track)
        self._do(self.roaming.spare_frame(kind, self._now_us()))
        if contact is self._main:
            self._audience.handle([event])

    def _wake(self) -> None:
        self._timer = None
        self._do(self.roaming.advance(self._now_us()))

    # --- what is to be done --------------------------------------------------------------------------

    def _do(self, actions: list[Action], end: End | None = None) -> None:
        for action in actions:
            match action:
                case Action.PING:
                    self._ping()
                case Action.OPEN:
                    self._open_spare()
                case Action.CLOSE_SPARE:
                    spare, self._spare = self._spare, None
                    if spare is not None:
                        self._leave(spare)
                case Action.SWITCH:
                    self._switch()
                case Action.LOST:
                    self._stop_timer()
                    if not self.ended.done():
                        self.ended.set_result(end or End())
        self._audience.roaming_changed(self.roaming)
        self._set_timer()

    def _ping(self) -> None:
        if self._main is not None:
            self._main.core.ping(self._clock())
            # Not from here: this may be inside of the session's own turn.
            self._loop.call_soon(self._main.link.settle)

    def _open_spare(self) -> None:
        assert self._spare is None
        spare = self._spare = self._contact()
        self._begin(spare, self.roaming.patience_us / 1e6)

    def _switch(self) -> None:
        """The spare plays from now on."""
        former, spare = self._main, self._spare
        assert spare is not None
        self._main, self._spare = spare, None
        if former is not None:
            self._leave(former)
        spare.core.alone()
        self._audience.begin(spare.core)
        self.roaming.live = spare.core.state is not None and spare.core.state.state == "live"
        said, spare.said = spare.said, []
        self._audience.handle(said)
        if spare.opening is not None and spare.opening.done() and not self.opened.done():
            self.opened.set_result(None)

    def _set_timer(self) -> None:
        """One that comes too early does no harm: what comes all the time puts it off all the time."""
        due_us = self.roaming.next_timeout()
        if due_us is None or self.ended.done() or self._main is None:
            return
        due = due_us / 1e6
        if self._timer is not None and self._timer_at <= due:
            return
        self._stop_timer()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - self._clock()) + 1e-6, self._wake)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)


def _kind(core: ClientSession, track_id: int) -> Kind:
    track = core.catalog.track(track_id) if core.catalog is not None else None
    return track.kind if track is not None else Kind.DATA
