"""WebTransport and a WebSocket beside each other: two native viewers of one gateway behind one network.

The network is `scripts/netsim --tun` (root, Linux), so that QUIC and TCP meet the same delays and losses.
Both play at the same time: what else the machine does, it does to both.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from scripts.benchmarks.network import network
from scripts.benchmarks.report import Figure, Options
from scripts.support.gateway import Gateway
from scripts.support.processes import ProgramFailed

SECONDS, QUICK_SECONDS = 30.0, 10.0
TRANSPORTS = ("webtransport", "websocket")
DELAY = ("--delay", "20ms")
NETWORKS = {
    "rtt 40 ms": DELAY,
    "rtt 40 ms, 2 % loss": (*DELAY, "--down-loss", "2%"),
    "rtt 40 ms, 2 Mbit/s": (*DELAY, "--down-rate", "2M", "--down-queue", "1s"),
}
SOURCE = ("test:", "--size", "1280x720", "--name", "test", "--video-bitrate", "3M")
MARGIN_SECONDS = 30.0


async def _viewer(prefix: tuple[str, ...], url: str, transport: str, seconds: float) -> dict[str, Any]:
    """What `wtgateway view` says at its end."""
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *(sys.executable, "-m", "wtgateway", "view", url, "--transport", transport),
        *("--delivery", "auto", "--seconds", f"{seconds:g}", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds + MARGIN_SECONDS):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        stats: dict[str, Any] = json.loads(out[out.index(b"{") :])
    except ValueError as error:
        raise ProgramFailed(f"{transport}: no figures: {errors.decode()[-500:]}") from error
    if stats["transport"] != transport:
        raise ProgramFailed(f"{transport} was wished for, and {stats['transport']} was used")
    return stats


async def _side_by_side(name: str, options: tuple[str, ...], directory: Path, seconds: float) -> list[Figure]:
    directory.mkdir(parents=True)
    async with (
        network(directory / "network.json", options) as path,
        Gateway(*SOURCE, directory=directory, host=path.near) as gateway,
    ):
        stats = await asyncio.gather(
            *(_viewer(path.enter, f"{gateway.url}/test", each, seconds) for each in TRANSPORTS)
        )
    ours, theirs = stats

    def figure(what: str, unit: str, *keys: str) -> Figure:
        def of(value: Any) -> float | None:
            for key in keys:
                value = value[key]
            return None if value is None else round(float(value), 1)

        return Figure(name=f"{name}: {what}", value=of(ours), unit=unit, peers={"websocket": of(theirs)})

    return [
        figure("latency p50", "ms", "latencyMs", "p50"),
        figure("latency p95", "ms", "latencyMs", "p95"),
        figure("pictures a second", "", "fps"),
        figure("gaps", "", "gaps"),
        figure("first picture", "ms", "firstFrameMs"),
        figure("sound latency p95", "ms", "audio", "latencyMs", "p95"),
        figure("sound frames lost", "", "audio", "gaps"),
    ]


async def run(options: Options) -> list[Figure]:
    """Values are WebTransport's; the WebSocket is its peer."""
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    figures: list[Figure] = []
    for number, (name, conditions) in enumerate(NETWORKS.items()):
        figures += await _side_by_side(name, conditions, options.directory / str(number), seconds)
    return figures
