"""What happens to the gateway, told to whoever listens: pages, hooks, webhooks, tests.

Whoever publishes is never kept waiting and never sees an error: each listener has a queue of its own with a
bound, from which the oldest go. The last events are kept, so that who lost the line a moment ago misses
nothing. Secrets in addresses are taken out here, once for all listeners. Imports the clock and the log only.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wtgateway import clock
from wtgateway.log import redact_url

Value = str | int | float | bool

KINDS: Final[Mapping[str, str]] = {
    "broadcast.added": "A broadcast was added",
    "broadcast.removed": "A broadcast was removed",
    "broadcast.changed": "A broadcast has new settings",
    "broadcast.available": "The source of a broadcast is there",
    "broadcast.unavailable": "The source of a broadcast is away, or is not asked for",
    "broadcast.read": "A broadcast has its first viewer",
    "broadcast.unread": "The last viewer of a broadcast has gone",
    "session.opened": "A viewer's session was opened",
    "session.closed": "A viewer's session is over",
    "certificate.rotated": "New connections get another certificate",
    "config.reloaded": "The configuration was read again and holds now",
    "config.refused": "The configuration was read again and is wrong: nothing has changed",
    "worker.died": "A process that serves viewers died",
    "source.died": "A process that reads and encodes a source died",
    "access.refused": "Somebody was not let in",
    "limit.reached": "A limit was reached",
    "degraded": "Something that the gateway needs is missing",
    "recovered": "What was missing is there again",
}
"""All kinds, with what each says. Which fields they have: docs/operations.md."""

PROVOKED: Final = frozenset({"access.refused", "limit.reached"})
"""Kinds that strangers can have happen as often as they like: told so often, the rest is only counted."""

PER_SECOND: Final = 5.0
AT_ONCE: Final = 20.0
KEPT: Final = 512
QUEUED: Final = 256
MAX_FIELDS = 24
MAX_TEXT = 512


@dataclass(frozen=True, slots=True)
class Event:
    """``at_us`` is gateway time. ``number`` grows by one with each event of this gateway."""

    kind: str
    at_us: int
    fields: Mapping[str, Value] = field(default_factory=dict)
    number: int = 0


class Subscription:
    """The events from now on, as an asynchronous iterator; made by :meth:`Events.subscribe`.

    ``lost`` counts those that were too many for the queue. Close it, or leave its ``with`` block: iterating
    ends then.
    """

    def __init__(self, events: Events, limit: int, kept: list[Event]) -> None:
        self.lost = 0
        self._events = events
        self._queue: deque[Event] = deque(maxlen=limit)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._some = asyncio.Event()
        self._closed = False
        for event in kept:
            self._put(event)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more events; what waits for one ends."""
        self._closed = True
        self._events._forget(self)
        self._some.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._some.clear()
            await self._some.wait()
        return self._queue.popleft()

    def _put(self, event: Event) -> None:
        if len(self._queue) == self._queue.maxlen:
            self.lost += 1
        self._queue.append(event)
        if threading.get_ident() == self._thread:
            self._some.set()
        else:
            with contextlib.suppress(RuntimeError):  # the listener's loop has ended, and with it the listener
                self._loop.call_soon_threadsafe(self._some.set)


class _Bucket:
    """A token bucket for one kind of event, and how many it let go unsaid."""

    def __init__(self, now_us: int) -> None:
        self.left_out = 0
        self._tokens, self._at_us = AT_ONCE, now_us

    def take(self, now_us: int) -> bool:
        """Whether one more may be told."""
        self._tokens = min(AT_ONCE, self._tokens + (now_us - self._at_us) / 1e6 * PER_SECOND)
        self._at_us = now_us
        if self._tokens < 1:
            self.left_out += 1
            return False
        self._tokens -= 1
        return True


class Events:
    """All of one gateway's. May be told from any thread; listeners belong to an event loop."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Event] = deque(maxlen=kept)
        self._subscriptions: list[Subscription] = []
        self._lock = threading.Lock()
        self._number = 0
        self._buckets: dict[str, _Bucket] = {}
        self.counts: Counter[str] = Counter()  # of each kind

    @property
    def kept(self) -> list[Event]:
        """The last events, the oldest first."""
        with self._lock:
            return list(self._kept)

    def publish(self, kind: str, **fields: Value) -> None:
        """Tell everybody, at once and without waiting; never raises. Texts are cut and lose their secrets."""
        if kind in PROVOKED and not (fields := self._allowed(kind, fields)):
            return
        clean = {name: _clean(value) for name, value in list(fields.items())[:MAX_FIELDS]}
        with self._lock:
            self._number += 1
            self.counts[kind] += 1
            event = Event(kind, clock.now_us(), clean, self._number)
            self._kept.append(event)
            for subscription in self._subscriptions:
                subscription._put(event)

    def _allowed(self, kind: str, fields: dict[str, Value]) -> dict[str, Value]:
        """The fields, with how many were left out before; none where there were too many of the kind."""
        with self._lock:
            bucket = self._buckets.setdefault(kind, _Bucket(clock.now_us()))
            if not bucket.take(clock.now_us()):
                self.counts[kind] += 1
                return {}
            left_out, bucket.left_out = bucket.left_out, 0
        return fields | {"left_out": left_out}

    def subscribe(self, limit: int = QUEUED, *, after: int | None = None) -> Subscription:
        """Listen from now on, with at most ``limit`` events waiting; the oldest go first.

        ``after``: begin with what is kept of the events after that number. Call it inside a running loop.
        """
        with self._lock:
            kept = [] if after is None else [event for event in self._kept if event.number > after]
            subscription = Subscription(self, limit, kept)
            self._subscriptions.append(subscription)
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)


def _clean(value: object) -> Value:
    if isinstance(value, bool | int | float):
        return value
    return redact_url(str(value))[:MAX_TEXT]
