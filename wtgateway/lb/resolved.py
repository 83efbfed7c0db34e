"""Nodes of an LB file with their addresses looked up, and again while they are in use.

A container that is started again is another address under the same name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from wtgateway.config.balancing import LbFile, LbNode
from wtgateway.errors import ConfigError
from wtgateway.lb.routing import Node

log = logging.getLogger("wtgateway.lb")

EVERY_S = 5.0


def addresses_of(node: LbNode) -> tuple[str, ...]:
    """IP addresses of a node, as the system prefers them. Blocks. Raises ConfigError for an unknown name."""
    try:
        found = socket.getaddrinfo(node.address.host, node.address.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        expected = f"a host that is known here ({error.strerror or error})"
        raise ConfigError("LB file", f"nodes.{node.name}.address", str(node.address), expected) from None
    return tuple(dict.fromkeys(str(item[4][0]) for item in found))


def resolve(lb: LbFile) -> list[Node]:
    """All nodes for the router, each with its first address. Blocks. Raises ConfigError."""
    return [
        Node(node.name, dict(node.server_ids), (addresses_of(node)[0], node.address.port))
        for node in lb.nodes
    ]


def of_version(addresses: Sequence[str], version: int) -> str:
    """The first of ``addresses`` that is of IP version 4 or 6, or an empty text."""
    return next((address for address in addresses if (":" in address) == (version == 6)), "")


def has_name(node: LbNode) -> bool:
    """Whether its address is a name, which may come to mean another address."""
    host = node.address.host
    return ":" not in host and not host.replace(".", "").isdigit()


async def follow_names(
    nodes: Sequence[LbNode],
    known: Callable[[LbNode], Sequence[str]],
    moved: Callable[[LbNode, tuple[str, ...]], None],
    every_s: float = EVERY_S,
) -> None:
    """Look names up again for ever. ``moved`` is told of a node whose ``known`` addresses are its no more.

    A name that is not known for a while changes nothing, nor does an address that is added.
    """
    named = [node for node in nodes if has_name(node)]
    while named:
        await asyncio.sleep(every_s)
        for node in named:
            try:
                found = await asyncio.to_thread(addresses_of, node)
            except ConfigError as error:
                log.debug("%s", error)
                continue
            if not set(known(node)) <= set(found):
                log.warning("node %s is at %s now", node.name, ", ".join(found))
                moved(node, found)
