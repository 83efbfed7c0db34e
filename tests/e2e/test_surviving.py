"""Surviving: a page that was opened once keeps playing, whatever happens short of closing it."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from scripts.support.gateway import Gateway
from scripts.support.processes import Program, free_port, running
from tests.e2e import watching
from tests.e2e.browsers import BROWSERS, Browser, Tab
from tests.e2e.conftest import StartGateway
from tests.e2e.files import write_movie

ROTATE_S = 3


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_the_gateway_is_restarted(tab: Tab, gateways: StartGateway, kill: bool) -> None:
    gateway = await gateways("test:")
    await watching.watch(tab, f"{gateway.url}/test")
    await gateway.stop(signal.SIGKILL if kill else signal.SIGTERM)
    await watching.until(tab, "window.player.stats().state === 'reconnecting'", "reconnecting", 45)
    await gateway.start()
    await watching.until(
        tab, "(s => s.state === 'playing' && s.reconnects >= 1)(window.player.stats())", "playing again", 60
    )
    await watching.more_frames(tab, 30)
    await watching.counters(tab, 2)


async def test_the_session_is_lost(tab: Tab, gateway: Gateway) -> None:
    await watching.watch(tab, f"{gateway.url}/test")
    await tab.evaluate("window.player.debug.dropSession().then(() => 0)")
    await watching.until(
        tab, "(s => s.state === 'playing' && s.reconnects === 1)(window.player.stats())", "playing again"
    )
    await watching.more_frames(tab, 30)


async def test_the_decoder_fails(tab: Tab, gateway: Gateway) -> None:
    await watching.watch(tab, f"{gateway.url}/test")
    await tab.evaluate("window.player.debug.failDecoder().then(() => 0)")
    await watching.until(tab, "window.player.stats().decoderErrors >= 1", "an error of the decoder")
    await watching.more_frames(tab, 30)
    assert (await watching.stats(tab))["reconnects"] == 0
    await watching.counters(tab, 2)


@pytest.mark.timeout(240)
async def test_certificates_rotate_under_both_browsers(
    launched: Callable[[str], Awaitable[Browser]], gateways: StartGateway
) -> None:
    gateway = await gateways("test:", "--cert-rotate", f"{ROTATE_S}s")
    async with contextlib.AsyncExitStack() as stack:
        tabs = [await (await launched(name)).open() for name in BROWSERS]
        for tab in tabs:
            stack.push_async_callback(tab.close)
            await watching.watch(tab, f"{gateway.url}/test")
        used: list[str] = []

        async def rotated() -> bool:
            served = gateway.get("/api/v1/transport")["certificateHashes"]
            if served[0]["value"] not in used:
                used.append(served[0]["value"])
            return len(used) > 4

        await watching.poll(rotated, "four rotations", seconds=ROTATE_S * 20)
        for tab in tabs:
            assert (await watching.stats(tab))["reconnects"] == 0, "rotation touches no live session"
            assert watching.breaks(await watching.received_frames(tab)) == []
            await watching.more_frames(tab, 10)
            await tab.evaluate("window.player.debug.dropSession().then(() => 0)")
        for tab in tabs:
            condition = "(s => s.state === 'playing' && s.reconnects >= 1)(window.player.stats())"
            await watching.until(tab, condition, "playing on the new certificate")
            await watching.more_frames(tab, 10)


async def test_a_source_appears_after_its_page(tab: Tab, gateways: StartGateway, tmp_path: Path) -> None:
    movie = tmp_path / "later.mp4"
    gateway = await gateways(movie)
    await tab.goto(f"{gateway.url}/later")
    await watching.until(tab, "window.player?.stats().state === 'waiting'", "waiting for the source")
    await watching.until(tab, "document.body.innerText.includes('Waiting for the source')", "it says so")
    write_movie(tmp_path / "part.mp4", seconds=3)
    (tmp_path / "part.mp4").rename(movie)
    await watching.until(tab, "window.player.stats().state === 'playing'", "playing", 60)
    await watching.counters(tab, 2)


async def test_a_source_goes_and_comes_back_and_others_are_untouched(
    tab: Tab, browser: Browser, gateways: StartGateway
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    gateway = await gateways(*(f"srt://127.0.0.1:{port}", "test:", "--name", "camera", "--name", "test"))
    other = await browser.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(other.close)
        async with camera(port):
            await watching.watch(tab, f"{gateway.url}/camera")
            await watching.watch(other, f"{gateway.url}/test")
        await watching.until(tab, "window.player.stats().state === 'waiting'", "waiting for the source", 45)
        async with camera(port):
            await watching.until(tab, "window.player.stats().state === 'playing'", "playing again", 60)
            await watching.more_frames(tab, 20)
        assert (await watching.stats(tab))["reconnects"] == 0, "the session outlives its source"
        assert watching.breaks(await watching.received_frames(other)) == []
        assert (await watching.stats(other))["reconnects"] == 0


@contextlib.asynccontextmanager
async def camera(port: int) -> AsyncIterator[Program]:
    """ffmpeg as an SRT camera that waits for its caller."""
    picture = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25")
    encoder = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25")
    target = f"srt://127.0.0.1:{port}?mode=listener"
    command = ("ffmpeg", "-loglevel", "error", "-re", *picture, *encoder, "-f", "mpegts", target)
    async with running(*command) as program:
        yield program
