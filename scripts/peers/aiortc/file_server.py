"""Program: aiortc plays a file to whoever asks; a peer of the benchmarks, in its own environment.

``--decode``: as its documentation shows, MediaPlayer decodes and aiortc encodes, its limits on bit rate
raised to what everybody gets. Without: MediaPlayer hands the packets on, the best it can do.

MediaPlayer loses its pace once it loops (times begin anew, its clock does not), so the file should last
longer than what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.codecs import h264
from aiortc.contrib.media import MediaPlayer


class FileServer:
    """Answers offers; each receiver has a player of its own."""

    def __init__(self, file: Path, *, decode: bool) -> None:
        self._file, self._decode = file, decode
        self._connections: set[RTCPeerConnection] = set()

    async def offer(self, request: web.Request) -> web.StreamResponse:
        """POST /offer: an RTCSessionDescription in, one out."""
        described = await request.json()
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections.add(connection)
        player = MediaPlayer(str(self._file), loop=True, decode=self._decode)
        sender = connection.addTrack(player.video)

        @connection.on("connectionstatechange")
        async def changed() -> None:
            if connection.connectionState in ("failed", "closed"):
                self._connections.discard(connection)
                player.video.stop()
                await connection.close()

        chosen = next(t for t in connection.getTransceivers() if t.sender is sender)
        codecs = RTCRtpSender.getCapabilities("video").codecs
        chosen.setCodecPreferences([codec for codec in codecs if codec.mimeType == "video/H264"])
        await connection.setRemoteDescription(RTCSessionDescription(described["sdp"], described["type"]))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = connection.localDescription
        return web.json_response({"sdp": answer.sdp, "type": answer.type})


async def serve(chosen: argparse.Namespace) -> None:
    """Serve until ended."""
    h264.DEFAULT_BITRATE = h264.MAX_BITRATE = chosen.bitrate
    server = FileServer(chosen.file, decode=chosen.decode)
    app = web.Application()
    app.router.add_post("/offer", server.offer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", chosen.http).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", type=int, required=True)
    parser.add_argument("--bitrate", type=int, default=4_000_000)
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("file", type=Path)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
