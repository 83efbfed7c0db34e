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


@dataclass(slots=True)
class _Followed:
    target: EncoderTarget
    changed_at: float = -math.inf


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
        larger = _step(wanted) < _step(current)
        due = followed.changed_at + HIGHER_WITH_KEYFRAME_S
        if larger and now < due:
            kept = replace(wanted, scale=current.scale, every=current.every)
            again = self._follow(followed, kept, nominal, now) if nominal.cheap else None
            return min(due, again) if again is not None else due
        resized = _step(wanted) != _step(current)
        if not resized and not _differs(current, wanted, nominal):
            followed.target = replace(current, reason=wanted.reason)
            return None
        keyframe = resized or not nominal.cheap
        lower = wanted.bitrate_bps < current.bitrate_bps or (resized and not larger)
        pauses = (LOWER_WITH_KEYFRAME_S, HIGHER_WITH_KEYFRAME_S) if keyframe else (LOWER_S, HIGHER_S)
        due = followed.changed_at + pauses[0 if lower else 1]
        if now < due:
            return due
        followed.target, followed.changed_at = wanted, now
        self.changes += 1
        return None


def _step(target: EncoderTarget) -> int:
    return STEPS.index((target.scale, target.every))


def _differs(current: EncoderTarget, wanted: EncoderTarget, nominal: Nominal) -> bool:
    small = SMALL if nominal.cheap else SMALL_WITH_KEYFRAME
    if wanted.bitrate_bps == nominal.bitrate_bps and nominal.cheap:
        return current.bitrate_bps != wanted.bitrate_bps
    return abs(wanted.bitrate_bps - current.bitrate_bps) > small * current.bitrate_bps
