"""The README's pictures: list, player, overlay and error pages, light, dark and on a phone.

The only module of this package that needs the development tools (Playwright) and tests/e2e.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import NAME_OF_NO_SECURE_ORIGIN, Chromium, Tab

DESKTOP: dict[str, Any] = {"width": 1280, "height": 800}
PHONE: dict[str, Any] = {"width": 390, "height": 844, "device_scale_factor": 2, "has_touch": True}
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}

Show = Callable[[Tab, Gateway], Awaitable[None]]


async def _list(tab: Tab, gateway: Gateway) -> None:
    await tab.goto(f"{gateway.url}/")
    await watching.until(tab, "document.querySelectorAll('#broadcasts a').length === 3", "the list")
    await watching.until(tab, "document.body.innerText.includes('Source away')", "its states")


async def _player(tab: Tab, gateway: Gateway) -> None:
    await watching.watch(tab, f"{gateway.url}/test", sound=True)
    await watching.more_frames(tab, 60)


async def _overlay(tab: Tab, gateway: Gateway) -> None:
    await _player(tab, gateway)
    await tab.press("s")
    await watching.more_frames(tab, 300)  # long enough for the curves


async def _waiting(tab: Tab, gateway: Gateway) -> None:
    await tab.goto(f"{gateway.url}/door")
    await watching.until(tab, "document.body.innerText.includes('Waiting for the source')", "words")


async def _unknown(tab: Tab, gateway: Gateway) -> None:
    await tab.goto(f"{gateway.url}/kitchen")
    await watching.until(tab, "document.body.innerText.includes('There is no broadcast')", "words")


async def _insecure(tab: Tab, _: Gateway) -> None:
    named = ("--advertise", NAME_OF_NO_SECURE_ORIGIN)  # else it would not answer under that name
    with tempfile.TemporaryDirectory() as folder:
        async with Gateway("test:", *named, directory=Path(folder)) as gateway:
            await tab.goto(f"http://{NAME_OF_NO_SECURE_ORIGIN}:{gateway.web_port}/test")
            await watching.until(tab, "document.body.innerText.includes('a secure page')", "words")


async def _monitor(tab: Tab, gateway: Gateway) -> None:
    """With two viewers in the same page."""
    await tab.goto(f"{gateway.url}/_monitor")
    for name in ("test", "street"):
        await tab.evaluate(
            f"""import('/_client/player.js').then(({{ Player }}) => {{
              const container = document.createElement('div');
              window.player = new Player({{ url: location.origin, broadcast: '{name}', container }});
              return window.player.start();
            }})"""
        )
        await watching.until(tab, "window.player.stats().framesPainted > 30", "pictures")
    await watching.more_frames(tab, 300)  # long enough for the curves


PICTURES: dict[str, tuple[Show, dict[str, Any]]] = {
    "list-light": (_list, DESKTOP | LIGHT),
    "list-dark": (_list, DESKTOP | DARK),
    "list-phone": (_list, PHONE | LIGHT),
    "player-light": (_player, DESKTOP | LIGHT),
    "player-dark": (_player, DESKTOP | DARK),
    "player-phone": (_player, PHONE | DARK),
    "overlay-dark": (_overlay, DESKTOP | DARK),
    "overlay-light": (_overlay, DESKTOP | LIGHT),
    "monitor-light": (_monitor, DESKTOP | LIGHT),
    "monitor-phone": (_monitor, PHONE | DARK),
    "waiting-light": (_waiting, DESKTOP | LIGHT),
    "unknown-light": (_unknown, DESKTOP | LIGHT),
    "insecure-light": (_insecure, DESKTOP | LIGHT),
    "insecure-phone": (_insecure, PHONE | DARK),
}


async def take(folder: Path) -> None:
    """Write every picture as ``folder``/NAME.png."""
    folder.mkdir(parents=True, exist_ok=True)
    browser = await Chromium.launch()
    names = [option for name in ("test", "street", "door") for option in ("--name", name)]
    sources = ("test:", "test:?size=640x360&fps=25", "/media/door.mp4")
    try:
        with tempfile.TemporaryDirectory(prefix="wtgateway-screenshots-") as directory:
            async with Gateway(*sources, *names, directory=Path(directory)) as gateway:
                for name, (show, options) in PICTURES.items():
                    tab = await browser.open(**options)
                    await show(tab, gateway)
                    await tab.screenshot(folder / f"{name}.png")
                    await tab.close()
    finally:
        await browser.close()


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
