"""Sockets that speak to a node from the viewer's own address (IP_TRANSPARENT). Linux, CAP_NET_ADMIN.

A node then answers the viewer's address, so those answers have to come by this machine, and be given to
these sockets instead of being forwarded: :data:`ROUTING` says how.
"""

from __future__ import annotations

import functools
import socket
import sys
from typing import Any

from wtgateway.transport.udp import plain_address

_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75

ROUTING = """\
# on each node: what goes to viewers goes by the balancer (here 10.0.0.1)
ip route replace default via 10.0.0.1
# on the balancer: what belongs to one of its transparent sockets is for itself
nft 'add table inet wtgateway_lb_run'
nft 'add chain inet wtgateway_lb_run prerouting { type filter hook prerouting priority mangle; }'
nft 'flush chain inet wtgateway_lb_run prerouting'
nft 'add rule inet wtgateway_lb_run prerouting meta l4proto udp socket transparent 1 meta mark set 0x77'
ip rule add fwmark 0x77 lookup 119
ip route replace local default dev lo table 119
ip -6 rule add fwmark 0x77 lookup 119
ip -6 route replace local default dev lo table 119
"""


class OtherFamily(OSError):
    """The viewer's address is of one IP version, the node's of the other."""


@functools.cache
def why_not() -> str:
    """Why there can be no such sockets here; empty when there can."""
    if sys.platform != "linux":
        return "only Linux has them"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        except OSError as error:
            return f"IP_TRANSPARENT needs root or CAP_NET_ADMIN ({error.strerror})"
    return ""


def bind_as(sock: socket.socket, client: tuple[Any, ...]) -> None:
    """Give ``sock`` the address of ``client``. Raises OSError, :exc:`OtherFamily` for one it cannot have."""
    host, port = plain_address(client)
    ipv6 = sock.family == socket.AF_INET6
    if (":" in host) != ipv6:
        raise OtherFamily(f"a viewer of {host} cannot be shown to a node of the other IP version")
    level, option = (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT) if ipv6 else (socket.SOL_IP, _IP_TRANSPARENT)
    sock.setsockopt(level, option, 1)
    # One viewer's address may be at two nodes: two sockets, told apart by the node.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
