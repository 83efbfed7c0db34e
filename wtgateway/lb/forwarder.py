"""The reference forwarder: UDP datagrams to the node that their connection ID names, answers back.

For development, for tests, and where there is no nftables: a packet costs it some ten microseconds, so
one process carries some hundred Mbit/s, and the kernel's rules (:mod:`wtgateway.lb.nftables`) carry a line.
It keeps no state that matters: started again it goes on with every connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from wtgateway.errors import ConfigError, TransportError
from wtgateway.lb.flows import Flow, FlowTable
from wtgateway.lb.routing import Node, Router
from wtgateway.transport.udp import Datagram, UdpSocket

log = logging.getLogger("wtgateway.lb")

BATCH = 128  # datagrams of one socket in one turn, so that none keeps the others waiting
_SWEEPS = 8  # in the time after which a flow is idle
_LOG_EVERY_S = 10.0


class Forwarder:
    """Listens, routes, and carries answers back from the address that the viewer wrote to.

    ``on_refused`` is told of a node whose host says that its port is closed.
    """

    def __init__(
        self,
        router: Router,
        *,
        most_flows: int = 8192,
        idle_s: float = 60.0,
        kept: bool = False,
        on_refused: Callable[[Node], None] = lambda node: None,
    ) -> None:
        self.counters: Counter[str] = router.counters
        self._router, self._on_refused = router, on_refused
        self._listeners: list[UdpSocket] = []
        self._loop = asyncio.get_running_loop()
        self._flows = FlowTable(
            most=most_flows,
            idle_s=idle_s,
            kept=kept,
            counters=self.counters,
            opened=lambda flow: self._watch(flow.udp, self._from_node, flow),
            closed=lambda flow: self._unwatch(flow.udp),
        )
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def flows(self) -> int:
        """Flows now."""
        return len(self._flows)

    async def start(
        self, host: str, port: int, inherited: Sequence[socket.socket] = ()
    ) -> list[tuple[str, int]]:
        """Listen on all addresses of ``host``, or on sockets that are bound already; returns where.

        Raises ConfigError.
        """
        self._listeners += [UdpSocket.adopt(sock, counters=self.counters) for sock in inherited]
        if not inherited:
            await self._bind(host, port)
        for listener in self._listeners:
            self._watch(listener, self._from_viewers, listener)
        self._sweeper = asyncio.create_task(self._sweep())
        return [(str(udp.address[0]), int(udp.address[1])) for udp in self._listeners]

    async def _bind(self, host: str, port: int) -> None:
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((item[0], item[4]) for item in found):
                self._listeners.append(UdpSocket.bind(family, address, counters=self.counters))
        except OSError as error:
            self.close()
            reason = f"an address of this machine that is free ({error.strerror or error})"
            raise ConfigError("LB file", "listen", f"{host}:{port}", reason) from None

    def moved(self, node: Node) -> None:
        """Send what is for ``node`` to the address that it has now."""
        self._flows.close_of(node)

    def close(self) -> None:
        """Stop; nothing that waits is sent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._flows.close()
        for listener in self._listeners:
            self._unwatch(listener)
            listener.close()
        self._listeners.clear()

    # --- from viewers ----------------------------------------------------------------------------

    def _from_viewers(self, listener: UdpSocket) -> None:
        now = time.monotonic()
        batches: dict[Flow, list[Datagram]] = {}
        for data, peer, _ in listener.receive(BATCH):
            node = self._router.route(data, peer.address, now)
            if node is None:
                continue
            flow = self._flows.get(listener, peer, node, now)
            if flow is not None:
                batches.setdefault(flow, []).append((data, peer))
        for flow, batch in batches.items():
            if flow.open:  # or it was displaced by a later one of this turn
                self._to_node(flow, batch)

    def _to_node(self, flow: Flow, batch: list[Datagram]) -> None:
        errors = self.counters["send_errors"]
        flow.udp.send(batch)
        if self.counters["send_errors"] > errors:  # an ICMP error of an earlier datagram
            self._on_refused(flow.node)

    # --- from nodes ------------------------------------------------------------------------------

    def _from_node(self, flow: Flow) -> None:
        try:
            received = flow.udp.receive(BATCH)
        except TransportError:  # its port is closed
            self.counters["refused"] += 1
            self._on_refused(flow.node)
            return
        if received:
            flow.listener.send([(data, flow.peer) for data, _, _ in received])

    # --- sockets ---------------------------------------------------------------------------------

    def _watch(self, udp: UdpSocket, readable: Callable[[Any], None], what: Any) -> None:
        udp.on_blocked = lambda: self._loop.add_writer(udp.fileno(), self._resume, udp)
        self._loop.add_reader(udp.fileno(), readable, what)

    def _unwatch(self, udp: UdpSocket) -> None:
        self._loop.remove_reader(udp.fileno())
        self._loop.remove_writer(udp.fileno())

    def _resume(self, udp: UdpSocket) -> None:
        udp.resume()
        if not udp.blocked:
            self._loop.remove_writer(udp.fileno())

    async def _sweep(self) -> None:
        """Close idle flows, and say now and then what was dropped."""
        said: Counter[str] = Counter()
        say_at = time.monotonic()
        while True:
            await asyncio.sleep(self._flows.idle_s / _SWEEPS)
            now = time.monotonic()
            self._flows.close_idle(now)
            if now >= say_at:
                said = self._say_losses(said)
                say_at = now + _LOG_EVERY_S

    def _say_losses(self, said: Counter[str]) -> Counter[str]:
        lost = Counter({name: count for name, count in self.counters.items() if name in _WORTH_SAYING})
        new = lost - said
        if new:
            log.warning("lost %s", ", ".join(f"{name}={count}" for name, count in sorted(new.items())))
        return lost


_WORTH_SAYING = frozenset(
    {
        "dropped_unroutable", "dropped_unknown_server", "dropped_node_down", "dropped_no_node",
        "send_dropped", "flows_displaced", "flows_failed", "flows_of_other_family",
    }
)  # fmt: skip
