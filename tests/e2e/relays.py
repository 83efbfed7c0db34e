"""A relay for UDP, in the process of the tests: its flows fall silent, and new ones may go elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

Address = tuple[str, int]


class Flow(asyncio.DatagramProtocol):
    """What one client's address and the server say to each other."""

    def __init__(self, relay: Relay, client: Address) -> None:
        self.silent = False
        self._relay, self._client = relay, client
        self._transport: asyncio.DatagramTransport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        for data in self._early:
            transport.sendto(data)

    def up(self, data: bytes) -> None:
        """From the client."""
        if self.silent:
            return
        if self._transport is None:
            self._early.append(data)
        else:
            self._transport.sendto(data)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not self.silent:
            self._relay.down(data, self._client)

    def error_received(self, exc: Exception) -> None:
        """A server that is gone is told to nobody, as by a balancer."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Relay(asyncio.DatagramProtocol):
    """Hands each client's datagrams to ``target``: that of the moment in which the client was first seen."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.flows: dict[Address, Flow] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._opening: set[asyncio.Task[Any]] = set()

    def silence(self) -> None:
        """Nothing of the flows that there are passes any more, either way; new ones do."""
        for flow in self.flows.values():
            flow.silent = True

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        flow = self.flows.get(addr)
        if flow is None:
            flow = self.flows[addr] = Flow(self, addr)
            loop = asyncio.get_running_loop()
            task = loop.create_task(loop.create_datagram_endpoint(lambda: flow, remote_addr=self.target))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        flow.up(data)

    def down(self, data: bytes, client: Address) -> None:
        """To that client."""
        if self._transport is not None:
            self._transport.sendto(data, client)

    def close(self) -> None:
        """Ends all flows."""
        if self._transport is not None:
            self._transport.close()
        for flow in self.flows.values():
            flow.close()


@contextlib.asynccontextmanager
async def relaying(listen: Address, target: Address) -> AsyncIterator[Relay]:
    """A relay that listens there."""
    relay = Relay(target)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay, local_addr=listen)
    try:
        yield relay
    finally:
        relay.close()
