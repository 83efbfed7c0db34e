"""The limits of one process's viewers, applied: who is let in, what each may be sent, and what is told of it.

The counting is :mod:`wtgateway.limits`'s. May import config, limits, protocol and transport.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wtgateway.config.model import BroadcastLimits, LimitsConfig
from wtgateway.limits import Ledger, Occupancy, Party, Reached
from wtgateway.protocol.session import SessionLimits
from wtgateway.transport.session import ViewerSession
from wtgateway.transport.webtransport import Refusal

TELL_S = 10.0  # an event of one limit comes so often at most: who is refused may ask again and again
BURST = 4  # seconds' worth of control messages at once: a page that joins says all it knows

Publish = Callable[..., None]


def limits_to_row(limits: LimitsConfig, broadcasts: Mapping[str, BroadcastLimits]) -> list[Any]:
    """As they travel to a worker."""
    of_broadcasts = {name: dataclasses.asdict(each) for name, each in broadcasts.items()}
    return [dataclasses.asdict(limits), of_broadcasts]


def limits_from_row(row: list[Any]) -> tuple[LimitsConfig, dict[str, BroadcastLimits]]:
    """The same when they have arrived; [] is the default."""
    if not row:
        return LimitsConfig(), {}
    return LimitsConfig(**row[0]), {name: BroadcastLimits(**each) for name, each in row[1].items()}


class Limiting:
    """``publish``: see :meth:`wtgateway.events.Events.publish`. Counts refusals in ``counters``."""

    def __init__(self, publish: Publish = lambda kind, **fields: None) -> None:
        self.ledger = Ledger()
        self.counters: Counter[str] = Counter()
        self.publish = publish
        self.tell: Callable[[list[Any]], None] | None = None  # other processes: how many there are here
        self._row: list[Any] = []
        self._told: dict[str, tuple[float, int]] = {}  # by limit: when, and how often since

    def use(self, limits: LimitsConfig, broadcasts: Mapping[str, BroadcastLimits]) -> None:
        """Other limits from now on: for who comes, and for the bit rates of who is there."""
        self.ledger.use(limits, broadcasts)

    def others(self, row: list[Any]) -> None:
        """What all other processes have (a row of :class:`wtgateway.limits.Occupancy`)."""
        self.ledger.others = Occupancy.sum([row])

    @property
    def session_limits(self) -> SessionLimits:
        """What one viewer may say."""
        rate = self.ledger.limits.control_messages_per_s
        return SessionLimits(messages_per_second=rate, messages_burst=BURST * rate)

    def refusal(self, party: Party, now: float) -> Refusal | None:
        """The answer to one more of ``party``, if it is no."""
        reached = self.ledger.refusal(party)
        if reached is None:
            return None
        self.note(reached, party.broadcast, now)
        return Refusal(reached.status, reached.words, reached.retry_after_s)

    def note(self, reached: Reached, broadcast: str, now: float) -> None:
        """A limit was reached: count it, and tell of it now and then."""
        self.counters[f"limits_reached_{reached.limit}"] += 1
        told_at, since = self._told.get(reached.limit, (-TELL_S, 0))
        if now - told_at < TELL_S:
            self._told[reached.limit] = (told_at, since + 1)
            return
        self._told[reached.limit] = (now, 0)
        self.publish("limit.reached", limit=reached.limit, broadcast=broadcast, refused=since + 1)

    def tick(self, sessions: Iterable[ViewerSession], now: float) -> None:
        """A few times a second: bit rates, and what other processes should know."""
        self.share(sessions, now)
        row = self.ledger.own.to_row()
        if self.tell is not None and row != self._row:
            self._row = row
            self.tell(row)

    def share(self, sessions: Iterable[ViewerSession], now: float) -> None:
        """Tell each session what it may be sent, by what all could use."""
        sessions = list(sessions)
        rates = self.ledger.rates({session.id: session.demand_bps for session in sessions})
        for session in sessions:
            session.set_limit(rates.get(session.id, 0), now)
