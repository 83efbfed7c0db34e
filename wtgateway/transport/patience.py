"""Whether a viewer takes what it is sent, or only keeps the gateway busy with giving it up again.

A viewer that reads nothing, or a byte a second, costs bounded memory (frames are given up at their deadline)
but a place, a queue and an encoder's attention. So one to whom nothing has come whole for :data:`STALLED_S`,
while there was something to send, is told to come back. Pure: ``now`` is the monotonic clock's, in s.
"""

from __future__ import annotations

STALLED_S = 30.0  # longer than any blackout that a connection outlives (its idle timeout is 20 s)
MOST_UNEXPECTED = 64  # streams of a viewer, which has no business with any


class Patience:
    """One viewer's record."""

    __slots__ = ("_since", "_unexpected")

    def __init__(self) -> None:
        self._since: float | None = None  # when something began to wait, and nothing has come whole since
        self._unexpected: set[int] = set()

    def delivered(self) -> None:
        """Something came whole, or the path took it."""
        self._since = None

    def exhausted(self, waiting: bool, now: float) -> bool:
        """To be asked now and then; ``waiting``: there is something that the viewer should have taken."""
        if not waiting:
            self._since = None
        elif self._since is None:
            self._since = now
        return self._since is not None and now - self._since >= STALLED_S

    def unexpected(self, stream_id: int) -> bool:
        """A stream came that nobody asked for; whether they are too many now."""
        self._unexpected.add(stream_id)
        return len(self._unexpected) > MOST_UNEXPECTED
