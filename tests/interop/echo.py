"""The session that clients are tried with."""

from __future__ import annotations

import asyncio

from tests.transport.ends import Recorder
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import WebTransportSession

FRAME_BYTES = 200_000  # forty of them are twice what pywebtransport grants at first


class Echo(Recorder):
    """Sends back what comes; opens a bidirectional stream of its own; knows the words of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[bytes] = []
        self.own = -1
        self.over = asyncio.Event()

    def opened(self, session: WebTransportSession) -> None:
        super().opened(session)
        self.own = session.open_bidi()
        session.send(self.own, b"hello")
        session.flush()

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        super().stream_data(stream_id, data, fin)
        session, whole = self.open, bytes(self.streams[stream_id])
        if whole == b"reset me":
            session.reset(stream_id, 42)
        elif stream_id == self.own:
            pass
        elif not stream_id & 2:
            session.send(stream_id, data, fin)
        elif fin and whole == b"many":
            self.pending = [bytes([number]) * FRAME_BYTES for number in range(40)]
            self.writable()
        elif fin:
            session.send(session.open_uni(), whole, True)
        session.flush()

    def closed(self, code: int, reason: str) -> None:
        super().closed(code, reason)
        self.over.set()

    def datagram(self, data: bytes) -> None:
        super().datagram(data)
        assert self.open.send_datagram(data)
        self.open.flush()

    def writable(self) -> None:
        while self.pending and self.open.room() > 0:
            self.open.send_frame(self.pending.pop(0), Urgency.DELTA)
        if self.session is not None and not self.open.closed:
            self.open.await_room(bool(self.pending))
