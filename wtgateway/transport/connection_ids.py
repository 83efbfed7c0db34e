"""The connection IDs that a server issues, and what makes them route: the one place that decides both.

A connection ID's first byte, modulo the number of workers, is the worker that serves it
(:mod:`wtgateway.transport.steering` has the kernel look at that byte); all else of it is random, so that
nobody can link two IDs of one connection (RFC 9000, section 9.5). The token of a stateless reset is an
HMAC of the ID under a secret that all workers share (RFC 9000, section 10.3.2): whoever takes a dead
worker's place can tell its viewers that their connections are gone. Imports aioquic and this package.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import Any

from wtgateway.transport import internals
from wtgateway.transport.admission import TokenBucket
from wtgateway.transport.reset_stream_at import ResetStreamAtConnection

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


class ConnectionIds:
    """Issues connection IDs for worker ``worker`` of ``workers``, and tells their reset tokens.

    ``random`` is ``os.urandom`` but for tests. Raises ValueError for numbers that cannot be.
    """

    def __init__(
        self,
        *,
        worker: int = 0,
        workers: int = 1,
        secret: bytes | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not 1 <= workers <= MAX_WORKERS or not 0 <= worker < workers:
            raise ValueError(f"there is no worker {worker} of {workers}")
        self.worker, self.workers = worker, workers
        self._random = random
        self._secret = secret or random(SECRET_BYTES)

    def issue(self) -> bytes:
        """A new connection ID that leads to this worker."""
        data = bytearray(self._random(CONNECTION_ID_BYTES))
        # As many bytes lead to each worker as to any other, but for the few at the top: left out.
        top = 256 // self.workers * self.workers
        while data[0] >= top:
            data[0] = self._random(1)[0]
        data[0] += self.worker - data[0] % self.workers
        return bytes(data)

    def reset_token(self, cid: bytes) -> bytes:
        """The token that resets the connection of ``cid`` without any state."""
        return hmac.digest(self._secret, b"stateless reset" + cid, "sha256")[:RESET_TOKEN_BYTES]


def worker_of(cid: bytes, workers: int) -> int:
    """The worker that a connection ID of ours leads to; 0 for an empty one, as in the kernel."""
    return cid[0] % workers if cid else 0


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
        an ID that leads to another worker is that worker's.
        """
        cid = data[1 : 1 + CONNECTION_ID_BYTES]
        size = min(len(data) - 1, MAX_RESET_BYTES)
        if size < MIN_RESET_BYTES or worker_of(cid, self._ids.workers) != self._ids.worker:
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
