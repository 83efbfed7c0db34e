"""Events told to addresses of the configuration, signed, and again until they were taken in.

Each address has a queue of its own and a task: one that does not answer delays no other. May import config,
events and the log.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import httpx

from wtgateway.config.hooks_model import WebhookConfig
from wtgateway.events import Event
from wtgateway.hooks.signing import headers
from wtgateway.log import redact_url

log = logging.getLogger("wtgateway.hooks")

QUEUED: Final = 256
MOST_TRIES: Final = 8
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
TIMEOUT_S: Final = 10.0
GONE: Final = 410

MakeClient = Callable[[], httpx.AsyncClient]


def make_client() -> httpx.AsyncClient:
    """A client that follows nothing elsewhere. Reads certificates from disk: belongs in a thread."""
    return httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)


class Webhook:
    """One address. Counts in ``counters``: delivered, retried, given_up, dropped (of a full queue)."""

    def __init__(
        self,
        config: WebhookConfig,
        instance: str,
        *,
        client: MakeClient | None = None,
        pause: Callable[[float], Any] = asyncio.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.counters: Counter[str] = Counter()
        self._instance, self._make_client = instance, client or make_client
        self._pause, self._wall = pause, wall
        self._queue: deque[Event] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run(), name="webhook")

    async def close(self) -> None:
        """Give up what was not delivered."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def put(self, event: Event) -> None:
        """Tell it soon, if that kind is wanted; the oldest goes where too many wait."""
        if not self.config.wants(event.kind):
            return
        if len(self._queue) >= QUEUED:
            self._queue.popleft()
            self.counters["dropped"] += 1
        self._queue.append(event)
        self._some.set()

    async def _run(self) -> None:
        client = await asyncio.to_thread(self._make_client)
        async with client:
            while True:
                while not self._queue:
                    self._some.clear()
                    await self._some.wait()
                if not await self._deliver(client, self._queue.popleft()):
                    log.warning("webhook is gone: told no more url=%s", redact_url(self.config.url))
                    self._queue.clear()
                    return

    async def _deliver(self, client: httpx.AsyncClient, event: Event) -> bool:
        """Until it is taken in, or too often; False: the address wants no more (410)."""
        body, message_id = body_of(event), f"msg_{self._instance}_{event.number}"
        why = ""
        for number in range(MOST_TRIES):
            if number:
                self.counters["retried"] += 1
                await self._pause(pause_s(number) * (0.75 + random.random() / 2))  # noqa: S311 - no secret
            status, why = await self._post(client, message_id, body)
            if 200 <= status < 300:
                self.counters["delivered"] += 1
                return True
            if status == GONE:
                return False
        self.counters["given_up"] += 1
        log.warning(
            "webhook not delivered kind=%s url=%s why=%s", event.kind, redact_url(self.config.url), why
        )
        return True

    async def _post(self, client: httpx.AsyncClient, message_id: str, body: bytes) -> tuple[int, str]:
        """The answer's status (0: none came) and what it was. Signed anew, for it bears the time."""
        signed = headers(self.config.secret, message_id, int(self._wall()), body)
        try:
            async with client.stream("POST", self.config.url, content=body, headers=signed) as answer:
                return answer.status_code, f"status {answer.status_code}"  # its body is of no use here
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return 0, type(error).__name__


def body_of(event: Event) -> bytes:
    """What is sent: type, timestamp and data, as Standard Webhooks proposes."""
    at = datetime.datetime.fromtimestamp(event.at_us / 1e6, datetime.UTC)
    value = {
        "type": event.kind,
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": dict(event.fields),
    }
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def pause_s(failures: int) -> float:
    """How long to wait after so many failures, in s."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1)))
