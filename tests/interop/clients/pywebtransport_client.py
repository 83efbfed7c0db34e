"""Program: pywebtransport's client goes through all that a session can do; prints what it saw as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import sys
from typing import Any

from pywebtransport import ClientConfig, WebTransportClient

PATIENCE_S = 20


async def main(port: str) -> dict[str, Any]:
    """Every kind of stream both ways, datagrams, resets, and a close with code and reason."""
    seen: dict[str, Any] = {}
    config = ClientConfig(verify_mode=ssl.CERT_NONE)
    async with WebTransportClient(config=config) as client:
        session = await client.connect(
            url=f"https://127.0.0.1:{port}/interop", wt_available_protocols=["other", "echo-1"]
        )
        diagnostics = await session.diagnose()
        seen["protocol"] = session.wt_protocol
        seen["flow_control"] = diagnostics.flow_control_negotiated
        seen["limits"] = [
            diagnostics.peer_max_data,
            diagnostics.peer_max_streams_uni,
            diagnostics.peer_max_streams_bidi,
        ]
        seen["our_limits"] = [diagnostics.local_max_data, diagnostics.local_max_streams_uni]

        payload = bytes(range(256)) * 2000
        bidi = await session.create_bidirectional_stream()
        await bidi.write_all(data=payload, end_stream=True)
        seen["bidi"] = hashlib.sha256(await bidi.read_all()).hexdigest()

        incoming_bidi = aiter(session.incoming_bidirectional_streams())
        theirs = await anext(incoming_bidi)
        seen["their_bidi"] = (await theirs.readexactly(size=5)).decode()
        await theirs.write_all(data=b"answer", end_stream=True)

        incoming_uni = aiter(session.incoming_unidirectional_streams())
        uni = await session.create_unidirectional_stream()
        await uni.write_all(data=payload, end_stream=True)
        seen["uni"] = hashlib.sha256(await (await anext(incoming_uni)).read_all()).hexdigest()

        await session.send_datagram(data=b"datagram")
        seen["datagram"] = (await session.read_datagram()).decode()

        ask = await session.create_unidirectional_stream()
        await ask.write_all(data=b"many", end_stream=True)  # more than our limits allow at once
        many = [await (await anext(incoming_uni)).read_all() for _ in range(40)]
        seen["many"] = sorted((data[0], len(data), len(set(data))) for data in many)

        late = await session.create_bidirectional_stream()
        await late.write(data=b"reset me")
        try:
            await late.read_all()
        except Exception as error:  # the library's own error tree
            seen["reset"] = getattr(error, "error_code", None)
        await session.close(error_code=77, reason="enough")
    return seen


print(json.dumps(asyncio.run(asyncio.wait_for(main(sys.argv[1]), PATIENCE_S))))
