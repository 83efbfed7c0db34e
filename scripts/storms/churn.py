"""Program: viewers who join, see a picture and leave, so many at a time.

    python -m scripts.storms.churn [--transports LIST] [--hold] URL AT_A_TIME COUNT

Prints a line of JSON each second, and at the end: ``{"joined", "failed", "problem"}``. Transports take turns
(``webtransport,websocket``). ``--hold``: nobody leaves; ends when it is killed, and nobody says goodbye.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from dataclasses import dataclass, field

from wtgateway.errors import WtgatewayError
from wtgateway.media import Frame
from wtgateway.viewer import Viewer, ViewOptions

TRANSPORTS = ("webtransport", "websocket")  # all that native viewers speak
_PATIENCE_SECONDS = 30.0  # for a picture; a machine that is busy with all of them takes some


@dataclass(slots=True)
class Churn:
    """The books of one run."""

    url: str
    count: int
    transports: tuple[str, ...]
    hold: bool
    begun: int = 0
    joined: int = 0
    failed: int = 0
    problem: str = ""
    _held: list[asyncio.Task[None]] = field(default_factory=list)

    async def lane(self) -> None:
        """One after the other."""
        while self.begun < self.count:
            transport = self.transports[self.begun % len(self.transports)]
            self.begun += 1
            try:
                await self._visit(transport)
                self.joined += 1
            except (WtgatewayError, TimeoutError) as error:
                self.failed += 1
                self.problem = str(error) or f"no picture within {_PATIENCE_SECONDS:g} s"

    async def _visit(self, transport: str) -> None:
        seen = asyncio.Event()

        def on_frame(frame: Frame) -> None:
            if frame.keyframe and frame.track == 0:
                seen.set()

        viewer = Viewer(ViewOptions(url=self.url, decode=False, transport=transport), on_frame=on_frame)
        task = asyncio.create_task(viewer.run())
        waiting = asyncio.create_task(seen.wait())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                raise WtgatewayError("the viewer ended by itself")
            if self.hold:
                await task
        finally:
            waiting.cancel()
            viewer.stop()
            await asyncio.gather(task, return_exceptions=True)

    def line(self) -> str:
        """For whoever started the program."""
        return json.dumps({"joined": self.joined, "failed": self.failed, "problem": self.problem})


async def churn(books: Churn, at_a_time: int) -> None:
    """All of it, with a line each second."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(1.0)
            print(books.line(), flush=True)

    telling = asyncio.create_task(tell())
    await asyncio.gather(*(books.lane() for _ in range(at_a_time)))
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling
    print(books.line(), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--transports", default="webtransport")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("url")
    parser.add_argument("at_a_time", type=int)
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    books = Churn(chosen.url, chosen.count, tuple(chosen.transports.split(",")), chosen.hold)
    asyncio.run(churn(books, chosen.at_a_time))


if __name__ == "__main__":
    main()
