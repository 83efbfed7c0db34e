"""The network between UDP sockets: each client gets a socket of its own towards the target."""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.netsimulator.loop import Loop
from scripts.netsimulator.path import Direction, Packet

MOST_CLIENTS = 256  # select(2) and memory set the bound
IDLE_SECONDS = 10.0  # so long silent, a client may lose its place to a new one
_BUFFER_BYTES = 4 << 20
_AT_ONCE = 64  # datagrams of one socket before the others have their turn
Address = tuple[Any, ...]


@dataclass(slots=True)
class Client:
    """One client's address and its socket towards the target."""

    address: Address
    socket: socket.socket
    heard_at: float


def open_socket(address: tuple[str, int], *, listen: bool) -> socket.socket:
    """A non-blocking UDP socket, bound or connected to ``address``. Raises OSError."""
    flags = socket.AI_PASSIVE if listen else 0
    family, _, _, _, place = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM, flags=flags)[0]
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        made.setblocking(False)
        (made.bind if listen else made.connect)(place)
    except OSError:
        made.close()
        raise
    return made


class UdpRelay:
    """Stands at ``listen`` for ``target``; ``refused``: datagrams of clients for whom there was no place."""

    def __init__(
        self,
        loop: Loop,
        up: Direction,
        down: Direction,
        listen: tuple[str, int],
        target: tuple[str, int],
        *,
        most_clients: int = MOST_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop, self._up, self._down, self._target = loop, up, down, target
        self._most, self._clock = most_clients, clock
        self._clients: dict[Address, Client] = {}
        self.refused = 0
        open_socket(target, listen=False).close()  # a name that leads nowhere is told now, not later
        self._front = open_socket(listen, listen=True)
        loop.add(self._front.fileno(), self._from_clients)

    @property
    def address(self) -> Address:
        """Where it listens."""
        address: Address = self._front.getsockname()
        return address

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._clients)

    def close(self) -> None:
        """Close every socket; packets still on their way go nowhere."""
        for client in list(self._clients.values()):
            self._forget(client)
        self._loop.remove(self._front.fileno())
        self._front.close()

    def _from_clients(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, source = self._front.recvfrom(65536)
            except OSError:  # nothing left, or word that a client's port is closed
                return
            client = self._client(source)
            if client is None:
                self.refused += 1
                continue
            client.heard_at = self._clock()
            self._send(self._up, data, functools.partial(_to_target, client))

    def _client(self, address: Address) -> Client | None:
        if (known := self._clients.get(address)) is not None:
            return known
        if len(self._clients) >= self._most:
            oldest = min(self._clients.values(), key=lambda client: client.heard_at)
            if self._clock() - oldest.heard_at < IDLE_SECONDS:
                return None
            self._forget(oldest)
        try:
            towards = open_socket(self._target, listen=False)
        except OSError:
            return None
        client = self._clients[address] = Client(address, towards, self._clock())
        self._loop.add(towards.fileno(), lambda: self._from_target(client))
        return client

    def _forget(self, client: Client) -> None:
        del self._clients[client.address]
        self._loop.remove(client.socket.fileno())
        client.socket.close()

    def _from_target(self, client: Client) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = client.socket.recv(65536)
            except OSError:  # nothing left, or nobody listens at the target
                return
            self._send(self._down, data, functools.partial(self._to_client, client))

    def _to_client(self, client: Client, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full buffer loses it, as it would anywhere
            self._front.sendto(data, client.address)

    def _send(self, direction: Direction, data: bytes, forward: Callable[[bytes], None]) -> None:
        packet = Packet(data)
        packet.forward = forward
        direction.send(packet)


def _to_target(client: Client, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.socket.send(data)
