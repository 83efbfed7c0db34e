"""Which rendition of which track a viewer gets: its wishes, met with what the catalog has.

Imports media and errors only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Track
from wtgateway.protocol import messages
from wtgateway.protocol.abilities import Abilities
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.resume import MAX_WISHES, TrackWish, Wishes
from wtgateway.protocol.subscribe_query import DELIVERY_MODES, MAX_DEADLINE_MS, SubscribeQuery


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a viewer gets of one track; ``deadline`` in seconds."""

    rendition: int
    delivery: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Change:
    """A track's subscription before and after; None: there is none."""

    track_id: int
    before: Subscription | None
    after: Subscription | None

    @property
    def restarts(self) -> bool:
        """True if other frames are sent from now on."""
        return (self.before and self.before.rendition) != (self.after and self.after.rendition)


@dataclass(slots=True)
class Subscriptions:
    """One viewer's subscriptions. Wishes outlive catalogs; ``deadline`` is the gateway's default.

    ``resumed`` is what the viewer wished for in the session whose place this one takes. ``revision`` grows
    whenever it wishes for something else.
    """

    query: SubscribeQuery
    deadline: float
    resumed: tuple[TrackWish, ...] = ()
    revision: int = 0
    active: dict[int, Subscription] = field(default_factory=dict)
    abilities: Abilities = field(init=False)
    _wishes: dict[int, messages.Subscribe] = field(default_factory=dict)
    _declined: set[int] = field(default_factory=set)
    _advice: dict[int, int] = field(default_factory=dict)  # renditions that adaptation has chosen
    _paused: set[int] = field(default_factory=set)  # tracks of no use to the viewer for now

    def __post_init__(self) -> None:
        self.abilities = self.query.abilities
        for wish in self.resumed:
            if wish.delivery:
                self._wishes[wish.track] = messages.Subscribe(
                    track=wish.track,
                    rendition=wish.rendition,
                    delivery=wish.delivery,
                    deadline_ms=wish.deadline_ms,
                )
            else:
                self._declined.add(wish.track)
        for position in self.query.after:
            self._advice[position.track] = position.rendition

    def wishes(self) -> Wishes:
        """All that the viewer has wished for, for the session that may take this one's place."""
        tracks = [
            TrackWish(wish.track, wish.rendition, wish.delivery, wish.deadline_ms)
            for wish in self._wishes.values()
        ]
        tracks += [TrackWish(track, delivery="") for track in sorted(self._declined)]
        return Wishes(
            kinds=self.query.kinds,
            delivery=self.query.delivery,
            deadline_ms=self.query.deadline_ms,
            codecs=self.abilities.text,
            tracks=tuple(tracks[:MAX_WISHES]),
        )

    def follow(self, catalog: Catalog) -> list[Change]:
        """The catalog changed."""
        gone = [self._set(t, None) for t in list(self.active) if catalog.track(t) is None]
        changes = [*gone, *(self._apply(track) for track in catalog.tracks)]
        return [change for change in changes if change.before != change.after]

    def wish(self, wish: messages.Subscribe, catalog: Catalog) -> Change | str:
        """The viewer wishes for a track; words if it cannot be had.

        Raises ProtocolError (MALFORMED) for a wish that makes no sense.
        """
        if wish.delivery not in DELIVERY_MODES or not 0 <= wish.deadline_ms <= MAX_DEADLINE_MS:
            raise ProtocolError(CloseCode.MALFORMED, f"the wish for track {wish.track} makes no sense")
        track = catalog.track(wish.track)
        if track is None:
            return f"there is no track {wish.track}"
        wished = track.rendition(wish.rendition)
        if wish.rendition >= 0 and wished is None:
            return f"track {wish.track} has no rendition {wish.rendition}"
        if wished is not None and not self.abilities.can_decode(wished):
            return f"rendition {wish.rendition} is {wished.codec}, which this viewer has not said to decode"
        self.revision += 1
        self._declined.discard(wish.track)
        self._wishes[wish.track] = wish
        return self._apply(track, anew=wish.rendition < 0)

    def learn(self, abilities: Abilities, catalog: Catalog) -> list[Change]:
        """The viewer says what it decodes: what it gets is chosen anew, best first."""
        self.abilities = abilities
        self.revision += 1
        changes = [self._apply(track, anew=True) for track in catalog.tracks]
        return [change for change in changes if change.before != change.after]

    def advise(self, track: Track, rendition: int | None) -> Change:
        """Adaptation has chosen; None: nothing for now. A wish for a rendition goes before another one."""
        if rendition is None:
            self._paused.add(track.id)
        else:
            self._paused.discard(track.id)
            self._advice[track.id] = rendition
        return self._apply(track)

    def paused(self, track_id: int) -> bool:
        """Whether the viewer wants the track and gets nothing of it for now."""
        return track_id in self._paused

    def asked_for(self, track: Track) -> bool:
        """Whether the viewer wants the track at all."""
        wanted = track.kind in self.query.kinds and track.id not in self._declined
        return track.id in self._wishes or wanted

    def wished(self, track_id: int) -> int:
        """The rendition that the viewer has wished for, -1: it leaves the choice to the gateway."""
        wish = self._wishes.get(track_id)
        return wish.rendition if wish else -1

    def decline(self, track_id: int) -> Change:
        """The viewer wants no more of a track. Raises ProtocolError (MALFORMED) for a number that is none."""
        if not 0 <= track_id <= 255:
            raise ProtocolError(CloseCode.MALFORMED, f"track {track_id} cannot be")
        self.revision += 1
        self._declined.add(track_id)
        self._wishes.pop(track_id, None)
        self._advice.pop(track_id, None)
        self._paused.discard(track_id)
        return self._set(track_id, None)

    def _apply(self, track: Track, *, anew: bool = False) -> Change:
        """Make a track's subscription what the viewer wishes and the catalog has."""
        wish = self._wishes.get(track.id)
        wanted = self.asked_for(track) and track.id not in self._paused
        rendition = self._choose(track, wish.rendition if wish else -1, anew=anew) if wanted else None
        if rendition is None:
            return self._set(track.id, None)
        deadline_ms = wish.deadline_ms if wish else self.query.deadline_ms
        delivery = wish.delivery if wish else self.query.delivery
        return self._set(track.id, Subscription(rendition, delivery, deadline_ms / 1000 or self.deadline))

    def _choose(self, track: Track, wished: int, *, anew: bool) -> int | None:
        """Of what the viewer decodes: the wished one, the advised, the one in use, the first, or none."""
        able = [r.id for r in track.renditions if self.abilities.can_decode(r)]
        if anew:
            self._advice.pop(track.id, None)
        current = self.active.get(track.id)
        advised = self._advice.get(track.id, -1)
        candidates = (wished, advised, -1 if anew or current is None else current.rendition)
        return next((c for c in candidates if c in able), able[0] if able else None)

    def _set(self, track_id: int, after: Subscription | None) -> Change:
        before = self.active.pop(track_id, None)
        if after is not None:
            self.active[track_id] = after
        return Change(track_id, before, after)
