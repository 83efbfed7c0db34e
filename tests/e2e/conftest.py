"""Fixtures: one browser of each kind for the whole run, a tab for each test, gateways for a file or a test.

All of them live on the session's event loop; the tests here are put on it too.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from scripts.support.gateway import Gateway
from tests.e2e.browsers import BROWSERS, Browser, Tab
from tests.e2e.worlds import launched_inside, only_world, viewer, world  # noqa: F401 - fixtures of roaming/ and cluster/

HERE = Path(__file__).parent
StartGateway = Callable[..., Awaitable[Gateway]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.browser)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launched() -> AsyncIterator[Callable[[str], Awaitable[Browser]]]:
    """Browsers by name, started when first asked for."""
    running: dict[str, Browser] = {}

    async def get(name: str) -> Browser:
        if name in running and running[name].broken:  # one test's failure, not that of all after it
            await running.pop(name).close()
        if name not in running:
            running[name] = await BROWSERS[name].launch()
        return running[name]

    yield get
    for browser in running.values():
        await browser.close()


@pytest.fixture(params=list(BROWSERS))
def browser_name(request: pytest.FixtureRequest) -> str:
    """Each test that opens a tab runs once in each browser."""
    name: str = request.param
    return name


@pytest_asyncio.fixture(loop_scope="session")
async def browser(browser_name: str, launched: Callable[[str], Awaitable[Browser]]) -> Browser:
    return await launched(browser_name)


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Tab]:
    """A fresh tab in the browser of this test."""
    tab = await browser.open()
    yield tab
    if not browser.broken:
        await tab.close()


@pytest_asyncio.fixture(loop_scope="session")
async def gateways(tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Starts gateways that end with the test: ``await gateways("test:", "--name", "test")``."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*arguments: str | Path, host: str = "127.0.0.1") -> Gateway:
            gateway = Gateway(*arguments, directory=tmp_path, host=host)
            return await stack.enter_async_context(gateway)

        yield make


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One for all tests of a file that only watch it; its test broadcast runs while somebody does."""
    async with Gateway("test:", "--on-demand", directory=tmp_path_factory.mktemp("gateway")) as shared:
        yield shared


@pytest.fixture
def http_page(tmp_path: Path) -> Iterator[str]:
    """A plain page from loopback, which browsers hold for a secure context."""
    (tmp_path / "index.html").write_text("<!doctype html><title>plain</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
