"""Losses that come together, seeded: Gilbert-Elliott's two states, and bursts of given lengths."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class LossProcess(Protocol):
    """Losses that depend on those before them."""

    def begin(self) -> Callable[[random.Random], bool]:
        """A state of its own: asked once for each datagram whether it is lost."""


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Two states with losses of their own, and the probabilities of going from one to the other."""

    to_bad: float
    to_good: float
    bad_loss: float = 1.0
    good_loss: float = 0.0

    @property
    def mean_loss(self) -> float:
        """Share lost in the long run."""
        bad = self.to_bad / (self.to_bad + self.to_good)
        return bad * self.bad_loss + (1 - bad) * self.good_loss

    @classmethod
    def of(cls, loss: float, mean_burst: float) -> GilbertElliott:
        """``loss`` in the long run, in bursts of ``mean_burst`` datagrams, geometrically distributed."""
        to_good = 1 / mean_burst
        return cls(to_bad=to_good * loss / (1 - loss), to_good=to_good)

    def begin(self) -> Callable[[random.Random], bool]:
        """The states, beginning with the good one."""
        bad = False

        def lost(dice: random.Random) -> bool:
            nonlocal bad
            bad = dice.random() >= self.to_good if bad else dice.random() < self.to_bad
            return dice.random() < (self.bad_loss if bad else self.good_loss)

        return lost


@dataclass(frozen=True, slots=True)
class LossBursts:
    """``loss`` in the long run, in bursts of ``least`` to ``most`` datagrams, all lengths alike often."""

    loss: float
    least: int = 5
    most: int = 20

    def begin(self) -> Callable[[random.Random], bool]:
        """Bursts, with gaps between them whose lengths are geometrically distributed."""
        start = self.loss / (1 - self.loss) / ((self.least + self.most) / 2)
        left = 0

        def lost(dice: random.Random) -> bool:
            nonlocal left
            if left:
                left -= 1
                return True
            if dice.random() < start:
                left = dice.randint(self.least, self.most) - 1
                return True
            return False

        return lost
