"""Who watches what: broadcasts, their cached groups, their viewers, and the wishes of all of them.

The hub lives on the event loop and never awaits a viewer: a frame is cut into wire bytes once and
handed to every viewer, whose own queue decides what becomes of it. Imports media, errors, clock,
events and protocol.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from wtgateway.errors import ConfigError
from wtgateway.events import Events
from wtgateway.media import BroadcastState, Catalog, Frame, Kind
from wtgateway.protocol.rates import RateMeter
from wtgateway.protocol.recent_frames import RecentFrames
from wtgateway.protocol.targets import Policy, Wish, WishBook, Wishes
from wtgateway.protocol.wire import encode_frame

log = logging.getLogger("wtgateway.hub")

CACHE_BYTES = 16 * 1024 * 1024
AUDIO_CACHE_FRAMES = 4  # an Opus decoder converges within 80 ms (RFC 7845, section 4.6)
# A decoder takes in a cached group far faster than real time, but not for nothing.
REPLAY_COST_US_PER_FRAME = 1_500
REPLAY_BYTES_PER_US = 2.5  # 20 Mbit/s, what a joining viewer's path is taken to carry
FRESH_KEYFRAME_COST_US = 8_000  # encoding it, and its being larger than a delta
KEYFRAME_PATIENCE_US = 500_000  # a request unanswered for so long is made again


class Viewer(Protocol):
    """What the hub tells a viewer; every call returns at once."""

    def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
        """A new frame; ``data`` is its wire form, shared by all viewers."""

    def on_catalog(self, catalog: Catalog) -> None:
        """The broadcast offers something else now."""

    def on_state(self, status: Status) -> None:
        """The broadcast's state changed."""


class Producer(Protocol):
    """What the hub asks of the pipeline behind a broadcast; every call returns at once."""

    def request_keyframe(self, track: int) -> None:
        """Make the next frame of a track a keyframe."""

    def demand_changed(self, viewers: int) -> None:
        """The number of viewers changed."""

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None:
        """(track, rendition) of what some viewer gets, or is about to."""

    def wishes_changed(self) -> None:
        """:attr:`Broadcast.wishes` are others now. It comes often: act on it at a pace of your own."""


@dataclass(frozen=True, slots=True)
class Status:
    """A broadcast's state and the reason for it in words."""

    state: BroadcastState
    reason: str = ""
    retry_in_ms: int = 0


@dataclass(frozen=True, slots=True)
class CutFrame:
    """A frame and its wire bytes."""

    frame: Frame
    data: bytes


@dataclass(slots=True)
class GroupCache:
    """The current group of one rendition, bounded in bytes; a group over the bound is given up."""

    limit_bytes: int = CACHE_BYTES
    frames: list[CutFrame] = field(default_factory=list)
    size_bytes: int = 0
    overflows: int = 0

    def add(self, cut: CutFrame) -> None:
        """Append to the group, or begin a new one at a keyframe."""
        if cut.frame.index == 0:
            self.frames, self.size_bytes = [], 0
        elif not self.frames:
            return  # without its keyframe a group is of no use to anyone
        self.frames.append(cut)
        self.size_bytes += len(cut.data)
        if self.size_bytes > self.limit_bytes:
            self.frames, self.size_bytes, self.overflows = [], 0, self.overflows + 1

    def deltas(self) -> tuple[int, int]:
        """Number and bytes of the frames after the keyframe."""
        return len(self.frames) - 1, self.size_bytes - len(self.frames[0].data)


def replay_is_faster(deltas: int, delta_bytes: int, frame_interval_us: int) -> bool:
    """Whether a viewer paints sooner from a cached group than from a fresh keyframe.

    Either way one keyframe travels and is decoded. The cached group brings ``deltas`` more frames
    of ``delta_bytes`` in all; the fresh keyframe has to be waited for, a quarter of the frame
    interval on average (an encoder with nothing new repeats its last picture), and encoded.
    """
    replay_us = deltas * REPLAY_COST_US_PER_FRAME + delta_bytes / REPLAY_BYTES_PER_US
    return replay_us <= FRESH_KEYFRAME_COST_US + frame_interval_us / 4


@dataclass(frozen=True, slots=True)
class Audience:
    """Viewers whom another process serves: how many they are, and what they need to be produced."""

    viewers: int = 0
    wanted: frozenset[tuple[int, int]] = frozenset()
    wishes: Wishes = ()


class Broadcast:
    """One named thing to watch. All methods belong to the event loop's thread."""

    def __init__(self, name: str, events: Events | None = None) -> None:
        self.name = name
        self._events = events or Events(0)  # nobody listens to those
        self._read = False
        self.catalog = Catalog()
        self.status = Status(BroadcastState.IDLE)
        self.policy = Policy()
        self.frames_published = 0
        self.keyframe_requests = 0
        self.keyframe_requests_coalesced = 0
        self._producer: Producer | None = None
        self._viewers: dict[Viewer, frozenset[tuple[int, int]]] = {}  # and what each wants
        self._wanted: frozenset[tuple[int, int]] = frozenset()
        self._relays: list[Viewer] = []
        self._elsewhere: dict[Hashable, Audience] = {}
        self._book = WishBook()
        self._rates: dict[tuple[int, int], RateMeter] = {}
        self._next_groups: dict[int, int] = {}
        self._groups: dict[tuple[int, int], GroupCache] = {}
        self._recent_audio: dict[tuple[int, int], deque[CutFrame]] = {}
        self._recent: dict[tuple[int, int], RecentFrames[CutFrame]] = {}
        self._keyframe_asked_us: dict[tuple[int, int], int] = {}

    @property
    def viewers(self) -> int:
        """How many viewers there are, here and elsewhere."""
        return len(self._viewers) + sum(audience.viewers for audience in self._elsewhere.values())

    @property
    def shared(self) -> bool:
        """Whether encoders have more than one viewer to think of."""
        return self.viewers > 1

    def bind(self, producer: Producer) -> None:
        """Name the producer that keyframe requests and demand go to."""
        self._producer = producer

    def attach(self, viewer: Viewer) -> None:
        """Add a viewer; from now on it hears of frames, catalog and state."""
        self._viewers[viewer] = frozenset()
        self._demand()

    def detach(self, viewer: Viewer) -> None:
        """Remove a viewer; unknown ones are ignored."""
        if viewer in self._viewers:
            del self._viewers[viewer]
            self._demand()
            self._count_wanted()
            self._wishes_changed(self._book.set(viewer, None))

    def relay_to(self, relay: Viewer) -> None:
        """Let ``relay`` hear of all that a viewer hears of; it is none, and wants nothing."""
        self._relays.append(relay)

    def serve_elsewhere(self, place: Hashable, audience: Audience) -> None:
        """Whom ``place`` serves now; an empty audience for one that is gone."""
        before = self._elsewhere.pop(place, Audience())
        if audience != Audience():
            self._elsewhere[place] = audience
        if audience.viewers != before.viewers:
            self._demand()
        self._count_wanted()
        self._wishes_changed(self._book.set_elsewhere(place, audience.wishes))

    def want(self, viewer: Viewer, wanted: frozenset[tuple[int, int]]) -> None:
        """What an attached viewer needs to be produced, as (track, rendition)."""
        if self._viewers.get(viewer, wanted) != wanted:
            self._viewers[viewer] = wanted
            self._count_wanted()

    def wish(self, viewer: Viewer, wish: Wish | None) -> None:
        """What an attached viewer can take of the pictures that it gets; None: it says nothing of that."""
        if viewer in self._viewers:
            self._wishes_changed(self._book.set(viewer, wish))

    @property
    def wanted(self) -> frozenset[tuple[int, int]]:
        """(track, rendition) of what some viewer gets, or is about to."""
        return self._wanted

    @property
    def wishes(self) -> Wishes:
        """What viewers can take, here and elsewhere."""
        return self._book.all()

    def rate_bps(self, track: int, rendition: int) -> int:
        """What a rendition takes, as measured; 0 where it is not running."""
        meter = self._rates.get((track, rendition))
        return meter.bps if meter is not None else 0

    def _wishes_changed(self, changed: bool) -> None:
        if changed and self._producer is not None:
            self._producer.wishes_changed()

    def _count_wanted(self) -> None:
        elsewhere = (audience.wanted for audience in self._elsewhere.values())
        wanted = frozenset().union(*self._viewers.values(), *elsewhere)
        if wanted != self._wanted:
            self._wanted = wanted
            if self._producer is not None:
                self._producer.wanted_changed(wanted)

    def publish(self, frame: Frame) -> None:
        """Cut a frame, and hand it to the cache and to every viewer."""
        self.publish_cut(CutFrame(frame, encode_frame(frame)))

    def publish_cut(self, cut: CutFrame) -> None:
        """The same for one that was cut elsewhere."""
        frame = cut.frame
        track = self.catalog.track(frame.track)
        if track is None:
            log.warning("frame of an unannounced track dropped broadcast=%s track=%d", self.name, frame.track)
            return
        key = (frame.track, frame.rendition)
        if track.kind is Kind.VIDEO:
            self._groups.setdefault(key, GroupCache()).add(cut)
            if frame.keyframe:
                self._keyframe_asked_us.pop((frame.track, frame.rendition), None)
        else:
            self._recent_audio.setdefault(key, deque(maxlen=AUDIO_CACHE_FRAMES)).append(cut)
        if (recent := self._recent.get(key)) is None:
            recent = self._recent[key] = RecentFrames(independent=track.kind is not Kind.VIDEO)
        recent.add(cut)
        if (meter := self._rates.get(key)) is None:
            meter = self._rates[key] = RateMeter()
        meter.add(len(cut.data), frame.pts_us)
        if frame.group >= self._next_groups.get(frame.track, 0):
            self._next_groups[frame.track] = frame.group + 1
        self.frames_published += 1
        for viewer in (*self._relays, *self._viewers):
            viewer.on_frame(frame, cut.data, track.kind)

    def next_group(self, track_id: int) -> int:
        """The first group of a track that nobody has been sent anything of: where another source goes on."""
        return self._next_groups.get(track_id, 0)

    def forget_group(self, track_id: int, rendition: int) -> None:
        """Something of a rendition's current group is missing here: nobody is to be sent it any more."""
        self._groups.pop((track_id, rendition), None)
        self._recent.pop((track_id, rendition), None)

    def set_catalog(self, catalog: Catalog) -> None:
        """Announce what is offered now; caches of renditions that are gone are dropped."""
        self.catalog = catalog
        alive = {(t.id, r.id) for t in catalog.tracks for r in t.renditions}
        self._groups = {k: v for k, v in self._groups.items() if k in alive}
        self._recent_audio = {k: v for k, v in self._recent_audio.items() if k in alive}
        self._recent = {k: v for k, v in self._recent.items() if k in alive}
        self._rates = {k: v for k, v in self._rates.items() if k in alive}
        for viewer in (*self._relays, *self._viewers):
            viewer.on_catalog(catalog)

    def set_status(self, status: Status) -> None:
        """Announce a change of state; the same state again is not a change."""
        if status == self.status:
            return
        was_live, self.status = self.status.state is BroadcastState.LIVE, status
        if was_live != (status.state is BroadcastState.LIVE):
            kind = "broadcast.unavailable" if was_live else "broadcast.available"
            self._events.publish(kind, broadcast=self.name, state=str(status.state), reason=status.reason)
        if status.state is not BroadcastState.LIVE:
            # What is cached is the past: nobody who joins later wants to be shown it as live.
            self._groups.clear()
            self._recent_audio.clear()
            self._recent.clear()
        for viewer in (*self._relays, *self._viewers):
            viewer.on_state(status)

    def join(self, track_id: int, rendition: int, now_us: int) -> Iterator[CutFrame]:
        """What a viewer that begins with a track now should be sent from the past.

        For video that is the cached group if it paints sooner than a fresh keyframe, which is
        asked for otherwise; of a forwarded rendition, which has its keyframes when it has them, it is
        the cached group in any case. For audio the frames of the last group that are not yet stale.
        """
        track = self.catalog.track(track_id)
        if track is None:
            return
        key = (track_id, rendition)
        if track.kind is not Kind.VIDEO:
            yield from self._recent_audio.get(key, ())
            return
        cache = self._groups.get(key)
        wanted = track.rendition(rendition)
        forwarded = wanted is not None and wanted.forwarded
        interval_us = round(1e6 / wanted.fps) if wanted and wanted.fps else 33_333
        if cache and cache.frames and (forwarded or replay_is_faster(*cache.deltas(), interval_us)):
            yield from list(cache.frames)
        else:
            self.request_keyframe(track_id, rendition, now_us)

    def since(self, track_id: int, rendition: int, group: int, index: int) -> list[CutFrame] | None:
        """All that came after a frame of a rendition, if a viewer who has that can go on; else None."""
        recent = self._recent.get((track_id, rendition))
        return recent.since(group, index) if recent is not None else None

    def request_keyframe(self, track_id: int, rendition: int, now_us: int) -> None:
        """Ask the producer for a keyframe; requests made while one is on its way coalesce.

        In vain for a forwarded rendition: its source makes keyframes when it does.
        """
        track = self.catalog.track(track_id)
        wanted = track.rendition(rendition) if track else None
        if wanted is not None and wanted.forwarded:
            return
        asked_us = self._keyframe_asked_us.get((track_id, rendition))
        if asked_us is not None and now_us - asked_us < KEYFRAME_PATIENCE_US:
            self.keyframe_requests_coalesced += 1
            return
        if self._producer is not None:
            self._keyframe_asked_us[track_id, rendition] = now_us
            self.keyframe_requests += 1
            self._ask_for_keyframe(self._producer, track_id, rendition)

    def _ask_for_keyframe(self, producer: Producer, track_id: int, rendition: int) -> None:
        """What is encoded begins its groups together, so a producer is not asked for one rendition."""
        producer.request_keyframe(track_id)

    def _demand(self) -> None:
        if self._read != bool(self.viewers):
            self._read = not self._read
            self._events.publish(f"broadcast.{'read' if self._read else 'unread'}", broadcast=self.name)
        if self._producer is not None:
            self._producer.demand_changed(self.viewers)


class Hub:
    """All broadcasts by name. ``events`` hears of their states and viewers."""

    def __init__(self, events: Events | None = None) -> None:
        self._events = events
        self._broadcasts: dict[str, Broadcast] = {}

    def __iter__(self) -> Iterator[Broadcast]:
        return iter(list(self._broadcasts.values()))

    def add(self, name: str) -> Broadcast:
        """A new broadcast; raises ConfigError for a name that is taken."""
        if name in self._broadcasts:
            raise ConfigError("broadcasts", name, name, "a name that no other broadcast has")
        broadcast = self._broadcasts[name] = Broadcast(name, self._events)
        return broadcast

    def get(self, name: str) -> Broadcast | None:
        """The broadcast of that name, or None."""
        return self._broadcasts.get(name)

    def remove(self, name: str) -> Broadcast | None:
        """Nobody finds it any more; whoever watches it is told by others. It, or None."""
        return self._broadcasts.pop(name, None)
