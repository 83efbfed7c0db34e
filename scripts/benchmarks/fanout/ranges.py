"""Packet numbers received, as ACK ranges (RFC 9000 sections 13.2 and 19.3.1). Pure."""

from __future__ import annotations

from scripts.benchmarks.fanout.quicframes import encode_varint

MAX_RANGES = 32


class ReceivedRanges:
    """Ranges newest first, at most ``MAX_RANGES``; the oldest are forgotten."""

    __slots__ = ("_floor", "_ranges", "duplicates", "gaps", "received")

    def __init__(self) -> None:
        self._ranges: list[list[int]] = []  # [smallest, largest], both included
        self._floor = 0  # below it nothing is reported any more
        self.received = 0
        self.duplicates = 0
        self.gaps = 0  # packet numbers that were skipped and have not come since

    @property
    def largest(self) -> int:
        """The largest number seen, -1 before any."""
        return self._ranges[0][1] if self._ranges else -1

    def add(self, number: int) -> bool:
        """Take a packet number in; False when it came out of order (late, or behind a gap)."""
        ranges = self._ranges
        if ranges and number == ranges[0][1] + 1:
            ranges[0][1] = number
            self.received += 1
            return True
        return self._add_unordered(number)

    def _add_unordered(self, number: int) -> bool:
        ranges = self._ranges
        if not ranges:
            ranges.append([number, number])
            self.received += 1
            return True
        if number > ranges[0][1]:
            self.gaps += number - ranges[0][1] - 1
            ranges.insert(0, [number, number])
            del ranges[MAX_RANGES:]
            self.received += 1
            return False
        if number < self._floor or any(low <= number <= high for low, high in ranges):
            self.duplicates += 1
            return False
        self.received += 1
        self.gaps = max(0, self.gaps - 1)
        self._insert(number)
        return False

    def _insert(self, number: int) -> None:
        ranges = self._ranges
        index = next((i for i, (low, _) in enumerate(ranges) if low < number), len(ranges))
        below = ranges[index] if index < len(ranges) else None
        above = ranges[index - 1] if index else None
        joins_above = above is not None and above[0] == number + 1
        joins_below = below is not None and below[1] == number - 1
        if above is not None and below is not None and joins_above and joins_below:
            above[0] = below[0]
            del ranges[index]
        elif above is not None and joins_above:
            above[0] = number
        elif below is not None and joins_below:
            below[1] = number
        else:
            ranges.insert(index, [number, number])
            del ranges[MAX_RANGES:]

    def forget_below(self, number: int) -> None:
        """The peer knows of all below ``number`` (RFC 9000 section 13.2.4): report them no more."""
        if not self._ranges:
            return
        self._floor = max(self._floor, min(number, self.largest))
        self._ranges = [[max(low, self._floor), high] for low, high in self._ranges if high >= self._floor]

    def ack_frame(self, delay: int) -> bytes:
        """An ACK frame; ``delay`` in the unit of our ack_delay_exponent."""
        ranges = self._ranges
        low, high = ranges[0]
        if len(ranges) == 1:
            return b"\x02%b%b\x00%b" % (encode_varint(high), encode_varint(delay), encode_varint(high - low))
        parts = [b"\x02", *map(encode_varint, (high, delay, len(ranges) - 1, high - low))]
        for older_low, older_high in ranges[1:]:
            parts += (encode_varint(low - older_high - 2), encode_varint(older_high - older_low))
            low = older_low
        return b"".join(parts)
