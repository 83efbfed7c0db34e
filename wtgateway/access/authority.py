"""The one that is asked: tokens to grants, in the order of the modes, slowed, revoked, and remembered.

There is one for all processes of a gateway, so that what it counts and remembers holds for all ways in.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from wtgateway import clock
from wtgateway.access.checker import Checker, UnavailableError
from wtgateway.access.credentials import (
    NEEDS_TOKEN,
    NOT_ALLOWED,
    NOT_NOW,
    ONLY_HERE,
    SLOW_DOWN,
    Credentials,
    Refused,
    is_token,
)
from wtgateway.access.permissions import EVERYTHING, Action, Grant, Permission, parse_permissions
from wtgateway.access.revocations import Revocation, Revocations
from wtgateway.access.slowing import Slowing

log = logging.getLogger("wtgateway.access")

MAX_GOOD = 4096  # tokens that were good, remembered by their hashes
GOOD_S = 600.0
RETRY_S = 2.0  # after nobody could tell
_READING = (Permission(Action.READ, "*"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anonymous:
    """What may be done without a token: ``anywhere``, and by this machine's own (``here``)."""

    anywhere: tuple[Permission, ...] = ()
    here: tuple[Permission, ...] = ()

    def grant(self, credentials: Credentials) -> Grant:
        """Of somebody who shows none."""
        return Grant(permissions=self.here + self.anywhere if credentials.local else self.anywhere)

    def to_row(self) -> list[list[str]]:
        """As it travels between processes."""
        return [[str(permission) for permission in each] for each in (self.anywhere, self.here)]

    @classmethod
    def from_row(cls, row: list[list[str]]) -> Anonymous:
        """The same when it has arrived."""
        anywhere, here = (parse_permissions(texts) for texts in row)
        return cls(anywhere=anywhere, here=here)


def granted_at_once(credentials: Credentials, anonymous: Anonymous, *, takes_tokens: bool) -> Grant | None:
    """What whoever shows no token may do, if that includes what is asked for; else None."""
    if takes_tokens and (credentials.token or credentials.user):
        return None
    grant = anonymous.grant(credentials)
    return grant if grant.allows(credentials.action, credentials.broadcast) else None


OPEN = Anonymous(anywhere=_READING, here=EVERYTHING)  # without `access:` in the configuration


class Authority:
    """``checkers`` in their order: the first that knows a token tells what it is good for.

    Without any there are no tokens, and everybody has what ``anonymous`` says.
    """

    def __init__(
        self,
        checkers: Sequence[Checker] = (),
        *,
        anonymous: Anonymous = OPEN,
        on_refused: Callable[[Credentials, Refused], None] = lambda credentials, refused: None,
        now: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = clock.now_us,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.slowing = Slowing()
        self.revocations = Revocations()
        self._checkers, self._anonymous, self._on_refused = tuple(checkers), anonymous, on_refused
        self._asked_without = any(getattr(checker, "asks_without_token", False) for checker in checkers)
        self._now, self._now_us = now, now_us
        self._good: OrderedDict[bytes, float] = OrderedDict()

    def use(self, checkers: Sequence[Checker], anonymous: Anonymous) -> None:
        """From now on these are asked. Revocations and slowing stay; good tokens are forgotten."""
        self._checkers, self._anonymous = tuple(checkers), anonymous
        self._asked_without = any(getattr(checker, "asks_without_token", False) for checker in checkers)
        self._good.clear()

    @property
    def anonymous(self) -> Anonymous:
        """What may be done without a token."""
        return self._anonymous

    @property
    def takes_tokens(self) -> bool:
        """Whether there is anything that a token could be good for."""
        return bool(self._checkers)

    def check_now(self, credentials: Credentials) -> Grant | None:
        """The grant where it can be told at once, without any look at a token; else None."""
        return granted_at_once(credentials, self._anonymous, takes_tokens=bool(self._checkers))

    async def check(self, credentials: Credentials, *, anywhere: bool = False) -> Grant:
        """What whoever asks may do, which includes what is asked for. Raises Refused.

        ``anywhere``: it is enough that the action is allowed on some broadcast.
        """
        try:
            grant = await self._identified(credentials)
            allowed = grant.allows(credentials.action, credentials.broadcast)
            if not allowed and not (anywhere and grant.allows_anywhere(credentials.action)):
                raise self._lacking(credentials)
        except Refused as refused:
            self._note(credentials, refused)
            raise
        return grant

    def _lacking(self, credentials: Credentials) -> Refused:
        """The answer to who is known, but may not do that."""
        if not self._checkers:
            return Refused(403, ONLY_HERE)
        return (
            Refused(403, NOT_ALLOWED) if credentials.token or credentials.user else Refused(401, NEEDS_TOKEN)
        )

    def revoke(self, revocation: Revocation) -> None:
        """Take a token or an identity back. Raises RevocationsFullError."""
        self.revocations.add(revocation, self._now_us())

    async def _identified(self, credentials: Credentials) -> Grant:
        anonymous = self._anonymous.grant(credentials)
        shown = bool(credentials.token or credentials.user)
        if not self._checkers or not (shown or self._asked_without):
            return anonymous
        if not shown and anonymous.allows(credentials.action, credentials.broadcast):
            return anonymous
        digest = _digest(credentials)
        now = self._now()
        good = self._good.get(digest, 0.0) > now  # whoever shares its address may be guessing
        if shown and not good and (wait_s := self.slowing.wait_s(credentials.address, now)) > 0:
            raise Refused(429, SLOW_DOWN, wait_s)
        grant = await self._asked(credentials) if credentials.user or _may_be(credentials.token) else None
        if grant is None:
            self._good.pop(digest, None)
            if shown:
                self.slowing.failed(credentials.address, self._now())
                self.counters["access_displaced"] = self.slowing.displaced
            raise Refused(401, NEEDS_TOKEN)
        now_us = self._now_us()
        if self.revocations.revoked(grant, now_us) or (grant.expires_us and now_us >= grant.expires_us):
            raise Refused(401, NEEDS_TOKEN)
        if shown:
            self.counters["access_granted"] += 1
            self._remember(digest)
        return replace(grant, permissions=(*grant.permissions, *anonymous.permissions))

    async def _asked(self, credentials: Credentials) -> Grant | None:
        unavailable = False
        for checker in self._checkers:
            try:
                grant = await checker.check(credentials)
            except UnavailableError:
                unavailable = True
                continue
            if grant is not None:
                return grant
        if unavailable:
            raise Refused(503, NOT_NOW, RETRY_S)
        return None

    def _remember(self, digest: bytes) -> None:
        self._good[digest] = self._now() + GOOD_S
        self._good.move_to_end(digest)
        while len(self._good) > MAX_GOOD:
            self._good.popitem(last=False)

    def _note(self, credentials: Credentials, refused: Refused) -> None:
        self.counters[f"access_refused_{refused.status}"] += 1
        if credentials.token or credentials.user or refused.status != 401:
            log.info(
                "access refused status=%d action=%s broadcast=%s address=%s over=%s",
                refused.status,
                credentials.action,
                credentials.broadcast or "-",
                credentials.address or "-",
                credentials.transport,
            )
            self._on_refused(credentials, refused)


def _may_be(token: str) -> bool:
    """Whether there is any use in asking about it; none at all is something that may be asked about."""
    return not token or is_token(token)


def _digest(credentials: Credentials) -> bytes:
    text = f"{credentials.user}\0{credentials.token}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
