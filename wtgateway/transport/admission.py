"""Which new connections are taken in, and on what terms, so that floods cost viewers nothing.

Each Initial that belongs to no connection is decided on:

* with a valid token of ours the client's address is known to be its own: taken in, within what one
  network (an IPv4 address, an IPv6 /64) may have half open and what all may;
* without a token it is taken in as well while new connections are few, which saves viewers a round trip.
  Once more than ``retry_above`` a second come, or too many that were taken in unproven are half open, the
  answer is a Retry: it costs the gateway microseconds and no memory, a viewer one round trip, and a
  forged address never comes back. The rule holds until the rate was below the limit for a while: a
  flood would otherwise always have the handshakes that the limit leaves.
* one network that has several unproven ones half open gets Retries by itself, long before its limit, so
  that nobody can use up the limit of an address that is not his.

A half-open connection lives for ``HANDSHAKE_S``, and an unproven one for ``UNPROVEN_S`` while many are.

Pure: ``now`` is the monotonic and ``wall`` the wall clock's time, in s. Memory is bounded by ``half_open``.
Imports this package only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from wtgateway.transport.retry import ForeignToken, RetryTokens, StaleToken, packed_address

RETRY_ABOVE = 100.0
HALF_OPEN_PER_NETWORK = 64
HALF_OPEN = 512  # of about 100 KiB each
UNPROVEN = 64  # so many half open make the next one prove its address
UNPROVEN_PER_NETWORK = 8
HANDSHAKE_S = 10.0
UNPROVEN_S = 3.0
ANSWERS_PER_S = 5000.0  # Retries and the like: what is beyond is dropped unanswered
LEAST_CID_BYTES = 8  # RFC 9000, section 7.2: of a client's first destination connection ID

_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``retry_above``: new connections a second; 0: every address is validated.

    ``half_open_per_network`` 0: no limit of that kind, where all come from a balancer's address.
    """

    retry_above: float = RETRY_ABOVE
    half_open_per_network: int = HALF_OPEN_PER_NETWORK
    half_open: int = HALF_OPEN


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` of them."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._filled_at = burst, float("-inf")

    def take(self, now: float) -> bool:
        """One token, if there is one."""
        self._fill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def full(self, now: float) -> bool:
        """Whether none has been taken lately."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now


class HalfOpen:
    """One connection whose handshake is under way; ``owner`` is for whoever drives it."""

    __slots__ = ("network", "original_cid", "owner", "retry_cid", "since")

    def __init__(self, network: bytes, since: float, original_cid: bytes, retry_cid: bytes | None) -> None:
        self.network, self.since = network, since
        self.original_cid = original_cid  # of the client's very first Initial
        self.retry_cid = retry_cid  # which we chose in a Retry; None: there was none
        self.owner: Any = None

    @property
    def proven(self) -> bool:
        """Whether the client's address is known to be its own."""
        return self.retry_cid is not None


@dataclass(frozen=True, slots=True)
class Accept:
    """Taken in; :meth:`Admission.release` must be called once it is not half open any more."""

    half_open: HalfOpen


@dataclass(frozen=True, slots=True)
class Retry:
    """Answer with a Retry packet that carries ``token`` and comes from ``source_cid``."""

    token: bytes
    source_cid: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """Close with INVALID_TOKEN: the client would take no second Retry."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Do nothing; ``reason`` is a counter's name."""

    reason: str


Decision: TypeAlias = Accept | Retry | Refuse | Drop


def network_of(address: tuple[Any, ...]) -> bytes:
    """What stands for one subscriber: the IPv4 address, or the /64 of the IPv6 address."""
    packed = packed_address(address)
    return packed[12:] if packed.startswith(_MAPPED) else packed[:8]


class Admission:
    """Decides, and keeps count of what is half open."""

    def __init__(self, *, tokens: RetryTokens, counters: Counter[str], limits: Limits | None = None) -> None:
        self.limits = limits = limits or Limits()
        self.counters = counters
        self._tokens = tokens
        self._arrivals = TokenBucket(limits.retry_above, max(1.0, limits.retry_above))
        self._answers = TokenBucket(ANSWERS_PER_S, ANSWERS_PER_S)
        self._validating = False
        self._proven: OrderedDict[HalfOpen, None] = OrderedDict()
        self._unproven: OrderedDict[HalfOpen, None] = OrderedDict()
        self._networks: Counter[tuple[bytes, bool]] = Counter()

    @property
    def validating(self) -> bool:
        """Whether new connections come so fast that all have to prove their addresses."""
        return self._validating

    @property
    def half_open(self) -> int:
        """Handshakes under way."""
        return len(self._proven) + len(self._unproven)

    def decide(
        self,
        now: float,
        wall: float,
        address: tuple[Any, ...],
        destination_cid: bytes,
        token: bytes,
        issue: Callable[[], bytes],
    ) -> Decision:
        """What to do with an Initial from ``address``; a Retry would come from an ID that ``issue`` gives."""
        if len(destination_cid) < LEAST_CID_BYTES:
            return self._drop("initials_malformed")
        network = network_of(address)
        if token:
            try:
                original = self._tokens.open(token, address, destination_cid, wall)
            except StaleToken:
                return Refuse() if self.may_answer(now, "tokens_refused") else Drop("answers_exhausted")
            except ForeignToken:
                self.counters["tokens_unknown"] += 1
            else:
                return self._admit(HalfOpen(network, now, original, destination_cid))
        if not self._must_validate(now, network):
            return self._admit(HalfOpen(network, now, destination_cid, None))
        if not self.may_answer(now, "retries"):
            return Drop("answers_exhausted")
        retry_cid = issue()
        return Retry(self._tokens.seal(address, destination_cid, retry_cid, wall), retry_cid)

    def _must_validate(self, now: float, network: bytes) -> bool:
        """Whether a client without a token has to prove its address; counts it as an arrival."""
        if self.limits.retry_above <= 0:
            return True
        calm = self._arrivals.full(now)
        if not self._arrivals.take(now):
            self._validating = True
        elif calm:
            self._validating = False
        if self._validating or len(self._unproven) >= UNPROVEN:
            return True
        most = min(UNPROVEN_PER_NETWORK, self.limits.half_open_per_network)
        return 0 < most <= self._networks[network, False]

    def release(self, half_open: HalfOpen) -> None:
        """Its handshake is done, or it is gone. Again does nothing."""
        table = self._proven if half_open.proven else self._unproven
        if half_open in table:
            del table[half_open]
            key = (half_open.network, half_open.proven)
            self._networks[key] -= 1
            if not self._networks[key]:
                del self._networks[key]

    def overdue(self, now: float) -> list[HalfOpen]:
        """Those that took too long, the oldest first; they are to be given up and released."""
        return [
            half_open for table, lifetime in self._lifetimes() for half_open in _since(table, now - lifetime)
        ]

    def next_deadline(self) -> float | None:
        """When :meth:`overdue` may have something."""
        firsts = [next(iter(table)).since + lifetime for table, lifetime in self._lifetimes() if table]
        return min(firsts, default=None)

    def _lifetimes(self) -> list[tuple[OrderedDict[HalfOpen, None], float]]:
        crowded = self._validating or len(self._unproven) >= UNPROVEN // 2
        return [(self._proven, HANDSHAKE_S), (self._unproven, UNPROVEN_S if crowded else HANDSHAKE_S)]

    def _admit(self, half_open: HalfOpen) -> Decision:
        key = (half_open.network, half_open.proven)
        if self.half_open >= self.limits.half_open:
            return self._drop("half_open_full")
        if 0 < self.limits.half_open_per_network <= self._networks[key]:
            return self._drop("half_open_of_one_network_full")
        (self._proven if half_open.proven else self._unproven)[half_open] = None
        self._networks[key] += 1
        self.counters["handshakes"] += 1
        return Accept(half_open)

    def may_answer(self, now: float, counter: str) -> bool:
        """Whether one more answer without state may be sent; counts it."""
        allowed = self._answers.take(now)
        self.counters[counter if allowed else "answers_exhausted"] += 1
        return allowed

    def _drop(self, reason: str) -> Drop:
        self.counters[reason] += 1
        return Drop(reason)


def _since(table: OrderedDict[HalfOpen, None], limit: float) -> list[HalfOpen]:
    found: list[HalfOpen] = []
    for half_open in table:
        if half_open.since > limit:
            break
        found.append(half_open)
    return found
