"""What all endpoints of one node have in common, and share with the other nodes of its cluster.

Two secrets, so that a Retry token of one is good at another and a dead one's connections can be reset by
whoever takes its place, and which node it is to a balancer. It blocks nothing and reads no file. Imports
errors, config's values, the cluster's secret and this package.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any

from wtgateway.cluster import ClusterSecret
from wtgateway.errors import ConfigError
from wtgateway.transport import internals
from wtgateway.transport.connection_ids import (
    SECRET_BYTES,
    ConnectionIds,
    LbIdentity,
    steering_rule,
)
from wtgateway.transport.quic_lb import LbConfig
from wtgateway.transport.steering import Rule


@dataclass(frozen=True, slots=True)
class Identity:
    """``id_secret`` is behind connection IDs and stateless resets, ``retry_secret`` behind Retry tokens.

    Without ``lb`` no balancer looks at the connection IDs.
    """

    id_secret: bytes = field(default_factory=lambda: os.urandom(SECRET_BYTES), repr=False)
    retry_secret: bytes = field(default_factory=lambda: os.urandom(SECRET_BYTES), repr=False)
    lb: LbIdentity | None = None

    @classmethod
    def of_cluster(cls, secret: ClusterSecret | None, lb: LbIdentity | None = None) -> Identity:
        """With the secrets of a cluster; without one, with secrets that no other gateway has."""
        if secret is None:
            return cls(lb=lb)
        return cls(secret.key("stateless reset", SECRET_BYTES), secret.key("retry", SECRET_BYTES), lb)

    def connection_ids(self, worker: int = 0, workers: int = 1) -> ConnectionIds:
        """What issues the connection IDs of one worker. Raises ValueError for one that cannot be."""
        return ConnectionIds(worker=worker, workers=workers, secret=self.id_secret, lb=self.lb)

    def rule(self, workers: int) -> Rule:
        """How those lead to the workers. Raises ValueError for a number that cannot be."""
        return steering_rule(workers, self.id_secret, self.lb)

    def most_workers(self, wanted: int) -> int:
        """So many as connection IDs have room for, of those that are wanted."""
        return wanted if self.lb is None or self.lb.has_worker else 1

    def check(self, workers: int) -> None:
        """Raise :exc:`ConfigError` if no connection IDs can be issued for so many."""
        if self.lb is None:
            return
        config = self.lb.config
        if not internals.COMPLETE:
            expected = "none with this version of aioquic, which chooses connection IDs itself; install 1.7"
            raise ConfigError("configuration", "lb.config", f"rotation {config.rotation}", expected)
        if self.most_workers(workers) != workers:
            expected = (
                f"1: a server ID of {config.server_id_bytes} and a nonce of {config.nonce_bytes} fill a "
                "connection ID; for more workers give all nodes an LB file with a nonce one octet shorter"
            )
            raise ConfigError("configuration", "workers", workers, expected)

    def to_row(self) -> list[Any]:
        """As it travels to a worker."""
        lb = self.lb and [*dataclasses.astuple(self.lb.config), self.lb.server_id]
        return [self.id_secret, self.retry_secret, lb]

    @classmethod
    def from_row(cls, row: list[Any]) -> Identity:
        """When it has arrived. Raises ValueError or TypeError for what is none."""
        id_secret, retry_secret, lb = row
        return cls(id_secret, retry_secret, lb and LbIdentity(LbConfig(*lb[:-1]), lb[-1]))
