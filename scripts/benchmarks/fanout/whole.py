"""Program: the gateway itself, with a source that makes the bench's frames; or with none (``--idle``).

Everything is as `wtgateway run` composes it (hub, sessions, endpoint, web pages, workers), but for the
pipeline: frames do not come from an encoder.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

from scripts.benchmarks.fanout.content import FPS, Ticks
from wtgateway import clock
from wtgateway.config import Address, BroadcastConfig, GatewayConfig
from wtgateway.gateway import Gateway
from wtgateway.hub import Broadcast, Status
from wtgateway.lifecycle.broadcasts import Broadcasts
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track

BROADCAST = "fanout"
PATH = f"/{BROADCAST}?v=1&subscribe=video"
_GROUP_FRAMES = FPS
_RENDITION = Rendition(id=0, codec="avc1.42E01F", bitrate_bps=3_932_160, width=1280, height=720, fps=FPS)


class BenchBroadcasts(Broadcasts):
    """One broadcast, which is made here and by no pipeline."""

    idle = False
    _producing: asyncio.Task[None] | None = None

    def start(self, configs: Iterable[BroadcastConfig]) -> None:
        broadcast = self.hub.get(BROADCAST)
        assert broadcast is not None
        broadcast.set_catalog(
            Catalog(revision=1, tracks=(Track(id=0, kind=Kind.VIDEO, renditions=(_RENDITION,)),))
        )
        broadcast.set_status(Status(BroadcastState.LIVE))
        if not self.idle:
            self._producing = asyncio.create_task(produce(broadcast))

    async def close(self) -> None:
        if self._producing is not None:
            self._producing.cancel()
        await super().close()


async def produce(broadcast: Broadcast) -> None:
    """A frame when one is due; a keyframe each second."""
    ticks = Ticks()
    made = 0
    while True:
        await asyncio.sleep(ticks.wait_s())
        payload = ticks.next_frame()
        now_us = clock.now_us()
        broadcast.publish(
            Frame(
                track=0,
                rendition=0,
                group=made // _GROUP_FRAMES,
                index=made % _GROUP_FRAMES,
                keyframe=made % _GROUP_FRAMES == 0,
                pts_us=now_us,
                capture_us=now_us,
                duration_us=1_000_000 // FPS,
                payload=payload,
            )
        )
        made += 1


async def serve(config: GatewayConfig) -> None:
    """Until SIGTERM."""
    gateway = Gateway(config)
    gateway.broadcasts_running = BenchBroadcasts(gateway.hub, gateway.viewers, gateway.events)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gateway.stop)
    await gateway.run(lambda _: print("ready", flush=True))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--web-port", type=int, required=True)
    parser.add_argument("--certs-dir", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--idle", action="store_true")
    chosen = parser.parse_args()
    config = GatewayConfig(
        bind=Address("127.0.0.1", chosen.port),
        web=Address("127.0.0.1", chosen.web_port),
        certs_dir=chosen.certs_dir,
        broadcasts=(BroadcastConfig(name=BROADCAST, source="test:"),),
        workers=chosen.workers,
    )
    BenchBroadcasts.idle = chosen.idle
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(config))
    else:
        uvloop.run(serve(config))


if __name__ == "__main__":
    main()
