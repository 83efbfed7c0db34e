"""Program: our transport alone, QuicEndpoint and one handler a viewer: the same job as the peers' servers.

Paths: ``/`` gets every frame, ``/greedy`` 25 copies of it (a wish for 100 Mbit/s, of which it gets what
the path takes), ``/idle`` nothing. ``--whole`` is the gateway itself (:mod:`.whole`).
"""

from __future__ import annotations

import argparse
import asyncio
from collections import deque
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from scripts.benchmarks.fanout.content import Ticks, fragments
from wtgateway.transport.endpoint import QuicEndpoint, ServerCertificate
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import Refusal, SessionHandler, SessionRequest, WebTransportSession

GREEDY_COPIES = 25
_MAX_WAITING_BYTES = 256 * 1024  # beyond, a frame is dropped for that viewer
_MAX_GREEDY_FRAMES = 64


class Viewer:
    """A session that gets every frame; what has no room is dropped."""

    def __init__(self, viewers: set[Viewer]) -> None:
        self._viewers = viewers
        self.session: WebTransportSession | None = None

    def opened(self, session: WebTransportSession) -> None:
        """From now on frames come."""
        self.session = session
        self._viewers.add(self)

    def closed(self, code: int, reason: str) -> None:
        """And no more."""
        self._viewers.discard(self)
        self.session = None

    def send_stream(self, frame: bytes) -> None:
        """The frame as a stream."""
        if self.session is not None and self.session.room() > -_MAX_WAITING_BYTES:
            self.session.send_frame(frame, Urgency.DELTA)
            self.session.flush()

    def send_datagrams(self, payloads: list[bytes]) -> None:
        """The frame as datagrams."""
        if self.session is not None:
            self.session.send_datagrams(payloads, Urgency.DELTA)
            self.session.flush()

    def writable(self) -> None:
        """Nothing waits here."""

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        """Viewers say nothing."""

    def stream_reset(self, stream_id: int, code: int) -> None:
        """Viewers say nothing."""

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Viewers stop nothing."""

    def datagram(self, data: bytes) -> None:
        """Viewers say nothing."""


class GreedyViewer(Viewer):
    """Wishes for more than anybody should get: keeps its queue full, and sends while there is room."""

    def __init__(self, viewers: set[Viewer]) -> None:
        super().__init__(viewers)
        self._waiting: deque[bytes] = deque(maxlen=_MAX_GREEDY_FRAMES)

    def send_stream(self, frame: bytes) -> None:
        """Many frames."""
        self._waiting.extend([frame] * GREEDY_COPIES)
        self.writable()
        if self.session is not None:
            self.session.flush()

    def writable(self) -> None:
        """Hand over what there is room for."""
        session = self.session
        if session is None:
            return
        while self._waiting and session.room() > 0:
            session.send_frame(self._waiting.popleft(), Urgency.DELTA)
        session.await_room(bool(self._waiting))


def load_certificate(cert: Path, key: Path) -> ServerCertificate:
    """From two PEM files."""
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return ServerCertificate(x509.load_pem_x509_certificate(cert.read_bytes()), private)


async def serve(chosen: argparse.Namespace) -> None:
    """Serve until ended."""
    viewers: set[Viewer] = set()

    def on_request(request: SessionRequest) -> SessionHandler | Refusal:
        kinds = {"/": Viewer(viewers), "/greedy": GreedyViewer(viewers), "/idle": Viewer(set())}
        return kinds.get(request.path) or Refusal(404, "no such load")

    endpoint = QuicEndpoint(on_request=on_request, certificate=load_certificate(chosen.cert, chosen.key))
    await endpoint.start("127.0.0.1", chosen.port)
    print("ready", flush=True)
    ticks = Ticks()
    while True:
        await asyncio.sleep(ticks.wait_s())
        frame = ticks.next_frame()
        if chosen.mode == "streams":
            for viewer in list(viewers):
                viewer.send_stream(frame)
            continue
        cut: dict[int, list[bytes]] = {}  # by what fits a datagram of that viewer's path
        for viewer in list(viewers):
            assert viewer.session is not None
            if (size := viewer.session.max_datagram_bytes) not in cut:
                cut[size] = fragments(ticks.number, frame, size)
            viewer.send_datagrams(cut[size])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--mode", choices=("streams", "datagrams"), default="streams")
    chosen = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(chosen))
    else:
        uvloop.run(serve(chosen))


if __name__ == "__main__":
    main()
