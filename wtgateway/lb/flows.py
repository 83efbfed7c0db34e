"""The sockets towards the nodes: one for each viewer's address and node, not too many, not for ever.

A flow holds nothing that cannot be made again: one that was dropped comes back with the viewer's next packet,
and where viewers' addresses are hidden the node then sees a new port, as of any other NAT.
"""

from __future__ import annotations

import resource
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable

from wtgateway.lb.routing import Node
from wtgateway.lb.transparent import OtherFamily, bind_as
from wtgateway.transport.udp import Peer, UdpSocket

_OTHER_FILES = 64


class Flow:
    """One viewer's address at one node; ``listener`` is the socket that the viewer writes to."""

    __slots__ = ("listener", "node", "open", "peer", "udp", "used_at")

    def __init__(self, listener: UdpSocket, peer: Peer, node: Node, udp: UdpSocket, now: float) -> None:
        self.listener, self.peer, self.node, self.udp, self.used_at = listener, peer, node, udp, now
        self.open = True


class FlowTable:
    """Flows by viewer and node, the least recently used first.

    ``most``: how many there may be; ``idle_s``: how long one may be unused. ``kept``: nodes see viewers'
    addresses. ``opened`` and ``closed`` are told of each flow.
    """

    def __init__(
        self,
        *,
        most: int,
        idle_s: float,
        kept: bool,
        counters: Counter[str],
        opened: Callable[[Flow], None],
        closed: Callable[[Flow], None],
    ) -> None:
        self.most, self.idle_s, self.kept, self.counters = most, idle_s, kept, counters
        self._opened, self._closed = opened, closed
        self._flows: OrderedDict[tuple[Peer, Node], Flow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flows)

    def get(self, listener: UdpSocket, peer: Peer, node: Node, now: float) -> Flow | None:
        """The flow, made if there is none; None where that cannot be (counted)."""
        key = (peer, node)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._make(listener, peer, node, now)
            if flow is None:
                return None
            self._flows[key] = flow
        else:
            self._flows.move_to_end(key)
        flow.used_at = now
        return flow

    def _make(self, listener: UdpSocket, peer: Peer, node: Node, now: float) -> Flow | None:
        while len(self._flows) >= self.most:
            self._close_oldest("flows_displaced")
        try:
            udp = self._socket(peer, node)
        except OtherFamily:
            self.counters["flows_of_other_family"] += 1
            return None
        except OSError:
            self.counters["flows_failed"] += 1
            return None
        flow = Flow(listener, peer, node, udp, now)
        self.counters["flows_opened"] += 1
        self._opened(flow)
        return flow

    def _socket(self, peer: Peer, node: Node) -> UdpSocket:
        family = socket.AF_INET6 if ":" in node.address[0] else socket.AF_INET
        if not self.kept:
            return UdpSocket.connect(family, node.address, counters=self.counters)
        return UdpSocket.connect(
            family, node.address, counters=self.counters, prepare=lambda sock: bind_as(sock, peer.address)
        )

    def close_idle(self, now: float) -> None:
        """Close what was not used for ``idle_s``."""
        while self._flows and next(iter(self._flows.values())).used_at <= now - self.idle_s:
            self._close_oldest("flows_idle")

    def close_of(self, node: Node) -> None:
        """Close those of a node that is at another address now."""
        for key in [key for key in self._flows if key[1] is node]:
            self._flows.move_to_end(key, last=False)
            self._close_oldest("flows_moved")

    def close(self) -> None:
        """Close all."""
        while self._flows:
            self._close_oldest("flows_closed")

    def _close_oldest(self, counter: str) -> None:
        _, flow = self._flows.popitem(last=False)
        self.counters[counter] += 1
        flow.open = False
        self._closed(flow)
        flow.udp.close()


def files_for_flows(wanted: int) -> int:
    """How many flows this process may have files for, at most ``wanted``; raises its limit if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))
