"""Who is let in, for how long, and who has to leave: this process's side of the one authority.

A CONNECT or an upgrade is answered at once where no token has to be looked at; else whoever knows is asked,
for a while, and nobody else waits for that. May import access, protocol and transport.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from wtgateway.access.authority import Authority
from wtgateway.access.credentials import (
    NEEDS_TOKEN,
    NOT_NOW,
    OTHER_ORIGIN,
    Credentials,
    Refused,
    is_local,
    parse_authorization,
)
from wtgateway.access.origins import ANY, Origins
from wtgateway.access.permissions import Action, Grant
from wtgateway.access.revocations import Revocation
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.subscribe_query import SubscribeQuery
from wtgateway.transport.session import ViewerSession
from wtgateway.transport.webtransport import Refusal, SessionHandler, SessionRequest

log = logging.getLogger("wtgateway.session")

ANY_ORIGIN = Origins(allowed=(ANY,))
PATIENCE_S = 5.0
MOST_ASKED = 256  # questions under way
MOST_LOCKED = 64  # sessions whose token is yet to come
REVOKED = "access was taken back"

Answer: TypeAlias = SessionHandler | Refusal


class Asked(Protocol):
    """Who is asked: an Authority, or the way to it."""

    def check_now(self, credentials: Credentials) -> Grant | None:
        """The grant where it can be told at once; else None."""

    async def check(self, credentials: Credentials) -> Grant:
        """What whoever asks may do, which includes what is asked for. Raises Refused."""


class Entrance:
    """``origins``: whose pages may connect. ``on_identified`` is told whose session it is that has shown its
    token later, and may refuse it. Counts in ``counters``.
    """

    def __init__(
        self,
        authority: Asked | None = None,
        origins: Origins = ANY_ORIGIN,
        *,
        on_identified: Callable[[ViewerSession, Grant], Refusal | None] = lambda session, grant: None,
    ) -> None:
        self.counters: Counter[str] = Counter()  # origins_refused, access_asked, access_timeouts, ...
        self._authority: Asked = authority or Authority()
        self._origins, self._on_identified = origins, on_identified
        self._asking: set[asyncio.Task[Answer]] = set()
        self._locked: set[ViewerSession] = set()
        self._renewing: dict[ViewerSession, tuple[asyncio.Task[None], str | None]] = {}

    def use_origins(self, origins: Origins) -> None:
        """Whose pages may connect from now on."""
        self._origins = origins

    # --- a session that is to begin ----------------------------------------------------------------

    def let_in(
        self, request: SessionRequest, query: SubscribeQuery, begin: Callable[[Grant | None], Answer]
    ) -> Answer | asyncio.Task[Answer]:
        """The answer to ``request``, or a task that gives it; ``begin`` makes the session.

        ``begin`` is given None where the token is to come in the first message. A task may be cancelled.
        """
        if not self._origins.allows(request.origin, request.authority):
            self.counters["origins_refused"] += 1
            log.info("session refused: origin=%r authority=%r", request.origin[:200], request.authority[:200])
            return Refusal(403, OTHER_ORIGIN)
        credentials = credentials_of(request, query)
        if query.later and not credentials.token:
            return self._later(begin)
        grant = self._authority.check_now(credentials)
        if grant is not None:
            return begin(grant)
        if len(self._asking) >= MOST_ASKED:
            self.counters["access_not_asked"] += 1
            return Refusal(503, NOT_NOW)
        task = asyncio.create_task(self._ask(credentials, begin), name="access")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    def _later(self, begin: Callable[[Grant | None], Answer]) -> Answer:
        if len(self._locked) >= MOST_LOCKED:
            self.counters["access_not_asked"] += 1
            return Refusal(503, NOT_NOW)
        answer = begin(None)
        if isinstance(answer, ViewerSession):
            self._locked.add(answer)
        return answer

    async def _ask(self, credentials: Credentials, begin: Callable[[Grant | None], Answer]) -> Answer:
        try:
            grant = await self._checked(credentials)
        except Refused as refused:
            return refusal_of(refused)
        return begin(grant)

    async def _checked(self, credentials: Credentials) -> Grant:
        self.counters["access_asked"] += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._authority.check(credentials)
        except TimeoutError:
            self.counters["access_timeouts"] += 1
            raise Refused(503, NOT_NOW) from None

    # --- a session that goes on --------------------------------------------------------------------

    def token_shown(self, session: ViewerSession, credentials: Credentials) -> None:
        """A viewer shows a token in the middle of its session; of several at once the last one counts."""
        running = self._renewing.get(session)
        if running is not None:
            self._renewing[session] = (running[0], credentials.token)
            return
        task = asyncio.create_task(self._renew(session, credentials), name="access renewal")
        self._renewing[session] = (task, None)

    async def _renew(self, session: ViewerSession, credentials: Credentials) -> None:
        try:
            while True:
                await self._renewed(session, credentials)
                task, following = self._renewing[session]
                if following is None:
                    return
                self._renewing[session] = (task, None)
                credentials = _with_token(credentials, following)
        finally:
            self._renewing.pop(session, None)

    async def _renewed(self, session: ViewerSession, credentials: Credentials) -> None:
        try:
            grant = self._authority.check_now(credentials) or await self._checked(credentials)
            if session.grant is not None and session.grant.identity != grant.identity:
                raise Refused(401, NEEDS_TOKEN)  # a session is one identity's from beginning to end
        except Refused as refused:
            log.info("token refused session=%s status=%d", session.id, refused.status)
            session.refused()
            return
        self._locked.discard(session)
        if session.grant is None and (refusal := self._on_identified(session, grant)) is not None:
            session.part(CloseCode.LIMIT, refusal.reason)
            return
        session.granted(grant)

    def left(self, session: ViewerSession) -> None:
        """A session is over."""
        self._locked.discard(session)
        running = self._renewing.pop(session, None)
        if running is not None:
            running[0].cancel()

    def revoke(self, revocation: Revocation, sessions: Iterable[ViewerSession]) -> None:
        """End the sessions of what was taken back."""
        for session in sessions:
            if session.grant is not None and revocation.concerns(session.grant):
                self.counters["sessions_revoked"] += 1
                session.part(CloseCode.REVOKED, REVOKED, -1)


def credentials_of(request: SessionRequest, query: SubscribeQuery) -> Credentials:
    """What a CONNECT or an upgrade shows; a header goes before the query."""
    user, token = parse_authorization(request.headers.get("authorization", ""))
    address = str(request.remote[0]) if request.remote else ""
    return Credentials(
        token=token or query.token,
        user=user,
        address=address,
        local=is_local(address, request.headers),
        action=Action.READ,
        broadcast=query.broadcast,
        origin=request.origin,
        transport=request.transport,
    )


def refusal_of(refused: Refused) -> Refusal:
    """As a CONNECT is answered."""
    return Refusal(refused.status, refused.words, math.ceil(refused.retry_after_s))


def _with_token(credentials: Credentials, token: str) -> Credentials:
    return dataclasses.replace(credentials, token=token, user="")
