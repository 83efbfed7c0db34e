"""How many control messages a peer may send: a token bucket in which time is an argument.

Imports errors only.
"""

from __future__ import annotations

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode


class MessageLimiter:
    """Lets ``rate`` messages a second pass, and ``burst`` at once; ``what`` they are, in words."""

    def __init__(self, rate: float, burst: int, what: str = "control messages") -> None:
        self.rate, self.burst, self._what = rate, burst, what
        self._tokens = float(burst)
        self._last: float | None = None

    def count(self, now: float, amount: int = 1) -> None:
        """Count so many at ``now`` seconds; raises ProtocolError (FLOOD) for one too many."""
        if not self.take(now, amount):
            raise ProtocolError(
                CloseCode.FLOOD,
                f"more than {self.rate:g} {self._what} a second (and {self.burst} at once)",
            )

    def take(self, now: float, amount: int = 1) -> bool:
        """Count so many at ``now`` seconds if they may pass; whether they may."""
        if self._last is not None:
            self._tokens = min(self.burst, self._tokens + max(0.0, now - self._last) * self.rate)
        self._last = now
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True
