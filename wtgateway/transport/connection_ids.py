"""The connection IDs that a server issues, and what makes them route: the one place that decides both.

Of a gateway that stands alone: eight octets, of which the first, modulo the number of workers, is the worker
that serves it, and all else is random, so that nobody can link two IDs of one connection (RFC 9000, section
9.5). Of a node behind a balancer: as :mod:`wtgateway.transport.quic_lb` has it, and one octet more for the
worker (:class:`wtgateway.transport.steering.Rule`, by which the kernel steers).

The token of a stateless reset is an HMAC of the ID under a secret that all workers share, and all nodes of a
cluster (RFC 9000, section 10.3.2): whoever takes a dead worker's place can tell its viewers that their
connections are gone. Imports aioquic and this package.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wtgateway.transport import internals
from wtgateway.transport.admission import TokenBucket
from wtgateway.transport.quic_lb import MAX_CID_BYTES, UNROUTABLE, LbConfig, Nonces, encode, server_id_of
from wtgateway.transport.reset_stream_at import ResetStreamAtConnection
from wtgateway.transport.steering import Rule

log = logging.getLogger("wtgateway.transport")

CONNECTION_ID_BYTES = 8
RESET_TOKEN_BYTES = 16
MAX_WORKERS = 64
SECRET_BYTES = 32
# A stateless reset looks like a packet with a short header and at least 5 unpredictable bytes before the
# token (RFC 9000, section 10.3), and is shorter than what it answers, so that two ends cannot go on for ever.
MIN_RESET_BYTES = 5 + RESET_TOKEN_BYTES
MAX_RESET_BYTES = 43
SEEN_FOR_S = 0.25  # one answer to all that a peer has under way
RESETS_PER_S, RESETS_BURST = 500.0, 1000.0


@dataclass(frozen=True, slots=True)
class LbIdentity:
    """Which node of a cluster this is: the configuration it issues by, and its server ID there.

    Raises ValueError for a server ID of another length than the configuration's.
    """

    config: LbConfig
    server_id: bytes

    def __post_init__(self) -> None:
        if len(self.server_id) != self.config.server_id_bytes:
            raise ValueError(f"a server ID has {self.config.server_id_bytes} octets here")

    @property
    def cid_bytes(self) -> int:
        """Octets of each connection ID: first octet, server ID, nonce, and the worker's if there is room."""
        return min(self.config.plaintext_bytes + 2, MAX_CID_BYTES)

    @property
    def has_worker(self) -> bool:
        """Whether there is room for the worker's octet: without it there can be one only."""
        return self.config.plaintext_bytes + 2 <= MAX_CID_BYTES


def steering_rule(workers: int, secret: bytes, lb: LbIdentity | None = None) -> Rule:
    """How the connection IDs of ``workers`` that share ``secret`` lead to them.

    Raises ValueError for numbers that cannot be.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"there cannot be {workers} workers")
    if lb is None:
        return Rule(workers, CONNECTION_ID_BYTES)
    if not lb.has_worker:
        if workers > 1:
            raise ValueError("server ID and nonce leave no room for the worker in a connection ID")
        return Rule(1, lb.cid_bytes)
    digest = hmac.digest(secret, b"steering", "sha256")
    factors = (int.from_bytes(digest[:4], "big") | 1, int.from_bytes(digest[4:8], "big") | 1)
    return Rule(workers, lb.cid_bytes, factors)


class ConnectionIds:
    """Issues connection IDs for worker ``worker`` of ``workers``, and tells their reset tokens.

    ``secret``: SECRET_BYTES that all workers share, and all nodes if they are to take each other's places.
    ``lb``: for a node behind a balancer. ``random`` is ``os.urandom`` but for tests. Raises ValueError for
    numbers that cannot be.
    """

    def __init__(
        self,
        *,
        worker: int = 0,
        workers: int = 1,
        secret: bytes | None = None,
        lb: LbIdentity | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not 1 <= workers <= MAX_WORKERS or not 0 <= worker < workers:
            raise ValueError(f"there is no worker {worker} of {workers}")
        self.worker, self.lb = worker, lb
        self._random = random
        self._secret = secret or random(SECRET_BYTES)
        self.rule = steering_rule(workers, self._secret, lb)
        self._nonces: Nonces | None = None
        self._reset_key = self._secret
        if lb is not None:
            self._reset_key = _key_of_configuration(self._secret, lb.config)
            key = hmac.digest(self._secret, b"nonces", "sha256")[:16]
            self._nonces = Nonces(lb.config.nonce_bytes, key=key, part=worker, parts=workers, random=random)

    @property
    def cid_bytes(self) -> int:
        """Octets of each connection ID."""
        return self.rule.cid_bytes

    def issue(self) -> bytes:
        """A new connection ID that leads to this worker."""
        if self.lb is not None:
            return self._issue_routable(self.lb)
        data = bytearray(self._random(CONNECTION_ID_BYTES))
        data[0] = self._leading_here(data[0])
        return bytes(data)

    def _issue_routable(self, lb: LbIdentity) -> bytes:
        nonce = self._nonces.take() if self._nonces is not None else None
        use = bytes(lb.has_worker)
        if nonce is None:
            data = self._unroutable(lb)
        else:
            low_bits = 0 if lb.config.encode_length else self._random(1)[0]
            data = bytearray(encode(lb.config, lb.server_id, nonce, server_use=use, low_bits=low_bits))
        if use:
            data[-1] = self._leading_here(self._random(1)[0]) ^ self.rule.mask(data)
        return bytes(data)

    def _unroutable(self, lb: LbIdentity) -> bytearray:
        """What the draft has left when all nonces are used up: the balancer goes by address (section 9.6)."""
        if self._nonces is not None:
            self._nonces = None
            log.error(
                "all connection IDs of LB configuration %d are used up: new connections do not survive a "
                "change of address; give the cluster a configuration of another rotation with longer nonces",
                lb.config.rotation,
            )
        return bytearray((UNROUTABLE << 5 | lb.cid_bytes - 1,)) + self._random(lb.cid_bytes - 1)

    def _leading_here(self, octet: int) -> int:
        """A random octet changed to one that leads to this worker, itself as random as can be."""
        workers = self.rule.workers
        # As many octets lead to each worker as to any other, but for the few at the top: left out.
        top = 256 // workers * workers
        while octet >= top:
            octet = self._random(1)[0]
        return octet + self.worker - octet % workers

    def may_reset(self, cid: bytes) -> bool:
        """Whether an ID that nobody here knows would be known here if it were anywhere: one of this worker
        and of this node. An ID of another may belong to a connection that lives.
        """
        return self.rule.worker_of(cid) == self.worker and not self.is_foreign(cid)

    def is_foreign(self, cid: bytes) -> bool:
        """Whether an ID names another node, or none: a balancer that reads IDs as we do sends none such."""
        lb = self.lb
        return lb is not None and server_id_of({lb.config.rotation: lb.config}, cid) != lb.server_id

    def reset_token(self, cid: bytes) -> bytes:
        """The token that resets the connection of ``cid`` without any state."""
        return hmac.digest(self._reset_key, b"stateless reset" + cid, "sha256")[:RESET_TOKEN_BYTES]


def _key_of_configuration(secret: bytes, config: LbConfig) -> bytes:
    """Another one for another configuration under the same codepoint, which may give the same IDs again
    to others: they must not have each other's tokens (draft-ietf-quic-load-balancers-21, section 9.5).
    """
    sizes = bytes((config.rotation, config.server_id_bytes, config.nonce_bytes))
    return hmac.digest(secret, b"stateless resets of " + sizes + (config.key or b""), "sha256")


class ServerConnection(ResetStreamAtConnection):
    """aioquic's connection with connection IDs and reset tokens that we choose.

    With an aioquic whose inside is unknown it issues its own: right for one worker, not for several.
    """

    def __init__(self, *, connection_ids: ConnectionIds, **rest: Any) -> None:
        self._connection_ids = connection_ids
        super().__init__(**rest)
        if internals.COMPLETE:
            cid = connection_ids.issue()
            internals.set_first_connection_id(self, cid, connection_ids.reset_token(cid))

    def _replenish_connection_ids(self) -> None:
        """aioquic's hook: as many as the peer takes, at most 8 (RFC 9000, section 5.1.1)."""
        if not internals.COMPLETE:
            super()._replenish_connection_ids()
            return
        for _ in range(internals.missing_connection_ids(self)):
            cid = self._connection_ids.issue()
            internals.add_connection_id(self, cid, self._connection_ids.reset_token(cid))


class StatelessResets:
    """Answers packets of connections that nobody here knows, not too often.

    ``per_s`` and ``burst`` bound all answers together; one connection ID is answered once in
    ``SEEN_FOR_S``, since a peer has several packets under way. Pure: ``now`` is an argument.
    """

    def __init__(
        self,
        connection_ids: ConnectionIds,
        *,
        per_s: float = RESETS_PER_S,
        burst: float = RESETS_BURST,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._ids, self._random = connection_ids, random
        self._allowed = TokenBucket(per_s, burst)
        self._seen: set[bytes] = set()
        self._seen_until = 0.0
        self.suppressed = 0

    def answer(self, data: bytes, now: float) -> bytes | None:
        """The stateless reset for a packet with a short header and an unknown connection ID, or None.

        None too for what could not have been ours: our peers' packets hold a whole connection ID, and
        an ID that leads to another worker is that worker's, one of another node that node's.
        """
        cid = data[1 : 1 + self._ids.cid_bytes]
        size = min(len(data) - 1, MAX_RESET_BYTES)
        if size < MIN_RESET_BYTES or not self._ids.may_reset(cid):
            return None
        if now >= self._seen_until:
            self._seen.clear()
            self._seen_until = now + SEEN_FOR_S
        if cid in self._seen or not self._allowed.take(now):
            self.suppressed += 1
            return None
        self._seen.add(cid)
        filler = bytearray(self._random(size - RESET_TOKEN_BYTES))
        filler[0] = 0x40 | filler[0] & 0x3F  # a short header
        return bytes(filler) + self._ids.reset_token(cid)
