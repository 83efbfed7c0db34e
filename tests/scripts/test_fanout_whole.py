"""The bench's gateway gives its viewers what the bench's load takes for a frame."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from scripts.benchmarks.fanout import content, whole
from scripts.support.processes import free_port, running
from wtgateway.media import Frame
from wtgateway.viewer import Viewer, ViewOptions


async def test_viewers_of_the_whole_gateway_get_the_frames_of_the_bench(tmp_path: Path) -> None:
    port, web_port = free_port(socket.SOCK_DGRAM), free_port()
    words = ("--port", str(port), "--web-port", str(web_port), "--certs-dir", str(tmp_path))
    frames: list[Frame] = []
    async with running(sys.executable, "-u", "-m", whole.__name__, *words) as program:
        lines: list[str] = []
        program.on_line = lines.append
        await program.until(lambda: "ready" in lines, "ready", 30)

        def on_frame(frame: Frame) -> None:
            frames.append(frame)
            if len(frames) == 5:
                viewer.stop()

        url = f"http://127.0.0.1:{web_port}/{whole.BROADCAST}"
        viewer = Viewer(ViewOptions(url=url, audio=False, decode=False), on_frame=on_frame)
        async with asyncio.timeout(20):
            await viewer.run()
    assert all(len(frame.payload) == content.FRAME_BYTES for frame in frames)
    for frame in frames:
        content.check(0, frame.payload)
