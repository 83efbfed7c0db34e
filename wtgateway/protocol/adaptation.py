"""Which rendition of the pictures a viewer is sent: as much as its path carries and its screen has use for.

Down at once, up only after the estimate has held for a while, and later each time an up-switch failed. A
page that nobody sees gets no pictures. Bit rates are bits a second, ``now`` is seconds of a monotonic
clock. Pure; imports nothing of the project.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

HEADROOM = 0.9  # of the estimate is used: rate control swings, and so does the estimate
MOST_REPAIR = 0.5  # of what is sent; beyond, pictures would only get worse
STANDING_US = 100_000  # a queue that stands so long is to be drained:
DRAINING = 0.7  # so much of what could be sent, while it stands: 30 KB at 2 Mbit/s are gone in half a second
CALM_US, CALM_S = 40_000, 3.0  # queues below that for so long, there and here: the path is at ease
TROUBLE_US = 150_000  # in our own queue
LONGEST_CALM_S = 60.0  # after growth that ended in trouble, again and again
MUCH_LOSS = 0.05  # more is no chance, and the path is not at ease
GROWTH, GROWTH_WHEN_USED = 0.02, 0.10  # of the budget, each second while the path is at ease
LONGEST_STEP_S = 1.0
AUDIO_OVERHEAD = 1.2  # small datagrams have their headers, and some sound is sent twice

TOLERANCE = 0.95  # a rendition that needs a twentieth too much is not left for that
UP_MARGIN = 1.15  # of what a better rendition needs
UP_HOLD_S = 3.0
TRIAL_S = 10.0  # an up-switch that is taken back within this has failed
BACKOFF_FIRST_S, BACKOFF_LIMIT_S = 10.0, 120.0
HIDDEN_S = 3.0  # a glance at another tab costs nothing
RESIZE_PAUSE_S = 2.0
MOST_ENLARGED = 1.15  # a smaller rendition is as good if it is enlarged by no more than this
MUCH_LOWER = 0.8  # of a bit rate: what counts as a lower rung of a ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class PathState:
    """What is known of the way to a viewer. ``repair``: share of bytes that are FEC and retransmissions."""

    estimate_bps: int = 0  # what it carries; 0: not known yet
    bounded: bool = True  # and no more; else it may carry more
    loss: float = 0.0  # share of packets, 0..1
    queueing_us: int = 0  # standing queue
    waiting_us: int = 0  # of frames in our own queue, before they may leave
    limit_bps: int = 0  # what may be sent, whatever the path carries; 0: any
    repair: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What a viewer has use for: device pixels of the element (0: not known), and bit rate (0: any)."""

    width: int = 0
    height: int = 0
    visible: bool = True
    bitrate_bps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A rendition that the viewer decodes. ``bitrate_bps`` is nominal; ``measured_bps`` 0: it rests."""

    id: int
    bitrate_bps: int
    width: int = 0
    height: int = 0
    forwarded: bool = False
    measured_bps: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """``rendition`` None: no pictures. ``reason`` in words, for people."""

    rendition: int | None
    reason: str


def budget_bps(path: PathState, audio_bps: int) -> int | None:
    """What the path has left for pictures; None where nothing is known of it."""
    if path.estimate_bps <= 0:
        return None
    repair = min(MOST_REPAIR, max(path.repair, path.loss, 0.0))
    usable = path.estimate_bps * HEADROOM * (1 - repair)
    if _standing(path):
        usable *= DRAINING
    return max(0, round(usable - audio_bps * AUDIO_OVERHEAD))


def within_limit(budget: int | None, path: PathState, audio_bps: int) -> int | None:
    """The budget of :class:`Budget`, or what a limit of the gateway leaves for pictures if that is less."""
    if not path.limit_bps:
        return budget
    bound = replace(path, estimate_bps=path.limit_bps, queueing_us=0, waiting_us=0)
    return _least(budget, budget_bps(bound, audio_bps))


@dataclass(slots=True)
class Budget:
    """What pictures may take, in the light of what the path has shown; ``bps`` None: any.

    An estimate that is no bound is what the application has happened to send, or a probe: a reason to take
    more, and none to take less. A bound may be an old one: while the path is calm the budget grows beyond it,
    since what is never sent never shows that it would arrive. Trouble takes it back to the estimate, and lets
    the next attempt wait twice as long; what the estimate gains by one makes it short again.
    """

    bps: int | None = None
    _known_bps: int = 0  # what the estimate left, when it last fell, and at best since then
    _calm_since: float | None = None
    _calm_s: float = CALM_S
    _at: float = 0.0

    def update(self, path: PathState, audio_bps: int, *, now: float, used: bool, most: int) -> int | None:
        """``used``: pictures take about what they may. ``most`` is what they could use in the best case."""
        known = budget_bps(path, audio_bps)
        undrained = budget_bps(replace(path, queueing_us=0, waiting_us=0), audio_bps)
        elapsed, self._at = min(now - self._at, LONGEST_STEP_S), now
        calm = self._is_calm(path, now)
        if known is None or undrained is None:
            return self.bps
        fallen = undrained < TOLERANCE * self._known_bps
        if self.bps is None:
            self.bps = known if path.bounded else None
        elif known > self.bps or (path.bounded and (fallen or _troubled(path) or _standing(path))):
            if undrained < TOLERANCE * self.bps and _troubled(path):  # it had grown
                self._calm_s = min(2 * self._calm_s, LONGEST_CALM_S)
            self.bps = known
        elif calm and self.bps < most:
            growth = GROWTH_WHEN_USED if used else GROWTH
            self.bps = min(most, round(self.bps * (1 + growth * elapsed)))
        if undrained * TOLERANCE > self._known_bps:
            self._calm_s = CALM_S
        if fallen or undrained > self._known_bps:
            self._known_bps = undrained
        return self.bps

    def _is_calm(self, path: PathState, now: float) -> bool:
        if max(path.queueing_us, path.waiting_us) >= CALM_US or _troubled(path):
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now
        return now - self._calm_since >= self._calm_s


def _standing(path: PathState) -> bool:
    return max(path.queueing_us, path.waiting_us) >= STANDING_US


def _troubled(path: PathState) -> bool:
    return path.queueing_us >= STANDING_US or path.waiting_us >= TROUBLE_US or path.loss >= MUCH_LOSS


def estimate_for(video_bps: int, path: PathState, audio_bps: int) -> int:
    """The estimate with which so much would be left for pictures: higher ones are not worth probing for."""
    repair = min(MOST_REPAIR, max(path.repair, path.loss, 0.0))
    return math.ceil((video_bps + audio_bps * AUDIO_OVERHEAD) / (HEADROOM * (1 - repair)))


def enlarged(width: int, height: int, caps: Caps) -> float:
    """By how much a picture is enlarged to fit the viewer's element; infinite where that is not known."""
    if not (width and height and caps.width and caps.height):
        return math.inf
    return min(caps.width / width, caps.height / height)


def useful(offers: Sequence[Offer], caps: Caps) -> list[Offer]:
    """Without those that are larger than the viewer can show, where a smaller one does as well."""
    enough = [o.width * o.height for o in offers if enlarged(o.width, o.height, caps) <= MOST_ENLARGED]
    return [o for o in offers if not enough or o.width * o.height <= min(enough)] or list(offers)


@dataclass(slots=True)
class _Rung:
    """What up-switches to one rendition have come to."""

    since: float | None = None  # when the estimate began to allow it
    backoff_s: float = 0.0
    not_before: float = -math.inf


@dataclass(slots=True)
class RenditionChooser:
    """One viewer's choice. ``floor_bps``: encoders go down to this before a rendition is too much."""

    floor_bps: int = 100_000
    _rungs: dict[int, _Rung] = field(default_factory=dict)
    _trial: tuple[int, float] | None = None  # rendition gone up to, and when
    _hidden_since: float | None = None
    _resized_at: float = -math.inf
    _leaves: str = "the path has"

    def update(
        self,
        offers: Sequence[Offer],
        current: int | None,
        budget: int | None,
        caps: Caps,
        *,
        now: float,
        wish: int = -1,
        shared: bool = False,
        limited: bool = False,
    ) -> Choice:
        """What is to be sent now, ``current`` being what is.

        ``offers`` are in the catalog's order, best first. ``budget`` is a :class:`Budget`'s. ``wish`` is the
        viewer's own (-1: none), and goes before all but being hidden. ``shared``: others watch, too, so that
        an encoder does not follow one viewer where the ladder has something lower for it. ``limited``: the
        budget is the gateway's limit, and not what the path carries; for the words only.
        """
        self._leaves = "a limit leaves" if limited else "the path has"
        if self._hidden(caps, now):
            return Choice(None, "the page is hidden")
        if not offers:
            return Choice(None, "there is nothing that the viewer decodes")
        if any(offer.id == wish for offer in offers):
            return Choice(wish, "the viewer's wish")
        candidates = useful(offers, caps)
        needs = {offer.id: self._needs(offer, candidates, shared) for offer in candidates}
        budget = _least(budget, caps.bitrate_bps or None)
        best = _best(candidates, needs, budget)
        if current is None or not any(offer.id == current for offer in offers):
            self._trial = None
            return Choice(best, "the path carries it")
        if current not in needs:
            return self._resize(current, best, now)
        if budget is None:
            return self._settle(current, "nothing is known of the path", now)
        if needs[current] * TOLERANCE > budget and needs[best] < needs[current]:
            return self._down(current, best, budget, now)
        return self._up(candidates, current, needs, budget, now)

    def _resize(self, current: int, best: int, now: float) -> Choice:
        """Each change wants a keyframe of encoders that others share, and a size is easily said."""
        if now - self._resized_at < RESIZE_PAUSE_S:
            return Choice(current, "its size has just been changed")
        self._resized_at, self._trial = now, None
        return Choice(best, "as large as it is shown")

    def _hidden(self, caps: Caps, now: float) -> bool:
        if caps.visible:
            self._hidden_since = None
            return False
        if self._hidden_since is None:
            self._hidden_since = now
        return now - self._hidden_since >= HIDDEN_S

    def _needs(self, offer: Offer, candidates: Sequence[Offer], shared: bool) -> int:
        """The budget below which a rendition is too much."""
        if offer.forwarded:
            return max(offer.bitrate_bps, offer.measured_bps)
        lower = [o.bitrate_bps for o in candidates if o.bitrate_bps <= MUCH_LOWER * offer.bitrate_bps]
        if not lower:  # the encoder follows all the way
            return min(self.floor_bps, offer.bitrate_bps)
        if shared:
            return offer.bitrate_bps
        # The encoder follows the one viewer to halfway between two rungs.
        return max(self.floor_bps, round(math.sqrt(offer.bitrate_bps * max(lower))))

    def _settle(self, rendition: int, words: str, now: float) -> Choice:
        if self._trial is not None and now - self._trial[1] >= TRIAL_S:
            self._rungs.pop(self._trial[0], None)
            self._trial = None
        return Choice(rendition, words)

    def _down(self, current: int, best: int, budget: int, now: float) -> Choice:
        if self._trial is not None and self._trial[0] == current:
            rung = self._rungs.setdefault(current, _Rung())
            if now - self._trial[1] < TRIAL_S:
                rung.backoff_s = min(BACKOFF_LIMIT_S, max(BACKOFF_FIRST_S, rung.backoff_s * 2))
                rung.not_before = now + rung.backoff_s
            else:
                rung.backoff_s = 0.0
        for rung in self._rungs.values():
            rung.since = None
        self._trial = None
        return Choice(best, f"{self._leaves} {_rate(budget)} for pictures")

    def _up(
        self,
        candidates: Sequence[Offer],
        current: int,
        needs: dict[int, int],
        budget: int,
        now: float,
    ) -> Choice:
        order = [offer.id for offer in candidates]
        for rendition in order[: order.index(current)]:
            rung = self._rungs.setdefault(rendition, _Rung())
            if needs[rendition] * UP_MARGIN > budget:
                rung.since = None
                continue
            if rung.since is None:
                rung.since = now
            if now - rung.since >= UP_HOLD_S and now >= rung.not_before:
                self._trial = (rendition, now)
                return Choice(rendition, f"the path has had {_rate(budget)} for pictures for a while")
        return self._settle(current, f"{self._leaves} {_rate(budget)} for pictures", now)


def _best(candidates: Sequence[Offer], needs: dict[int, int], budget: int | None) -> int:
    fits = (o.id for o in candidates if budget is None or needs[o.id] <= budget)
    return next(fits, min(candidates, key=lambda o: needs[o.id]).id)


def _least(*rates: int | None) -> int | None:
    known = [rate for rate in rates if rate is not None]
    return min(known) if known else None


def _rate(bps: int) -> str:
    """ "2.4 Mbit/s"; two digits, so that the words do not change all the time."""
    if bps < 1000:
        return f"{bps} bit/s"
    digits = 10 ** (len(str(bps)) - 2)
    shown = round(bps / digits) * digits
    return f"{shown / 1e6:g} Mbit/s" if shown >= 1_000_000 else f"{shown / 1e3:g} kbit/s"
