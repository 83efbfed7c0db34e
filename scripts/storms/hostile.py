"""Program: mutated bytes to a live gateway, over its sockets.

    python -m scripts.storms.hostile URL QUIC_PORT LANES [--seed N]

Each lane does all of it in turn: packets to the port from nowhere; over sessions of its own control messages,
datagrams, streams of HTTP/3, and messages of a WebSocket where the gateway has one. Whatever the gateway does
with such a session, the lane goes on with another. Prints a line of JSON each second: inputs of each kind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
from collections import Counter
from typing import Any

from scripts.benchmarks.fanout.flood import client_hello, initial
from scripts.storms.h3scene import SCENES, Deaf
from scripts.storms.mutate import Mutator
from scripts.storms.targets import vectors
from wtgateway.errors import WtgatewayError
from wtgateway.transport import client
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import WebTransportSession
from wtgateway.viewer.address import Address, resolve

PER_SESSION = 30
PACKETS = 100
_PAUSE_SECONDS = 0.005  # between two inputs: what comes after a fault is wanted, too
_LARGEST_DATAGRAM = 1000


class Listener(Deaf):
    """Notes the control stream and the end."""

    def __init__(self) -> None:
        self.control: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.over = False

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        if not stream_id & 2 and not self.control.done():
            self.control.set_result(stream_id)

    def closed(self, code: int, reason: str) -> None:
        self.over = True
        self.control.cancel()


class Lane:
    """One row of attempts."""

    def __init__(self, address: Address, page: str, quic_port: int, seed: int, sent: Counter[str]) -> None:
        self._address, self._page, self._quic_port, self._sent = address, page, quic_port, sent
        hello, source = client_hello()
        dice = random.Random(seed)
        packets = [initial(dice.randbytes(8), source, hello) for _ in range(4)]
        packets += [b"\x40" + dice.randbytes(40), b"\xc0\x1a\x2a\x3a\x4a\x08" + dice.randbytes(1200)]
        self._packets = Mutator(packets, seed)
        self._control = Mutator(vectors("messages", "malformed"), seed + 1)
        self._datagrams = Mutator(vectors("nacks", "arrivals", "fragments", "malformed"), seed + 2)
        self._streams = Mutator([each[1:] for each in SCENES], seed + 3)
        self._websocket = Mutator([b"\0" + each for each in vectors("messages")], seed + 4)

    async def run(self) -> None:
        """For ever."""
        acts = (self.packets, self.control, self.datagrams, self.streams, self.websocket)
        while True:
            for act in acts:
                with contextlib.suppress(WtgatewayError, asyncio.CancelledError, TimeoutError, OSError):
                    await act()
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    return
                await asyncio.sleep(_PAUSE_SECONDS)

    async def packets(self) -> None:
        """To the port, from a socket that never listens."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            for _ in range(PACKETS):
                with contextlib.suppress(OSError):
                    sock.sendto(self._packets.next(), ("127.0.0.1", self._quic_port))
                self._sent["packets"] += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def _session(self) -> Any:
        listener = Listener()
        url = self._address.url(("video",), 1, delivery="datagram")
        session = await client.connect(url, listener, certificate_hashes=self._address.hashes, timeout=20)
        try:
            async with asyncio.timeout(10):
                yield session, listener, await listener.control
        finally:
            await client.disconnect(session)

    async def control(self) -> None:
        """Control messages; the first wrong one ends the session."""
        async with self._session() as (session, listener, control):
            for _ in range(PER_SESSION):
                if listener.over:
                    return
                session.send(control, self._control.next())
                await self._pause(session, "control messages")

    async def datagrams(self) -> None:
        """Datagrams of the session."""
        async with self._session() as (session, listener, _):
            for _ in range(PER_SESSION):
                if listener.over:
                    return
                session.send_datagrams([self._datagrams.next()[:_LARGEST_DATAGRAM]], Urgency.CONTROL)
                await self._pause(session, "datagrams")

    async def streams(self) -> None:
        """Bytes behind the beginnings of new streams, and capsules on the session's own."""
        async with self._session() as (session, listener, _):
            engine: Any = client._clients[session]._engine
            (link,) = engine.live
            for number in range(PER_SESSION):
                if listener.over or link.gone:
                    return
                data = self._streams.next()
                if number % 3 == 2:
                    link.webtransport.h3.send_data(session.id, data, end_stream=False)
                else:
                    stream = link.quic.get_next_available_stream_id(is_unidirectional=bool(number % 3))
                    link.quic.send_stream_data(stream, data, end_stream=number % 2 == 0)
                engine.mark_dirty(link)
                await self._pause(session, "streams and capsules")

    async def websocket(self) -> None:
        """Messages of a WebSocket, where there is one."""
        try:
            from wsproto.events import BytesMessage

            from wtgateway.transport.websocket_client import connect_websocket, disconnect_websocket
        except ImportError:
            return
        listener = Listener()
        base, _, name = self._page.rpartition("/")
        url = f"{base.replace('http', 'ws', 1)}/_ws/{name}?v=1&subscribe=video"
        session: Any = await connect_websocket(url, listener)
        try:
            async with asyncio.timeout(10):
                await listener.control
                for _ in range(PER_SESSION):
                    if listener.over:
                        return
                    session._say(BytesMessage(data=self._websocket.next()))
                    self._sent["WebSocket messages"] += 1
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await disconnect_websocket(session)

    async def _pause(self, session: WebTransportSession, kind: str) -> None:
        session.flush()
        self._sent[kind] += 1
        await asyncio.sleep(_PAUSE_SECONDS)


async def rage(page: str, quic_port: int, lanes: int, seed: int) -> None:
    """All lanes, until ended."""
    address = await asyncio.to_thread(resolve, page)
    sent: Counter[str] = Counter()
    rows = [Lane(address, page, quic_port, 100 * seed + 10 * number, sent) for number in range(lanes)]
    tasks = [asyncio.create_task(row.run()) for row in rows]
    try:
        while not any(task.done() for task in tasks):
            await asyncio.sleep(1.0)
            print(json.dumps(sent), flush=True)
        for task in tasks:
            if task.done():
                task.result()  # a lane ends by a fault of its own only
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("quic_port", type=int)
    parser.add_argument("lanes", type=int)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(rage(chosen.url, chosen.quic_port, chosen.lanes, chosen.seed))


if __name__ == "__main__":
    main()
