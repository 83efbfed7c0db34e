"""A frame that has not wholly come in datagrams: what is here of it, what is missing, and since when.

Part of :mod:`wtgateway.protocol.reassembly`, which has the rules. Pure; all times are µs of one monotonic
clock. Imports the layouts and the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol import fec
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.fragments import Fragment
from wtgateway.protocol.lane import Position
from wtgateway.protocol.nacks import WHOLE_FRAME
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, decode_frame_header

Name = tuple[int, int, int, int]  # track, rendition, group, index

OVERHEAD_BYTES = 64  # what keeping a piece, or a frame, counts besides its bytes
MAX_ASKED = 6
REPEAT_US = 6_000  # after the last wish that can be granted in time it is said once more
LEAST_QUIET_US = 8_000
FIRST_DISTANCE_US = 10_000  # as on a path of 1 Mbit/s, before it is known: a wish too many slows it down
LONGEST_DISTANCE_US = 50_000
QUIET_DISTANCES = 4
PATIENCE_RTT, MOST_PATIENCE_US = 2, 150_000
PAUSE_FADES = 128  # by so much of itself with each piece


@dataclass(slots=True)
class PathTimes:
    """What a receiver goes by when it asks."""

    rtt_us: int
    reorder_us: int  # a piece may be so much later than one that was sent after it
    distance_us: int = FIRST_DISTANCE_US  # between the pieces of a frame, in the mean
    pause_us: int = 0  # the longest lately: others' packets come between, or the sender has to wait

    def note_distance(self, distance_us: int) -> None:
        """Pieces of a frame came so long after each other."""
        distance_us = min(distance_us, LONGEST_DISTANCE_US)
        self.distance_us += (distance_us - self.distance_us) // 8
        self.pause_us = max(distance_us, self.pause_us - self.pause_us // PAUSE_FADES)

    @property
    def again_us(self) -> int:
        """After so long without an answer it is asked again."""
        return self.rtt_us + self.rtt_us // 4 + 5_000

    @property
    def patience_us(self) -> int:
        """What the rest of a group needs is waited for so long beyond its deadline.

        A keyframe in its place takes as long to come, and many times the bytes: where the path is full that
        is the next loss.
        """
        return min(PATIENCE_RTT * self.rtt_us, MOST_PATIENCE_US)

    @property
    def answering_us(self) -> int:
        """The pieces of an answer follow each other within this."""
        return self.rtt_us // 4 + 5_000


@dataclass(slots=True)
class Hole:
    """Data fragments ``first`` to ``last`` are not here.

    ``due_us`` is when they are to be asked for; None while nothing tells that they should be here, which can
    only be so at the end of a frame.
    """

    first: int
    last: int
    due_us: int | None = None
    known_us: int | None = None
    asked_us: int = 0
    times: int = 0
    last_wish: bool = False  # there is no time for another

    def ask(self, now_us: int, deadline_us: int, path: PathTimes) -> None:
        """It is asked for. The last wish that can be granted in time is said twice: the first may be lost."""
        again_us = now_us + path.again_us
        in_time = again_us + path.rtt_us < deadline_us
        self.times = MAX_ASKED if self.last_wish else self.times + 1
        self.last_wish = not in_time
        self.asked_us, self.due_us = now_us, again_us if in_time else now_us + REPEAT_US

    def part(self, first: int, last: int) -> Hole:
        """A part of it, with its history."""
        return Hole(first, last, self.due_us, self.known_us, self.asked_us, self.times, self.last_wish)


@dataclass(slots=True)
class PartialFrame:
    """``count`` is 0 as long as nothing of the frame is here: others told that it must exist."""

    name: Name
    capture_us: int
    first_us: int  # of its first piece, or of the news that it exists
    last_us: int
    later_us: int | None = None  # since when something of a later frame is here
    object_bytes: int = 0
    count: int = 0
    piece_bytes: int = 0
    keyframe: bool = False  # as its first piece said
    discardable: bool = False  # the same
    on_stream: bool = False  # begun on a stream, which needs no asking
    belated: bool = False  # what told of it was too late itself: the sender does not go by its capture
    held_bytes: int = OVERHEAD_BYTES
    pieces: dict[int, bytes] = field(default_factory=dict)
    rows: dict[int, bytes] = field(default_factory=dict)
    holes: list[Hole] = field(default_factory=list)

    @property
    def position(self) -> Position:
        return self.name[2], self.name[3]

    @property
    def lacking(self) -> int:
        """How many data fragments are not here."""
        return self.count - len(self.pieces)

    @property
    def began(self) -> bool:
        """Whether anything of it is here."""
        return bool(self.pieces or self.rows)

    @property
    def received_bytes(self) -> int:
        """Of the frame object; parity does not count."""
        last = self.object_bytes - (self.count - 1) * self.piece_bytes
        short = self.piece_bytes - last if self.count - 1 in self.pieces else 0
        return len(self.pieces) * self.piece_bytes - short

    @property
    def complete(self) -> bool:
        return self.count > 0 and self.lacking <= len(self.rows)

    def fits(self, fragment: Fragment) -> bool:
        """Whether a fragment's layout is that of the first one; the first one decides."""
        if self.count == 0:
            self._begin(fragment)
        return (self.object_bytes, self.count, self.piece_bytes) == (
            fragment.object_bytes,
            fragment.count,
            fragment.piece_bytes,
        )

    def _begin(self, fragment: Fragment) -> None:
        self.object_bytes, self.count = fragment.object_bytes, fragment.count
        self.piece_bytes, self.capture_us = fragment.piece_bytes, fragment.capture_us
        self.keyframe, self.discardable = fragment.keyframe, fragment.discardable
        asked = self.holes[0] if self.holes and self.holes[0].times else Hole(0, 0)
        self.holes = [asked.part(0, self.count - 1)]

    def add(self, fragment: Fragment, now_us: int, path: PathTimes) -> int | None:
        """Keep what is new.

        Returns by how much a piece was later than one behind it, if it came without being asked for; 0 if it
        was in order, or asked for; None if it is here already.
        """
        kept = self.rows if fragment.parity else self.pieces
        if fragment.number in kept:
            return None
        before_us = self.last_us if self.began else None
        if before_us is None:
            self.first_us = now_us
        self.last_us = now_us
        kept[fragment.number] = fragment.data
        self.held_bytes += len(fragment.data) + OVERHEAD_BYTES
        if fragment.parity:
            return self._end_is_near(now_us, path)
        return self._fill(fragment.number, now_us, before_us, path)

    def _end_is_near(self, now_us: int, path: PathTimes) -> int:
        """Parity is sent behind all fragments: those missing at the end are known now."""
        for hole in self.holes:
            if hole.due_us is None:
                hole.known_us, hole.due_us = now_us, now_us + path.reorder_us
        return 0

    def _fill(self, number: int, now_us: int, before_us: int | None, path: PathTimes) -> int:
        """Take a piece out of the hole it was missing in."""
        place = next(n for n, hole in enumerate(self.holes) if hole.first <= number <= hole.last)
        hole = self.holes[place]
        before, behind = hole.part(hole.first, number - 1), hole.part(number + 1, hole.last)
        if hole.due_us is None:
            before.known_us, before.due_us = now_us, now_us + path.reorder_us
        else:  # those behind it are likely to be on their way, too
            pause_us = path.answering_us if hole.times else path.reorder_us
            behind.due_us = max(hole.due_us, now_us + pause_us)
        self.holes[place : place + 1] = [part for part in (before, behind) if part.first <= part.last]
        unasked = hole.times == 0 or (hole.times == 1 and now_us < hole.asked_us + path.rtt_us // 2)
        if before_us is not None and unasked:
            path.note_distance(now_us - before_us)
        return now_us - hole.known_us if hole.known_us is not None and unasked else 0

    def due(self, expected_rows: int, path: PathTimes) -> Iterator[tuple[Hole, int]]:
        """All holes, and when each is to be asked for."""
        known = sum(hole.last - hole.first + 1 for hole in self.holes if hole.due_us is not None)
        for hole in self.holes:
            due_us = self._end_due_us(path) if hole.due_us is None else hole.due_us
            missing = self.lacking if hole.due_us is None else known
            if hole.times == 0 and 0 < self.count <= fec.MAX_DATA_PIECES and missing <= expected_rows:
                # Parity like that of the last frames will do: it comes behind the fragments.
                since_us = self.last_us if hole.known_us is None else hole.known_us
                due_us = max(due_us, min(self.last_us, since_us + path.rtt_us // 4) + path.reorder_us)
            yield hole, due_us

    def _end_due_us(self, path: PathTimes) -> int:
        """When the end of the frame is to be asked for if nothing more comes of it."""
        steps = max(1, len(self.pieces) + len(self.rows) - 1)
        distance_us = max((self.last_us - self.first_us) // steps, path.distance_us)
        quiet_us = max(LEAST_QUIET_US, path.reorder_us, QUIET_DISTANCES * distance_us, path.pause_us)
        if self.later_us is None:
            return self.last_us + quiet_us
        return min(self.last_us + quiet_us, max(self.later_us, self.last_us) + path.reorder_us)

    def range_of(self, hole: Hole) -> tuple[int, int]:
        """First and last for a NACK."""
        return (hole.first, hole.last) if self.count else WHOLE_FRAME

    def assemble(self) -> Frame:
        """The frame; call it when :attr:`complete`.

        Raises ProtocolError (MALFORMED) if what came together is not the frame that its fragments said.
        """
        lacking = fec.decode(self.pieces, self.rows, self.count, self.piece_bytes) if self.lacking else {}
        whole = self.pieces | lacking
        data = b"".join([whole[number] for number in range(self.count)])
        header = decode_frame_header(data)
        name = (header.track, header.rendition, header.group, header.index)
        if name != self.name or header.payload_bytes != self.object_bytes - FRAME_HEADER_BYTES:
            raise ProtocolError(CloseCode.MALFORMED, f"the fragments of {self.name} make another frame")
        return header.frame(data[FRAME_HEADER_BYTES : self.object_bytes])
