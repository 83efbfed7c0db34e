"""Program: an aiortc receiver of `file_server.py`; prints how many pictures it has decoded, as they come."""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


async def receive(url: str) -> None:
    """Receive until ended."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = connection.addTransceiver("video", direction="recvonly").receiver
    await connection.setLocalDescription(await connection.createOffer())
    offer = {"sdp": connection.localDescription.sdp, "type": connection.localDescription.type}
    async with aiohttp.ClientSession() as http, http.post(url, json=offer) as answer:
        answer.raise_for_status()
        described = await answer.json()
    await connection.setRemoteDescription(RTCSessionDescription(described["sdp"], described["type"]))
    frames = 0
    while True:
        await receiver.track.recv()
        frames += 1
        print("frames", frames, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    asyncio.run(receive(parser.parse_args().url))


if __name__ == "__main__":
    main()
