"""A page behind a network that drops UDP: it plays over a WebSocket, says so, and goes back when UDP does."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest_asyncio

from scripts.support.processes import free_port
from tests.e2e import watching
from tests.e2e.browsers import Tab
from tests.e2e.conftest import StartGateway
from tests.e2e.relays import relaying

NOTE = "document.querySelector('#transport')"
REMEMBERED = "Object.keys(localStorage).some((key) => key.startsWith('wtgateway.websocket.'))"


@pytest_asyncio.fixture(loop_scope="session")
async def nobody() -> AsyncIterator[tuple[str, int]]:
    """An address that takes datagrams and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()


async def test_a_page_goes_to_a_websocket_and_back_as_udp_does(
    tab: Tab, gateways: StartGateway, nobody: tuple[str, int]
) -> None:
    listen = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
    gateway = await gateways("test:", "--advertise", f"{listen[0]}:{listen[1]}")
    async with relaying(listen, nobody) as relay:
        await watching.watch(tab, f"{gateway.url}/test", sound=True)
        before = await watching.stats(tab)
        assert (before["transport"], before["transportReason"]) == ("websocket", "udp-blocked")
        said = await tab.evaluate(f"{NOTE}.checkVisibility() && {NOTE}.textContent")
        assert said == "WebSocket (UDP is blocked)"
        assert await tab.evaluate(REMEMBERED)
        assert await watching.counters(tab, 3)
        relay.target = (gateway.host, gateway.quic_port)
        await tab.evaluate("dispatchEvent(new Event('online'))")
        await watching.until(tab, "window.player.stats().transport === 'webtransport'", "WebTransport")
        await watching.more_frames(tab, 10)
        await watching.until(tab, f"{NOTE}.hidden", "no note")
        after = await watching.stats(tab)
        assert (after["reconnects"], after["state"]) == (0, "playing"), "it took the other's place"
        assert after["roams"] > before["roams"]
        # A machine that has no time loses frames too: client/test/fallback.test.js looks at each of them.
        for name in ("framesOutOfOrder", "decoderErrors"):
            assert after[name] == before[name], name
        assert not await tab.evaluate(REMEMBERED)
        relay.target = nobody
        relay.silence()
        await watching.until(tab, "window.player.stats().transport === 'websocket'", "a WebSocket again")
        await watching.more_frames(tab, 10)
        assert await watching.counters(tab, 2)
