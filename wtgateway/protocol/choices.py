"""What one viewer gets of each track, and how it changes: told to both sides as it happens.

The part of a ServerSession that knows subscriptions and changes of rendition. Imports media and errors only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wtgateway.media import Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol import messages
from wtgateway.protocol.abilities import Abilities
from wtgateway.protocol.session_events import (
    Event,
    RenditionAwaited,
    RenditionSwitched,
    SubscriptionChanged,
)
from wtgateway.protocol.subscriptions import Change, Subscription, Subscriptions
from wtgateway.protocol.switching import SoundSwitch, Switch, Verdict


class Choices:
    """Follows wishes, abilities and catalogs; judges frames.

    ``say`` is given messages for the viewer, ``tell`` events for the gateway; ``restart`` is called
    with a track of which nothing that was sent goes on, ``forget_held`` with one of which frames that
    were judged HOLD are of no use.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        *,
        say: Callable[[messages.Message], None],
        tell: Callable[[Event], None],
        restart: Callable[[int], None],
        forget_held: Callable[[int], None],
    ) -> None:
        self._subscriptions = subscriptions
        self._say, self._tell, self._restart, self._forget_held = say, tell, restart, forget_held
        self.changes = 0  # of any subscription, by whomever
        self._catalog = Catalog()
        self._decodable: dict[int, tuple[Track, Abilities, tuple[Rendition, ...]]] = {}
        self._switches: dict[int, Switch | SoundSwitch] = {}
        self._newest_group: dict[int, int] = {}  # of each track, that the viewer was sent a frame of

    def of(self, track_id: int) -> Subscription | None:
        """What the viewer gets of a track, or is about to; None: nothing."""
        return self._subscriptions.active.get(track_id)

    def deliveries(self) -> Iterable[str]:
        """The delivery modes of what the viewer gets."""
        return (subscription.delivery for subscription in self._subscriptions.active.values())

    def wanted(self) -> frozenset[tuple[int, int]]:
        """(track, rendition) of all that this viewer needs to be produced."""
        active = {(track, s.rendition) for track, s in self._subscriptions.active.items()}
        return frozenset(active | {(track, switch.old) for track, switch in self._switches.items()})

    def renditions(self, track_id: int) -> tuple[int, ...]:
        """Of a track, those of which a keyframe would help: what is sent, and what is to follow it."""
        switch, subscription = self._switches.get(track_id), self.of(track_id)
        if subscription is None:
            return ()
        return (switch.new, switch.old) if switch else (subscription.rendition,)

    def follow(self, catalog: Catalog) -> None:
        """Something else is offered."""
        self._catalog = catalog
        for change in self._subscriptions.follow(catalog):
            self._changed(change)
        for track_id, switch in list(self._switches.items()):
            track, after = catalog.track(track_id), self.of(track_id)
            if after is not None and (track is None or track.rendition(switch.old) is None):
                self._begin_anew(track_id, after)

    def wish(self, wish: messages.Subscribe) -> str:
        """The viewer wishes for a track; words if it cannot be had. Raises ProtocolError (MALFORMED)."""
        change = self._subscriptions.wish(wish, self._catalog)
        if isinstance(change, str):
            return change
        self._changed(change)
        return ""

    def learn(self, abilities: Abilities) -> None:
        """The viewer says what it decodes."""
        for change in self._subscriptions.learn(abilities, self._catalog):
            self._changed(change)

    def decline(self, track_id: int) -> None:
        """The viewer wants no more of a track. Raises ProtocolError (MALFORMED)."""
        self._changed(self._subscriptions.decline(track_id))

    def advise(self, track_id: int, rendition: int | None) -> None:
        """Adaptation has chosen; None: nothing of the track for now."""
        track = self._catalog.track(track_id)
        if track is None:
            return
        change = self._subscriptions.advise(track, rendition)
        if change.before != change.after:
            self._changed(change)

    def decodable(self, track: Track) -> tuple[Rendition, ...]:
        """Of a track's renditions those that the viewer decodes."""
        abilities = self._subscriptions.abilities
        known = self._decodable.get(track.id)
        if known is None or known[0] is not track or known[1] is not abilities:
            able = tuple(r for r in track.renditions if abilities.can_decode(r))
            known = self._decodable[track.id] = track, abilities, able
        return known[2]

    def asked_for(self, track: Track) -> bool:
        """Whether the viewer wants the track at all."""
        return self._subscriptions.asked_for(track)

    def paused(self, track_id: int) -> bool:
        """Whether the viewer wants the track and gets nothing of it for now."""
        return self._subscriptions.paused(track_id)

    def wished(self, track_id: int) -> int:
        """The rendition that the viewer has wished for, -1: it leaves the choice to the gateway."""
        return self._subscriptions.wished(track_id)

    def judge(self, frame: Frame) -> Verdict:
        """What becomes of a frame; once for each that comes, in the order in which they come."""
        subscription, switch = self.of(frame.track), self._switches.get(frame.track)
        if subscription is None:
            return Verdict.DROP
        if switch is None:
            verdict = Verdict.PASS if subscription.rendition == frame.rendition else Verdict.DROP
        else:
            verdict = switch.take(frame)
        if verdict in (Verdict.BEGIN, Verdict.RELEASE):
            del self._switches[frame.track]
            self._say_subscribed(frame.track, subscription)
            self._tell(RenditionSwitched(frame.track, subscription.rendition))
        if verdict in (Verdict.PASS, Verdict.BEGIN, Verdict.RELEASE):
            self._newest_group[frame.track] = frame.group
        return verdict

    def _changed(self, change: Change) -> None:
        """Tell both sides; a wish is answered even if it changes nothing."""
        self.changes += 1
        track_id, after = change.track_id, change.after
        if after is not None and self._changes_softly(change, after):
            return
        if after is None and self._subscriptions.paused(track_id):
            self._say(messages.Subscribed(track=track_id, rendition=-1, delivery="stream"))
        if change.restarts:
            self._begin_anew(track_id, after)
        elif after is not None and track_id not in self._switches:
            self._say_subscribed(track_id, after)

    def _begin_anew(self, track_id: int, after: Subscription | None) -> None:
        """Forget what was being sent of a track; the next is a keyframe of another rendition, or nothing."""
        self._switches.pop(track_id, None)
        if after is not None:
            self._say_subscribed(track_id, after)
        self._restart(track_id)
        self._tell(SubscriptionChanged(track_id, after.rendition if after else None))

    def _changes_softly(self, change: Change, after: Subscription) -> bool:
        """Whether the viewer goes on with what it gets until the other rendition takes its place."""
        track_id, track = change.track_id, self._catalog.track(change.track_id)
        if not change.restarts or change.before is None or track is None or track.kind is Kind.DATA:
            return False
        under_way = self._switches.get(track_id)
        old = under_way.old if under_way else change.before.rendition
        if old == after.rendition:  # it was to be left, and is wanted again
            self._switches.pop(track_id, None)
            self._forget_held(track_id)
            self._say_subscribed(track_id, after)
            return True
        if under_way is not None:
            self._forget_held(track_id)  # of a third one, which is not wanted any more
        sent = self._newest_group.get(track_id)
        if sent is None or track.rendition(old) is None:
            return False
        sound = track.kind is Kind.AUDIO
        self._switches[track_id] = (
            SoundSwitch(old, after.rendition) if sound else Switch(old, after.rendition, sent)
        )
        self._tell(RenditionAwaited(track_id, after.rendition))
        return True

    def _say_subscribed(self, track_id: int, subscription: Subscription) -> None:
        words = messages.Subscribed(
            track=track_id, rendition=subscription.rendition, delivery=subscription.delivery
        )
        self._say(words)
