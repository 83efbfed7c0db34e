"""Our endpoint with a scripted session, and a client program that talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tests.transport.ends import Recorder, make_certificate
from wtgateway.transport.endpoint import QuicEndpoint

CLIENTS = Path(__file__).parent / "clients"
PATIENCE_S = 60.0  # for a program that hangs, not for one that works


@contextlib.asynccontextmanager
async def endpoint(make: Callable[[], Recorder], protocol: str) -> AsyncIterator[tuple[int, QuicEndpoint]]:
    """The UDP port of an endpoint that answers each CONNECT with a handler of ``make``."""
    served = QuicEndpoint(on_request=lambda _: make(), certificate=make_certificate(), protocols=(protocol,))
    try:
        (address, *_) = await served.start("127.0.0.1", 0)
        yield address[1], served
    finally:
        await served.close(0, "the test is over", 1.0)


async def run_client(
    python: Path, program: str, *arguments: str, until: asyncio.Event | None = None
) -> dict[str, Any]:
    """What the program printed last, as JSON. Fails with what it said if it failed or hung.

    ``until``: the program waits for a line of input, which it gets when this is set.
    """
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-I",
        str(CLIENTS / program),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    waiting = asyncio.create_task((until or asyncio.Event()).wait())
    ending = asyncio.create_task(process.wait())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
            output, _ = await process.communicate(b"\n" if waiting.done() else None)
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        raise AssertionError(f"{program} hung: {output.decode()}") from None
    finally:
        waiting.cancel()
    assert process.returncode == 0, output.decode()
    result: dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])
    return result
