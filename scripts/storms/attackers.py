"""Program: viewers who mean harm, or do it.

    python -m scripts.storms.attackers KIND URL COUNT

`nacks`: each asks for as many fragments as a NACK holds, 350 times a second. `keyframes`: each asks for a
keyframe 45 times a second. `slow`: each reads its socket 20 times a second, one datagram at a time. `mute`:
each joins and never reads its socket again. `control`: each sends control messages as fast as the
connection takes them. Who is thrown out comes again after a second. Prints `attacking` once all have been in,
and at each line of input ``{"in", "thrown_out", "sent"}``; ends with its input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from scripts.benchmarks.roaming.crowd import input_lines
from wtgateway.errors import WtgatewayError
from wtgateway.protocol.messages import KeyframeRequest, Ping, pack
from wtgateway.protocol.nacks import NackEntry, encode_nacks
from wtgateway.transport import client
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import WebTransportSession
from wtgateway.viewer.address import resolve

PAUSE_SECONDS = 1.0
MUTE_SECONDS = 60.0  # longer than the gateway waits for one
NACKS_PER_SECOND, KEYFRAMES_PER_SECOND, READS_PER_SECOND = 350.0, 45.0, 20.0
_ENTRIES = 64


class Attacker:
    """One of them; a SessionHandler that notes no more than it needs."""

    def __init__(self) -> None:
        self.session: WebTransportSession | None = None
        self.control: int | None = None
        self.group = self.index = 0
        self.ended = asyncio.Event()

    def opened(self, session: WebTransportSession) -> None:
        self.session = session

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        if not stream_id & 2:
            self.control = stream_id

    def stream_reset(self, stream_id: int, code: int) -> None: ...

    def stop_sending(self, stream_id: int, code: int) -> None: ...

    def datagram(self, data: bytes) -> None:
        if len(data) >= 12 and data[0] == 0x10 and data[2] == 0:  # a fragment of a picture (docs/protocol.md)
            self.group, self.index = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")

    def writable(self) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        self.ended.set()

    # --- what they do -------------------------------------------------------------------------------

    def nack(self) -> None:
        """Ask for all of the newest frames."""
        assert self.session is not None
        entries = [
            NackEntry(
                track=0, rendition=0, group=self.group, index=max(0, self.index - age), first=0, last=0xFFFF
            )
            for age in range(_ENTRIES)
        ]
        self.session.send_datagrams([encode_nacks(entries)], Urgency.CONTROL)
        self.session.flush()

    def keyframe(self) -> None:
        """Ask for a keyframe."""
        self._say(pack(KeyframeRequest(track=0, reason="decoder")))

    def talk(self) -> None:
        """Some kilobytes of control messages."""
        self._say(pack(Ping(id=1, client_us=1)) * 200)

    def _say(self, data: bytes) -> None:
        if self.session is not None and self.control is not None:
            self.session.send(self.control, data)
            self.session.flush()


class Books:
    """Of all attackers."""

    def __init__(self, kind: str, url: str, count: int) -> None:
        self.kind, self.url, self.count = kind, url, count
        self.inside = self.thrown_out = self.sent = 0
        self.been_in: set[int] = set()

    async def attack(self, number: int) -> None:
        """One attacker, again and again."""
        while True:
            with contextlib.suppress(WtgatewayError):
                await self._once(number)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _once(self, number: int) -> None:
        address = await asyncio.to_thread(resolve, self.url)
        attacker = Attacker()
        delivery = "datagram" if self.kind == "nacks" else "stream"
        url = address.url(("video",), 1, delivery=delivery)
        session = await client.connect(url, attacker, certificate_hashes=address.hashes, timeout=30)
        self.inside += 1
        self.been_in.add(number)
        try:
            await self._harm(attacker, session)
            self.thrown_out += attacker.ended.is_set()
        finally:
            self.inside -= 1
            await client.disconnect(session)

    async def _harm(self, attacker: Attacker, session: WebTransportSession) -> None:
        every: dict[str, tuple[float, Callable[[], None]]] = {
            "nacks": (1 / NACKS_PER_SECOND, attacker.nack),
            "keyframes": (1 / KEYFRAMES_PER_SECOND, attacker.keyframe),
            "control": (0.001, attacker.talk),
        }
        if self.kind in every:
            pause, act = every[self.kind]
            due = time.monotonic()
            while not attacker.ended.is_set():
                act()
                self.sent += 1
                due = max(due + pause, time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        else:
            await self._read_slowly(attacker, session)

    async def _read_slowly(self, attacker: Attacker, session: WebTransportSession) -> None:
        """Take its socket off the loop; ``slow`` reads a datagram now and then, ``mute`` none."""
        engine: Any = client._clients[session]._engine
        (udp,) = engine._sockets
        (link,) = engine.live
        engine._rested = lambda _: None  # it would listen again by itself
        engine.loop.remove_reader(udp.fileno())
        began = time.monotonic()
        while not attacker.ended.is_set() and udp in engine._sockets:
            await asyncio.sleep(1 / READS_PER_SECOND)
            if self.kind == "slow":
                for data, peer, now in udp.receive(1):
                    engine.receive(link, data, peer, now)
                engine._flush_dirty()
                self.sent += 1
            elif time.monotonic() - began > MUTE_SECONDS:
                return

    def line(self) -> str:
        """For whoever started the program."""
        return json.dumps({"in": self.inside, "thrown_out": self.thrown_out, "sent": self.sent})


async def attack(books: Books) -> None:
    """Until the input ends."""
    reader = await input_lines()
    tasks = [asyncio.create_task(books.attack(number)) for number in range(books.count)]
    try:
        while len(books.been_in) < books.count:
            await asyncio.sleep(0.05)
        print("attacking", flush=True)
        while await reader.readline():
            print(books.line(), flush=True)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("nacks", "keyframes", "slow", "mute", "control"))
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    asyncio.run(attack(Books(chosen.kind, chosen.url, chosen.count)))


if __name__ == "__main__":
    main()
