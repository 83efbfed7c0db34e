"""From what a page noted to how long its picture and its sound were away. Pure; times in ms of one clock."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SLACK_MS = (
    50.0  # a picture that was painted just before may be the last one: clocks are read one after the other
)


@dataclass(frozen=True, slots=True)
class Noted:
    """What a page has noted: when it painted, and ``(end, length)`` of each time without sound."""

    paints: Sequence[float]
    silences: Sequence[tuple[float, float]] | None = None  # None: it has no sound
    late: int | None = None  # frames that were lost, or came too late, so far; None: it does not count them


@dataclass(frozen=True, slots=True)
class Gap:
    """Of one event, ms. ``sound`` None: the system has none."""

    picture: float
    sound: float | None
    late: int | None = None


def usual_distance(paints: Sequence[float], before: float) -> float:
    """Between two pictures, as it was before; 0 when nothing can be told."""
    times = [at for at in paints if at < before]
    return statistics.median(b - a for a, b in itertools.pairwise(times)) if len(times) > 1 else 0.0


def picture_gap(paints: Sequence[float], event: float, until: float) -> float:
    """The longest time between two pictures of which the second came after the event, less the usual one.

    ``until`` counts as a picture: who never comes back was away until then.
    """
    times = [*(at for at in sorted(paints) if at < until), until]
    distances = [b - a for a, b in itertools.pairwise(times) if b > event - SLACK_MS]
    if len(times) == 1:
        distances = [until - event]
    return max(0.0, max(distances) - usual_distance(times, event))


def sound_gap(silences: Sequence[tuple[float, float]], event: float, until: float) -> float:
    """The longest silence that ended after the event and began before ``until``."""
    return max((length for end, length in silences if end > event and end - length < until), default=0.0)


def gap(before: Noted, noted: Noted, event: float, until: float) -> Gap:
    """All of them, from what was noted just before the event and at the end."""
    sound = None if noted.silences is None else sound_gap(noted.silences, event, until)
    late = None if noted.late is None or before.late is None else noted.late - before.late
    return Gap(picture_gap(noted.paints, event, until), sound, late)
