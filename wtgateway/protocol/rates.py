"""What a rendition really takes: bytes over the time that its own timestamps say. Pure; imports nothing."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW_US = 1_000_000
_JUMP_US = 10_000_000  # another timeline


@dataclass(slots=True)
class RateMeter:
    """Bits a second over the last two windows, whichever is more: a rate has to carry both."""

    _begun_us: int | None = None
    _bits: int = 0
    _last: int = 0
    _before: int = 0

    @property
    def bps(self) -> int:
        """0 until a window is over."""
        return max(self._last, self._before)

    def add(self, size_bytes: int, at_us: int) -> None:
        """A frame of that size, with its timestamp."""
        if self._begun_us is None or not -_JUMP_US < at_us - self._begun_us < _JUMP_US:
            self._begun_us, self._bits, self._last, self._before = at_us, 0, 0, 0
        elif (passed_us := at_us - self._begun_us) >= WINDOW_US:
            self._before, self._last = self._last, self._bits * 1_000_000 // passed_us
            self._begun_us, self._bits = at_us, 0
        self._bits += size_bytes * 8
