"""Viewers who come and go leave nothing behind: no connection, no stream, no entry in any table."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import Any

from tests.transport.test_endpoint import HASHES, Served, Waiting, served
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.engine import Link
from wtgateway.transport.frame_stream import FrameStream, SentPacket
from wtgateway.transport.h3 import WebTransportConnection
from wtgateway.transport.lane import Lane
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import WebTransportSession

__all__ = ["served"]  # the fixture
KINDS = (Link, Lane, WebTransportConnection, WebTransportSession, FrameStream, SentPacket)


def alive() -> Counter[str]:
    gc.collect()
    return Counter(type(found).__name__ for found in gc.get_objects() if type(found) in KINDS)


def tables(owner: Any, depth: int = 3) -> dict[str, int]:
    """The sizes of all containers that an object of ours holds, and those that it holds."""
    sizes: dict[str, int] = {}
    for name, value in getattr(owner, "__dict__", {}).items():
        if isinstance(value, dict | set | list | frozenset) and not isinstance(value, Counter):
            sizes[name] = len(value)
        elif depth and type(value).__module__.startswith("wtgateway.transport"):
            sizes |= {f"{name}.{inner}": size for inner, size in tables(value, depth - 1).items()}
    return sizes


async def come_and_go(served: Served, viewers: int) -> None:
    for number in range(viewers):
        client = Waiting()
        session = await connect(served.url("127.0.0.1"), client, certificate_hashes=HASHES)
        server = served.handlers[-1].open
        stream = server.send_frame(bytes(50_000), Urgency.KEYFRAME)
        server.send_datagrams([bytes(500)] * 5, Urgency.AUDIO)
        if number % 3 == 0:  # in the middle of a frame
            late = server.send_frame(bytes(500_000), Urgency.DELTA)
            server.reset(late, 1)
        server.flush()
        await client.until(lambda client=client, stream=stream: stream in client.finished)  # type: ignore[misc]
        await disconnect(session)
    served.handlers.clear()
    async with asyncio.timeout(10):
        while served.endpoint.connections:
            await asyncio.sleep(0.01)


async def test_viewers_leave_nothing_behind(served: Served) -> None:
    others = alive()  # what other tests have kept
    await come_and_go(served, 4)
    assert not alive() - others, "a viewer that is gone is still held"
    sizes = tables(served.endpoint)
    await come_and_go(served, 12)
    assert not alive() - others
    after = tables(served.endpoint)
    grown = {name: (sizes.get(name), size) for name, size in after.items() if size > sizes.get(name, 0)}
    # Entries of the heap without a key leave it with the others, before they are many.
    assert set(grown) <= {"_engine._timers._heap"}, grown
