"""How many control messages a peer may send: a token bucket in which time is an argument.

Imports errors only.
"""

from __future__ import annotations

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode


class MessageLimiter:
    """Lets ``rate`` messages a second pass, and ``burst`` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._tokens = float(burst)
        self._last: float | None = None

    def count(self, now: float) -> None:
        """Count one message at ``now`` seconds; raises ProtocolError (FLOOD) for one too many."""
        if self._last is not None:
            self._tokens = min(self.burst, self._tokens + max(0.0, now - self._last) * self.rate)
        self._last = now
        if self._tokens < 1:
            raise ProtocolError(
                CloseCode.FLOOD,
                f"more than {self.rate:g} control messages a second (and {self.burst} at once)",
            )
        self._tokens -= 1
