"""Program: moq-rs 0.5.1 publishes an X display's frames as one H.264 track; @moq/watch plays it.

The page, its script and the certificate's hash are served by HTTP on the port (TCP) that QUIC has (UDP),
where @moq/watch asks for them.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import threading
import time
from fractions import Fraction
from pathlib import Path

import moq
from moq_ffi import MoqVideoFormat, MoqVideoHint

from scripts.peers.aiortc.feed import packets

GROUP_SECONDS = 2  # a viewer who lost a frame goes on at the next group: as its own examples have it
PAGE = b"""<!doctype html><meta charset="utf-8"><style>
html, body { margin: 0; background: #000; overflow: hidden }
canvas { display: block; width: 1280px; height: 720px }
</style><body><script type="module" src="/page.js"></script>"""


def web(host: str, port: int, script: bytes, fingerprint: str) -> http.server.ThreadingHTTPServer:
    """What the page needs."""
    files = {
        "/": (PAGE, "text/html"),
        "/page.js": (script, "text/javascript"),
        "/certificate.sha256": (fingerprint.encode(), "text/plain"),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

        def do_GET(self) -> None:
            """One of the three."""
            body, kind = files.get(self.path.split("?")[0], (b"", "text/plain"))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            self.wfile.write(body)

    return http.server.ThreadingHTTPServer((host, port), Handler)


async def serve(chosen: argparse.Namespace) -> None:
    """Serve until ended."""
    fps = Fraction(str(chosen.fps))
    async with moq.Server(f"{chosen.host}:{chosen.port}", tls_generate=["localhost"]) as server:
        served = web(chosen.host, chosen.port, chosen.script.read_bytes(), server.cert_fingerprints()[0])
        threading.Thread(target=served.serve_forever, daemon=True).start()
        broadcast = server.create_broadcast("glass.hang")
        hint = MoqVideoHint(bitrate=chosen.bitrate, framerate=float(fps), optimize_for_latency=True)
        video = broadcast.publish_video(MoqVideoFormat.AVC3, hint=hint)
        broadcast.announce()

        def pump() -> None:
            began = time.monotonic()
            group = round(GROUP_SECONDS * fps)
            for packet in packets(chosen.display, fps, chosen.bitrate, threading.Event(), group):
                video.write_frame(bytes(packet), round((time.monotonic() - began) * 1e6))

        threading.Thread(target=pump, daemon=True).start()
        print("ready", flush=True)
        await server.serve()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--display", required=True)
    parser.add_argument("--script", type=Path, required=True, help="page.js, bundled")
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--bitrate", type=int, default=3_000_000)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
