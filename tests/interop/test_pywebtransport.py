"""pywebtransport (Rust inside) follows the current draft, and refuses a server that does not."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.interop.echo import FRAME_BYTES, Echo
from tests.interop.environments import environment, find_python
from tests.interop.serving import endpoint, run_client
from wtgateway.transport import connect
from wtgateway.transport.drafts import Draft

PAYLOAD = bytes(range(256)) * 2000


@pytest.fixture(scope="module")
def python() -> Path:
    found = find_python((3, 12))
    if found is None:
        pytest.skip("pywebtransport needs Python 3.12 or later, and there is none")
    return environment(found, ("pywebtransport==0.21.1",))


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
        async with asyncio.timeout(20):
            await server.over.wait()
        assert server.streams[server.own] == b"answer"
        assert server.own in server.finished
        assert server.datagrams == [b"datagram"]
        assert server.open.credit is not None
        assert server.open._connection.draft == Draft.DRAFT_15
        assert server.closes == [(77, "enough")]
        assert served.stats["malformed"] == 0
