"""When certificates are made, used and dropped. Pure: ``now`` in, a plan out; imports nothing.

The rules kept:

* There are always exactly two: the *current* one and the *next*, whose hash is published all the time
  that the current one is in use. So a page that fetched the hashes at any time t can connect until at least
  t + one rotation period, whatever rotates in between.
* A browser accepts a hash only of a certificate that is valid for at most 14 days in all. The next one is
  made a whole period ahead, therefore its validity begins only an hour before it is used, not when made.
* A certificate is used only while a viewer whose clock is up to an hour off, either way, accepts it.
* The longest period leaves 22 h of validity after a certificate's turn: a gateway that was down, or a clock
  that jumped ahead, goes on with a certificate that pages know.

All times are seconds since the Unix epoch by the wall clock, which may jump either way.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

HOUR_S = 3600
DAY_S = 86400
MAX_VALIDITY_S = 14 * DAY_S
BACKDATE_S = HOUR_S  # for viewers whose clock is slow
RESERVE_S = HOUR_S  # for viewers whose clock is fast
TAIL_S = 22 * HOUR_S  # validity after its turn
MIN_ROTATE_S = 1.0
MAX_ROTATE_S = 13.0 * DAY_S


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The life of one certificate: valid in [not_before, not_after], its turn begins at ``active_from``."""

    active_from: int
    not_before: int
    not_after: int

    def usable(self, now: float) -> bool:
        """Whether it may be presented at ``now``."""
        return self.not_before <= now < self.not_after - RESERVE_S

    @property
    def well_formed(self) -> bool:
        """Whether browsers accept its hash at all, and the policy could have made it."""
        ordered = self.not_before <= self.active_from < self.not_after - RESERVE_S
        return ordered and self.not_after - self.not_before <= MAX_VALIDITY_S


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: drop all but ``keep``, then make a certificate for each of ``make``.

    ``windows`` is the outcome: the current and the next. ``wake_at`` is when to plan again at the latest.
    """

    keep: tuple[Window, ...]
    make: tuple[Window, ...]
    wake_at: float

    @property
    def windows(self) -> tuple[Window, Window]:
        """The current and the next one after the plan is carried out."""
        current, following = sorted((*self.keep, *self.make))
        return current, following


def window_for(active_from: int, rotate_s: float) -> Window:
    """The window of a certificate whose turn begins at ``active_from`` and lasts ``rotate_s``."""
    not_after = active_from + math.ceil(rotate_s) + TAIL_S
    return Window(active_from, active_from - BACKDATE_S, not_after)


def plan(now: float, windows: Collection[Window], rotate_s: float) -> Plan:
    """Decide over the stored certificates at ``now``; each is current for ``rotate_s`` seconds.

    Raises ValueError for a period outside 1 s to 13 days.
    """
    if not MIN_ROTATE_S <= rotate_s <= MAX_ROTATE_S:
        raise ValueError(f"a rotation period of {rotate_s} s is not in {MIN_ROTATE_S:g}..{MAX_ROTATE_S:g} s")
    good = sorted({w for w in windows if w.well_formed})
    current = _current(now, good)
    keep = [current] if current else []
    made = []
    if current is None:
        current = window_for(math.floor(now), rotate_s)
        made.append(current)
    following = _following(now, current, good, rotate_s)
    if following is not None:
        keep.append(following)
    else:
        following = window_for(_handover(now, current, rotate_s), rotate_s)
        made.append(following)
    return Plan(tuple(keep), tuple(made), float(following.active_from))


def force(now: float, windows: Collection[Window], rotate_s: float, overlap_s: float) -> Plan:
    """Like :func:`plan`, but a new certificate takes over ``overlap_s`` from now (0: at once).

    The current one stays until then, so that pages which hear of the change in time lose nothing.
    """
    current = _current(now, sorted(w for w in windows if w.well_formed))
    takeover = window_for(math.ceil(now + overlap_s), rotate_s)
    if (
        current is None
        or overlap_s <= 0
        or not current.active_from < takeover.active_from <= current.not_after - RESERVE_S
    ):
        fresh = window_for(math.floor(now), rotate_s)
        following = window_for(_handover(now, fresh, rotate_s), rotate_s)
        return Plan((), (fresh, following), float(following.active_from))
    return Plan((current,), (takeover,), float(takeover.active_from))


def in_turn(now: float, windows: Collection[Window]) -> tuple[Window | None, Window | None]:
    """The current and the next one of ``windows`` as they are, without planning anything."""
    good = sorted({w for w in windows if w.well_formed})
    current = _current(now, good)
    later = [w for w in good if current and w.active_from > current.active_from]
    return current, later[0] if later else None


def _current(now: float, good: list[Window]) -> Window | None:
    """The newest whose turn has come; before any turn (the clock went back) the oldest that is valid."""
    usable = [w for w in good if w.usable(now)]
    due = [w for w in usable if w.active_from <= now]
    if due:
        return due[-1]
    return usable[0] if usable else None


def _handover(now: float, current: Window, rotate_s: float) -> int:
    """When the next one takes over: a period from now, but while the current one is still good.

    After a step back of the clock, from the turn of the current one: turns keep their order.
    """
    begin = max(now, current.active_from)
    return min(math.ceil(begin + rotate_s), current.not_after - RESERVE_S)


def _following(now: float, current: Window, good: list[Window], rotate_s: float) -> Window | None:
    """The stored next one, unless its turn is too late: for the current one, or for a shortened period.

    Up to an hour late is tolerated: a next one that pages know is worth more than punctuality.
    """
    latest = min(
        max(now, current.active_from)
        + rotate_s
        + min(rotate_s, BACKDATE_S)
        + 1,  # 1: turns begin at whole seconds
        current.not_after - RESERVE_S,
    )
    later = [w for w in good if w.active_from > max(current.active_from, math.floor(now))]
    return later[0] if later and later[0].active_from <= latest else None
