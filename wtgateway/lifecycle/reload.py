"""The configuration read again: on SIGHUP, and when its file has changed. An invalid one changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wtgateway.config.origin import Mark, file_mark
from wtgateway.errors import ConfigError, WtgatewayError
from wtgateway.events import Events
from wtgateway.lifecycle.difference import Difference
from wtgateway.lifecycle.notify import Notifier
from wtgateway.log import redact_url

if TYPE_CHECKING:
    from wtgateway.config import GatewayConfig

log = logging.getLogger("wtgateway.config")

LOOK_EVERY_MS = 1000
SETTLE_MS = 100  # an editor may need several steps to write a file


class Reloader:
    """``load`` reads the configuration (in a thread), ``apply`` takes it over. :meth:`ask`, then it is done.

    Whoever asks while it is being done has it done once more: what was read may have been too early.
    """

    def __init__(
        self,
        load: Callable[[], GatewayConfig],
        apply: Callable[[GatewayConfig], Awaitable[Difference]],
        events: Events,
        notifier: Notifier,
    ) -> None:
        self._load, self._apply = load, apply
        self._events, self._notifier = events, notifier
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Read it again, soon."""
        self._asked.set()

    async def run(self) -> None:
        """Do what is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._notifier.reloading()
            try:
                await self.reload()
            finally:
                self._notifier.ready()

    async def reload(self) -> bool:
        """Now; whether it holds. What is wrong with it is told, never raised."""
        try:
            config = await asyncio.to_thread(self._load)
            found = await self._apply(config)
        except WtgatewayError as error:
            self._refused(error)
            return False
        except Exception:  # a defect must not end what other files may still be read by
            log.exception("the configuration could not be applied")
            self._events.publish("config.refused", why="a fault of the gateway; its log says what")
            return False
        if found.needs_restart:
            log.warning("needs a restart of the gateway: %s", ", ".join(found.needs_restart))
        log.info("configuration read again %s", found.in_words() or "nothing differs")
        self._events.publish(
            "config.reloaded",
            added=",".join(found.added),
            removed=",".join(found.removed),
            changed=",".join(found.changed),
            settings=",".join(found.settings),
            needs_restart=",".join(found.needs_restart),
        )
        return True

    def _refused(self, error: WtgatewayError) -> None:
        words = redact_url(str(error))
        log.error("configuration refused, nothing has changed: %s", words)
        place = {"where": error.where, "key": error.key} if isinstance(error, ConfigError) else {}
        self._events.publish("config.refused", why=words, **place)


async def watch_file(path: Path, mark: Mark | None, changed: Callable[[], None]) -> None:
    """Call ``changed`` whenever the file is another than ``mark`` says, and than before, until cancelled.

    Its directory is watched, since editors put a new file in the place of the old, and Kubernetes turns a
    link beside it. It is looked at once a second in any case: some file systems tell nothing. While the file
    is away nothing is called.
    """
    from watchfiles import awatch

    directory = Path(os.path.abspath(path)).parent  # noqa: ASYNC240, PTH100 - no look at the disk; links stay
    try:
        async for _ in awatch(
            directory,
            recursive=False,
            debounce=SETTLE_MS,
            step=SETTLE_MS // 2,
            rust_timeout=LOOK_EVERY_MS,
            yield_on_timeout=True,
        ):
            now = await asyncio.to_thread(file_mark, path)
            if now is not None and now != mark:
                mark = now
                changed()
    except (OSError, RuntimeError) as error:
        log.warning("%s is not watched for changes, SIGHUP has it read again: %s", path, error)
