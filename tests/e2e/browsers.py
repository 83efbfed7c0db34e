"""One interface to a tab, and the two browsers of Debian behind it.

Chromium is driven by Playwright (never with ``--disable-quic``, which turns WebTransport off),
Firefox by puppeteer-core over WebDriver BiDi in a small Node process (``firefox_bridge.mjs``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from playwright.async_api import Browser as PlaywrightBrowser
from playwright.async_api import Page, Playwright, async_playwright

from scripts.support.processes import ROOT
from tests.e2e.soundcard import NullSoundcard

NAME_OF_NO_SECURE_ORIGIN = "gateway.example"  # leads to 127.0.0.1, but no browser holds it for secure
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    f"--host-resolver-rules=MAP {NAME_OF_NO_SECURE_ORIGIN} 127.0.0.1",
)
FIREFOX_PREFS = {
    "network.dns.localDomains": NAME_OF_NO_SECURE_ORIGIN,
    "media.autoplay.default": 0,  # allow sound without a click
    "media.autoplay.blocking_policy": 0,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}
CONSOLE_LINES = 200
CALL_SECONDS = 45
Json = Any


class Tab(Protocol):
    """A page in a context of its own. ``evaluate`` takes an expression; a promise is awaited."""

    browser: str

    async def goto(self, url: str) -> int:
        """Load a page; its HTTP status."""

    async def evaluate(self, expression: str) -> Json: ...
    async def click(self, selector: str) -> None: ...
    async def press(self, key: str) -> None: ...
    async def screenshot(self, path: Path) -> None: ...
    async def console(self) -> list[str]: ...
    async def close(self) -> None: ...


class Browser(Protocol):
    """A running browser."""

    name: str
    broken: bool  # it hangs; nothing more can be asked of it

    async def open(self, width: int = 1280, height: int = 800, **options: Json) -> Tab: ...
    async def close(self) -> None: ...


class ChromiumTab:
    """A Playwright page in its own context."""

    browser = "chromium"

    def __init__(self, page: Page) -> None:
        self.page = page
        self._console: list[str] = []
        page.on("console", lambda message: self._remember(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self._remember(f"pageerror: {error}"))

    def _remember(self, line: str) -> None:
        self._console.append(line)
        del self._console[:-CONSOLE_LINES]

    async def goto(self, url: str) -> int:
        answer = await self.page.goto(url, wait_until="domcontentloaded")
        return answer.status if answer else 0

    async def evaluate(self, expression: str) -> Json:
        return await self.page.evaluate(expression)

    async def click(self, selector: str) -> None:
        await self.page.click(selector)

    async def press(self, key: str) -> None:
        await self.page.keyboard.press(key)

    async def screenshot(self, path: Path) -> None:
        await self.page.screenshot(path=path)

    async def console(self) -> list[str]:
        return list(self._console)

    async def close(self) -> None:
        await self.page.context.close()


class Chromium:
    """Debian's Chromium, headless."""

    name = "chromium"
    broken = False

    def __init__(self, playwright: Playwright, browser: PlaywrightBrowser) -> None:
        self._playwright, self._browser = playwright, browser

    @classmethod
    async def launch(cls, prefix: Sequence[str] = (), secure: Sequence[str] = ()) -> Chromium:
        """``prefix`` is put before the program (a namespace's); ``secure`` are origins to hold for secure."""
        flags = [f"--unsafely-treat-insecure-origin-as-secure={','.join(secure)}"] if secure else []
        playwright = await async_playwright().start()
        with _program("/usr/bin/chromium", prefix) as program:
            browser = await playwright.chromium.launch(
                executable_path=program, args=[*CHROMIUM_FLAGS, *flags]
            )
        return cls(playwright, browser)

    async def open(self, width: int = 1280, height: int = 800, **options: Json) -> ChromiumTab:
        """``options`` go to Playwright's ``new_context`` (colour scheme, touch, scale)."""
        context = await self._browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(30_000)
        return ChromiumTab(await context.new_page())

    async def close(self) -> None:
        await self._browser.close()
        await self._playwright.stop()


@contextlib.contextmanager
def _program(path: str, prefix: Sequence[str]) -> Iterator[str]:
    """What starts ``path`` behind ``prefix``, for those who take no more than a path."""
    if not prefix:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wtgateway-browser-") as folder:
        script = Path(folder) / Path(path).name
        script.write_text(f'#!/bin/sh\nexec {shlex.join([*prefix, path])} "$@"\n')
        script.chmod(0o755)
        yield str(script)


class FirefoxTab:
    """A tab of the bridge, by its number."""

    browser = "firefox"

    def __init__(self, firefox: Firefox, number: int) -> None:
        self._firefox, self._number = firefox, number

    async def _call(self, method: str, **parameters: Json) -> Json:
        return await self._firefox.call(method, tab=self._number, **parameters)

    async def goto(self, url: str) -> int:
        status: int = await self._call("goto", url=url)
        return status

    async def evaluate(self, expression: str) -> Json:
        return await self._call("evaluate", expression=expression)

    async def click(self, selector: str) -> None:
        await self._call("click", selector=selector)

    async def press(self, key: str) -> None:
        await self._call("press", key=key)

    async def screenshot(self, path: Path) -> None:
        await self._call("screenshot", path=str(path))

    async def console(self) -> list[str]:
        lines: list[str] = await self._call("console")
        return lines

    async def close(self) -> None:
        await self._call("closeTab")


class BridgeError(RuntimeError):
    """The browser or the bridge said no."""


class Firefox:
    """Debian's Firefox ESR, headless, behind ``firefox_bridge.mjs``."""

    name = "firefox"
    broken = False

    def __init__(self, process: asyncio.subprocess.Process, soundcard: NullSoundcard) -> None:
        self._process, self._soundcard = process, soundcard
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def launch(
        cls, prefix: Sequence[str] = (), secure: Sequence[str] = (), *, insecure: bool = False
    ) -> Firefox:
        """As Chromium's; the bridge is behind ``prefix`` too, for it meets its browser at an address.

        ``insecure``: it takes any certificate.
        """
        soundcard = await NullSoundcard.plug_in()
        node = shutil.which("node") or "node"
        process = await asyncio.create_subprocess_exec(
            *(*prefix, node, str(Path(__file__).with_name("firefox_bridge.mjs")), str(ROOT / "client")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        firefox = cls(process, soundcard)
        program = "/usr/bin/firefox-esr"
        hosts = ",".join(dict.fromkeys(urlsplit(origin).hostname or "" for origin in secure))
        prefs = {**FIREFOX_PREFS, "dom.securecontext.allowlist": hosts} if secure else FIREFOX_PREFS
        await firefox.call(
            "launch", executable=program, prefs=prefs, env=soundcard.env, acceptInsecureCerts=insecure
        )
        return firefox

    async def _read(self) -> None:
        assert self._process.stdout is not None
        ended = "the bridge to Firefox ended"
        try:
            while line := await self._process.stdout.readline():
                self._take(json.loads(line))
        except ValueError as error:  # a line too long, or none of ours
            ended = f"the bridge to Firefox is not to be understood: {error}"
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BridgeError(ended))

    def _take(self, answer: dict[str, Json]) -> None:
        future = self._waiting.pop(answer["id"], None)
        if future is None or future.done():
            return
        if "error" in answer:
            future.set_exception(BridgeError(answer["error"]))
        else:
            future.set_result(answer["result"])

    async def call(self, method: str, **parameters: Json) -> Json:
        """One call of the bridge; raises :exc:`BridgeError`."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "method": method, **parameters}).encode() + b"\n")
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await future
        except TimeoutError:
            self.broken = True
            raise BridgeError(f"Firefox did not answer {method} within {CALL_SECONDS} s") from None

    async def open(self, width: int = 1280, height: int = 800, **options: Json) -> FirefoxTab:
        assert not options, "only Chromium takes options"
        return FirefoxTab(self, await self.call("open", width=width, height=height))

    async def close(self) -> None:
        if self.broken:
            self._process.terminate()  # on which puppeteer kills a browser that hangs
        else:
            with contextlib.suppress(BridgeError):
                await self.call("quit")
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader
        await self._soundcard.unplug()


BROWSERS: dict[str, type[Chromium] | type[Firefox]] = {"chromium": Chromium, "firefox": Firefox}
