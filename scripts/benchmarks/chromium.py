"""Chromium over the DevTools protocol, through a pipe.

Not Playwright: it turns on the Network domain, which mirrors every WebSocket frame to the driver and
would slow down a peer that streams over one. ``--disable-quic`` is never passed: it turns off WebTransport.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--disable-features=WebRtcHideLocalIpsWithMdns,Translate",
    "--force-device-scale-factor=1",
    "--remote-debugging-pipe",
)
CALL_SECONDS = 60
_PIPE_BYTES = 1 << 16
Json = Any


class ChromiumError(RuntimeError):
    """The browser refused a command or a script in the page threw."""


class Page:
    """A tab; ``evaluate`` takes an expression and awaits promises."""

    def __init__(self, chromium: Chromium, target: str, session: str, context: str | None) -> None:
        self._chromium, self._target, self._session, self._context = chromium, target, session, context

    async def call(self, method: str, **parameters: Json) -> Json:
        """One DevTools command to this page."""
        return await self._chromium.call(method, session=self._session, **parameters)

    async def goto(self, url: str) -> None:
        """Start loading; does not wait for the load."""
        answer = await self.call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise ChromiumError(f"{url}: {answer['errorText']}")

    async def evaluate(self, expression: str) -> Json:
        """The value of a JavaScript expression; raises :exc:`ChromiumError` when it throws."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ChromiumError(details.get("exception", {}).get("description", str(details))[:1000])
        return answer["result"].get("value")

    async def close(self) -> None:
        """Leave the page, so that it can say goodbye, then close its context."""
        with contextlib.suppress(ChromiumError):
            await self.goto("about:blank")
        if self._context is not None:
            await self._chromium.call("Target.disposeBrowserContext", browserContextId=self._context)


class Chromium:
    """``async with Chromium(display=":91")``: headed in a kiosk window there; without one headless.

    ``prefix`` comes before the program (to start it in a namespace), ``flags`` are added to ours.
    """

    def __init__(
        self,
        *,
        display: str | None = None,
        size: tuple[int, int] = (1280, 720),
        prefix: Sequence[str] = (),
        flags: Sequence[str] = (),
    ) -> None:
        self._display, self._size = display, size
        self._prefix, self._flags = prefix, flags
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._profile = tempfile.TemporaryDirectory(prefix="wtgateway-chromium-", ignore_cleanup_errors=True)

    async def __aenter__(self) -> Chromium:
        mode = ["--kiosk", "--window-position=0,0"] if self._display else ["--headless=new"]
        width, height = self._size
        flags = [
            *FLAGS,
            *self._flags,
            *mode,
            f"--window-size={width},{height}",
            f"--user-data-dir={self._profile.name}",
        ]
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # Chromium wants its pipe at 3 and 4: the shell puts it there, from numbers that cannot collide.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]
        script = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        self._process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script, "bash", *self._prefix, os.environ.get("CHROMIUM", "chromium"), *flags),
            "about:blank",
            env={**os.environ, **({"DISPLAY": self._display} if self._display else {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=high,
            start_new_session=True,
        )
        for fd in (theirs_in, theirs_out, *high):
            os.close(fd)
        await self._connect(ours_in, ours_out)
        return self

    async def _connect(self, ours_in: int, ours_out: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 28)
        self._in, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours_in, "rb", _PIPE_BYTES)
        )
        self._out, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(ours_out, "wb", 0))
        self._reader = asyncio.create_task(self._read(reader))
        await self.call("Browser.getVersion")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = json.loads((await reader.readuntil(b"\0"))[:-1])
                future = self._waiting.pop(message.get("id", 0), None)
                if future is not None and not future.done():
                    future.set_result(message)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ChromiumError("Chromium ended"))

    async def call(self, method: str, session: str | None = None, **parameters: Json) -> Json:
        """One DevTools command; raises :exc:`ChromiumError`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        self._out.write(json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(CALL_SECONDS):
            answer = await future
        if "error" in answer:
            raise ChromiumError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    async def open(self, url: str, script: str = "") -> Page:
        """Load a page. Headless: in a context of its own, with no cache and no session to resume.

        ``script`` runs in the page before anything else does.
        """
        if self._display:
            context = None
            targets = (await self.call("Target.getTargets"))["targetInfos"]
            target = next(t["targetId"] for t in targets if t["type"] == "page")
        else:
            context = (await self.call("Target.createBrowserContext"))["browserContextId"]
            made = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
            target = made["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, target, session, context)
        await page.call("Page.enable")
        if script:
            await page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        await page.goto(url)
        return page

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ChromiumError, TimeoutError):
            await self.call("Browser.close")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._reader
        self._in.close()
        self._out.close()
        self._profile.cleanup()


FIRST_FRAME = Path(__file__).with_name("first_frame.js")


def first_frame_script(target: str) -> str:
    """The script that notes when the picture in ``target`` (a CSS selector) first carries a barcode."""
    return FIRST_FRAME.read_text().replace("'%TARGET%'", json.dumps(target))
