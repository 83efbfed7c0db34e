"""How many sessions there may be and what they may take: by broadcast, address and identity; bit rates.

Pure: no clock, no sockets. One :class:`Ledger` counts the sessions of one process; what other processes have
is told to it (:class:`Occupancy`), so that a limit holds over all of them as well as the last word allows:
each process alone never goes beyond it.

A session that takes another's place (a viewer whose network changed) is there beside the former for a while.
So those are let in up to twice a limit, of ``sessions`` an eighth more: bounded, whoever claims to resume.

Bit rates are divided so that nobody is held below what others leave unused (max-min fairness), and a limit is
a ceiling for the choice of quality first (:mod:`wtgateway.protocol.fitting`); :class:`RateCap` is what holds
where quality cannot go lower. Imports config's values.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wtgateway.config.model import BroadcastLimits, LimitsConfig

RETRY_SOON_S = 10  # somebody may leave at any moment
RETRY_LATER_S = 30  # one of one's own has to leave
LEAST_BPS = 100_000  # of a session: with less there is neither picture nor sound worth having
BURST_S = 0.5  # of a capped rate, at once: a keyframe is more than the mean
LEAST_BURST_BYTES = 64 * 1024
PLACE_OF_ANOTHER = 2  # times a limit, for a session in the place of another
ROOM_FOR_CHANGES = 8  # of ``sessions`` the share that is kept for such ones, as a divisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Whom a session is for. ``network``: see :func:`network_of`; ``resumes``: with a token that holds."""

    broadcast: str
    network: str = ""
    identity: str = ""
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A limit that a session would go beyond: its name, and what to answer."""

    limit: str
    status: int  # 429: because of what the viewer has already; 503: because of what all have
    words: str
    retry_after_s: int


@dataclass(slots=True)
class Occupancy:
    """How many sessions there are, in all and of each."""

    sessions: int = 0
    broadcasts: Counter[str] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)

    def add(self, party: Party, count: int = 1) -> None:
        """Count a session in (1) or out (-1)."""
        self.sessions += count
        for counts, key in (
            (self.broadcasts, party.broadcast),
            (self.networks, party.network),
            (self.identities, party.identity),
        ):
            if key:
                counts[key] += count
                if counts[key] <= 0:
                    del counts[key]

    def to_row(self) -> list[Any]:
        """As it travels between processes."""
        return [self.sessions, dict(self.broadcasts), dict(self.networks), dict(self.identities)]

    @classmethod
    def sum(cls, rows: Iterable[list[Any]]) -> Occupancy:
        """Of several processes."""
        total = cls()
        for sessions, broadcasts, networks, identities in rows:
            total.sessions += sessions
            total.broadcasts.update(broadcasts)
            total.networks.update(networks)
            total.identities.update(identities)
        return total


class Ledger:
    """The sessions of this process, held against the limits. ``others``: those of other processes."""

    def __init__(
        self, limits: LimitsConfig | None = None, broadcasts: Mapping[str, BroadcastLimits] | None = None
    ) -> None:
        self.limits, self.broadcasts = limits or LimitsConfig(), dict(broadcasts or {})
        self.own, self.others = Occupancy(), Occupancy()
        self._parties: dict[str, Party] = {}

    def use(self, limits: LimitsConfig, broadcasts: Mapping[str, BroadcastLimits]) -> None:
        """Other limits from now on; who is there stays."""
        self.limits, self.broadcasts = limits, dict(broadcasts)

    def refusal(self, party: Party) -> Reached | None:
        """The first limit that one more session of ``party`` would go beyond."""
        limits, of_broadcast = self.limits, self._of(party.broadcast)
        own, others, times = self.own, self.others, PLACE_OF_ANOTHER if party.resumes else 1
        most = limits.sessions + (limits.sessions // ROOM_FOR_CHANGES if party.resumes else 0)
        if limits.sessions and own.sessions + others.sessions >= most:
            return _full("sessions", "the gateway has as many viewers as it takes")
        there = own.broadcasts[party.broadcast] + others.broadcasts[party.broadcast]
        most = of_broadcast.sessions or limits.sessions_per_broadcast
        if most and there >= most * times:
            return _full("sessions_per_broadcast", "this broadcast has as many viewers as it takes")
        for rate, count in (
            (limits.bitrate_bps, own.sessions + others.sessions),
            (of_broadcast.bitrate_bps or limits.bitrate_per_broadcast_bps, there),
        ):
            if rate and rate < LEAST_BPS * count // times + LEAST_BPS and count:
                return _full(
                    "bitrate", "what may be sent is divided among as many viewers as it is enough for"
                )
        if reached := self._of_viewer("address", party.network, own.networks, others.networks, times):
            return reached
        return self._of_viewer("identity", party.identity, own.identities, others.identities, times)

    def _of_viewer(
        self, what: str, key: str, own: Counter[str], others: Counter[str], times: int
    ) -> Reached | None:
        most: int = getattr(self.limits, f"sessions_per_{what}")
        if not key or not most or own[key] + others[key] < most * times:
            return None
        words = f"as many sessions as one {what} may have are open; close one"
        return Reached(f"sessions_per_{what}", 429, _retry(words, RETRY_LATER_S), RETRY_LATER_S)

    def enter(self, key: str, party: Party) -> None:
        """A session ``key`` of ``party`` was opened."""
        self.leave(key)
        self._parties[key] = party
        self.own.add(party)

    def leave(self, key: str) -> None:
        """It is over. Again does nothing."""
        party = self._parties.pop(key, None)
        if party is not None:
            self.own.add(party, -1)

    # --- bit rates -------------------------------------------------------------------------------

    def rates(self, demands: Mapping[str, int]) -> dict[str, int]:
        """The bit rate that each session may take, 0: any. ``demands``: what each could use, 0: not known."""
        limits = self.limits
        everywhere = self._level(limits.bitrate_bps, demands, self.own.sessions, self.others.sessions)
        by_broadcast: dict[str, dict[str, int]] = {}
        for key, demand in demands.items():
            if party := self._parties.get(key):
                by_broadcast.setdefault(party.broadcast, {})[key] = demand
        rates: dict[str, int] = {}
        for name, wanted in by_broadcast.items():
            of_broadcast = self._of(name)
            total = of_broadcast.bitrate_bps or limits.bitrate_per_broadcast_bps
            level = self._level(total, wanted, self.own.broadcasts[name], self.others.broadcasts[name])
            each = of_broadcast.bitrate_per_session_bps or limits.bitrate_per_session_bps
            rate = min((known for known in (everywhere, level, each) if known), default=0)
            rates |= dict.fromkeys(wanted, rate)
        return rates

    def _of(self, broadcast: str) -> BroadcastLimits:
        return self.broadcasts.get(broadcast) or BroadcastLimits()

    @staticmethod
    def _level(total: int, demands: Mapping[str, int], own: int, others: int) -> int:
        """The ceiling for each of this process's sessions; processes share by how many they have."""
        if not total or not own:
            return 0
        return max(1, fair_level(total * own // (own + others), demands.values()))


def fair_level(capacity: int, demands: Iterable[int]) -> int:
    """The ceiling with which all that is wanted, cut there, makes up ``capacity`` (max-min fairness).

    What is left where all fit is divided evenly, so that there is room to grow. A demand of 0 is not known,
    and any. Without demands: all of it.
    """
    wanted = sorted(demand or math.inf for demand in demands)
    left, count = float(capacity), len(wanted)
    for demand in wanted:
        if demand * count > left:
            return int(left / count)
        left -= demand
        count -= 1
    return int((wanted[-1] if wanted else 0) + left / max(1, len(wanted)))


class RateCap:
    """A bit rate that is not exceeded: a bucket of bytes that may be overdrawn once, and has to fill again.

    Frames are sent whole, so what is taken may be more than is there; nothing more is until that is made up
    for. Without a rate nothing is capped.
    """

    __slots__ = ("_filled_at", "_tokens", "bps")

    def __init__(self) -> None:
        self.bps = 0
        self._tokens = 0.0
        self._filled_at = 0.0

    def set(self, bps: int, now: float) -> None:
        """Another rate; 0: none. ``now`` in s."""
        if self.bps:
            self._fill(now)
        else:
            self._tokens, self._filled_at = float(_burst(bps)), now
        self.bps = bps
        self._tokens = min(self._tokens, _burst(bps))

    def room(self, now: float) -> int:
        """Bytes that may be taken now; <= 0: see :meth:`wait`. To be asked only with a rate."""
        self._fill(now)
        return math.floor(self._tokens + 1e-6)  # what wait() promised, rounded

    def spend(self, size: int) -> None:
        """So many bytes were taken."""
        if self.bps:
            self._tokens -= size

    def wait(self, now: float) -> float:
        """How long it is until there is room, in s; 0: there is."""
        self._fill(now)
        return max(0.0, (1 - self._tokens) * 8 / self.bps) if self.bps else 0.0

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._filled_at) * self.bps / 8
        self._tokens = min(float(_burst(self.bps)), self._tokens + gained)
        self._filled_at = max(now, self._filled_at)


def _burst(bps: int) -> int:
    return max(LEAST_BURST_BYTES, round(bps / 8 * BURST_S))


def network_of(address: str) -> str:
    """What stands for one subscriber: the IPv4 address, or the /64 of an IPv6 address; "" of what is none."""
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))


def _full(limit: str, words: str) -> Reached:
    return Reached(limit, 503, _retry(words, RETRY_SOON_S), RETRY_SOON_S)


def _retry(words: str, seconds: int) -> str:
    return f"{words}; try again in {seconds} s"
