"""Which node a datagram goes to (draft-ietf-quic-load-balancers-21, sections 4 and 6). Pure.

* A connection ID that carries a node's server ID: that node, whatever address it comes from. So a viewer who
  changes address, and a balancer that has just been started, lose nothing.
* A long header without one (a client's first flight: it made up the ID itself): the node that this
  address and port was sent to lately, or else one chosen by rendezvous hashing among those that take new
  connections. When a node comes or goes, only its own share moves, and all balancers of one file agree.
* A short header without one: the node of that address and port if it is remembered, else dropped.

``now`` is any clock in s that does not go back.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
import struct
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wtgateway.lb.packets import parse_header
from wtgateway.transport.quic_lb import LbConfig, server_id_of

REMEMBERED = 65536  # addresses with a handshake under way
REMEMBERED_S = 10.0  # since the last long header: as long as a gateway lets a handshake take
_CACHED_IDS = 65536

DROPS = {
    "dropped_malformed": "What cannot be a QUIC packet",
    "dropped_unroutable": "Short headers without a server ID, of addresses that are not remembered",
    "dropped_unknown_server": "Short headers with a server ID of no node",
    "dropped_node_down": "Short headers for a node that does not answer",
    "dropped_no_node": "New connections while no node takes any",
}


class NodeState(enum.Enum):
    """What a node is given. The value is its name in logs and metrics."""

    UP = "up"
    DRAINING = "draining"  # keeps its connections, gets no new ones
    DOWN = "down"  # gets nothing


@dataclass(eq=False, slots=True)
class Node:
    """One gateway. ``server_ids`` by rotation codepoint; ``state`` is set by the health checks.

    ``address`` is an IP address and a port.
    """

    name: str
    server_ids: Mapping[int, bytes]
    address: tuple[str, int]
    state: NodeState = NodeState.UP


class Router:
    """Decides, and remembers who has a handshake under way where."""

    def __init__(
        self, configs: Mapping[int, LbConfig], nodes: Sequence[Node], counters: Counter[str] | None = None
    ) -> None:
        self.nodes = tuple(nodes)
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._configs = configs
        self._by_id = {item: node for node in nodes for item in node.server_ids.items()}
        # Of the ID what says the server: with it a node's packets cost no decryption but the first.
        self._told = {rotation: 1 + config.plaintext_bytes for rotation, config in configs.items()}
        self._cache: dict[bytes, Node] = {}
        self._remembered: OrderedDict[tuple[Any, ...], tuple[Node, float]] = OrderedDict()

    @property
    def remembered(self) -> int:
        """Addresses whose node is remembered."""
        return len(self._remembered)

    def route(self, data: bytes, client: tuple[Any, ...], now: float) -> Node | None:
        """The node for a datagram of ``client`` (address, port, ...); None: drop it. Counts what it does."""
        header = parse_header(data)
        if header is None:
            self.counters["dropped_malformed"] += 1
            return None
        node, has_id = self._of_id(header.cid)
        if header.long:
            return self._of_long_header(node, client, now)
        if node is None:
            if has_id:
                return self._drop("dropped_unknown_server")
            node = self._recall(client, now)
            if node is None:
                return self._drop("dropped_unroutable")
        if node.state is NodeState.DOWN:
            return self._drop("dropped_node_down")
        self.counters["routed_by_server_id" if has_id else "routed_by_address"] += 1
        return node

    def _drop(self, why: str) -> Node | None:
        self.counters[why] += 1
        return None

    def _of_id(self, cid: bytes) -> tuple[Node | None, bool]:
        """The node that an ID names, and whether it names one at all, be it known or not."""
        told = cid[: self._told.get(cid[0] >> 5, 0)] if cid else b""
        node = self._cache.get(told)
        if node is not None:
            return node, True
        server_id = server_id_of(self._configs, cid)
        if server_id is None:
            return None, False
        node = self._by_id.get((cid[0] >> 5, server_id))
        if node is not None:
            if len(self._cache) >= _CACHED_IDS:
                self._cache.clear()  # it only saves work
            self._cache[told] = node
        return node, True

    def _of_long_header(self, node: Node | None, client: tuple[Any, ...], now: float) -> Node | None:
        """A client's first ID is random, and may look like one of a node's by accident: no harm is done."""
        if node is not None and node.state is not NodeState.DOWN:
            self.counters["routed_by_server_id"] += 1
            return node
        node = self._recall(client, now)
        if node is None or node.state is NodeState.DOWN:
            node = self._choose(client)
        if node is None:
            return self._drop("dropped_no_node")
        self._remember(client, node, now)
        self.counters["routed_by_address"] += 1
        return node

    def _choose(self, client: tuple[Any, ...]) -> Node | None:
        """Rendezvous hashing: the node with the highest score for this client."""
        takers = [node for node in self.nodes if node.state is NodeState.UP]
        if not takers:
            return None
        key = client_key(client)
        return max(takers, key=lambda node: score(key, node.name))

    # --- memory ----------------------------------------------------------------------------------

    def _recall(self, client: tuple[Any, ...], now: float) -> Node | None:
        found = self._remembered.get(client)
        return found[0] if found is not None and found[1] > now else None

    def _remember(self, client: tuple[Any, ...], node: Node, now: float) -> None:
        self._remembered[client] = (node, now + REMEMBERED_S)
        self._remembered.move_to_end(client)
        while len(self._remembered) > REMEMBERED or next(iter(self._remembered.values()))[1] <= now:
            self._remembered.popitem(last=False)


def client_key(client: tuple[Any, ...]) -> bytes:
    """An address and port as bytes, the same whether an IPv4 address came mapped into IPv6 or not."""
    host = str(client[0]).partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        packed = host.encode()
    else:
        if address.version == 6 and address.ipv4_mapped:
            address = address.ipv4_mapped
        packed = address.packed
    return packed + struct.pack("!H", int(client[1]) & 0xFFFF)


def score(key: bytes, name: str) -> bytes:
    """How much the node of that name is a client's: as good as random, and the same everywhere."""
    return hashlib.blake2b(key, key=name.encode()[:64], digest_size=8).digest()
