"""Several native viewers in one process, for balancers: says every 50 ms how far each is.

    python -m tests.lb.watcher COUNT

With ``begin URL`` on its input viewers come, with ``leave`` they leave in order. One JSON object a line of
output: ``round``, and ``frames`` and ``reconnects``, a number for each viewer; or ``left``, a round. They do
not roam: it is their sessions themselves that are to live on.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from wtgateway.protocol import roaming
from wtgateway.viewer import ViewOptions
from wtgateway.viewer.client import Viewer

EVERY_S = 0.05
NEVER_US = 3_600_000_000


class Round:
    """Viewers that came together."""

    def __init__(self, number: int, url: str, count: int) -> None:
        self.number, self.frames = number, Counter[int]()
        options = ViewOptions(url=url, insecure=True, audio=False, decode=False)
        self.viewers = [self._viewer(options, n) for n in range(count)]
        self.running = [asyncio.create_task(viewer.run()) for viewer in self.viewers]

    def _viewer(self, options: ViewOptions, number: int) -> Viewer:
        return Viewer(
            options,
            on_frame=lambda frame: self.frames.update((number,)),
            on_notice=lambda text: print(f"{self.number}.{number}: {text}", flush=True),
        )

    def facts(self) -> dict[str, object]:
        for task in self.running:
            if task.done():
                task.result()  # raises what ended it
        return {
            "round": self.number,
            "frames": [self.frames[n] for n in range(len(self.viewers))],
            "reconnects": [viewer.figures.reconnects for viewer in self.viewers],
        }

    async def leave(self) -> None:
        for viewer in self.viewers:
            viewer.stop()
        await asyncio.gather(*self.running)


async def watch(count: int) -> None:
    """Watch until standard input is closed."""
    roaming.SILENT_US = NEVER_US
    reading = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    current, number = None, 0
    while not reading.done() or reading.result():
        if reading.done():
            if current is not None:
                await current.leave()
                print(json.dumps({"left": number}), flush=True)
                current = None
            what, _, url = reading.result().strip().partition(" ")
            if what == "begin":
                number += 1
                current = Round(number, url, count)
            reading = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        await asyncio.wait({reading}, timeout=EVERY_S)
        if current is not None:
            print(json.dumps(current.facts()), flush=True)
    if current is not None:
        await current.leave()


if __name__ == "__main__":
    asyncio.run(watch(int(sys.argv[1])))
