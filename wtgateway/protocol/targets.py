"""What encoders are to do, out of what all viewers can take. Pure; imports nothing of the project.

Each viewer has a :class:`Wish`; a :class:`WishBook` counts those of a broadcast; :func:`aggregate` makes of
them what the encoder of a rendition should do, by policy; a :class:`Governor` keeps that from changing too
often, because a change of size, and with most encoders one of the bit rate, begins a group.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

POLICIES = ("fit-most", "fit-all", "off")
LEFT_BEHIND = 0.2  # share of viewers that `fit-most` does not wait for
RATE_STEP = 1.05  # wishes are told apart by a twentieth
SIZE_STEP = 32  # pixels

# Bits for each pixel of H.264 below which fewer pixels look better, and above which more are tried again.
FEW_BITS, ENOUGH_BITS = 0.035, 0.06
FEW_OF_NOMINAL = 0.4  # a rendition that is meant to have few bits goes by what it is meant to have
CODEC_NEEDS = {"h264": 1.0, "hevc": 0.65, "vp9": 0.7, "av1": 0.6}
# (scale of width and height, every which picture), from all there is to the least.
STEPS = ((1.0, 1), (0.75, 1), (0.5, 1), (0.5, 2), (0.375, 2), (0.25, 2))
LEAST_SIDE = 96  # pixels; no step makes a picture smaller
RATE_OF_SCALE = 1.5  # a smaller picture needs more bits for each of its pixels


@dataclass(frozen=True, slots=True)
class Policy:
    """How a broadcast adapts: by one of POLICIES, and to no less than ``floor_bps``."""

    name: str = "fit-most"
    floor_bps: int = 100_000

    @property
    def adapts(self) -> bool:
        """Whether it does at all."""
        return self.name != "off"


@dataclass(frozen=True, slots=True, order=True)
class Wish:
    """What one viewer can take of a rendition: bit rate (0: not known), and device pixels (0: not known)."""

    track: int
    rendition: int
    bitrate_bps: int = 0
    width: int = 0
    height: int = 0


Wishes = tuple[tuple[Wish, int], ...]  # and how many have it


def coarse(wish: Wish) -> Wish:
    """The same in few values, rate down and size up, so that many viewers have few wishes."""
    bps = wish.bitrate_bps
    if bps > 0:
        bps = math.floor(RATE_STEP ** math.floor(math.log(bps, RATE_STEP) + 1e-9))
    width, height = (-(-side // SIZE_STEP) * SIZE_STEP for side in (wish.width, wish.height))
    return replace(wish, bitrate_bps=bps, width=width, height=height)


class WishBook:
    """The wishes of all viewers of a broadcast, here and elsewhere. One is changed in constant time."""

    def __init__(self) -> None:
        self._own: dict[object, tuple[Wish | None, Wish]] = {}  # as it was given, and as it counts
        self._counts: Counter[Wish] = Counter()
        self._elsewhere: dict[Hashable, Wishes] = {}

    def set(self, viewer: object, wish: Wish | None) -> bool:
        """A viewer's wish, None: it has none (any more). Whether that changed anything."""
        given, before = self._own.pop(viewer, (None, None))
        after = before if wish is given else coarse(wish) if wish is not None else None
        if after is not None:
            self._own[viewer] = wish, after
        if before == after:
            return False
        if before is not None:
            self._counts[before] -= 1
            if not self._counts[before]:
                del self._counts[before]
        if after is not None:
            self._counts[after] += 1
        return True

    def set_elsewhere(self, place: Hashable, wishes: Wishes) -> bool:
        """Those of the viewers that ``place`` serves; whether that changed anything."""
        before = self._elsewhere.pop(place, ())
        if wishes:
            self._elsewhere[place] = wishes
        return before != wishes

    def all(self) -> Wishes:
        """One entry for each bit rate of a rendition, with the largest size of those who have it."""
        merged: dict[tuple[int, int, int], tuple[Wish, int]] = {}
        for wish, count in (*self._counts.items(), *(e for w in self._elsewhere.values() for e in w)):
            key = (wish.track, wish.rendition, wish.bitrate_bps)
            known, people = merged.get(key, (wish, 0))
            merged[key] = _larger(known, wish), people + count
        return tuple(merged[key] for key in sorted(merged))


def _larger(a: Wish, b: Wish) -> Wish:
    """Of two that differ in size alone; a size that is not known may be any."""
    known = a.width and a.height and b.width and b.height
    return replace(
        a, width=max(a.width, b.width) if known else 0, height=max(a.height, b.height) if known else 0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Nominal:
    """A rendition that is encoded, as it was configured: no target goes beyond. 0: not known.

    ``cheap``: the encoder takes another bit rate without a keyframe.
    """

    bitrate_bps: int
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = "h264"
    cheap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderTarget:
    """What an encoder is to do. ``every``: it takes every so manieth picture. ``reason`` in words."""

    bitrate_bps: int
    scale: float = 1.0  # of the nominal width and height
    every: int = 1
    reason: str = field(default="nobody needs less", compare=False)


def agreed_bps(policy: Policy, wishes: Iterable[tuple[Wish, int]], nominal_bps: int) -> int:
    """The bit rate that viewers agree on. Whose path is not known counts as taking all."""
    rates = sorted((min(wish.bitrate_bps or nominal_bps, nominal_bps), count) for wish, count in wishes)
    if not policy.adapts or not rates:
        return nominal_bps
    left = sum(count for _, count in rates) * LEFT_BEHIND if policy.name == "fit-most" else 0
    for rate, count in rates:
        left -= count
        if left < 0:
            return rate
    return rates[-1][0]


def needed_scale(wishes: Sequence[tuple[Wish, int]], nominal: Nominal) -> float:
    """The least scale at which nobody has to enlarge the picture; 1.0 where somebody's size is not known."""
    if not wishes or not (nominal.width and nominal.height):
        return 1.0
    most = 0.0
    for wish, _ in wishes:
        if not (wish.width and wish.height):
            return 1.0
        most = max(most, min(wish.width / nominal.width, wish.height / nominal.height))
    return min(1.0, most)


def aggregate(
    policy: Policy,
    wishes: Sequence[tuple[Wish, int]],
    nominal: Nominal,
    before: EncoderTarget | None = None,
) -> EncoderTarget:
    """What the encoder of one rendition should do for those who get it.

    ``before`` is what it does now: more pixels want more bits than the same pixels do (hysteresis).
    """
    if not policy.adapts or not wishes:
        return EncoderTarget(bitrate_bps=nominal.bitrate_bps)
    floor = min(policy.floor_bps, nominal.bitrate_bps)
    agreed = agreed_bps(policy, wishes, nominal.bitrate_bps)
    shown = needed_scale(wishes, nominal)
    largest = max((i for i, (scale, every) in enumerate(STEPS) if scale >= shown and every == 1), default=0)
    largest = _possible(largest, nominal)
    ceiling = nominal.bitrate_bps * STEPS[largest][0] ** RATE_OF_SCALE
    bps = max(floor, min(agreed, round(ceiling)))
    step = max(largest, _step(bps, nominal, before))
    scale, every = STEPS[step]
    if agreed < ceiling:
        alone = sum(count for _, count in wishes) == 1
        reason = "its viewer's path" if alone else f"its viewers' paths, by {policy.name}"
    elif largest:
        reason = "nobody shows it larger"
    else:
        reason = "nobody needs less"
    return EncoderTarget(bitrate_bps=bps, scale=scale, every=every, reason=reason)


def _step(bps: int, nominal: Nominal, before: EncoderTarget | None) -> int:
    """The first of STEPS with enough bits for each pixel."""
    if not (nominal.width and nominal.height and nominal.fps):
        return 0
    pixels = nominal.width * nominal.height * nominal.fps
    most = nominal.bitrate_bps / pixels * FEW_OF_NOMINAL
    few = min(FEW_BITS * CODEC_NEEDS.get(nominal.codec, 1.0), most)
    enough = few * ENOUGH_BITS / FEW_BITS
    now = STEPS.index((before.scale, before.every)) if before is not None else 0
    step = 0
    for step, (scale, every) in enumerate(STEPS):
        if bps / (pixels * scale * scale / every) >= (enough if step < now else few):
            break
    return _possible(step, nominal)


def _possible(step: int, nominal: Nominal) -> int:
    """A step that leaves a picture to be seen."""
    least = min(nominal.width, nominal.height)
    while step and least and least * STEPS[step][0] < LEAST_SIDE:
        step -= 1
    return step
