"""Program: pywebtransport's server: all viewers get the same frame 30 times a second, each as a stream."""

from __future__ import annotations

import argparse
import asyncio

from pywebtransport import ServerConfig, WebTransportError, WebTransportServer

from scripts.benchmarks.fanout.content import FPS, Ticks

sessions: set = set()
_MAX_UNDER_WAY = FPS  # frames of one viewer; beyond, a frame is dropped for it
tasks: set = set()


class Viewer:
    """One session."""

    def __init__(self, session) -> None:
        self.session = session
        self.under_way = 0

    async def send(self, frame: bytes) -> None:
        """The frame as a stream."""
        try:
            stream = await self.session.create_unidirectional_stream()
            await stream.write(data=frame, end_stream=True)
        except WebTransportError:
            sessions.discard(self)
        finally:
            self.under_way -= 1


async def accept(connection) -> None:
    """Take one connection's sessions in."""
    async for session in connection.incoming_sessions():
        await session.accept()
        sessions.add(Viewer(session))


def spawn(coroutine) -> None:
    """Run it beside all else."""
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def accept_all(server: WebTransportServer) -> None:
    """Take connections in."""
    async for connection in server.incoming_connections():
        spawn(accept(connection))


async def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--mode", choices=("streams",), default="streams")
    chosen = parser.parse_args()
    config = ServerConfig(
        bind_host="127.0.0.1", bind_port=chosen.port, certfile=chosen.cert, keyfile=chosen.key
    )
    server = WebTransportServer(config=config)
    await server.listen()
    spawn(accept_all(server))
    print("ready", flush=True)
    ticks = Ticks()
    while True:
        await asyncio.sleep(ticks.wait_s())
        frame = ticks.next_frame()
        for viewer in list(sessions):
            if viewer.under_way < _MAX_UNDER_WAY:
                viewer.under_way += 1
                spawn(viewer.send(frame))


asyncio.run(main())
