"""Puts fragments together again, and knows what to ask for: the receiving side of datagram delivery.

The rules, which the JavaScript client follows too (tests/vectors/reassembly.json holds both to them):

1. Fragments come in any order, twice or never. The first of a frame decides its layout; one with another
   layout is dropped. Any as many fragments and parity rows as the frame has fragments complete it.
2. A frame is worth something until ``capture + deadline``, in the clock of the viewer. Not later than its
   first piece and the deadline, which also counts while the clock is not known, and for a frame that comes
   only after its deadline: the sender thought it worth sending. What is not complete then is lost, unless
   it was asked for less than 5/4 of a round trip and 5 ms ago: the answer is likely to be there soon.
   Pieces of a keyframe may go on coming for two seconds, each within the deadline of the one before: all
   that follows needs it, and another in its place would come later. Frames that follow a keyframe had to
   wait for it: they are worth something for the deadline from when it was here, and three times what it
   took from its first piece on (a second at most), at least. A frame of which nothing is here is taken to
   be captured between its neighbours, as far from the later one as frames are usually apart; where that is
   too long ago, it is lost at once, unless what told of it was too late itself.
3. At most ``max_frames`` and ``max_bytes`` are held; the oldest are lost when it is more.
4. A missing fragment is *known* when a later one of its frame is here. The end of a frame is when
   something of a later frame, or parity, is here. Frames between two of a group, and before the first
   that is here of a group, are known when the later one is: all of them is missing then.
5. What is known is asked for after ``reorder_us``: 3 ms, and more where pieces have been later than
   those behind them, up to a quarter of the round trip. The end of a frame is asked for when nothing of
   it came for 8 ms, or four times the mean distance of pieces, of this frame or lately, at the latest.
   Where parity like that of the last frames would do, it is waited for while the frame is coming, a
   quarter of the round trip at most.
6. Where something was missing within the last ten seconds, the frame after the newest is asked for, once,
   when it is overdue: later than frames usually are, by 8 ms or four times their jitter. So a frame that is
   lost as a whole is asked for before the next one tells of it. It is not waited for on that account.
7. It is asked for again after 5/4 of a round trip and 5 ms, six times at most, and only while an answer can
   still come in time; the last wish that can be granted is said once more after 6 ms. What nobody asked for
   yet may be asked for until the deadline: the answer is late then, but what follows the frame cannot be
   decoded without it, and a keyframe in its place would not come any sooner. Of frames that have begun on a
   stream nothing is asked for: streams lose nothing.

Pure: ``now_us`` is any monotonic clock. Imports the layouts and the code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wtgateway.media import Frame
from wtgateway.protocol.fragments import Fragment
from wtgateway.protocol.lane import Lane
from wtgateway.protocol.nacks import WHOLE_FRAME, NackEntry
from wtgateway.protocol.partial import MAX_ASKED, Hole, Name, PartialFrame, PathTimes

MAX_ABSENT = 32  # frames of which nothing is here, known by one later one
MAX_LANES = 32
LOSSES_LAST_US = 10_000_000  # after the last loss frames are asked for that are merely overdue
LEAST_REORDER_US = 3_000
KEYFRAME_US = 2_000_000  # for which pieces of a keyframe may go on coming


@dataclass(slots=True)
class ReassemblyCounters:
    """What became of what came."""

    fragments: int = 0
    parity: int = 0
    duplicates: int = 0  # and what came of frames that were done with
    mismatched: int = 0  # of another layout than the first of their frame
    completed: int = 0
    recovered: int = 0  # of these, with parity
    mended: int = 0  # fragments that parity made up for
    asked: int = 0  # entries of NACKs
    expired: int = 0  # frames
    displaced: int = 0  # frames that had to make room


@dataclass(slots=True)
class Reassembly:
    """All of a viewer's datagrams in, whole frames out. ``deadline_us`` is the subscriptions'."""

    deadline_us: int = 500_000
    max_frames: int = 128
    max_bytes: int = 16 * 1024 * 1024
    clock_offset_us: int | None = None  # gateway time minus the clock of ``now_us``
    counters: ReassemblyCounters = field(default_factory=ReassemblyCounters)
    _path: PathTimes = field(default_factory=lambda: PathTimes(100_000, LEAST_REORDER_US))
    _frames: dict[Name, PartialFrame] = field(default_factory=dict)  # in the order in which they began
    _held_bytes: int = 0
    _lanes: dict[tuple[int, int], Lane] = field(default_factory=dict)
    _lost: list[Name] = field(default_factory=list)
    _missed_us: int | None = None  # when something was asked for last

    @property
    def held_frames(self) -> int:
        """Frames that are not complete."""
        return len(self._frames)

    @property
    def held_bytes(self) -> int:
        """What they take, some overhead for each piece included."""
        return self._held_bytes

    @property
    def reorder_us(self) -> int:
        """By how much pieces may be out of order before they count as lost."""
        return self._path.reorder_us

    def set_path(self, rtt_us: int, reorder_us: int | None = None) -> None:
        """What is known of the path now. Without ``reorder_us`` what was measured fades with each call."""
        if reorder_us is None:
            measured = self._path.reorder_us
            reorder_us = measured - (measured - LEAST_REORDER_US) // 8
        most = max(LEAST_REORDER_US, rtt_us // 4)
        self._path.rtt_us, self._path.reorder_us = rtt_us, min(max(reorder_us, LEAST_REORDER_US), most)

    def push(self, fragment: Fragment, now_us: int) -> Frame | None:
        """Take in a fragment or parity row; returns the frame that it completes.

        Raises ProtocolError (MALFORMED) if that is another frame than its fragments said.
        """
        name = (fragment.track, fragment.rendition, fragment.group, fragment.index)
        lane = self._lane(name, fragment.capture_us, fragment.keyframe, now_us)
        if fragment.parity:
            self.counters.parity += 1
            lane.note_parity(name[2:], fragment.number)
        else:
            self.counters.fragments += 1
        self._show(name, lane, fragment.capture_us, True, now_us)
        frame = self._frames.get(name)
        if frame is not None and now_us >= self._over_us(frame):
            self._lose(frame)
            self.counters.expired += 1
            frame = None
        if frame is None:
            if lane.is_done(name[2:]):
                self.counters.duplicates += 1
                return None
            frame = self._begin(name, lane, fragment.capture_us, now_us)
        return self._add(frame, lane, fragment, now_us)

    def arrived_as_stream(self, name: Name, capture_us: int, keyframe: bool, now_us: int) -> None:
        """A frame has begun on a stream: its header is here. Its fragments may still complete it first."""
        lane = self._lane(name, capture_us, keyframe, now_us)
        if lane.is_done(name[2:]):
            return
        if keyframe:
            lane.note_keyframe(name[2], now_us, now_us)
        self._show(name, lane, capture_us, False, now_us)
        lane.stream(name[2:])
        frame = self._frames.get(name)
        if frame is not None:
            frame.on_stream = True
            if frame.count == 0:
                self._forget(frame)

    def done_with(self, name: Name) -> bool:
        """A frame is here by another way, or was given up by the gateway: what comes of it is of no use.

        Returns whether that is news: False if it was complete, or lost, before.
        """
        lane, frame = self._lanes.get(name[:2]), self._frames.get(name)
        if frame is not None:
            self._forget(frame)
        if lane is None or lane.is_done(name[2:]):
            return False
        lane.finish(name[2:])
        return True

    def partial(self, name: Name) -> PartialFrame | None:
        """A frame that is not complete, if anything is known of it."""
        return self._frames.get(name)

    def nacks(self, now_us: int) -> list[NackEntry]:
        """What is to be asked for now. What has become too old is lost first, see :meth:`take_lost`."""
        self._expire(now_us)
        entries: list[NackEntry] = []
        for frame in self._frames.values():
            deadline_us = self.deadline_of(frame)
            for hole, due_us in self._due(frame):
                if now_us < due_us:
                    continue
                if now_us >= self._last_call_us(hole, deadline_us):
                    hole.times = MAX_ASKED  # whoever calls is late
                    continue
                hole.ask(now_us, deadline_us, self._path)
                entries.append(NackEntry(*frame.name, *frame.range_of(hole)))
        if entries:
            self._missed_us = now_us
        entries += self._overdue(now_us)
        self.counters.asked += len(entries)
        return entries

    def take_lost(self) -> list[Name]:
        """Frames that were given up since the last call."""
        lost, self._lost = self._lost, []
        return lost

    def next_timeout(self) -> int | None:
        """When :meth:`nacks` has something to do if nothing comes; None: never."""
        times = [due_us for _, _, due_us in self._awaited()]
        for frame in self._frames.values():
            deadline_us = self.deadline_of(frame)
            times.append(self._over_us(frame))
            dues = self._due(frame)
            times += [due_us for hole, due_us in dues if due_us < self._last_call_us(hole, deadline_us)]
        return min(times, default=None)

    def _last_call_us(self, hole: Hole, deadline_us: int) -> int:
        """Before that it may be asked for, by rule 7."""
        return deadline_us - self._path.rtt_us if hole.times else deadline_us

    def deadline_of(self, frame: PartialFrame) -> int:
        """Until when a frame is worth something."""
        usual_us = self._usual_deadline_of(frame)
        if frame.keyframe:
            going_on_us = min(frame.last_us + self.deadline_us, frame.first_us + KEYFRAME_US)
            return max(usual_us, going_on_us)
        lane = self._lanes[frame.name[:2]]
        deadline_us = max(usual_us, lane.caught_up_us(frame.name[2], self.deadline_us))
        needed = lane.chained and not frame.discardable
        return deadline_us + self._path.patience_us if needed else deadline_us

    def _usual_deadline_of(self, frame: PartialFrame) -> int:
        latest_us = frame.first_us + self.deadline_us
        if self.clock_offset_us is None:
            return latest_us
        deadline_us = frame.capture_us - self.clock_offset_us + self.deadline_us
        if frame.count or frame.belated:
            return deadline_us if frame.first_us < deadline_us < latest_us else latest_us
        return min(deadline_us, latest_us)

    def _over_us(self, frame: PartialFrame) -> int:
        """When a frame is lost: not while an answer that was asked for in time is on its way."""
        asked_us = max((hole.asked_us + self._path.again_us for hole in frame.holes if hole.times), default=0)
        return max(self.deadline_of(frame), asked_us)

    # --- frames ------------------------------------------------------------------------------------

    def _awaited(self) -> list[tuple[tuple[int, int], Lane, int]]:
        """Lanes whose next frame is asked for when it is overdue, and when that is."""
        if self._missed_us is None:
            return []
        dues = [(key, lane, lane.overdue_us()) for key, lane in self._lanes.items()]
        until_us = self._missed_us + LOSSES_LAST_US
        return [(key, lane, due_us) for key, lane, due_us in dues if due_us is not None and due_us < until_us]

    def _overdue(self, now_us: int) -> list[NackEntry]:
        entries = []
        for key, lane, due_us in self._awaited():
            if now_us < due_us:
                continue
            lane.overdue_asked_us = now_us
            deadline_us = lane.newest_us + lane.distance_us + self.deadline_us
            if self.clock_offset_us is not None:
                captured_us = lane.newest_capture_us + lane.distance_us - self.clock_offset_us
                deadline_us = min(deadline_us, captured_us + self.deadline_us)
            if now_us + self._path.rtt_us < deadline_us:
                group, index = lane.newest
                entries.append(NackEntry(*key, group, index + 1, *WHOLE_FRAME))
        return entries

    def _due(self, frame: PartialFrame) -> list[tuple[Hole, int]]:
        """What may be asked for of a frame, and when."""
        if frame.on_stream:
            return []
        expected_rows = self._lanes[frame.name[:2]].expected_rows
        return [item for item in frame.due(expected_rows, self._path) if item[0].times < MAX_ASKED]

    def _begin(self, name: Name, lane: Lane, capture_us: int, now_us: int) -> PartialFrame:
        frame = self._frames[name] = PartialFrame(name, capture_us, now_us, now_us)
        frame.on_stream = name[2:] in lane.streaming
        if lane.newest > frame.position:
            frame.later_us = now_us
        self._held_bytes += frame.held_bytes
        return frame

    def _add(self, frame: PartialFrame, lane: Lane, fragment: Fragment, now_us: int) -> Frame | None:
        if not frame.fits(fragment):
            self.counters.mismatched += 1
            return None
        before = frame.held_bytes
        late_us = frame.add(fragment, now_us, self._path)
        self._held_bytes += frame.held_bytes - before
        if late_us is None:
            self.counters.duplicates += 1
            return None
        if late_us + late_us // 4 > self._path.reorder_us:
            self.set_path(self._path.rtt_us, late_us + late_us // 4)
        if not frame.complete:
            self._make_room()
            return None
        self._forget(frame)
        lane.finish(frame.position)
        if frame.keyframe:
            lane.note_keyframe(frame.name[2], frame.first_us, frame.last_us)
        done = frame.assemble()
        self.counters.completed += 1
        self.counters.recovered += frame.lacking > 0
        self.counters.mended += frame.lacking
        return done

    def _lane(self, name: Name, capture_us: int, keyframe: bool, now_us: int) -> Lane:
        key = name[:2]
        lane = self._lanes.get(key)
        if lane is None:
            # A keyframe may be the first thing that is sent; anything else has one before it.
            newest = (name[2], name[3] - 1 if keyframe else -1)
            lane = self._lanes[key] = Lane(newest, capture_us, now_us)
            if len(self._lanes) > MAX_LANES:
                self._drop_lane(next(iter(self._lanes)))
        lane.chained |= not keyframe
        return lane

    def _drop_lane(self, key: tuple[int, int]) -> None:
        for frame in [frame for frame in self._frames.values() if frame.name[:2] == key]:
            self._lose(frame)
            self.counters.displaced += 1
        del self._lanes[key]

    def _show(self, name: Name, lane: Lane, capture_us: int, in_datagrams: bool, now_us: int) -> None:
        """Something of a frame is here: if it is the newest, what is before it should be here as well."""
        group, index = position = name[2:]
        if position <= lane.newest:
            return
        for frame in self._frames.values():
            if frame.later_us is None and frame.name[:2] == name[:2]:
                frame.later_us = now_us
        begun, newest_index = lane.newest
        after = newest_index if begun == group else -1
        step_us = (capture_us - lane.newest_capture_us) // (index - after)
        if lane.distance_us:
            step_us = min(step_us, lane.distance_us)
        offset_us = self.clock_offset_us
        belated = offset_us is not None and capture_us - offset_us + self.deadline_us <= now_us
        asked_us = lane.overdue_asked_us if begun == group else None
        lane.advance(position, capture_us, in_datagrams, now_us)
        for absent in range(max(after + 1, index - MAX_ABSENT), index):
            absent_us = capture_us - (index - absent) * step_us
            self._announce((*name[:2], group, absent), lane, absent_us, belated, now_us)
        overdue = self._frames.get((*name[:2], group, after + 1))
        if asked_us is not None and overdue is not None and overdue.count == 0:
            overdue.holes[0].ask(asked_us, self.deadline_of(overdue), self._path)
        self._make_room()

    def _announce(self, name: Name, lane: Lane, capture_us: int, belated: bool, now_us: int) -> None:
        """A frame must exist of which nothing is here."""
        if lane.is_done(name[2:]):
            return
        frame = self._begin(name, lane, capture_us, now_us)
        frame.holes = [Hole(0, 0xFFFF, now_us + self._path.reorder_us, now_us)]
        frame.belated = belated

    # --- the end of frames -------------------------------------------------------------------------

    def _expire(self, now_us: int) -> None:
        for frame in [frame for frame in self._frames.values() if now_us >= self._over_us(frame)]:
            self._lose(frame)
            self.counters.expired += 1

    def _make_room(self) -> None:
        while len(self._frames) > self.max_frames or self._held_bytes > self.max_bytes:
            self._lose(next(iter(self._frames.values())))
            self.counters.displaced += 1

    def _lose(self, frame: PartialFrame) -> None:
        self._forget(frame)
        self._lanes[frame.name[:2]].finish(frame.position)
        if not frame.on_stream:
            self._lost.append(frame.name)

    def _forget(self, frame: PartialFrame) -> None:
        del self._frames[frame.name]
        self._held_bytes -= frame.held_bytes
