"""One rendition of a track as :class:`~wtgateway.protocol.reassembly.Reassembly` sees it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

Position = tuple[int, int]  # group, index

MAX_DONE = 256  # frames that are remembered as done with; what is older is refused
PARITY_LASTS = 2  # frames without parity after which none is expected


@dataclass(slots=True)
class Lane:
    """What is known of the frames of one rendition of a track, whole or not."""

    newest: Position
    newest_capture_us: int
    done: dict[Position, None] = field(default_factory=dict)
    floor: Position = (-1, -1)  # up to here all counts as done
    streaming: dict[Position, None] = field(default_factory=dict)
    expected_rows: int = 0
    frames_since_parity: int = 0
    parity_of: Position = (-1, -1)

    def advance(self, position: Position, capture_us: int) -> None:
        """Something of a frame that is newer than all others is here."""
        self.newest, self.newest_capture_us = position, capture_us
        self.frames_since_parity += 1
        if self.frames_since_parity > PARITY_LASTS:
            self.expected_rows = 0

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
