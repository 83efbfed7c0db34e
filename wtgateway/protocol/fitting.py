"""One session's part in adaptation: what it knows of path and screen, made into a choice and a wish.

Pure; imports media, and the protocol's choices, messages and deciders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Kind, Track
from wtgateway.protocol import messages
from wtgateway.protocol.adaptation import (
    STANDING_US,
    TROUBLE_US,
    UP_MARGIN,
    Budget,
    Caps,
    Choice,
    Offer,
    PathState,
    RenditionChooser,
    estimate_for,
    within_limit,
)
from wtgateway.protocol.choices import Choices
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.targets import Policy, Wish

MOST_PIXELS = 65_535
MOST_BPS = 10**10
USED = 0.7  # of what it may take: a rendition that takes this is held back by it
LOOK_S = 1.0  # how often all is looked at, be there news or not
MeasuredRate = Callable[[int, int], int]  # of (track, rendition), bits a second; 0: it is not running


@dataclass(frozen=True, slots=True)
class Fitted:
    """The state of one viewer's adaptation, for people and for the path. ``wish`` None: it has none."""

    choice: Choice = field(default_factory=lambda: Choice(None, "nothing is known yet"))
    wish: Wish | None = None
    useful_bps: int = 0  # the least estimate that is as good as any; 0: not known


class Fitting:
    """Moves a viewer between renditions of pictures, and says what it can take of the one it gets."""

    def __init__(self, choices: Choices, policy: Policy | None = None) -> None:
        """``policy`` "off": the rendition is the viewer's business alone; being hidden still counts."""
        policy = policy or Policy()
        self._choices, self._adapts = choices, policy.adapts
        self._chooser = RenditionChooser(policy.floor_bps)
        self._budget = Budget()
        self._caps = Caps()
        self._path = PathState()
        self._measured: MeasuredRate = lambda track, rendition: 0
        self._shared = False
        self._decided_at = -math.inf
        self._seen = -1  # changes of subscriptions, by others than us
        self.state = Fitted()

    def viewport(self, message: messages.Viewport, catalog: Catalog, now: float) -> None:
        """The viewer says what it has use for. Raises ProtocolError (MALFORMED)."""
        sides = (message.width, message.height)
        if not all(0 <= side <= MOST_PIXELS for side in sides) or message.visible not in (0, 1):
            raise ProtocolError(CloseCode.MALFORMED, "a viewport that cannot be")
        if not 0 <= message.bitrate_bps <= MOST_BPS:
            raise ProtocolError(CloseCode.MALFORMED, "a bit rate that cannot be")
        self._caps = Caps(
            width=message.width,
            height=message.height,
            visible=bool(message.visible),
            bitrate_bps=message.bitrate_bps,
        )
        self._decide(catalog, now)

    def update(
        self, path: PathState, catalog: Catalog, measured: MeasuredRate, *, shared: bool, now: float
    ) -> None:
        """A few times a second; what is not urgent is looked at once. ``shared``: others watch, too."""
        before, self._path = self._path, path
        self._measured, self._shared = measured, shared
        urgent = (
            path.estimate_bps != before.estimate_bps
            or path.limit_bps != before.limit_bps
            or path.bounded != before.bounded
            or (path.queueing_us >= STANDING_US) != (before.queueing_us >= STANDING_US)
            or (path.waiting_us >= TROUBLE_US) > (before.waiting_us >= TROUBLE_US)
            or (path.waiting_us >= STANDING_US) != (before.waiting_us >= STANDING_US)
            or self._choices.changes != self._seen
            or (not self._caps.visible and self.state.choice.rendition is not None)
        )
        if urgent or now - self._decided_at >= LOOK_S:
            self._decide(catalog, now)

    def _decide(self, catalog: Catalog, now: float) -> None:
        self._decided_at = now
        self._choose(catalog, now)
        self._seen = self._choices.changes

    def _choose(self, catalog: Catalog, now: float) -> None:
        track = next((t for t in catalog.tracks if t.kind is Kind.VIDEO), None)
        if track is None or not self._choices.asked_for(track):
            useful_bps = estimate_for(0, self._path, self._audio_bps(catalog))
            self.state = Fitted(Choice(None, "the viewer wants no pictures"), None, useful_bps)
            return
        subscription = self._choices.of(track.id)
        current = subscription.rendition if subscription is not None else None
        path = self._path if self._adapts else PathState()
        caps = self._caps if self._adapts else Caps(visible=self._caps.visible)
        offers = self._offers(track)
        audio_bps = self._audio_bps(catalog)
        budget = self._budget.update(
            path, audio_bps, now=now, used=self._uses_all(track, current), most=_most(offers)
        )
        carried, budget = budget, within_limit(budget, path, audio_bps)
        choice = self._chooser.update(
            offers,
            current,
            budget,
            caps,
            now=now,
            wish=self._choices.wished(track.id),
            shared=self._shared,
            limited=budget != carried,
        )
        pauses_or_resumes = choice.rendition is None or current is None
        if choice.rendition != current and (self._adapts or pauses_or_resumes):
            self._choices.advise(track.id, choice.rendition)
        self.state = Fitted(
            choice,
            self._wish(track, choice, budget, caps),
            estimate_for(_most(offers) if choice.rendition is not None else 0, path, audio_bps),
        )

    def _offers(self, track: Track) -> list[Offer]:
        return [
            Offer(
                id=r.id,
                bitrate_bps=r.bitrate_bps,
                width=r.width,
                height=r.height,
                forwarded=r.forwarded,
                measured_bps=self._measured(track.id, r.id),
            )
            for r in self._choices.decodable(track)
        ]

    def _uses_all(self, track: Track, current: int | None) -> bool:
        """Whether the rendition takes about what it may."""
        rendition = track.rendition(current) if current is not None else None
        if rendition is None:
            return False
        may = min(rendition.bitrate_bps, self._budget.bps or rendition.bitrate_bps)
        return self._measured(track.id, rendition.id) >= USED * may

    def _audio_bps(self, catalog: Catalog) -> int:
        """Of what the viewer gets to hear, whichever is more: as it is said, or as it is."""
        total = 0
        for track in catalog.tracks:
            subscription = self._choices.of(track.id) if track.kind is Kind.AUDIO else None
            if subscription is not None and (rendition := track.rendition(subscription.rendition)):
                total += max(rendition.bitrate_bps, self._measured(track.id, rendition.id))
        return total

    def _wish(self, track: Track, choice: Choice, budget: int | None, caps: Caps) -> Wish | None:
        chosen = track.rendition(choice.rendition) if choice.rendition is not None else None
        if chosen is None or chosen.forwarded or not self._adapts:
            return None
        # Who shares an encoder may not make it worse by a word; a narrow path is another thing.
        cap = caps.bitrate_bps if not self._shared else 0
        rates = [rate for rate in (budget, cap or None) if rate is not None]
        rate = max(1, min(rates)) if rates else 0
        turned = chosen.rotation % 180 != 0  # the element's sides are those of the picture as it is seen
        width, height = (caps.height, caps.width) if turned else (caps.width, caps.height)
        return Wish(track.id, chosen.id, rate, width, height)


def _most(offers: Sequence[Offer]) -> int:
    """The bit rate with which every rendition can be gone to."""
    return round(max((max(o.bitrate_bps, o.measured_bps) for o in offers), default=0) * UP_MARGIN)
