"""One rendition of a track as :class:`~wtgateway.protocol.reassembly.Reassembly` sees it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

Position = tuple[int, int]  # group, index

MAX_DONE = 256  # frames that are remembered as done with; what is older is refused
LEAST_OVERDUE_US = 8_000
MOST_JITTER_US = 100_000
CATCH_UP = 3  # times what a keyframe took: a path that carries 4/3 of what is sent is level again by then
MOST_CATCH_UP_US = 1_000_000
PARITY_LASTS = 2  # frames without parity after which none is expected


@dataclass(slots=True)
class Lane:
    """What is known of the frames of one rendition of a track, whole or not."""

    newest: Position
    newest_capture_us: int
    newest_us: int  # when it was first heard of
    in_datagrams: bool = False  # the newest came in them
    chained: bool = False  # frames need those before them, unlike sound
    jitter_us: int = 0  # of arrivals (RFC 3550, section 6.4.1)
    overdue_asked_us: int | None = None  # the one after the newest was asked for before anything told of it
    distance_us: int = 0  # between the captures of frames that follow each other, lately; 0: not known
    done: dict[Position, None] = field(default_factory=dict)
    floor: Position = (-1, -1)  # up to here all counts as done
    streaming: dict[Position, None] = field(default_factory=dict)
    expected_rows: int = 0
    frames_since_parity: int = 0
    parity_of: Position = (-1, -1)
    keyframe: tuple[int, int, int] = (-1, 0, 0)  # the newest: its group, when it began to come and was here

    def advance(self, position: Position, capture_us: int, in_datagrams: bool, now_us: int) -> None:
        """Something of a frame that is newer than all others is here."""
        between = position[1] - self.newest[1] if position[0] == self.newest[0] else 0
        distance_us = (capture_us - self.newest_capture_us) // between if between else 0
        if distance_us > 0 and self.distance_us:  # a pause of the source says little about what is usual
            self.distance_us += (min(distance_us, 2 * self.distance_us) - self.distance_us) // 8
        elif distance_us > 0:
            self.distance_us = distance_us
        if self.overdue_asked_us is None:
            late_us = abs(now_us - self.newest_us - (capture_us - self.newest_capture_us))
            self.jitter_us += (min(late_us, MOST_JITTER_US) - self.jitter_us) // 16
        self.newest, self.newest_capture_us = position, capture_us
        self.newest_us, self.in_datagrams, self.overdue_asked_us = now_us, in_datagrams, None
        self.frames_since_parity += 1
        if self.frames_since_parity > PARITY_LASTS:
            self.expected_rows = 0

    def note_keyframe(self, group: int, first_us: int, last_us: int) -> None:
        """One came, from its first to its last piece; of what is told twice the first time counts as well."""
        if group == self.keyframe[0]:
            first_us = min(first_us, self.keyframe[1])
        self.keyframe = (group, first_us, last_us)

    def caught_up_us(self, group: int, deadline_us: int) -> int:
        """Until when frames that waited for the keyframe of ``group`` are worth something; 0: unknown."""
        newest, first_us, last_us = self.keyframe
        if group != newest:
            return 0
        return last_us + deadline_us + min(CATCH_UP * (last_us - first_us), MOST_CATCH_UP_US)

    def overdue_us(self) -> int | None:
        """When the frame after the newest is later than frames usually are; None: not known, or asked for."""
        if not self.in_datagrams or not self.distance_us or self.overdue_asked_us is not None:
            return None
        return self.newest_us + self.distance_us + max(LEAST_OVERDUE_US, 4 * self.jitter_us)

    def finish(self, position: Position) -> None:
        """A frame is whole, lost, or here by another way: what comes of it is refused from now on."""
        self.done[position] = None
        self.streaming.pop(position, None)
        if len(self.done) > MAX_DONE:
            oldest = next(iter(self.done))
            del self.done[oldest]
            self.floor = max(self.floor, oldest)

    def stream(self, position: Position) -> None:
        """A frame has begun on a stream."""
        self.streaming[position] = None
        if len(self.streaming) > MAX_DONE:
            del self.streaming[next(iter(self.streaming))]

    def is_done(self, position: Position) -> bool:
        """Whether :meth:`finish` was called for it, or it is older than what is remembered."""
        return position <= self.floor or position in self.done

    def note_parity(self, position: Position, row: int) -> None:
        """A row of parity came: frames near to this one are likely to have as many."""
        if position < self.parity_of:
            return
        same = position == self.parity_of
        self.expected_rows = max(self.expected_rows, row + 1) if same else row + 1
        self.parity_of, self.frames_since_parity = position, 0
