"""Nodes of an LB file with their addresses looked up. Blocks."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from wtgateway.config.balancing import LbFile, LbNode
from wtgateway.errors import ConfigError
from wtgateway.lb.routing import Node


def addresses_of(node: LbNode) -> tuple[str, ...]:
    """IP addresses of a node, as the system prefers them. Raises ConfigError for an unknown name."""
    try:
        found = socket.getaddrinfo(node.address.host, node.address.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        expected = f"a host that is known here ({error.strerror or error})"
        raise ConfigError("LB file", f"nodes.{node.name}.address", str(node.address), expected) from None
    return tuple(dict.fromkeys(str(item[4][0]) for item in found))


def resolve(lb: LbFile) -> list[Node]:
    """All nodes for the router, each with its first address. Raises ConfigError."""
    return [
        Node(node.name, dict(node.server_ids), (addresses_of(node)[0], node.address.port))
        for node in lb.nodes
    ]


def of_version(addresses: Sequence[str], version: int) -> str:
    """The first of ``addresses`` that is of IP version 4 or 6, or an empty text."""
    return next((address for address in addresses if (":" in address) == (version == 6)), "")
