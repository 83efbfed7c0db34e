"""Where the groups of a video track begin: at the same picture in all of its renditions.

Imports nothing of the project; safe between threads. The rule: a border lies at a timestamp and has a
number; which group a picture belongs to is asked of it alone, so that renditions that are encoded
apart, some of them skipping pictures, agree without waiting for each other.
"""

from __future__ import annotations

import threading
from collections import deque

_BORDERS_KEPT = 16  # of the past: no rendition lags further behind
# A still picture that is given again gets its time when it is given, which differs between renditions.
_SAME_PICTURE_US = 4_000
_JUMP_US = 5_000_000  # further back is another timeline


class GroupBorders:
    """Borders of one track. ``interval_s`` 0: they are made on demand only."""

    def __init__(self, first_group: int = 0, interval_s: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._interval_us = round(interval_s * 1e6)
        self._next = first_group
        self._borders: deque[tuple[int, int]] = deque(maxlen=_BORDERS_KEPT)  # timestamp, group
        self._newest_us = -_JUMP_US - 1  # of all pictures asked for
        self._wanted = False

    @property
    def next_group(self) -> int:
        """The number that the next border will get."""
        with self._lock:
            return self._next

    def want(self) -> None:
        """The next picture of any rendition begins a group."""
        with self._lock:
            self._wanted = True

    def begin(self, pts_us: int) -> int:
        """A group begins at that timestamp, whatever was wanted; returns its number."""
        with self._lock:
            return self._begin(pts_us)

    def group_at(self, pts_us: int, *, fresh: bool = False) -> int | None:
        """The group of a picture; a border is made where one is due.

        ``fresh``: the picture would be a keyframe in any case, so a group has to begin with it. None:
        another rendition has it, or a later one, in a group that goes on; who changes to this one must
        not be shown it again.
        """
        with self._lock:
            newest_us, self._newest_us = self._newest_us, max(self._newest_us, pts_us)
            group = self._group(pts_us)
            taken = newest_us - _JUMP_US < pts_us <= newest_us  # another rendition has it in its group
            if fresh and taken and not self._at_border(pts_us):
                self._wanted = True  # the next picture is a border, where it can begin
                return None
            if group is None or (self._is_due(pts_us, fresh) and not taken):
                return self._begin(pts_us)
            return group

    def _at_border(self, pts_us: int) -> bool:
        """Whether the newest border is at this very picture."""
        return bool(self._borders) and abs(pts_us - self._borders[-1][0]) <= _SAME_PICTURE_US

    def _is_due(self, pts_us: int, fresh: bool) -> bool:
        if self._at_border(pts_us):
            return False
        newest_us = self._borders[-1][0]
        due = fresh or self._wanted or 0 < self._interval_us <= pts_us - newest_us
        return due and (fresh or pts_us > newest_us)

    def _group(self, pts_us: int) -> int | None:
        for begins_us, group in reversed(self._borders):
            if begins_us <= pts_us + _SAME_PICTURE_US:
                return group
        return None

    def _begin(self, pts_us: int) -> int:
        if self._borders and pts_us <= self._borders[-1][0]:
            self._borders.clear()  # time went back, or a border comes in between: the past is over
        self._wanted = False
        self._newest_us = pts_us if pts_us < self._newest_us - _JUMP_US else max(self._newest_us, pts_us)
        group, self._next = self._next, self._next + 1
        self._borders.append((pts_us, group))
        return group
