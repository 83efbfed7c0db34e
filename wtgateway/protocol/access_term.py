"""For how long a session may go on, and when to say so (docs/protocol.md, "Access"). Pure; times in µs."""

from __future__ import annotations

from collections.abc import Sequence

from wtgateway.protocol.messages import Access

WARN_US = 30_000_000  # so long before the end a viewer is told, who may then bring another token
AUTHENTICATE_S = 5.0  # a viewer who announced a token has so long to bring it


class AccessTerm:
    """``locked``: nothing was granted yet, and nothing is told but that."""

    def __init__(self, *, locked: bool = False) -> None:
        self.locked = locked
        self._actions: tuple[str, ...] = ()
        self._expires_us = 0
        self._warned = False

    def grant(self, actions: Sequence[str], expires_us: int, now_us: int) -> Access:
        """What may be done from now on, until ``expires_us`` (0: for ever); the message that tells it."""
        self.locked = False
        self._actions, self._expires_us = tuple(actions), expires_us
        self._warned = expires_us == 0 or expires_us - now_us <= WARN_US  # the message says it already
        return self._message(now_us)

    def warning(self, now_us: int) -> Access | None:
        """Once, some time before the end: the message that tells of it."""
        if self._warned or self._expires_us - now_us > WARN_US:
            return None
        self._warned = True
        return self._message(now_us)

    def over(self, now_us: int) -> bool:
        """Whether the time is over."""
        return 0 < self._expires_us <= now_us

    def _message(self, now_us: int) -> Access:
        left_ms = 0 if self._expires_us == 0 else max(1, (self._expires_us - now_us) // 1000)
        return Access(granted=True, expires_in_ms=left_ms, actions=list(self._actions))
