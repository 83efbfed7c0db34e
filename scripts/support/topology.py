"""A viewer who moves, and a service of several nodes behind one address: what roaming is tested on.

    client ==wifi, mobile, six== router --- edge --- a, b, c
            10.1, 10.2, fd03         10.9, fd09    10.21, 10.22, 10.23 and fd21, fd22, fd23

``edge`` is the service's only address (``HOST``, IPv4 and IPv6): a gateway stands there itself, or a balancer
with nodes behind it, whose packets all go back through it. The router translates the addresses of ``wifi``
and ``mobile``, as those of homes and of mobile networks do, into ports of its own; ``six`` is a network of
IPv6 alone. One of the client's links is up at a time.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

from scripts.support.namespaces import Network, network

HOST = "gateway.test"
QUIC_PORT, WEB_PORT = 4433, 8080
ORIGIN = f"http://{HOST}:{WEB_PORT}"
NODES = ("a", "b", "c")
LINKS = ("wifi", "mobile", "six")  # IPv4, IPv4, IPv6
_RANGES = ((20_000, 29_999), (30_000, 39_999), (40_000, 49_999))  # ports between two rebindings
_TRANSLATION = """\
table ip nat {{
  chain out {{
    type nat hook postrouting priority 100
    oifname "edge" meta l4proto udp masquerade to :{first}-{last}
    oifname "edge" masquerade
  }}
  chain in {{
    type filter hook input priority 0
    iifname "edge" meta l4proto {{ tcp, udp }} drop
  }}
}}
"""


class Topology:
    """The network, and what may happen to it. ``link`` is the one of the client's that is up."""

    def __init__(self, net: Network) -> None:
        self.net, self.link, self._range = net, LINKS[0], 0

    async def rebind(self) -> None:
        """Forget every mapping, as routers do: who sends next gets another port, what comes is dropped."""
        self._range = (self._range + 1) % len(_RANGES)
        await self.net.run("router", "nft", "-f", "-", stdin="delete table ip nat\n" + self.translation())
        await self.net.run("router", "conntrack", "-F")

    async def move(self, link: str, *, overlapping: bool = False) -> None:
        """The client loses the link that it has and gets ``link``; ``overlapping``: in the other order.

        While both are up the old one is preferred if it is the earlier one of ``LINKS``.
        """
        if overlapping:
            await self.net.up("client", link)
        await self.net.down("client", self.link)
        if not overlapping:
            await self.net.up("client", link)
        self.link = link

    def mapped_ports(self) -> tuple[int, int]:
        """The ports from which UDP comes now, first and last."""
        return _RANGES[self._range]

    def translation(self) -> str:
        first, last = self.mapped_ports()
        return _TRANSLATION.format(first=first, last=last)


def node_address(name: str, family: socket.AddressFamily = socket.AF_INET) -> str:
    """Of a node, as the edge reaches it."""
    number = 21 + NODES.index(name)
    return f"fd{number}::2" if family == socket.AF_INET6 else f"10.{number}.0.2"


@contextlib.asynccontextmanager
async def topology(*, up: str = "wifi") -> AsyncIterator[Topology]:
    """The network above, with the client on that link; removed with the block."""
    async with network("client", "router", "edge", *NODES) as net:
        for number, link in enumerate(LINKS, 1):
            near, far = _ends(f"fd0{number}::" if link == "six" else f"10.{number}.0.")
            await net.link("client", "router", near, far, name=link)
            await net.route("client", "default", far.partition("/")[0], link=link, metric=number)
        await net.link("router", "edge", ("10.9.0.1/24", "fd09::1/64"), ("10.9.0.2/24", "fd09::2/64"))
        for name in NODES:
            await _node(net, name)
        for via in ("10.9.0.1", "fd09::1"):
            await net.route("edge", "default", via, link="router")
        for name in ("router", "edge"):
            await net.forward(name)
        net.hosts("client", {HOST: [net.address_of("edge", "router", family) for family in _FAMILIES]})
        made = Topology(net)
        await net.run("router", "nft", "-f", "-", stdin=made.translation())
        for link in LINKS:
            if link != up:
                await net.down("client", link)
        made.link = up
        yield made


_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def _ends(prefix: str) -> tuple[str, str]:
    """Addresses of the client's side and of the other."""
    length = 64 if ":" in prefix else 24
    return f"{prefix}2/{length}", f"{prefix}1/{length}"


async def _node(net: Network, name: str) -> None:
    """Behind the edge, which all its packets go back through."""
    own = [node_address(name, family) for family in _FAMILIES]
    edge = [address[:-1] + "1" for address in own]
    lengths = ("/24", "/64")
    await net.link(
        "edge", name, *(["".join(both) for both in zip(a, lengths, strict=True)] for a in (edge, own))
    )
    for via in edge:
        await net.route(name, "default", via, link="edge")
