"""Program: aiortc 1.16 shows an X display to a browser; a peer of the benchmarks, in its own environment.

``--feed own``: x11grab behind aiortc's MediaPlayer and its own H.264 encoder, its limits on bit rate
and frame rate raised to what everybody gets. ``--feed encoded``: packets of ``feed.py``, without
``--display`` of a picture that moves, and with a tone for pages that want sound.

aiortc 1.16 does not take part in ICE restarts: it never looks at another offer's credentials. So an offer
with the id of a connection that there is gives them to its agent by hand (:func:`restarted`); it keeps its
own, which browsers take.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import socket
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import h264
from aiortc.contrib.media import MediaPlayer, MediaRelay

from scripts.peers.aiortc.feed import HEIGHT, WIDTH, packets

PAGE = Path(__file__).with_name("index.html")
QUEUE_PACKETS = 30
TONE_HZ, TONE_RATE, TONE_BLOCK = 440, 48_000, 960


class EncodedTrack(MediaStreamTrack):
    """Packets as they come, from a keyframe on."""

    kind = "video"

    def __init__(self, want_keyframe: threading.Event) -> None:
        super().__init__()
        self.sender: Any = None
        self._queue: asyncio.Queue[Any] = asyncio.Queue(QUEUE_PACKETS)
        self._want_keyframe, self._started = want_keyframe, False
        want_keyframe.set()

    def push(self, packet: Any) -> None:
        """Called on the loop with each packet; a full queue drops up to the next keyframe."""
        self._started |= packet.is_keyframe
        if self._started and self._queue.full():
            self._started = False
            self._want_keyframe.set()
        if self._started:
            self._queue.put_nowait(packet)
        if self.sender and self.sender._RTCRtpSender__force_keyframe:  # the browser asked for one
            self.sender._RTCRtpSender__force_keyframe = False
            self._want_keyframe.set()

    async def recv(self) -> Any:
        return await self._queue.get()


class ToneTrack(MediaStreamTrack):
    """A steady tone in blocks of 20 ms, for aiortc to encode as Opus."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sent, self._began = 0, time.monotonic()

    async def recv(self) -> Any:
        at = np.arange(self._sent, self._sent + TONE_BLOCK) / TONE_RATE
        wave = (8000 * np.sin(2 * np.pi * TONE_HZ * at)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = TONE_RATE, self._sent, Fraction(1, TONE_RATE)
        self._sent += TONE_BLOCK
        await asyncio.sleep(max(0.0, self._began + self._sent / TONE_RATE - time.monotonic()))
        return frame


def restarted(connection: RTCPeerConnection, sdp: str) -> None:
    """Give the credentials of a restarting browser to the agents, which know only those of the beginning."""
    credentials = [re.search(rf"a=ice-{name}:(\S+)", sdp) for name in ("ufrag", "pwd")]
    for transceiver in connection.getTransceivers():
        agent = transceiver.sender.transport.transport._connection
        agent.remote_username, agent.remote_password = (found[1] for found in credentials if found)


class Server:
    """Answers offers; holds every connection until it is closed."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._connections: dict[str, RTCPeerConnection] = {}
        self._tracks: set[EncodedTrack] = set()
        self._want_keyframe = threading.Event()
        self._relay = MediaRelay()
        self._numbers = itertools.count()
        self._player: Any = None

    def start(self) -> None:
        """Start to capture."""
        chosen = self._chosen
        if chosen.feed == "encoded":
            threading.Thread(target=self._pump, args=(asyncio.get_running_loop(),), daemon=True).start()
            return
        h264.DEFAULT_BITRATE = h264.MAX_BITRATE = chosen.bitrate
        h264.MAX_FRAME_RATE = round(chosen.fps)
        size = f"{WIDTH}x{HEIGHT}"
        options = {"framerate": str(chosen.fps), "video_size": size, "draw_mouse": "0"}
        self._player = MediaPlayer(chosen.display, format="x11grab", options=options)

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        chosen = self._chosen
        fps = Fraction(str(chosen.fps))
        for packet in packets(chosen.display, fps, chosen.bitrate, self._want_keyframe):
            loop.call_soon_threadsafe(self._push, packet)

    def _push(self, packet: Any) -> None:
        for track in self._tracks:
            track.push(packet)

    def _track(self) -> Any:
        if self._player is not None:
            return self._relay.subscribe(self._player.video, buffered=False)
        track = EncodedTrack(self._want_keyframe)
        self._tracks.add(track)
        return track

    async def page(self, request: web.Request) -> web.StreamResponse:
        """GET /"""
        return web.FileResponse(PAGE)

    async def offer(self, request: web.Request) -> web.StreamResponse:
        """POST /offer: an RTCSessionDescription in, one out."""
        described = await request.json()
        number = described.get("id", str(next(self._numbers)))
        if (known := self._connections.get(number)) is not None:
            restarted(known, described["sdp"])
            return await self._answer(known, described)
        connection = self._connections[number] = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        if "m=audio" in described["sdp"]:
            connection.addTrack(ToneTrack())
        track = self._track()
        sender = connection.addTrack(track)
        if isinstance(track, EncodedTrack):
            track.sender = sender

        @connection.on("connectionstatechange")
        async def changed() -> None:
            if connection.connectionState in ("failed", "closed"):
                self._tracks.discard(track)
                self._connections.pop(number, None)
                track.stop()
                await connection.close()

        return await self._answer(connection, described)

    async def _answer(self, connection: RTCPeerConnection, described: dict[str, str]) -> web.StreamResponse:
        sdp = without_candidates(described["sdp"]) if self._chosen.relay else described["sdp"]
        await connection.setRemoteDescription(RTCSessionDescription(sdp, described["type"]))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = connection.localDescription
        sdp = self._relayed(answer.sdp) if self._chosen.relay else answer.sdp
        return web.json_response({"sdp": sdp, "type": answer.type})

    def _relayed(self, sdp: str) -> str:
        """The answer with one candidate, which names the relay's port."""
        candidates = re.findall(r"a=candidate:.*\r\n", sdp)
        address = own_address()
        ours = next(line for line in candidates if f" {address} " in line and "typ host" in line)
        relayed = ours.replace(f" {self._chosen.udp} ", f" {self._chosen.relay} ")
        sdp = re.sub(r"a=candidate:.*\r\n", "", sdp)
        return sdp.replace("a=end-of-candidates", relayed + "a=end-of-candidates", 1)


def without_candidates(sdp: str) -> str:
    """An offer whose only candidate leads nowhere: the browser is met through the relay or not at all."""
    sdp = re.sub(r"a=candidate:.*\r\n", "", sdp)
    return sdp + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n"


def own_address() -> str:
    """The IPv4 address this machine would send from (nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
        return address


class FixedPortLoop(asyncio.SelectorEventLoop):
    """Media always comes from one known port, so that a relay can stand before it."""

    port = 0

    async def create_datagram_endpoint(self, factory: Any, local_addr: Any = None, **rest: Any) -> Any:
        if self.port and local_addr and local_addr[1] == 0:
            local_addr = (local_addr[0], self.port)
        return await super().create_datagram_endpoint(factory, local_addr=local_addr, **rest)


async def serve(chosen: argparse.Namespace) -> None:
    """Serve until ended."""
    server = Server(chosen)
    server.start()
    app = web.Application()
    app.router.add_get("/", server.page)
    app.router.add_post("/offer", server.offer)
    runner = web.AppRunner(app)
    await runner.setup()
    hosts = {"": ("127.0.0.1", "::1"), "any": (None,)}
    for host in hosts.get(chosen.host, (chosen.host,)):
        await web.TCPSite(runner, host, chosen.http).start()
    if chosen.relay:
        print("address", own_address(), flush=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", type=int, required=True)
    parser.add_argument("--host", default="", help="address of the page, when it is not loopback; any: all")
    parser.add_argument("--display", default="")
    parser.add_argument("--fps", type=float, default=60)
    parser.add_argument("--bitrate", type=int, default=4_000_000)
    parser.add_argument("--feed", choices=("own", "encoded"), default="own")
    parser.add_argument("--udp", type=int, default=0, help="the fixed media port, when relayed")
    parser.add_argument("--relay", type=int, default=0, help="the port to tell the browser")
    chosen = parser.parse_args()
    FixedPortLoop.port = chosen.udp
    with asyncio.Runner(loop_factory=FixedPortLoop) as runner:
        runner.run(serve(chosen))


if __name__ == "__main__":
    main()
