"""Program: an X display's frames over a WebSocket (TCP) to WebCodecs; a peer of the benchmarks.

Without ``--display`` it is a picture of its own that moves. ``--host any``: all addresses, IPv4 and IPv6.

Each message is a frame: a byte that is 1 for a keyframe, its number (4 bytes, big-endian), H.264 in Annex B.
What TCP cannot take at once waits in a queue of at most ``QUEUE_SECONDS``; then everything up to the next
keyframe, which is asked for at once, is left out. The kernel is told to keep no more than it must
(TCP_NOTSENT_LOWAT), so that little waits where nothing can be left out any more.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import socket
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

from scripts.peers.aiortc.feed import packets

PAGE = Path(__file__).with_name("index.html")
QUEUE_SECONDS = 0.5
NOT_SENT_BYTES = 16_384
_TCP_NOTSENT_LOWAT = 25  # Linux; Python 3.11 has no name for it
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def message(payload: bytes) -> bytes:
    """A binary message in one frame without a mask, as servers send (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x82, size))
    elif size < 1 << 16:
        head = b"\x82\x7e" + size.to_bytes(2, "big")
    else:
        head = b"\x82\x7f" + size.to_bytes(8, "big")
    return head + payload


class Viewer:
    """One connection and the frames that wait for it."""

    def __init__(
        self, writer: asyncio.StreamWriter, most_frames: int, want_keyframe: threading.Event
    ) -> None:
        self._writer, self._most, self._want_keyframe = writer, most_frames, want_keyframe
        self._frames: list[bytes] = []
        self._more = asyncio.Event()
        self._started = False
        writer.transport.set_write_buffer_limits(0)
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
        want_keyframe.set()

    def push(self, packet: Any, number: int) -> None:
        """Called on the loop with each frame."""
        if packet.is_keyframe:
            self._started = True
            self._frames.clear()  # what is older is of no use any more
        elif self._started and len(self._frames) >= self._most:
            self._started = False
            self._want_keyframe.set()
        if self._started:
            head = bytes((packet.is_keyframe,)) + number.to_bytes(4, "big")
            self._frames.append(message(head + bytes(packet)))
            self._more.set()

    async def send(self) -> None:
        """Until the connection ends."""
        while True:
            await self._more.wait()
            while self._frames:
                self._writer.write(self._frames.pop(0))
                await self._writer.drain()
            self._more.clear()


class Server:
    """The page and its WebSocket on one port."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._want_keyframe = threading.Event()
        self._viewers: set[Viewer] = set()

    def start(self) -> None:
        """Start to capture."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._pump, args=(loop,), daemon=True).start()

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        chosen = self._chosen
        fps = Fraction(str(chosen.fps))
        frames = packets(chosen.display, fps, chosen.bitrate, self._want_keyframe)
        for number, packet in enumerate(frames):
            loop.call_soon_threadsafe(self._push, packet, number)

    def _push(self, packet: Any, number: int) -> None:
        for viewer in self._viewers:
            viewer.push(packet, number)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: GET / or a WebSocket."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = [line.partition(":") for line in head.split("\r\n")[1:]]
            fields = {name.strip().lower(): value.strip() for name, _, value in lines}
            if key := fields.get("sec-websocket-key"):
                await self._stream(key, reader, writer)
            else:
                await _answer(head.split()[1], writer)
        writer.close()

    async def _stream(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT).digest()).decode()
        upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{upgrade}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        viewer = Viewer(writer, round(QUEUE_SECONDS * self._chosen.fps), self._want_keyframe)
        self._viewers.add(viewer)
        sending = asyncio.create_task(viewer.send())
        try:
            while await reader.read(4096):  # a page that leaves; it says nothing else
                pass
        finally:
            self._viewers.discard(viewer)
            sending.cancel()


async def _answer(path: str, writer: asyncio.StreamWriter) -> None:
    found = path.split("?")[0] == "/"
    body = PAGE.read_bytes() if found else b""
    status = "200 OK" if found else "404 Not Found"
    fields = f"Content-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close"
    writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)
    await writer.drain()


async def serve(chosen: argparse.Namespace) -> None:
    """Serve until ended."""
    server = Server(chosen)
    server.start()
    host = None if chosen.host == "any" else chosen.host
    listening = await asyncio.start_server(server.serve, host, chosen.port)
    print("ready", flush=True)
    await listening.serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--display", default="")
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--bitrate", type=int, default=3_000_000)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
