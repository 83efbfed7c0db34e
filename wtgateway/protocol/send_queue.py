"""What waits to be sent to one viewer: audio before video, in order, bounded, stale things dropped.

The queue sits above QUIC, whose own queues are kept shallow, so that what is dropped here has cost
nothing. The rule kept: a frame that the viewer could not decode is never sent. Once a video frame is
dropped the rest of its group goes with it, and the viewer resumes at the next keyframe; but for
discardable frames, on which nothing depends: they are the first to go, and a stub stands for each, so
that the viewer knows that nothing is missing.

A frame's deadline can shrink while it waits: once a newer keyframe is queued, what is left of the groups
before it is worth little. A keyframe's is longer than that of others: late, it is still what all that
follows depends on, and another in its place would be later. What follows it has the time that it took.

Imports media and the wire layout only; ``now`` is seconds of any monotonic clock.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from dataclasses import dataclass, field, replace

from wtgateway.media import Frame, Kind
from wtgateway.protocol.wire import encode_frame

# A keyframe overtakes the tail of the group before it only if that tail has really piled up: frames
# that merely met it in one turn of the loop are worth sending, they are decoded all the same.
SUPERSEDE_AFTER_S = 0.1
KEYFRAME_S = 2.0  # a keyframe may take so long on a path that has little
DISCARD_AFTER_S = 0.04  # a path that lets a discardable frame wait so long has too little for all


class DropReason(enum.Enum):
    """Why a frame was not sent."""

    EXPIRED = "expired"  # its deadline passed, or it depended on one whose deadline did
    OVERFLOW = "overflow"  # the queue held too many bytes
    SUPERSEDED = "superseded"  # a newer group made it worthless
    ABANDONED = "abandoned"  # the transport gave up a frame that it depended on
    UNDECODABLE = "undecodable"  # it came after a drop and before the next keyframe
    DISCARDED = "discarded"  # nothing depends on it, and the path had no room for all


@dataclass(frozen=True, slots=True)
class QueuedFrame:
    """A frame on its way to one viewer; ``data`` is the wire form that all viewers share."""

    frame: Frame
    data: bytes
    kind: Kind
    queued_at: float
    deadline: float
    delivery: str = "stream"  # the mode of the subscription it is for

    @property
    def droppable(self) -> bool:
        """Whether a stub may take its place."""
        return self.frame.discardable and not self.frame.keyframe and bool(self.frame.payload)


@dataclass(slots=True)
class _Lane:
    """One track's part of the queue, oldest frame first."""

    kind: Kind
    frames: deque[QueuedFrame] = field(default_factory=deque)
    waiting: bool = False  # nothing but a keyframe may come next
    begun: bool = False  # a keyframe was accepted once
    newest_group: int = -1
    newest_keyframe: int = -1  # the group of the newest one queued; those before it are superseded
    held_up: tuple[int, float] = (-1, 0.0)  # a group, and until when its frames may be late

    @property
    def independent(self) -> bool:
        """True if every frame can be decoded by itself."""
        return self.kind is not Kind.VIDEO


_PRIORITY = {Kind.AUDIO: 0, Kind.DATA: 1, Kind.VIDEO: 2}


class SendQueue:
    """One viewer's queue over all its tracks.

    ``max_bytes`` bounds its size (a single frame larger than that is let through alone, or nobody
    could ever see it), ``max_time`` in seconds the time a frame may wait whatever its deadline.
    ``drops`` counts by reason; ``starved`` holds the tracks that have missed a frame and cannot go on
    without a keyframe.
    """

    def __init__(self, *, max_bytes: int = 4 * 1024 * 1024, max_time: float = 1.0) -> None:
        self.max_bytes, self.max_time = max_bytes, max_time
        self.bytes = 0
        self.frames = 0
        self.drops: Counter[DropReason] = Counter()
        self.starved: set[int] = set()
        self._lanes: dict[int, _Lane] = {}
        self._order: list[_Lane] = []

    @property
    def dropped(self) -> int:
        """Frames not sent, for whatever reason; those before a track's first keyframe do not count."""
        return self.drops.total()

    @property
    def ahead(self) -> bool:
        """Whether something waits that goes before video."""
        return any(lane.frames for lane in self._order if lane.independent)

    def keyframe_needed(self, track: int) -> bool:
        """True while only a keyframe of that track would be accepted."""
        lane = self._lanes.get(track)
        return lane is not None and lane.waiting

    def next_deadline(self) -> float | None:
        """The earliest time at which a frame at the head of its track expires, or None."""
        return min((self._next_drop(lane) for lane in self._order if lane.frames), default=None)

    def deadline_of(self, queued: QueuedFrame) -> float:
        """The deadline of a frame that was taken, as it is now: newer keyframes let it shrink."""
        lane = self._lanes.get(queued.frame.track)
        return queued.deadline if lane is None else self._expiry(lane, queued)

    def superseded(self, queued: QueuedFrame) -> bool:
        """Whether a keyframe of a newer group was queued behind a frame."""
        lane = self._lanes.get(queued.frame.track)
        return lane is not None and queued.frame.group < lane.newest_keyframe

    def hold_up(self, queued: QueuedFrame, until: float) -> None:
        """What follows a keyframe that was taken may be late up to then: it had to wait for it."""
        lane = self._lanes.get(queued.frame.track)
        if lane is not None and not lane.independent:
            lane.held_up = (queued.frame.group, until)

    def push(self, queued: QueuedFrame, now: float) -> None:
        """Queue a frame; it is dropped and counted if the viewer could not decode it."""
        track = queued.frame.track
        lane = self._lane(track, queued.kind)
        if not lane.independent and not self._decodable(lane, track, queued, now):
            return
        lane.newest_group = queued.frame.group
        lane.frames.append(queued)
        self.frames += 1
        self.bytes += len(queued.data)
        if self.bytes > self.max_bytes:
            self._shrink(queued)

    def pop(self, now: float, *, ahead_of_video: bool = False) -> QueuedFrame | None:
        """The next frame to send, or None; expired ones before it are dropped and counted.

        ``ahead_of_video``: only if it is of a track that goes before video.
        """
        best: _Lane | None = None
        for lane in self._order:
            if ahead_of_video and lane.kind is Kind.VIDEO:
                continue
            self._expire_lane(lane, now)
            if lane.frames and (best is None or self._before(lane, best)):
                best = lane
        if best is None:
            return None
        queued = best.frames.popleft()
        self.frames -= 1
        self.bytes -= len(queued.data)
        return queued

    def expire(self, now: float) -> int:
        """Drop what is too late by now; returns how many frames were dropped."""
        before = self.dropped
        for lane in self._order:
            self._expire_lane(lane, now)
        return self.dropped - before

    def abandon(self, queued: QueuedFrame) -> None:
        """The transport gave up a frame it had taken (its stream was reset).

        What depends on it is dropped, unless a newer keyframe is already queued or sent.
        """
        track, group = queued.frame.track, queued.frame.group
        lane = self._lanes.get(track)
        if lane is None or lane.independent:
            return
        while lane.frames and lane.frames[0].frame.group == group:
            self._drop(lane, 1, DropReason.ABANDONED)
        if lane.newest_group == group:
            lane.waiting = True
            self.starved.add(track)

    def restart(self, track: int) -> None:
        """Empty a track's part and wait for a keyframe: the subscription changed."""
        lane = self._lanes.get(track)
        if lane is None:
            return
        for queued in lane.frames:
            self.frames -= 1
            self.bytes -= len(queued.data)
        self._order.remove(lane)
        del self._lanes[track]
        self.starved.discard(track)

    def go_on(self, track: int, kind: Kind) -> None:
        """The viewer has what comes next needs, from another session: no keyframe is waited for."""
        lane = self._lane(track, kind)
        lane.waiting, lane.begun = False, True
        self.starved.discard(track)

    def _lane(self, track: int, kind: Kind) -> _Lane:
        lane = self._lanes.get(track)
        if lane is not None and lane.kind is not kind:
            self.restart(track)
            lane = None
        if lane is None:
            lane = self._lanes[track] = _Lane(kind, waiting=kind is Kind.VIDEO)
            self._order.append(lane)
            self._order.sort(key=lambda each: _PRIORITY[each.kind])
        return lane

    def _decodable(self, lane: _Lane, track: int, queued: QueuedFrame, now: float) -> bool:
        if queued.frame.keyframe:
            lane.newest_keyframe = queued.frame.group
            if lane.frames and now - lane.frames[0].queued_at > SUPERSEDE_AFTER_S:
                self._drop(lane, len(lane.frames), DropReason.SUPERSEDED)
            lane.waiting, lane.begun = False, True
            self.starved.discard(track)
            return True
        if lane.waiting:
            self.starved.add(track)
            if lane.begun:
                self.drops[DropReason.UNDECODABLE] += 1
            return False
        return True

    def _before(self, one: _Lane, other: _Lane) -> bool:
        if _PRIORITY[one.kind] != _PRIORITY[other.kind]:
            return _PRIORITY[one.kind] < _PRIORITY[other.kind]
        return one.frames[0].queued_at < other.frames[0].queued_at

    def _expiry(self, lane: _Lane, queued: QueuedFrame) -> float:
        expiry = min(queued.deadline, queued.queued_at + self.max_time)
        if self.superseded(queued):
            return min(expiry, queued.queued_at + SUPERSEDE_AFTER_S)
        if lane.independent:
            return expiry
        if queued.frame.keyframe:
            return max(expiry, queued.queued_at + KEYFRAME_S)
        group, until = lane.held_up
        return max(expiry, until) if queued.frame.group == group else expiry

    def _next_drop(self, lane: _Lane) -> float:
        """When something is to be done about the head of a lane."""
        head = lane.frames[0]
        expiry = self._expiry(lane, head)
        return min(expiry, head.queued_at + DISCARD_AFTER_S) if head.droppable else expiry

    def _expire_lane(self, lane: _Lane, now: float) -> None:
        while lane.frames:
            head = lane.frames[0]
            if self._expiry(lane, head) <= now:
                if lane.independent:
                    self._drop(lane, 1, DropReason.EXPIRED)
                    continue
                why = DropReason.SUPERSEDED if self.superseded(head) else DropReason.EXPIRED
                self._break(lane, head.frame.track, why)
            elif head.droppable and head.queued_at + DISCARD_AFTER_S <= now:
                self._leave_out(lane, 0)
            else:
                return

    def _leave_out(self, lane: _Lane, at: int) -> None:
        """A stub takes the place of a discardable frame."""
        queued = lane.frames[at]
        left_out = replace(queued.frame, payload=b"")
        stub = replace(queued, frame=left_out, data=encode_frame(left_out))
        lane.frames[at] = stub
        self.bytes -= len(queued.data) - len(stub.data)
        self.drops[DropReason.DISCARDED] += 1

    def _shrink(self, newest: QueuedFrame) -> None:
        """Make room: what is discardable, then the oldest group of the fullest video, then old sound."""
        for lane in self._order:
            for at, queued in enumerate(lane.frames):
                if self.bytes > self.max_bytes and queued.droppable:
                    self._leave_out(lane, at)
        while self.bytes > self.max_bytes and self.frames > 1:
            lanes = [lane for lane in self._order if lane.frames]
            lane = max(lanes, key=lambda each: (_PRIORITY[each.kind], sum(len(q.data) for q in each.frames)))
            if lane.independent:
                self._drop(lane, 1, DropReason.OVERFLOW)
            elif lane.frames[0] is newest:  # a large keyframe: what else there is must make room
                others = [each for each in lanes if each is not lane]
                self._drop(others[0], len(others[0].frames), DropReason.OVERFLOW)
            else:
                self._break(lane, lane.frames[0].frame.track, DropReason.OVERFLOW)

    def _break(self, lane: _Lane, track: int, reason: DropReason) -> None:
        """Drop the group at the head; go on at the next keyframe queued, or wait for one."""
        frames = lane.frames
        following = next((i for i, q in enumerate(frames) if i > 0 and q.frame.keyframe), None)
        self._drop(lane, len(frames) if following is None else following, reason)
        if following is None:
            lane.waiting = True
            self.starved.add(track)

    def _drop(self, lane: _Lane, count: int, reason: DropReason) -> None:
        for _ in range(count):
            queued = lane.frames.popleft()
            self.frames -= 1
            self.bytes -= len(queued.data)
        self.drops[reason] += count
