"""Fixtures of roaming and clusters: one network for all of their tests, and browsers inside it.

All that a test changes is put back before the next one; browsers and namespaces live as long as the run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from scripts.support import namespaces
from scripts.support.topology import HOST, ORIGIN, Topology, topology
from tests.e2e.browsers import BROWSERS, Browser, Tab

needs_networks = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def only_world() -> AsyncIterator[Topology]:
    """The network of scripts.support.topology."""
    async with topology() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def world(only_world: Topology) -> Topology:
    """The same with the client at home."""
    if only_world.link != "wifi":
        await only_world.move("wifi")
    return only_world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launched_inside(only_world: Topology) -> AsyncIterator[Callable[[str], Awaitable[Browser]]]:
    """Browsers of the client's, by name, started when first asked for."""
    running: dict[str, Browser] = {}

    async def get(name: str) -> Browser:
        if name in running and running[name].broken:
            await running.pop(name).close()
        if name not in running:
            running[name] = await BROWSERS[name].launch(only_world.net.command("client"), [ORIGIN])
        return running[name]

    yield get
    for browser in running.values():
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def viewer(
    world: Topology, browser_name: str, launched_inside: Callable[[str], Awaitable[Browser]]
) -> AsyncIterator[Tab]:
    """A fresh tab of the client, once in each browser."""
    browser = await launched_inside(browser_name)
    tab = await browser.open()
    yield tab
    if not browser.broken:
        await tab.close()


async def note_states(tab: Tab) -> None:
    """From now on the page remembers each state of its player."""
    await tab.evaluate(
        "(() => { window.states = [];"
        " window.player.addEventListener('state', ({detail}) => window.states.push(detail.state)); })()"
    )


async def states(tab: Tab) -> set[str]:
    """All that there were since :func:`note_states`."""
    return set(await tab.evaluate("window.states"))


__all__ = [
    "HOST",
    "ORIGIN",
    "launched_inside",
    "needs_networks",
    "note_states",
    "only_world",
    "states",
    "viewer",
    "world",
]
