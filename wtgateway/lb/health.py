"""What a node's answers make of it. Pure.

A node says by itself that it takes nobody any more (``/readyz`` is 503), and is believed at once: it keeps
its connections. One that does not answer gets nothing after ``fall`` checks in a row, or after the first when
its port is closed: then its process is gone. It is back after ``rise`` good ones.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass

from wtgateway.lb.routing import NodeState


class Outcome(enum.Enum):
    """What one check found."""

    READY = "ready"
    NOT_READY = "not ready"  # it answers, and takes no new viewers
    CLOSED = "closed"  # nothing listens there
    SILENT = "silent"  # no answer in time, or none that can be understood


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check. ``detail`` is said in the log; the rest is what ``/api/v1/node`` says, if it was asked."""

    outcome: Outcome
    detail: str = ""
    draining: bool = False
    server_id: str | None = None
    lb_config: str | None = None


class NodeHealth:
    """One node's state by its checks; :attr:`reason` says why it is as it is."""

    def __init__(self, server_ids: Collection[bytes], *, rise: int = 2, fall: int = 2) -> None:
        if rise < 1 or fall < 1:
            raise ValueError("rise and fall are at least 1")
        # A balancer that has just been started sends on what belongs to connections at once.
        self.state = NodeState.UP
        self.reason = "not checked yet"
        self.claimed: str | None = None  # the server ID that it says it has
        self._server_ids = frozenset(server_id.hex() for server_id in server_ids)
        self._rise, self._fall = rise, fall
        self._good = self._bad = 0

    @property
    def misnamed(self) -> bool:
        """Whether it issues connection IDs that lead to another node, or to none."""
        return self.claimed is not None and self.claimed not in self._server_ids

    def apply(self, result: CheckResult) -> bool:
        """Take one check in; whether the state changed."""
        if result.server_id is not None:
            self.claimed = result.server_id
        if result.outcome in (Outcome.READY, Outcome.NOT_READY):
            self._good, self._bad = self._good + 1, 0
        else:
            self._good, self._bad = 0, self._bad + (self._fall if result.outcome is Outcome.CLOSED else 1)
        before = self.state
        self.state, self.reason = self._judge(result)
        return self.state is not before

    def _judge(self, result: CheckResult) -> tuple[NodeState, str]:
        if self._bad:
            fallen = self._bad >= self._fall or self.state is NodeState.DOWN
            return NodeState.DOWN if fallen else self.state, result.detail or result.outcome.value
        if self.state is NodeState.DOWN and self._good < self._rise:
            return NodeState.DOWN, f"answers again, {self._good} of {self._rise} times"
        if self.misnamed:
            return NodeState.DRAINING, f"says that its server ID is {self.claimed or 'none'}"
        if result.outcome is Outcome.READY:
            return NodeState.UP, "ready"
        return NodeState.DRAINING, "draining" if result.draining else "not ready"
