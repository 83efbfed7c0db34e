"""A player whose scripts could not all be fetched, as when the network changes while its page is loading."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Tab

# The modules come one by one here; the gateway's own page has them all in its first script.
PAGE = """<!doctype html><title>embeds</title><div id="screen"></div><script type="module">
import { Player } from '%s_client/player.js';
window.player = new Player({ ...%s, broadcast: 'test', container: document.getElementById('screen') });
window.states = [];
window.player.addEventListener('state', ({ detail }) => window.states.push([detail.state, detail.retryInMs]));
window.player.start();
</script>"""
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a socket that is closed resets its connection
HEAD_END = b"\r\n\r\n"


class Front:
    """Stands before the pages' server, has a page of its own, and breaks the first answer to one request."""

    def __init__(self, port: int, fragile: str) -> None:
        self.asked: list[str] = []
        self._port, self._fragile = port, fragile
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a browser, which asks for one thing after the other."""
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(HEAD_END)
                path = head.split(b" ", 2)[1].decode()
                self.asked.append(path)
                answer = page("/") if path == "/" else await self._answer(head)
                if path == self._fragile and self.asked.count(path) == 1:
                    # With its head: what was broken off before, browsers ask for again by themselves.
                    writer.write(answer[: (answer.index(HEAD_END) + len(answer)) // 2])
                    peer = writer.get_extra_info("socket")
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    writer.transport.abort()
                    return
                writer.write(answer)
        writer.close()

    async def _answer(self, head: bytes) -> bytes:
        """The gateway's, to a request without a body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(head.replace(b"keep-alive", b"close"))
        answer = await reader.read()
        writer.close()
        return answer

    def close(self) -> None:
        """Ends all connections."""
        for writer in self._writers:
            writer.close()


def page(base: str, **options: object) -> bytes:
    """The answer with a page that has the player of ``base`` in it."""
    text = (PAGE % (base, json.dumps(options))).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text)


@contextlib.asynccontextmanager
async def fronting(gateway: Gateway, fragile: str) -> AsyncIterator[tuple[Front, str]]:
    """A front, and the address of its page."""
    front = Front(gateway.web_port, fragile)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    try:
        yield front, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        front.close()


async def plays_after_all(tab: Tab) -> None:
    await watching.until(tab, "window.player?.stats().framesPainted > 5", "pictures")
    seen = await watching.counters(tab, 3)
    assert seen == sorted(set(seen)), "the counter goes up with each frame looked at"
    states = await tab.evaluate("window.states")
    assert states[:2] == [["reconnecting", 250], ["connecting", 0]], states
    assert "failed" not in dict(states)


@pytest.mark.parametrize("script", ["main.js", "engine.js", "video.js"])
async def test_a_worker_that_could_not_be_fetched_is_fetched_again(
    tab: Tab, gateway: Gateway, script: str
) -> None:
    """The worker's own script, what it imports while it runs, and what that imports."""
    fragile = f"/_client/worker/{script}"
    async with fronting(gateway, fragile) as (front, url):
        await tab.goto(url)
        await plays_after_all(tab)
        assert front.asked.count(fragile) == 2


async def test_so_is_the_worker_of_a_page_of_another_origin(
    tab: Tab, gateway: Gateway, http_page: str, tmp_path: Path
) -> None:
    """Which begins in the page, and imports the gateway's."""
    fragile = "/_client/worker/main.js"
    transport = gateway.get("/api/v1/transport")
    async with fronting(gateway, fragile) as (front, url):
        options = {"transportUrl": transport["url"], "certificateHashes": transport["certificateHashes"]}
        (tmp_path / "embed.html").write_bytes(page(url, **options).split(HEAD_END, 1)[1])
        await tab.goto(f"{http_page}embed.html")
        await plays_after_all(tab)
        assert front.asked.count(fragile) == 2
