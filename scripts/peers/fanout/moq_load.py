"""Program: moq-rs's own client as the load (its protocol is its own); prints what ``fanout.load`` prints.

It acknowledges as quinn does: after every second packet that asks for it, but when several are read at
once (UDP GRO) one ACK answers them all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

import moq

from scripts.benchmarks.fanout import proc
from scripts.benchmarks.fanout.content import FRAME_BYTES, ContentError, check, stamp_of
from scripts.benchmarks.fanout.report import Report, latency_summary


class Counting:
    """Over all viewers."""

    def __init__(self) -> None:
        self.joined = 0
        self.frames = 0
        self.media_bytes = 0
        self.wrong = 0
        self.recording = False
        self.latencies_ms: list[float] = []

    def take(self, payload: bytes) -> None:
        """One frame."""
        now_ns = time.monotonic_ns()
        try:
            check(0, payload)
        except ContentError:
            self.wrong += 1
        self.frames += 1
        self.media_bytes += len(payload)
        if self.recording and len(payload) == FRAME_BYTES:
            self.latencies_ms.append((now_ns - stamp_of(payload)) / 1e6)


async def watch(url: str, counting: Counting) -> None:
    """One viewer."""
    async with moq.Client(url, tls_verify=False, websocket_enabled=False) as client:
        broadcast = await client.announced_broadcast("fanout")
        track = await broadcast.subscribe_track("video")
        first = True
        async for group in track:
            async for frame in group:
                if first:
                    first = False
                    counting.joined += 1
                counting.take(frame.payload)


async def measure(chosen: argparse.Namespace) -> Report:
    """Join, settle, measure."""
    counting = Counting()
    url = f"https://127.0.0.1:{chosen.port}"
    watching = [asyncio.create_task(watch(url, counting)) for _ in range(chosen.viewers)]
    deadline = time.monotonic() + 60
    while counting.joined < chosen.viewers:
        for task in watching:
            if task.done():
                raise RuntimeError(f"a viewer ended: {task.exception()}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{counting.joined} of {chosen.viewers} viewers joined in time")
        await asyncio.sleep(0.05)
    await asyncio.sleep(chosen.settle)
    counting.recording = True
    frames, media = counting.frames, counting.media_bytes
    server, own, began = proc.family_cpu_seconds(chosen.pid), time.process_time(), time.monotonic()
    await asyncio.sleep(chosen.seconds)
    frames, media = counting.frames - frames, counting.media_bytes - media
    used = sum(cpu - server.get(pid, 0.0) for pid, cpu in proc.family_cpu_seconds(chosen.pid).items())
    return Report(
        viewers=chosen.viewers,
        seconds=time.monotonic() - began,
        media_mbit=media * 8 / 1e6,
        server_cpu_s=used,
        own_cpu_s=time.process_time() - own,
        frames=frames,
        wrong=counting.wrong,
        opens_all=True,
        latency=latency_summary(counting.latencies_ms),
        joined=counting.joined,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--settle", type=float, default=1.0)
    parser.add_argument("--core", type=int, default=1)
    chosen = parser.parse_args()
    proc.pin(chosen.core)
    try:
        report = asyncio.run(measure(chosen))
    except (RuntimeError, OSError, moq.Error) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)
    print(json.dumps(report.as_json()), flush=True)


if __name__ == "__main__":
    main()
