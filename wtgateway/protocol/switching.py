"""From one rendition of a track to another without a gap. Pure; imports media only.

The groups of a track's encoded renditions begin at the same picture and have the same number, so a
viewer changes at a group's beginning: the old rendition's frames up to it, the new one's from it.
The old one goes on for as long as the new one is not running.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from wtgateway.media import Frame


class Verdict(enum.Enum):
    """What is to be done with a frame while a change of rendition is on its way."""

    PASS = enum.auto()  # of the old rendition, to be sent
    DROP = enum.auto()
    BEGIN = enum.auto()  # the new rendition's first; the change is done
    ASK = enum.auto()  # dropped, and a keyframe of the new rendition is needed


@dataclass(slots=True)
class Switch:
    """One change on its way. ``last_group`` is the newest group of which the viewer was sent a frame."""

    old: int
    new: int
    last_group: int = -1
    _running: bool = False  # frames of the new rendition were seen
    _held_group: int | None = field(default=None)  # of the old one, not sent: the new one's is awaited

    def take(self, frame: Frame) -> Verdict:
        """Judge the next frame of either rendition."""
        if frame.rendition == self.new:
            return self._new(frame)
        if frame.rendition != self.old:
            return Verdict.DROP
        if self._running and frame.index == 0 and frame.group > self.last_group:
            if self._held_group is None:
                self._held_group = frame.group
                return Verdict.DROP
            self._held_group, self._running = None, False  # it did not come: go on with the old one
        if self._held_group is not None:
            return Verdict.DROP
        self.last_group = max(self.last_group, frame.group)
        return Verdict.PASS

    def _new(self, frame: Frame) -> Verdict:
        if frame.index == 0 and frame.group > self.last_group:
            return Verdict.BEGIN
        first, self._running = not self._running, True
        return Verdict.ASK if first or frame.index == 0 else Verdict.DROP
