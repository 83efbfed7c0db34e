"""How often encoders are given other targets: lower ones soon, higher ones late, small changes never.

Pure; imports the targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from wtgateway.protocol.targets import STEPS, EncoderTarget, Nominal, Policy, Wishes, aggregate

# Seconds since the last change of the same rendition. With a keyframe: of the size, or of a bit rate for
# which the encoder is opened anew.
LOWER_S, HIGHER_S = 0.2, 1.0
LOWER_WITH_KEYFRAME_S, HIGHER_WITH_KEYFRAME_S = 0.5, 3.0
SMALL, SMALL_WITH_KEYFRAME = 0.04, 0.15  # of the bit rate; less is no change
# So long another size has to be wanted. An estimate may begin far too low, and the rate follows meanwhile.
SMALLER_HOLD_S, LARGER_HOLD_S = 0.6, 3.0


@dataclass(slots=True)
class _Followed:
    target: EncoderTarget
    changed_at: float = -math.inf
    resized_at: float = -math.inf
    direction: int = 0  # of the size that is wanted: -1 smaller, 1 larger
    since: float = -math.inf  # and how long it is


class Governor:
    """The targets of one track's encoded renditions."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._followed: dict[int, _Followed] = {}
        self.changes = 0

    @property
    def targets(self) -> dict[int, EncoderTarget]:
        """What each rendition's encoder is to do now."""
        return {rendition: followed.target for rendition, followed in self._followed.items()}

    def update(self, now: float, nominals: Mapping[int, Nominal], wishes: Wishes) -> float | None:
        """Follow the wishes for the track as far as it is time; when to ask again, None: at the next wish."""
        self._followed = {r: f for r, f in self._followed.items() if r in nominals}
        times = []
        for rendition, nominal in nominals.items():
            of_it = tuple(entry for entry in wishes if entry[0].rendition == rendition)
            followed = self._followed.setdefault(
                rendition, _Followed(EncoderTarget(bitrate_bps=nominal.bitrate_bps))
            )
            wanted = aggregate(self._policy, of_it, nominal, followed.target)
            if (again := self._follow(followed, wanted, nominal, now)) is not None:
                times.append(again)
        return min(times, default=None)

    def _follow(
        self, followed: _Followed, wanted: EncoderTarget, nominal: Nominal, now: float
    ) -> float | None:
        current = followed.target
        direction = (_step(wanted) < _step(current)) - (_step(wanted) > _step(current))
        if direction != followed.direction:
            followed.direction, followed.since = direction, now
        if not direction:
            return self._follow_rate(followed, wanted, nominal, now)
        if now >= (due := _resize_due(followed, nominal)):
            followed.resized_at, followed.direction = now, 0
            self._set(followed, wanted, now)
            return None
        if not nominal.cheap:
            return due
        kept = replace(wanted, scale=current.scale, every=current.every)
        again = self._follow_rate(followed, kept, nominal, now)
        return due if again is None else min(due, again)

    def _follow_rate(
        self, followed: _Followed, wanted: EncoderTarget, nominal: Nominal, now: float
    ) -> float | None:
        current = followed.target
        if not _differs(current, wanted, nominal):
            followed.target = replace(current, reason=wanted.reason)
            return None
        lower = wanted.bitrate_bps < current.bitrate_bps
        if now < (due := followed.changed_at + _pause(lower=lower, keyframe=not nominal.cheap)):
            return due
        self._set(followed, wanted, now)
        return None

    def _set(self, followed: _Followed, target: EncoderTarget, now: float) -> None:
        followed.target, followed.changed_at = target, now
        self.changes += 1


def _resize_due(followed: _Followed, nominal: Nominal) -> float:
    """When the size that is wanted may be had."""
    smaller = followed.direction < 0
    pause = _pause(lower=smaller, keyframe=True)
    if not nominal.cheap:  # the rate is not to change before, so nothing is waited for
        return max(followed.changed_at + pause, followed.since if smaller else followed.since + LARGER_HOLD_S)
    hold = SMALLER_HOLD_S if smaller else LARGER_HOLD_S
    return max(followed.resized_at + pause, followed.since + hold, followed.changed_at + LOWER_S)


def _pause(*, lower: bool, keyframe: bool) -> float:
    if keyframe:
        return LOWER_WITH_KEYFRAME_S if lower else HIGHER_WITH_KEYFRAME_S
    return LOWER_S if lower else HIGHER_S


def _step(target: EncoderTarget) -> int:
    return STEPS.index((target.scale, target.every))


def _differs(current: EncoderTarget, wanted: EncoderTarget, nominal: Nominal) -> bool:
    small = SMALL if nominal.cheap else SMALL_WITH_KEYFRAME
    if wanted.bitrate_bps == nominal.bitrate_bps and nominal.cheap:
        return current.bitrate_bps != wanted.bitrate_bps
    return abs(wanted.bitrate_bps - current.bitrate_bps) > small * current.bitrate_bps
