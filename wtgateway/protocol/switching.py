"""From one rendition of a track to another without a gap. Pure; imports media only.

Pictures: the groups of a track's encoded renditions begin at the same picture and have the same number, so a
viewer changes at a group's beginning: the old rendition's frames up to it, the new one's from it.
The old one goes on for as long as the new one is not running. One that is forwarded is ahead of one that
is encoded, so what comes early is held for the few frames that the other still has to send.

Sound: every frame stands alone, but renditions are not cut at the same samples, and a decoder that begins
takes a moment until what comes out is right. So the new one's frames begin before the old one's end, and the
viewer, who has both for that moment, goes over at the very sample where the old one ends.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from wtgateway.media import Frame

MOST_HELD = 8  # frames; a rendition that is later than that has stopped
SOUND_OVERLAP_US = 80_000  # until an Opus decoder has converged (RFC 7845, section 4.6); AAC needs one frame
MOST_SOUND_HELD = 32


class Verdict(enum.Enum):
    """What is to be done with a frame while a change of rendition is on its way."""

    PASS = enum.auto()  # to be sent
    DROP = enum.auto()
    HOLD = enum.auto()  # of the new rendition, to be sent once the old one has come to the border
    BEGIN = enum.auto()  # of the new rendition, and to be sent with all that was held; the change is done
    RELEASE = enum.auto()  # what was held is to be sent, and this frame is not; the change is done
    ASK = enum.auto()  # dropped, and a keyframe of the new rendition is needed


@dataclass(slots=True)
class Switch:
    """One change on its way. ``last_group`` is the newest group of which the viewer was sent a frame."""

    old: int
    new: int
    last_group: int = -1
    _running: bool = False  # frames of the new rendition were seen
    _left_group: int | None = None  # of the old one, not sent: the new one's is awaited
    _begun_group: int | None = None  # of the new one, held: the old one has not come so far
    _held: int = 0

    def take(self, frame: Frame) -> Verdict:
        """Judge the next frame of either rendition."""
        if frame.rendition == self.new:
            return self._new(frame)
        return self._old(frame) if frame.rendition == self.old else Verdict.DROP

    def _old(self, frame: Frame) -> Verdict:
        begins = frame.index == 0 and frame.group > self.last_group
        if self._begun_group is not None and frame.group >= self._begun_group:
            return Verdict.RELEASE
        if begins and self._running and self._begun_group is None:
            if self._left_group is None:
                self._left_group = frame.group
                return Verdict.DROP
            self._left_group, self._running = None, False  # it did not come: go on with the old one
        if self._left_group is not None:
            return Verdict.DROP
        self.last_group = max(self.last_group, frame.group)
        return Verdict.PASS

    def _new(self, frame: Frame) -> Verdict:
        if self._begun_group is not None:
            self._held += 1
            return Verdict.BEGIN if self._held >= MOST_HELD else Verdict.HOLD
        if frame.index == 0 and frame.group > self.last_group:
            if self._left_group is not None:
                return Verdict.BEGIN
            self._begun_group = frame.group
            return Verdict.HOLD
        first, self._running = not self._running, True
        return Verdict.ASK if first or frame.index == 0 else Verdict.DROP


@dataclass(slots=True)
class SoundSwitch:
    """One change of sound on its way. The old one goes on for as long as the new one is not running."""

    old: int
    new: int
    _old_ends_us: int | None = None  # of the frames that the viewer was sent since the change began
    _new_begins_us: int | None = None
    _held: int = 0

    def take(self, frame: Frame) -> Verdict:
        """Judge the next frame of either rendition."""
        if frame.rendition == self.old:
            self._old_ends_us = frame.pts_us + frame.duration_us
            return Verdict.PASS
        if frame.rendition != self.new:
            return Verdict.DROP
        if self._new_begins_us is None:
            self._new_begins_us = frame.pts_us
        enough = self._old_ends_us is not None and self._old_ends_us - self._new_begins_us >= SOUND_OVERLAP_US
        if enough or self._held >= MOST_SOUND_HELD:
            return Verdict.BEGIN
        self._held += 1
        return Verdict.HOLD
