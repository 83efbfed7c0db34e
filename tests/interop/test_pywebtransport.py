"""pywebtransport (Rust inside) follows the current draft, and refuses a server that does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.interop.environments import environment, find_python
from tests.interop.serving import endpoint, run_client
from tests.transport.ends import Recorder
from wtgateway.transport import connect
from wtgateway.transport.drafts import Draft
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import WebTransportSession

PAYLOAD = bytes(range(256)) * 2000
FRAME_BYTES = 200_000  # forty of them are twice what the client grants at first


@pytest.fixture(scope="module")
def python() -> Path:
    found = find_python((3, 12))
    if found is None:
        pytest.skip("pywebtransport needs Python 3.12 or later, and there is none")
    return environment(found, ("pywebtransport==0.21.1",))


class Echo(Recorder):
    """Sends back what comes; opens a bidirectional stream of its own; knows the words of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[bytes] = []
        self.own = -1

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

    def datagram(self, data: bytes) -> None:
        super().datagram(data)
        assert self.open.send_datagram(data)
        self.open.flush()

    def writable(self) -> None:
        while self.pending and self.open.room() > 0:
            self.open.send_frame(self.pending.pop(0), Urgency.DELTA)
        if self.session is not None and not self.open.closed:
            self.open.await_room(bool(self.pending))


async def test_a_session_with_streams_datagrams_and_flow_control(python: Path) -> None:
    server = Echo()
    async with endpoint(lambda: server, "echo-1") as (port, served):
        seen = await run_client(python, "pywebtransport_client.py", str(port))
        digest = hashlib.sha256(PAYLOAD).hexdigest()
        limits = connect.LIMITS
        assert seen == {
            "protocol": "echo-1",
            "flow_control": True,
            "limits": [limits.max_data, limits.max_streams_uni, limits.max_streams_bidi],
            "our_limits": [4 << 20, 10],  # fewer than the streams that it gets
            "bidi": digest,
            "their_bidi": "hello",
            "uni": digest,
            "datagram": "datagram",
            "many": [[number, FRAME_BYTES, 1] for number in range(40)],
            "reset": 42,
        }
        assert server.streams[server.own] == b"answer"
        assert server.own in server.finished
        assert server.datagrams == [b"datagram"]
        assert server.open.credit is not None
        assert server.open._connection.draft == Draft.DRAFT_15
        assert server.closes == [(77, "enough")]
        assert served.stats["malformed"] == 0
