"""Program: many native viewers of one broadcast in one process; says how long each was without a picture.

    python -m scripts.benchmarks.roaming.crowd [--stay] URL COUNT

Prints `playing` when all have pictures, and for each line of input one of JSON: a list of
``{"frames", "reconnects", "roams", "longest_ms", "silent_ms"}``, one per viewer. ``longest_ms`` is the
longest time between two frames since the line before, ``silent_ms`` that since the last one. Ends with
its input. What viewers have to say is on stderr. ``--stay``: they open no session but their first, so that
whoever gets frames gets them on that one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from wtgateway.errors import TransportError
from wtgateway.media import Frame
from wtgateway.transport.client import connect
from wtgateway.transport.webtransport import WebTransportSession
from wtgateway.viewer import Viewer, ViewOptions

# A path that falls silent is what this is about: not that a WebSocket would get through.
_QUIC = {"delivery": "auto", "transport": "webtransport"}


class Watcher:
    """One viewer, and when its frames came (monotonic, s)."""

    def __init__(self, url: str, number: int, *, stay: bool, audio: bool = False, **options: Any) -> None:
        self.frames, self._last, self._longest = 0, 0.0, 0.0
        self._number, self._stay, self._connected = number, stay, False
        self.viewer = Viewer(
            ViewOptions(url=url, audio=audio, decode=False, **{**_QUIC, **options}),
            on_frame=self._on_frame,
            on_notice=self._on_notice,
            connect=self._connect,
        )

    def _on_notice(self, text: str) -> None:
        print(f"viewer {self._number}: {text}", file=sys.stderr, flush=True)

    async def _connect(self, *arguments: Any, **options: Any) -> WebTransportSession:
        if self._stay and self._connected:
            raise TransportError("it is to stay where it is")
        session = await connect(*arguments, **options)
        self._connected = True
        return session

    def _on_frame(self, frame: Frame) -> None:
        now = time.monotonic()
        if self.frames:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        self.frames += 1

    def report(self) -> dict[str, Any]:
        """As the module says; the longest time begins anew."""
        stats = self.viewer.stats()
        silent = time.monotonic() - self._last if self.frames else 0.0
        longest, self._longest = max(self._longest, silent), 0.0
        return {
            "frames": self.frames,
            "reconnects": stats["reconnects"],
            "roams": stats.get("roams", 0),
            "longest_ms": round(1000 * longest),
            "silent_ms": round(1000 * silent),
        }


async def input_lines() -> asyncio.StreamReader:
    """Standard input, as it comes."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def watch(count: int, make: Callable[[int], Watcher]) -> None:
    """Have so many watch, made by their number, until the input ends."""
    watchers = [make(number) for number in range(count)]
    reader = await input_lines()
    tasks = [asyncio.create_task(watcher.viewer.run()) for watcher in watchers]
    try:
        while not all(watcher.frames for watcher in watchers):
            for task in tasks:
                if task.done():
                    task.result()  # raises why it gave up
            await asyncio.sleep(0.02)
        print("playing", flush=True)
        while await reader.readline():
            print(json.dumps([watcher.report() for watcher in watchers]), flush=True)
    finally:
        for watcher in watchers:
            watcher.viewer.stop()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stay", action="store_true")
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    asyncio.run(watch(chosen.count, lambda number: Watcher(chosen.url, number, stay=chosen.stay)))


if __name__ == "__main__":
    main()
