"""Program: moq-rs's server: a broadcast with a track, each frame a group, hence a stream to each viewer."""

from __future__ import annotations

import argparse
import asyncio

import moq

from scripts.benchmarks.fanout.content import Ticks


async def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--mode", choices=("streams",), default="streams")
    chosen = parser.parse_args()
    address = f"127.0.0.1:{chosen.port}"
    async with moq.Server(address, tls_cert=[chosen.cert], tls_key=[chosen.key]) as server:
        broadcast = server.create_broadcast("fanout")
        track = broadcast.publish_track("video")
        broadcast.announce()
        serving = asyncio.create_task(server.serve())
        print("ready", flush=True)
        ticks = Ticks()
        while not serving.done():
            await asyncio.sleep(ticks.wait_s())
            track.write_frame(ticks.next_frame(), timestamp_us=ticks.number * 33_333)


asyncio.run(main())
