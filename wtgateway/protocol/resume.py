"""Resume tokens: what a session hands to the one that takes its place (docs/protocol.md, "Resuming").

A token is sealed with AES-256-GCM (NIST SP 800-38D) under a key that all nodes of a cluster have, so that any
of them can open what another one made, and nobody else can make or read one. Layout, in base64url without
padding: version (1) | nonce (12) | sealed: msgpack list | tag (16). The nonce is random and serves as the
token's number: with 2^32 tokens of one key two are the same with a probability of 2^-33.

It is bound to a broadcast (by its hash) and to an identity (the empty one until there is access control),
expires, and may be used once: :class:`UsedTokens` remembers the numbers until they would have expired anyway.

Pure: ``now_us`` is gateway time, randomness an argument. Imports media and errors only, and cryptography.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wtgateway.errors import ProtocolError
from wtgateway.media import Kind
from wtgateway.protocol.abilities import parse_abilities
from wtgateway.protocol.subscribe_query import DELIVERY_MODES, MAX_DEADLINE_MS, SubscribeQuery

KEY_BYTES = 32
NONCE_BYTES = 12
VALID_US = 120_000_000
RENEW_US = 60_000_000  # after so long a session gets another one
MAX_VALID_US = 600_000_000  # further ahead no node of ours lets a token expire, whatever its clock says
MAX_CHARACTERS = 512
MAX_WISHES = 8
MAX_IDENTITY_CHARACTERS = 64
MAX_USED = 65_536
_VERSION = b"\x01"
_TAG_BYTES = 16
_MAX_BYTES = MAX_CHARACTERS * 3 // 4
_LEAST_BYTES = len(_VERSION) + NONCE_BYTES + _TAG_BYTES
_DIGEST_BYTES = 16


class Refused(enum.StrEnum):
    """Why a token is of no use. The session opens all the same, as a new one."""

    UNREADABLE = "unreadable"  # of another secret, altered, or no token at all
    FOREIGN = "foreign"  # for another broadcast or identity
    EXPIRED = "expired"
    USED = "used"
    FULL = "full"  # it may have been used: too many were to remember that


class TokenRefused(Exception):
    """``reason`` says why."""

    def __init__(self, reason: Refused) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TrackWish:
    """What a viewer wished of one track with a ``subscribe`` message; ``delivery`` empty: none of it."""

    track: int
    rendition: int = -1
    delivery: str = "stream"
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """A session's subscription, as another one can begin with it. ``codecs`` empty: not known."""

    kinds: tuple[Kind, ...] = ()
    delivery: str = "stream"
    deadline_ms: int = 0
    codecs: str = ""
    tracks: tuple[TrackWish, ...] = ()

    def apply(self, query: SubscribeQuery) -> SubscribeQuery:
        """The query with what it does not say itself."""
        known: dict[str, Any] = {}
        if "subscribe" not in query.said:
            known["kinds"] = self.kinds
        if "delivery" not in query.said:
            known["delivery"] = self.delivery
        if "deadline" not in query.said:
            known["deadline_ms"] = self.deadline_ms
        if "codecs" not in query.said and self.codecs:
            known["abilities"] = parse_abilities(self.codecs)
        return replace(query, **known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """What a token says: the session ``session`` of the gateway ``instance``, and its subscription."""

    instance: str
    session: str
    wishes: Wishes
    expires_us: int


class ResumeTokens:
    """Makes tokens and opens them again. ``key``: KEY_BYTES, shared by all that take each other's."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {KEY_BYTES} bytes is needed")
        self._key = AESGCM(key)

    def seal(self, resumption: Resumption, *, broadcast: str, nonce: bytes, identity: str = "") -> str:
        """A token of at most MAX_CHARACTERS; ``nonce`` is NONCE_BYTES of randomness, never used before.

        What a viewer decodes is left out where it does not fit: its query says that anyway.
        """
        if len(nonce) != NONCE_BYTES or len(identity) > MAX_IDENTITY_CHARACTERS:
            raise ValueError("a nonce or an identity of another length")
        room = _MAX_BYTES - _LEAST_BYTES
        body = _pack(resumption, broadcast, identity)
        if len(body) > room:
            body = _pack(_without_codecs(resumption), broadcast, identity)
        if len(body) > room:
            raise ValueError("what is to be resumed does not fit into a token")
        sealed = _VERSION + nonce + self._key.encrypt(nonce, body, _VERSION)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(
        self, token: str, *, broadcast: str, now_us: int, identity: str = ""
    ) -> tuple[Resumption, bytes]:
        """What a token says, and its number. Raises TokenRefused; whether it was used is not known here."""
        sealed = _decode(token)
        nonce = sealed[len(_VERSION) : len(_VERSION) + NONCE_BYTES]
        try:
            body = self._key.decrypt(nonce, sealed[len(_VERSION) + NONCE_BYTES :], _VERSION)
            resumption, digest, owner = _unpack(body)
        except (InvalidTag, ValueError, TypeError, KeyError, ProtocolError):
            raise TokenRefused(Refused.UNREADABLE) from None
        if digest != _digest(broadcast) or owner != identity:
            raise TokenRefused(Refused.FOREIGN)
        if not now_us < resumption.expires_us <= now_us + MAX_VALID_US:
            raise TokenRefused(Refused.EXPIRED)
        return resumption, nonce


class UsedTokens:
    """The numbers of tokens that were used, each until it would have expired; at most ``most`` of them.

    When there are more, no token is taken until the oldest have expired: it could be a used one.
    """

    def __init__(self, most: int = MAX_USED) -> None:
        self._most = most
        self._expiries: dict[bytes, int] = {}
        self._order: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._expiries)

    def use(self, number: bytes, expires_us: int, now_us: int) -> None:
        """Use a token, once. Raises TokenRefused."""
        if number in self._expiries:
            raise TokenRefused(Refused.USED)
        self.note(number, expires_us, now_us)
        if number not in self._expiries:
            raise TokenRefused(Refused.FULL)

    def note(self, number: bytes, expires_us: int, now_us: int) -> None:
        """A token was used elsewhere."""
        # Not in the order in which they expire, but none outlives MAX_VALID_US: so long is one kept at most.
        while self._order and self._expiries[self._order[0]] <= now_us:
            del self._expiries[self._order.popleft()]
        if len(self._expiries) < self._most and number not in self._expiries:
            self._expiries[number] = expires_us
            self._order.append(number)

    def all(self) -> list[tuple[bytes, int]]:
        """Numbers and when they expire, the oldest first."""
        return [(number, self._expiries[number]) for number in self._order]


# --- the sealed part ---------------------------------------------------------------------------------


def _digest(broadcast: str) -> bytes:
    return hashlib.sha256(broadcast.encode()).digest()[:_DIGEST_BYTES]


def _without_codecs(resumption: Resumption) -> Resumption:
    return replace(resumption, wishes=replace(resumption.wishes, codecs=""))


def _pack(resumption: Resumption, broadcast: str, identity: str) -> bytes:
    wishes = resumption.wishes
    data: bytes = msgpack.packb(
        [
            _digest(broadcast),
            identity,
            resumption.instance,
            resumption.session,
            resumption.expires_us,
            [str(kind) for kind in wishes.kinds],
            _mode(wishes.delivery),
            wishes.deadline_ms,
            wishes.codecs,
            [[w.track, w.rendition, _mode(w.delivery), w.deadline_ms] for w in wishes.tracks[:MAX_WISHES]],
        ]
    )
    return data


def _unpack(body: bytes) -> tuple[Resumption, bytes, str]:
    """Raises ValueError, TypeError, KeyError or ProtocolError for what another version of ours sealed."""
    digest, owner, instance, session, expires_us, kinds, delivery, deadline_ms, codecs, tracks = (
        msgpack.unpackb(body, raw=False)
    )
    texts, numbers = (owner, instance, session, codecs), (expires_us, deadline_ms)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int) for n in numbers):
        raise TypeError
    if not 0 <= deadline_ms <= MAX_DEADLINE_MS:
        raise ValueError
    if codecs:
        parse_abilities(codecs)
    wishes = Wishes(
        kinds=tuple(Kind(kind) for kind in kinds),
        delivery=_MODES[delivery],
        deadline_ms=deadline_ms,
        codecs=codecs,
        tracks=tuple(_wish(*values) for values in tracks),
    )
    return Resumption(instance=instance, session=session, wishes=wishes, expires_us=expires_us), digest, owner


_MODES = dict(enumerate(("", *DELIVERY_MODES)))


def _mode(delivery: str) -> int:
    return next(number for number, mode in _MODES.items() if mode == delivery)


def _wish(track: int, rendition: int, mode: int, deadline_ms: int) -> TrackWish:
    if not (0 <= track <= 255 and -1 <= rendition <= 255 and 0 <= deadline_ms <= MAX_DEADLINE_MS):
        raise ValueError
    return TrackWish(track, rendition, _MODES[mode], deadline_ms)


def _decode(token: str) -> bytes:
    """The bytes of a token. Raises TokenRefused."""
    if len(token) <= MAX_CHARACTERS and token.isascii():
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            sealed = b""
        if len(sealed) >= _LEAST_BYTES and sealed.startswith(_VERSION):
            return sealed
    raise TokenRefused(Refused.UNREADABLE)
