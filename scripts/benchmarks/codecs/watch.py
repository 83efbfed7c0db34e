"""Program: watches a broadcast without decoding; prints how many pictures have come, ten times a second."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

from wtgateway.media import Frame
from wtgateway.viewer import Viewer, ViewOptions


async def watch(url: str) -> None:
    """Watch until SIGTERM."""
    received = 0

    def count(frame: Frame) -> None:
        nonlocal received
        received += 1

    viewer = Viewer(ViewOptions(url=url, audio=False, decode=False), on_frame=count)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, viewer.stop)
    watching = asyncio.create_task(viewer.run())
    while not watching.done():
        print("frames", received, flush=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(watching), 0.1)
    await watching


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    asyncio.run(watch(parser.parse_args().url))


if __name__ == "__main__":
    main()
