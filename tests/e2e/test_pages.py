"""Pages: what a visitor is told, in words, also when nothing can be played."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.support.gateway import Gateway
from scripts.support.screenshots import PICTURES, take
from tests.e2e import watching
from tests.e2e.browsers import NAME_OF_NO_SECURE_ORIGIN, Tab
from tests.e2e.conftest import StartGateway


async def test_the_list_names_each_broadcast_and_leads_to_it(tab: Tab, gateways: StartGateway) -> None:
    gateway = await gateways("test:", "/nowhere/to/be/found.mp4", "--name", "test", "--name", "gone")
    await tab.goto(f"{gateway.url}/")
    await watching.until(tab, "document.querySelectorAll('#broadcasts a').length === 2", "two rows")
    await watching.until(
        tab, "document.querySelector('a[href=\"/test\"]').innerText.includes('Live')", "live"
    )
    await watching.until(
        tab, "document.querySelector('a[href=\"/gone\"]').innerText.includes('Source away')", "source away"
    )
    await tab.click('a[href="/test"]')
    await watching.until(tab, "window.player?.stats().state === 'playing'", "playing")


async def test_an_unknown_broadcast_is_explained(tab: Tab, gateway: Gateway) -> None:
    assert await tab.goto(f"{gateway.url}/nothing-here") == 404
    await watching.until(
        tab, "document.body.innerText.includes('There is no broadcast “nothing-here”')", "it says so"
    )


async def test_an_insecure_origin_is_explained(tab: Tab, gateways: StartGateway) -> None:
    # A name that is none of its own it would not answer to.
    gateway = await gateways("test:", "--advertise", NAME_OF_NO_SECURE_ORIGIN)
    await tab.goto(f"http://{NAME_OF_NO_SECURE_ORIGIN}:{gateway.web_port}/test")
    assert await tab.evaluate("isSecureContext") is False
    await watching.until(tab, "document.body.innerText.includes('a secure page')", "what is missing")
    await watching.until(tab, "/--public|https:/.test(document.body.innerText)", "what to do")


async def test_sound_needs_one_click(tab: Tab, gateway: Gateway) -> None:
    await watching.watch(tab, f"{gateway.url}/test")
    assert await tab.evaluate("window.player.muted") is True
    await tab.click("#mute")
    await watching.until(tab, "window.player.muted === false", "not muted")
    await watching.until(tab, "window.player.stats().audioPlayedMs > 0", "sound")


async def test_the_statistics_open_with_a_key(tab: Tab, gateway: Gateway) -> None:
    await watching.watch(tab, f"{gateway.url}/test")
    await tab.press("s")
    await watching.until(
        tab,
        "document.querySelector('#statistics').checkVisibility() && "
        "document.querySelector('#statistics').innerText.includes('1280')",
        "figures",
    )


async def test_a_page_of_the_gateway_leaves_no_error_in_the_console(tab: Tab, gateway: Gateway) -> None:
    await watching.watch(tab, f"{gateway.url}/test", sound=True)
    assert [line for line in await tab.console() if line.startswith(("error", "pageerror"))] == []


@pytest.mark.timeout(300)
async def test_the_pictures_of_the_readme_can_be_taken(tmp_path: Path) -> None:
    await take(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(f"{name}.png" for name in PICTURES)
    assert all(path.stat().st_size > 5_000 for path in tmp_path.glob("*.png"))
