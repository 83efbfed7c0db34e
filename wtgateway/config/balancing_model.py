"""What a balancer and the gateways behind it agree on, as frozen values (draft-ietf-quic-load-balancers-21).

:mod:`wtgateway.config.balancing` reads them from a file. Imports nothing of the project but values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wtgateway.config.model import Address

UNROUTABLE: Final = 0b111  # the codepoint of connection IDs that name no server (section 3.2)
KEY_BYTES: Final = 16  # AES-128
MAX_PLAINTEXT_BYTES: Final = 19  # server ID and nonce: a connection ID has at most 20 octets (section 5.3)
SERVER_ID_BYTES: Final = range(1, 16)
NONCE_BYTES: Final = range(4, 19)
KEPT, HIDDEN = "kept", "hidden"


@dataclass(frozen=True, slots=True)
class LbConfig:
    """One QUIC-LB configuration (section 5). Raises ValueError for lengths that the draft does not allow.

    ``rotation``: its codepoint, 0 to 6. ``key``: of AES-128; None: server ID and nonce travel in the clear.
    ``encode_length``: the first octet tells the connection ID's length, else those bits are random.
    """

    rotation: int
    server_id_bytes: int
    nonce_bytes: int
    key: bytes | None = field(default=None, repr=False)
    encode_length: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rotation < UNROUTABLE:
            raise ValueError(f"the rotation codepoint is 0 to 6, not {self.rotation}")
        if self.server_id_bytes not in SERVER_ID_BYTES or self.nonce_bytes not in NONCE_BYTES:
            raise ValueError("a server ID has 1 to 15 octets, a nonce 4 to 18")
        if self.plaintext_bytes > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"server ID and nonce have at most {MAX_PLAINTEXT_BYTES} octets together")
        if self.key is not None and len(self.key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} octets")

    @property
    def plaintext_bytes(self) -> int:
        """Octets of server ID and nonce."""
        return self.server_id_bytes + self.nonce_bytes


@dataclass(frozen=True, slots=True)
class LbNode:
    """One gateway. ``server_ids`` by rotation codepoint, ``server_id`` the one of the active configuration.

    ``address``: where it takes QUIC, as the balancer reaches it. ``health``: URL that answers 200 while new
    viewers are welcome; empty: none is asked.
    """

    name: str
    server_id: bytes
    address: Address
    health: str = ""
    server_ids: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LbFile:
    """The whole file. ``configs`` by rotation codepoint; gateways issue by ``active``, all are understood.

    ``client_addresses``: ``kept``, or ``hidden`` where nodes see the balancer's address instead.
    """

    configs: Mapping[int, LbConfig]
    active: LbConfig
    listen: Address
    nodes: tuple[LbNode, ...]
    client_addresses: str = KEPT

    def node(self, rotation: int, server_id: bytes) -> LbNode | None:
        """The node that a server ID of that configuration means."""
        return next((node for node in self.nodes if node.server_ids.get(rotation) == server_id), None)

    @property
    def fingerprint(self) -> str:
        """Eight digits that are equal where connection IDs are read alike; they tell nothing of a key."""
        parts = [
            [c.rotation, c.server_id_bytes, c.nonce_bytes, c.encode_length, (c.key or b"").hex()]
            for _, c in sorted(self.configs.items())
        ]
        return hashlib.sha256(f"wtgateway lb {parts} {self.active.rotation}".encode()).hexdigest()[:8]
