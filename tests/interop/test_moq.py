"""moq-rs (Rust inside) announces drafts 02 and 07, and pins our self-signed certificate by its hash."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.interop.environments import environment, find_python
from tests.interop.moq_lite import PROTOCOL, MoqPeer
from tests.interop.serving import endpoint, run_client
from tests.transport.ends import fingerprint, make_certificate
from wtgateway.transport.drafts import Draft


@pytest.fixture(scope="module")
def python() -> Path:
    found = find_python((3, 10))
    assert found is not None  # the one that runs the tests
    return environment(found, ("moq-rs==0.5.1",))


class Patient(MoqPeer):
    """Knows when everything has come."""

    def __init__(self, group: list[bytes], datagram: bytes) -> None:
        super().__init__(group, datagram)
        self.complete = asyncio.Event()

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        super().stream_data(stream_id, data, fin)
        self._look()

    def datagram(self, data: bytes) -> None:
        super().datagram(data)
        self._look()

    def _look(self) -> None:
        if len(self.received) >= 3 and self.received_datagrams:
            self.complete.set()


async def test_a_broadcast_each_way_in_streams_and_datagrams(python: Path) -> None:
    frames = [bytes([number]) * (1 + number * 60_000) for number in range(5)]
    server = Patient(frames, b"down it goes")
    async with endpoint(lambda: server, PROTOCOL) as (port, served):
        seen = await run_client(
            python, "moq_client.py", str(port), fingerprint(make_certificate()).hex(), until=server.complete
        )
        assert seen == {
            "frames": [[len(frame), hashlib.sha256(frame).hexdigest()] for frame in frames],
            "datagram": "down it goes",
        }
        assert server.received == [byte * 100_000 for byte in (b"a", b"b", b"c")]
        assert server.received_datagrams == [b"up it goes"]
        assert server.kinds == {"ours, one way", "ours, both ways", "theirs, one way", "theirs, both ways"}
        assert server.open.protocol == PROTOCOL
        assert server.open._connection.draft == Draft.DRAFT_07
        assert served.stats["malformed"] == 0
