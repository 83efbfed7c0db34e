"""Program: stock aioquic, its asyncio server as it comes: all viewers get each frame, 30 times a second."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent

from scripts.benchmarks.fanout.content import Ticks, fragments

_DATAGRAM_BYTES = 1160  # with WebTransport's session ID the most that aioquic's packets take is 1170

viewers: set[Viewer] = set()


class Viewer(QuicConnectionProtocol):
    """One connection with one session."""

    h3: H3Connection | None = None
    session = -1

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answer the CONNECT."""
        if isinstance(event, ProtocolNegotiated):
            self.h3 = H3Connection(self._quic, enable_webtransport=True)
        elif isinstance(event, ConnectionTerminated):
            viewers.discard(self)
        for h3_event in self.h3.handle_event(event) if self.h3 else ():
            if isinstance(h3_event, HeadersReceived):
                fields = [(b":status", b"200"), (b"sec-webtransport-http3-draft", b"draft02")]
                self.h3.send_headers(h3_event.stream_id, fields)
                self.session = h3_event.stream_id
                viewers.add(self)

    def send_stream(self, frame: bytes) -> None:
        """The frame as a stream."""
        stream_id = self.h3.create_webtransport_stream(self.session, is_unidirectional=True)
        self._quic.send_stream_data(stream_id, frame, end_stream=True)
        self.transmit()

    def send_datagrams(self, payloads: list[bytes]) -> None:
        """The frame as datagrams."""
        for payload in payloads:
            self.h3.send_datagram(self.session, payload)
        self.transmit()


async def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--mode", choices=("streams", "datagrams"), default="streams")
    chosen = parser.parse_args()
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN, max_datagram_frame_size=65536)
    configuration.load_cert_chain(chosen.cert, chosen.key)
    await serve("127.0.0.1", chosen.port, configuration=configuration, create_protocol=Viewer)
    print("ready", flush=True)
    ticks = Ticks()
    while True:
        await asyncio.sleep(ticks.wait_s())
        frame = ticks.next_frame()
        payloads = fragments(ticks.number, frame, _DATAGRAM_BYTES) if chosen.mode == "datagrams" else []
        for viewer in list(viewers):
            if payloads:
                viewer.send_datagrams(payloads)
            else:
                viewer.send_stream(frame)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
