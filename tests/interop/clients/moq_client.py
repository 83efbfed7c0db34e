"""Program: moq-rs's client publishes a broadcast and reads another; prints what it read as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from typing import Any

import moq

PATIENCE_S = 20


async def main(port: str, fingerprint: str) -> dict[str, Any]:
    """Frames of a group, and a datagram, in each direction."""
    seen: dict[str, Any] = {}
    async with moq.connect(
        f"https://127.0.0.1:{port}/interop",
        tls_fingerprints=[fingerprint],
        websocket_enabled=False,
        reconnect=False,
    ) as client:
        broadcast = client.create_broadcast("up")
        track = broadcast.publish_track("t")
        broadcast.announce()

        down = await (await client.announced_broadcast("down")).subscribe_track("t")
        group = await anext(aiter(down))
        frames = [frame.payload async for frame in group]
        seen["frames"] = [[len(frame), hashlib.sha256(frame).hexdigest()] for frame in frames]
        datagram = await down.recv_datagram()
        seen["datagram"] = datagram.payload.decode() if datagram else None

        await track.used()
        sent = track.append_group()
        for byte in (b"a", b"b", b"c"):
            sent.write_frame(byte * 100_000)
        sent.finish()
        track.append_datagram(b"up it goes")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)  # until all has come
    return seen


print(json.dumps(asyncio.run(asyncio.wait_for(main(sys.argv[1], sys.argv[2]), PATIENCE_S))))
