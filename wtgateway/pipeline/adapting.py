"""From what the viewers of a broadcast can take to what its encoders do, at a pace that encoders can follow.

Lives on the event loop. May import config, protocol and the values of encoders and sources.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wtgateway.errors import EncoderError
from wtgateway.protocol.governor import Governor
from wtgateway.protocol.targets import EncoderTarget, Nominal, Policy, Wishes

if TYPE_CHECKING:
    from wtgateway.pipeline.plan import Planned
    from wtgateway.sources.base import SourceInfo

log = logging.getLogger("wtgateway.pipeline")

PAUSE_S = 0.05  # wishes that come together are looked at together


class Adapting:
    """``wishes`` gives what viewers of the track can take now; ``follow`` is given targets that changed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        policy: Policy,
        wishes: Callable[[], Wishes],
        follow: Callable[[Mapping[int, EncoderTarget]], None],
    ) -> None:
        self._loop, self._name = loop, name
        self._wishes, self._follow = wishes, follow
        self._governor = Governor(policy)
        self._nominals: Mapping[int, Nominal] = {}
        self._told: dict[int, EncoderTarget] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def targets(self) -> dict[int, EncoderTarget]:
        """What each rendition's encoder is to do now."""
        return self._governor.targets

    @property
    def nominals(self) -> Mapping[int, Nominal]:
        """What was configured, of each rendition that is encoded."""
        return self._nominals

    @property
    def changes(self) -> int:
        """How often a target was changed."""
        return self._governor.changes

    def begin(self, nominals: Mapping[int, Nominal]) -> None:
        """A run begins, with these renditions."""
        self._nominals, self._told = nominals, {}
        self.changed()

    def changed(self) -> None:
        """The wishes did."""
        self._look_in(PAUSE_S)

    def close(self) -> None:
        """Nothing is followed any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, delay_s: float) -> None:
        at = self._loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        again = self._governor.update(now, self._nominals, self._wishes())
        targets = self._governor.targets
        if targets != self._told:
            for rendition, target in targets.items():
                if self._told.get(rendition) != target:
                    log.debug(
                        "encoder target broadcast=%s rendition=%d bitrate=%d scale=%g every=%d because=%s",
                        self._name, rendition, target.bitrate_bps, target.scale, target.every, target.reason,
                    )  # fmt: skip
            self._told = targets
            self._follow(targets)
        if again is not None:
            self._look_in(max(0.0, again - now))


def nominals_of(plan: tuple[Planned, ...], info: SourceInfo) -> dict[int, Nominal]:
    """What the renditions that are encoded were configured for."""
    from wtgateway.encoders.profiles import canonical_codec
    from wtgateway.encoders.video import find_profile
    from wtgateway.pipeline.plan import encoded_size

    nominals = {}
    for planned in plan:
        if (settings := planned.settings) is None:
            continue
        width, height = encoded_size(settings, info)
        cheap = False
        with contextlib.suppress(EncoderError):  # it will be told when it is to encode
            cheap = find_profile(settings.codec, settings.encoder).live_bitrate
        nominals[planned.id] = Nominal(
            bitrate_bps=settings.bitrate_bps,
            fps=settings.fps,
            width=width,
            height=height,
            codec=canonical_codec(settings.codec),
            cheap=cheap,
        )
    return nominals
