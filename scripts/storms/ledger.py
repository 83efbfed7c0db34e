"""Who got which frames: finds what came twice, out of order, changed, or not at all. Pure.

Frames are compared between viewers of the same broadcast: what one was given, all others who were there
before and after it must have been given too, and the same bytes. So no word of the gateway is needed.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass, field

from wtgateway.media import Frame

MOST_GROUPS = 256  # not settled yet, of one rendition: more, and the oldest is settled as it is

Key = tuple[int, int]  # track, rendition


@dataclass(slots=True)
class _Group:
    sums: dict[int, int] = field(default_factory=dict)  # of each index, a checksum
    got: dict[int, int] = field(default_factory=dict)  # by viewer
    first: dict[int, int] = field(default_factory=dict)  # the index with which a viewer began in here


@dataclass(slots=True)
class _Rendition:
    groups: OrderedDict[int, _Group] = field(default_factory=OrderedDict)
    newest: dict[int, tuple[int, int]] = field(default_factory=dict)  # by viewer: group, index
    began: dict[int, int] = field(default_factory=dict)  # by viewer: its first group


class Ledger:
    """Of all viewers of one broadcast, by number. Groups of a rendition rise; those settled are forgotten."""

    def __init__(self, viewers: int) -> None:
        self._viewers = viewers
        self._renditions: dict[Key, _Rendition] = {}
        self.frames = 0
        self.disordered = 0  # not behind the one before it
        self.changed = 0  # other bytes than another viewer's
        self.missing = 0  # frames of settled groups that a viewer was not given, over all viewers
        self.settled = 0  # frames of which it is known, over all viewers

    def add(self, viewer: int, frame: Frame) -> None:
        """A frame was given to that viewer."""
        rendition = self._renditions.setdefault((frame.track, frame.rendition), _Rendition())
        self.frames += 1
        newest = rendition.newest.get(viewer)
        if newest is not None and (frame.group, frame.index) <= newest:
            self.disordered += 1
            return
        if newest is None:
            rendition.began[viewer] = frame.group
        rendition.newest[viewer] = (frame.group, frame.index)
        group = rendition.groups.get(frame.group)
        if group is None:
            group = rendition.groups[frame.group] = _Group()
        self._enter(group, viewer, frame, begins=newest is None)
        if newest is None or frame.group > newest[0]:
            self._settle(rendition)

    def _enter(self, group: _Group, viewer: int, frame: Frame, *, begins: bool) -> None:
        checksum = zlib.crc32(frame.payload)
        if group.sums.setdefault(frame.index, checksum) != checksum:
            self.changed += 1
        group.got[viewer] = group.got.get(viewer, 0) + 1
        if begins:
            group.first[viewer] = frame.index

    def _settle(self, rendition: _Rendition) -> None:
        """Judge the groups that all viewers have behind them."""
        everybody = len(rendition.newest) == self._viewers
        passed = min(group for group, _ in rendition.newest.values()) if everybody else -1
        for number in sorted(rendition.groups):
            if number >= passed and len(rendition.groups) <= MOST_GROUPS:
                break
            self._judge(rendition, number, rendition.groups.pop(number))

    def _judge(self, rendition: _Rendition, number: int, group: _Group) -> None:
        for viewer, began in rendition.began.items():
            if began > number:
                continue  # it was not here yet
            first = group.first.get(viewer, 0)
            due = sum(index >= first for index in group.sums)
            self.settled += due
            self.missing += due - group.got.get(viewer, 0)
