"""A worker's copy of a broadcast: viewers attach to it, frames come off the bus, wishes go up.

It is the hub's own Broadcast, with its own cache of groups, so joins are answered here. Only whole groups
are passed on: where the bus has lost something, what follows would not decode. May import hub and media.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from wtgateway import clock
from wtgateway.hub import Audience, Broadcast, CutFrame, Producer
from wtgateway.media import Frame, Kind


class Upstream(Protocol):
    """The main process, as a replica sees it."""

    def audience(self, number: int, audience: Audience) -> None:
        """The viewers of a broadcast changed, or what they want."""

    def keyframe(self, number: int, track: int, rendition: int) -> None:
        """A rendition's next frame should be a keyframe."""


class WholeGroups:
    """Tells frames that decode from those before which one of their group is missing."""

    def __init__(self) -> None:
        self._newest: dict[tuple[int, int], tuple[int, int]] = {}  # (group, index) of each rendition

    def take(self, frame: Frame) -> bool:
        """Whether all of its group is there up to this frame of a rendition of video."""
        key = (frame.track, frame.rendition)
        if frame.index and self._newest.get(key) != (frame.group, frame.index - 1):
            self._newest.pop(key, None)
            return False
        self._newest[key] = (frame.group, frame.index)
        return True


class Replica(Broadcast):
    """Broadcast ``number`` of the main process. Changes of the audience are told once a turn of the loop."""

    def __init__(self, name: str, number: int, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name)
        self._number, self._upstream, self._loop = number, upstream, loop
        self._whole = WholeGroups()
        self._audience_changed = False
        self.frames_undecodable = 0
        self.bind(_Asks(self._tell_soon))

    @property
    def shared(self) -> bool:
        """True: whom other workers serve is not known here."""
        return True

    def publish_cut(self, cut: CutFrame) -> None:
        """Hand a frame on, unless one before it in its group is missing."""
        frame = cut.frame
        track = self.catalog.track(frame.track)
        if track is None or track.kind is not Kind.VIDEO:
            super().publish_cut(cut)
            return
        if self._whole.take(frame):
            super().publish_cut(cut)
        else:
            self._skip((frame.track, frame.rendition))

    def _skip(self, key: tuple[int, int]) -> None:
        self.frames_undecodable += 1
        self.forget_group(*key)
        if key in self._wanted:
            self.request_keyframe(*key, clock.now_us())  # coalesced until it comes, repeated if it does not

    def _ask_for_keyframe(self, producer: Producer, track_id: int, rendition: int) -> None:
        self._tell_audience()  # first of all it is to be known that somebody wants this
        self._upstream.keyframe(self._number, track_id, rendition)

    def _tell_soon(self) -> None:
        if not self._audience_changed:
            self._audience_changed = True
            self._loop.call_soon(self._tell_audience)

    def _tell_audience(self) -> None:
        if self._audience_changed:
            self._audience_changed = False
            self._upstream.audience(self._number, Audience(self.viewers, self._wanted, self.wishes))


class _Asks:
    """What the hub asks of a producer, for a replica: nothing is produced here."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def request_keyframe(self, track: int) -> None:
        """Not called: a replica asks by rendition, so that the main process can tell one from another."""

    def demand_changed(self, viewers: int) -> None:
        self._changed()

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None:
        self._changed()

    def wishes_changed(self) -> None:
        self._changed()
