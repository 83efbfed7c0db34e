"""Puts the frames of one track in order: streams finish in any order, decoders take only one.

The rules, which the JavaScript client follows too (tests/vectors/ordering.json holds both to them):

1. A frame *follows* the last delivered one if it is the next index of the same group, or begins a
   newer group with a timestamp at most one and a half durations after the largest one delivered of
   the last group. Once timestamps have gone back (frames come in decoding order, and B-frames are
   shown before what they refer to), the last group must also be full: as many frames delivered as
   durations fit between its first and its largest timestamp, and one. What follows is delivered at
   once. (Of several beginnings the one of the oldest group counts.)
2. Video begins, and resumes, only at a keyframe of index 0; sound begins with the first frame seen.
3. When frames are here but none follows, time runs: ``patience_us``, or ``tail_us`` if the beginning
   of a newer group is among them and nothing tells that more of the old group is to come (it may just
   be over), or none at all if the very next frame is known to be lost (its stream was reset, or its
   deadline is over). What tells it: a later frame of the old group is here, or a part of the next one.
4. When it has run out: video jumps to the newest keyframe that is here. If there is none it asks for
   one, again every ``patience_us``, and keeps what it holds: the missing frame may still come first.
   Sound skips to the oldest frame that is here.
5. When a frame ahead is lost, video asks for a keyframe at once, unless a newer group has begun.
6. What is behind the last delivered frame is late, and dropped. (What is from before the first one is
   not late: who begins in the middle is sent some of the past, in any order, and begins where it can.)
   So is everything held back, except the newest keyframe and what comes after it, when that is more
   than ``max_frames`` or ``max_bytes``; everything is dropped if that does not help.

Pure: ``now_us`` is any monotonic clock. Imports media only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wtgateway.media import Frame

Position = tuple[int, int]  # group, index


@dataclass(slots=True)
class OrderCounters:
    """What became of the frames pushed."""

    received: int = 0
    delivered: int = 0
    late: int = 0  # behind what was delivered
    before: int = 0  # the first one that was
    duplicates: int = 0
    discarded: int = 0  # held back, then of no use
    gaps: int = 0  # times that delivery went on elsewhere than where it had stopped
    keyframe_requests: int = 0


@dataclass(slots=True)
class FrameOrder:
    """One track's frames in, the same frames in order out.

    ``independent`` is true for sound, whose every frame can be decoded by itself.
    """

    independent: bool = False
    patience_us: int = 150_000
    tail_us: int = 15_000
    max_frames: int = 512
    max_bytes: int = 32 * 1024 * 1024
    counters: OrderCounters = field(default_factory=OrderCounters)
    _held: dict[Position, Frame] = field(default_factory=dict)
    _held_bytes: int = 0
    _begun: Position = (-1, -1)
    _last: Frame | None = None
    _first_us: int = 0  # timestamp of the last group's beginning
    _largest_us: int = 0  # and the largest one delivered of it
    _reorders: bool = False
    _lost: Position | None = None
    _coming: set[Position] = field(default_factory=set)
    _stalled_at: int | None = None  # since when frames have been here and none followed
    _asked_at: int | None = None
    _keyframe_wanted: bool = False

    @property
    def held(self) -> int:
        """How many frames are held back."""
        return len(self._held)

    @property
    def newest(self) -> tuple[int, int, int] | None:
        """Rendition, group and index of the last frame delivered."""
        last = self._last
        return (last.rendition, last.group, last.index) if last is not None else None

    def delivered(self, frame: Frame) -> bool:
        """Whether that one was delivered, or comes too late for it."""
        return self._last is not None and _position(frame) <= _position(self._last)

    def push(self, frame: Frame, now_us: int) -> list[Frame]:
        """Take in a frame; returns the frames that can be decoded now, in order."""
        self.counters.received += 1
        position = _position(frame)
        last = _position(self._last) if self._last else (-1, -1)
        if position in self._held or position == last:
            self.counters.duplicates += 1
            return []
        if position < last:
            if position < self._begun:
                self.counters.before += 1
            else:
                self.counters.late += 1
            return []
        self._held[position] = frame
        self._held_bytes += len(frame.payload)
        if self._over():
            self._overflow()
        return self.advance(now_us)

    def lost(self, group: int, index: int, now_us: int) -> list[Frame]:
        """A frame will never come; returns what can be decoded because of that."""
        last = _position(self._last) if self._last else (-1, -1)
        self._coming.discard((group, index))
        if (group, index) <= last or (group, index) in self._held:
            return []
        self._lost = min(self._lost, (group, index)) if self._lost else (group, index)
        newest = self._newest_keyframe()
        if not self.independent and (newest is None or newest[0] <= group):
            self._ask(now_us)
        return self.advance(now_us)

    def none_coming(self) -> None:
        """Nothing more comes of what has begun to come."""
        self._coming.clear()

    def coming(self, group: int, index: int) -> None:
        """A part of that frame is here: the rest may be waited for."""
        if len(self._coming) < self.max_frames and (not self._last or (group, index) > _position(self._last)):
            self._coming.add((group, index))

    def advance(self, now_us: int) -> list[Frame]:
        """Deliver what follows, and give up waiting where time has run out."""
        out: list[Frame] = []
        self._follow(out)
        while self._stalled(now_us):
            target = self._target()
            if target is None:
                self._ask(now_us)
                break
            self.counters.gaps += self._last is not None
            self._deliver(target, out)
            self._follow(out)
        return out

    def next_timeout(self) -> int | None:
        """When :meth:`advance` has something to do if nothing arrives; None: never."""
        if self._stalled_at is None:
            return None
        due = self._stalled_at + self._wait_us()
        if self._target() is None and self._asked_at is not None:
            due = max(due, self._asked_at + self.patience_us)
        return due

    def take_keyframe_request(self) -> bool:
        """True once for each time that a keyframe must be asked for."""
        wanted, self._keyframe_wanted = self._keyframe_wanted, False
        return wanted

    def _follow(self, out: list[Frame]) -> None:
        while self._held and (position := self._following()) is not None:
            self._deliver(position, out)

    def _following(self) -> Position | None:
        last = self._last
        if last is None:
            return self._target()
        following = (last.group, last.index + 1)
        if following in self._held:
            return following
        begins = min((p for p in self._held if p[0] > last.group and self._begins(p)), default=None)
        if begins and self._held[begins].pts_us <= self._largest_us + last.duration_us * 3 // 2:
            return begins if self._full(last) else None
        return None

    def _full(self, last: Frame) -> bool:
        """Whether nothing seems to be missing at the end of the last group."""
        if not self._reorders or not last.duration_us:
            return True
        return last.index * last.duration_us >= self._largest_us - self._first_us - last.duration_us // 2

    def _begins(self, position: Position) -> bool:
        return position[1] == 0 and (self.independent or self._held[position].keyframe)

    def _newest_keyframe(self) -> Position | None:
        return max((p for p in self._held if self._begins(p)), default=None)

    def _target(self) -> Position | None:
        """Where delivery goes on when it cannot go on where it stopped."""
        return min(self._held, default=None) if self.independent else self._newest_keyframe()

    def _deliver(self, position: Position, out: list[Frame]) -> None:
        frame = self._take(position)
        for old in [p for p in self._held if p < position]:
            self._take(old)
            self.counters.discarded += 1
        if self._lost is not None and self._lost <= position:
            self._lost = None
        if self._coming:
            self._coming = {coming for coming in self._coming if coming > position}
        if frame.keyframe:
            self._asked_at, self._keyframe_wanted = None, False
        if self._last is None:
            self._begun = position
        if self._last is None or frame.group != self._last.group:
            self._first_us = self._largest_us = frame.pts_us
        self._reorders = self._reorders or (not self.independent and frame.pts_us < self._largest_us)
        self._largest_us = max(self._largest_us, frame.pts_us)
        self._last, self._stalled_at = frame, None
        self.counters.delivered += 1
        out.append(frame)

    def _take(self, position: Position) -> Frame:
        frame = self._held.pop(position)
        self._held_bytes -= len(frame.payload)
        return frame

    def _stalled(self, now_us: int) -> bool:
        """Whether frames are here, none follows, and the time to wait for one has run out."""
        if not self._held:
            self._stalled_at = None
            return False
        if self._stalled_at is None:
            self._stalled_at = now_us
        return now_us >= self._stalled_at + self._wait_us()

    def _wait_us(self) -> int:
        last = self._last
        if last is None:
            return self.patience_us
        following = (last.group, last.index + 1)
        if self._lost == following:
            return 0
        newer = any(p[0] > last.group and self._begins(p) for p in self._held)
        more = following in self._coming or any(group == last.group for group, _ in self._held)
        return self.tail_us if newer and not more else self.patience_us

    def _ask(self, now_us: int) -> None:
        if self._asked_at is None or now_us >= self._asked_at + self.patience_us:
            self._asked_at = now_us
            self._keyframe_wanted = True
            self.counters.keyframe_requests += 1

    def _over(self) -> bool:
        return len(self._held) > self.max_frames or self._held_bytes > self.max_bytes

    def _overflow(self) -> None:
        keep = self._newest_keyframe() or (1 << 32, 0)
        for position in [p for p in self._held if p < keep]:
            self._take(position)
            self.counters.discarded += 1
        if self._over():
            self.counters.discarded += len(self._held)
            self._held.clear()
            self._held_bytes = 0


def _position(frame: Frame) -> Position:
    return frame.group, frame.index
