"""Who this gateway is among others, and whose sessions it takes on: makes and judges resume tokens.

May import protocol.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from wtgateway import clock
from wtgateway.protocol.resume import (
    KEY_BYTES,
    NONCE_BYTES,
    VALID_US,
    ResumeTokens,
    Resumption,
    TokenRefused,
    TrackWish,
    UsedTokens,
    Wishes,
)
from wtgateway.protocol.subscribe_query import SubscribeQuery

INSTANCE_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A gateway as one of several. ``instance`` is made anew whenever it starts; all its workers share it.

    ``resume_key`` seals resume tokens: the cluster's, or one of its own.
    """

    name: str = ""
    instance: str = field(default_factory=lambda: secrets.token_hex(INSTANCE_BYTES))
    resume_key: bytes = field(default_factory=lambda: os.urandom(KEY_BYTES), repr=False)

    def to_row(self) -> list[str | bytes]:
        """As it travels to workers."""
        return [self.name, self.instance, self.resume_key]

    @classmethod
    def from_row(cls, row: list[str | bytes]) -> Member:
        """The same when it has arrived."""
        name, instance, key = row
        assert isinstance(name, str)
        assert isinstance(instance, str)
        assert isinstance(key, bytes)
        return cls(name=name, instance=instance, resume_key=key)


@dataclass(frozen=True, slots=True)
class Begin:
    """How a session begins. ``former`` is the session whose place it takes, of this instance; or empty.

    ``goes_on``: the positions of ``query.after`` are those of this instance.
    """

    query: SubscribeQuery
    wished: tuple[TrackWish, ...] = ()
    former: str = ""
    goes_on: bool = False


class Resuming:
    """``on_used`` is told of each token used here, with the time (gateway time, µs) when it expires."""

    def __init__(
        self, member: Member, *, on_used: Callable[[bytes, int], None] = lambda number, expires_us: None
    ) -> None:
        self.member = member
        self.used = UsedTokens()
        self.counters: Counter[str] = Counter()  # resumes_<outcome>
        self._tokens = ResumeTokens(member.resume_key)
        self._on_used = on_used

    def token(
        self, session: str, broadcast: str, wishes: Wishes, now_us: int, *, identity: str = ""
    ) -> tuple[str, int]:
        """What a viewer is told to resume with, and for how many ms that is valid."""
        resumption = Resumption(
            instance=self.member.instance, session=session, wishes=wishes, expires_us=now_us + VALID_US
        )
        token = self._tokens.seal(
            resumption, broadcast=broadcast, nonce=os.urandom(NONCE_BYTES), identity=_owner(identity)
        )
        return token, VALID_US // 1000

    def note_used(self, number: bytes, expires_us: int) -> None:
        """A token was used in another process of this gateway."""
        self.used.note(number, expires_us, clock.now_us())

    def begin(self, query: SubscribeQuery, now_us: int, *, identity: str = "") -> Begin:
        """What a CONNECT's query comes to. A token that is of no use is counted, and no error.

        ``identity`` is who asks: of use to that one alone are the tokens that were made for it.
        """
        anew = replace(query, after=())
        if not query.resume:
            return Begin(anew)
        try:
            resumption, number = self._tokens.open(
                query.resume, broadcast=query.broadcast, now_us=now_us, identity=_owner(identity)
            )
            self.used.use(number, resumption.expires_us, now_us)
        except TokenRefused as error:
            self.counters[f"resumes_{error.reason}"] += 1
            return Begin(anew)
        self._on_used(number, resumption.expires_us)
        here = resumption.instance == self.member.instance
        self.counters["resumes_here" if here else "resumes_elsewhere"] += 1
        return Begin(
            resumption.wishes.apply(query),
            resumption.wishes.tracks,
            resumption.session if here else "",
            here,
        )


def _owner(identity: str) -> str:
    """What stands for an identity in a token, which has little room; nothing for nobody in particular."""
    return hashlib.sha256(identity.encode()).hexdigest()[:32] if identity else ""
