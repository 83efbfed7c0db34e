"""The latest frames of one rendition: here a session finds what followed where another one stopped.

Pure; imports media only.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from wtgateway.media import Frame

RECENT_US = 1_500_000  # who has missed more is sooner back with a keyframe
RECENT_BYTES = 8 * 1024 * 1024


class Cut(Protocol):
    """A frame and its wire bytes."""

    @property
    def frame(self) -> Frame:
        """What it is."""

    @property
    def data(self) -> bytes:
        """How it goes over the wire."""


CutT = TypeVar("CutT", bound=Cut)


class RecentFrames(Generic[CutT]):
    """Frames in the order in which they were published, bounded in time of capture and in bytes.

    ``independent``: each can be decoded by itself, so it does no harm if one is missing.
    """

    def __init__(self, *, independent: bool = False) -> None:
        self._independent = independent
        self._frames: deque[CutT] = deque()
        self._bytes = 0

    def add(self, cut: CutT) -> None:
        """The next one; the oldest make room."""
        if self._frames and not self._continues(cut.frame):
            self._frames.clear()
            self._bytes = 0
        self._frames.append(cut)
        self._bytes += len(cut.data)
        oldest_us = cut.frame.capture_us - RECENT_US
        while self._bytes > RECENT_BYTES or self._frames[0].frame.capture_us < oldest_us:
            self._bytes -= len(self._frames.popleft().data)
            if not self._frames:
                return

    def since(self, group: int, index: int) -> list[CutT] | None:
        """All frames behind that one, in order; None if it is not known any more, or not yet."""
        for at in range(len(self._frames) - 1, -1, -1):
            frame = self._frames[at].frame
            if (frame.group, frame.index) == (group, index):
                return list(self._frames)[at + 1 :]
        return None

    def _continues(self, frame: Frame) -> bool:
        """Whether whoever has all that is here can decode this one as well."""
        last = self._frames[-1].frame
        begins = frame.group > last.group and frame.index == 0 and frame.keyframe
        return self._independent or begins or (frame.group, frame.index) == (last.group, last.index + 1)
