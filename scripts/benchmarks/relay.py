"""Program: a UDP relay in user space with a fixed delay each way and seeded random loss.

Each client address gets its own socket towards the server. What is lost depends only on the seed and
on the order of the datagrams of that direction. Its queue is bounded; what does not fit is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import random
import select
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from scripts.support.processes import running

QUEUE_DATAGRAMS = 50_000
_BUFFER_BYTES = 4 << 20
_BURST = 64
Address = tuple[str, int]


def parse_address(text: str) -> Address:
    """host:port"""
    host, _, port = text.rpartition(":")
    return host, int(port)


def udp_socket() -> socket.socket:
    """A non-blocking IPv4 socket with large buffers."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    made.setblocking(False)
    return made


@dataclass(order=True, slots=True)
class Late:
    """A datagram on its way."""

    due: float
    number: int
    via: socket.socket = field(compare=False)
    to: Address = field(compare=False)
    data: bytes = field(compare=False)


class Relay:
    """Listens at ``listen``, stands for ``server``. ``delay_s`` each way; losses are shares of 1."""

    def __init__(
        self, listen: Address, server: Address, delay_s: float, loss: float, uploss: float, seed: int
    ) -> None:
        self._front = udp_socket()
        self._front.bind(listen)
        self._server, self._delay_s = server, delay_s
        self._random = {True: random.Random(seed + 1), False: random.Random(seed)}
        self._loss = {True: uploss, False: loss}
        self._towards: dict[Address, socket.socket] = {}
        self._clients: dict[socket.socket, Address] = {}
        self._queue: list[Late] = []
        self._number = 0
        self.counts = {"up": 0, "down": 0, "lost": 0, "overflow": 0}

    def turn(self) -> None:
        """Wait for a datagram or for a due one, and move what there is."""
        wait = max(0.0, self._queue[0].due - time.monotonic()) if self._queue else None
        for ready in select.select([self._front, *self._clients], [], [], wait)[0]:
            self._drain(ready)
        while self._queue and self._queue[0].due <= time.monotonic():
            late = heapq.heappop(self._queue)
            with contextlib.suppress(OSError):
                late.via.sendto(late.data, late.to)

    def _drain(self, ready: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                data, source = ready.recvfrom(65536)
            except OSError:  # nothing left, or the peer's port is closed
                return
            if ready is self._front:
                self._take(data, up=True, via=self._socket_for(source), to=self._server)
            else:
                self._take(data, up=False, via=self._front, to=self._clients[ready])

    def _socket_for(self, client: Address) -> socket.socket:
        if client not in self._towards:
            made = udp_socket()
            made.bind(("127.0.0.1", 0))
            self._towards[client] = made
            self._clients[made] = client
        return self._towards[client]

    def _take(self, data: bytes, *, up: bool, via: socket.socket, to: Address) -> None:
        self.counts["up" if up else "down"] += 1
        if self._random[up].random() < self._loss[up]:
            self.counts["lost"] += 1
        elif len(self._queue) >= QUEUE_DATAGRAMS:
            self.counts["overflow"] += 1
        else:
            self._number += 1
            heapq.heappush(self._queue, Late(time.monotonic() + self._delay_s, self._number, via, to, data))


@contextlib.asynccontextmanager
async def relaying(
    listen: Address, server: Address, *, delay_ms: float, loss_percent: float = 0, seed: int = 1
) -> AsyncIterator[None]:
    """A relay in a process of its own, so that nobody's event loop delays it."""
    command = (sys.executable, "-u", "-m", "scripts.benchmarks.relay")
    addresses = ("--listen", f"{listen[0]}:{listen[1]}", "--to", f"{server[0]}:{server[1]}")
    numbers = ("--delay", f"{delay_ms:g}", "--loss", f"{loss_percent:g}", "--seed", str(seed))
    lines: list[str] = []
    async with running(*command, *addresses, *numbers) as program:
        program.on_line = lines.append
        await program.until(lambda: "relaying" in lines, "start of the relay")
        yield


def main() -> None:
    """Relay until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=parse_address, required=True)
    parser.add_argument("--to", type=parse_address, required=True)
    parser.add_argument("--delay", type=float, default=20, help="ms each way")
    parser.add_argument("--loss", type=float, default=0, help="percent, server to client")
    parser.add_argument("--uploss", type=float, default=0, help="percent, client to server")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    relay = Relay(
        chosen.listen, chosen.to, chosen.delay / 1000, chosen.loss / 100, chosen.uploss / 100, chosen.seed
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("relaying", flush=True)
    while True:
        relay.turn()


if __name__ == "__main__":
    main()
