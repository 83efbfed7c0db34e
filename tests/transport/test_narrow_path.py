"""Whole gateways behind a link that takes no more than IPv6's least MTU, dual stack and with IPv6 alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.support import namespaces
from scripts.support.gateway import Gateway
from scripts.support.namespaces import Network, network
from scripts.support.processes import running

pytestmark = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-")

NARROW = 1280  # RFC 8200, section 5: every link of IPv6 takes it, and tunnels often no more
SECONDS = "1.5"


async def view(net: Network, url: str) -> dict[str, Any]:
    """What the native viewer says of a few seconds."""
    arguments = ("view", url, "--seconds", SECONDS, "--json", "--delivery", "auto")
    lines: list[str] = []
    async with running(*net.command("client", sys.executable, "-m", "wtgateway", *arguments)) as viewer:
        viewer.on_line = lines.append
        assert await viewer.wait() == 0, viewer.output()
    told: dict[str, Any] = json.loads(lines[-1])
    return told


async def test_handshake_and_media_fit_through_a_narrow_link(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        net = await stack.enter_async_context(network("client", "router", "node"))
        ends = (("10.1.0.2/24", "fd01::2/64"), ("10.1.0.1/24", "fd01::1/64"))
        await net.link("client", "router", *ends, mtu=NARROW)
        await net.link("router", "node", ("10.9.0.1/24", "fd09::1/64"), ("10.9.0.2/24", "fd09::2/64"))
        await net.forward("router")
        for near, far in (("10.1.0.1", "10.9.0.1"), ("fd01::1", "fd09::1")):
            await net.route("client", "default", near, link="router")
            await net.route("node", "default", far, link="router")
        gateways = [
            Gateway(
                *("test:?size=640x360", "--name", "test"),
                directory=tmp_path / str(port),
                host=host,
                prefix=net.command("node"),
                quic_port=port,
                web_port=port,
            )
            for host, port in (("::", 4433), ("fd09::2", 4434))
        ]
        await asyncio.gather(*(stack.enter_async_context(gateway) for gateway in gateways))
        pages = ("http://10.9.0.2:4433", "http://[fd09::2]:4433", "http://[fd09::2]:4434")
        for page, told in zip(
            pages, await asyncio.gather(*(view(net, f"{page}/test") for page in pages)), strict=True
        ):
            assert told["framesDecoded"] >= 10 and told["decodeErrors"] == 0, (page, told)
