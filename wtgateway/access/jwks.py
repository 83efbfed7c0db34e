"""A JWK Set (RFC 7517) of a URL or a file, kept current.

Refreshed in the background; a token with a key that is not known has it fetched at once, but not more than
once in :data:`UNKNOWN_EVERY_S`, whoever sends what. Where it cannot be had, the keys of before hold.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import httpx

from wtgateway.access.checker import UnavailableError
from wtgateway.access.keys import ALGORITHMS, VerifyingKey, keys_of_set
from wtgateway.log import redact_url

log = logging.getLogger("wtgateway.access")

REFRESH_S = 300.0
UNKNOWN_EVERY_S = 10.0
PATIENCE_S = 4.0
MAX_BYTES = 256 * 1024

Fetch = Callable[[], Awaitable[bytes]]


class KeySet:
    """``fetch`` gives the set's text; ``secrets``: whether symmetric keys in it are taken."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        name: str,
        secrets: bool = False,
        algorithms: Collection[str] = ALGORITHMS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fetches = self.failures = 0
        self._fetch, self._name, self._secrets, self._algorithms = fetch, name, secrets, tuple(algorithms)
        self._now = now
        self._keys: tuple[VerifyingKey, ...] = ()
        self._known = False
        self._fetched_at = -UNKNOWN_EVERY_S
        self._fetching: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Fetch it, again and again; one that cannot be had now does not keep the gateway from starting."""
        await self._refresh()
        self._refresher = asyncio.create_task(self._keep_current(), name="jwks")

    async def close(self) -> None:
        """End what runs."""
        tasks = [task for task in (self._refresher, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fitting(self, kid: str) -> Sequence[VerifyingKey]:
        """The keys of that name, or all where the token names none. Raises UnavailableError without any."""
        found = self._of(kid)
        if not found and self._now() - self._fetched_at >= UNKNOWN_EVERY_S:
            await self._refresh()
            found = self._of(kid)
        elif not found and self._fetching is not None:  # somebody else has asked: the answer is for both
            await asyncio.shield(self._fetching)
            found = self._of(kid)
        if not self._known:
            raise UnavailableError
        return found

    def _of(self, kid: str) -> list[VerifyingKey]:
        return [key for key in self._keys if not kid or not key.kid or key.kid == kid]

    async def _keep_current(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S if self._known else UNKNOWN_EVERY_S)
            await self._refresh()

    async def _refresh(self) -> None:
        """One fetch at a time, of which all who wait get the result."""
        if self._fetching is None or self._fetching.done():
            self._fetched_at = self._now()
            self._fetching = asyncio.create_task(self._fetch_now(), name="jwks fetch")
        await asyncio.shield(self._fetching)

    async def _fetch_now(self) -> None:
        self.fetches += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                text = await self._fetch()
            keys = keys_of_set(json.loads(text), secrets=self._secrets, only=self._algorithms)
        except (OSError, TimeoutError, httpx.HTTPError, ValueError, RecursionError) as error:
            self.failures += 1
            log.warning("keys not fetched from=%s reason=%s", self._name, _words(error))
            return
        if not self._known or [key.kid for key in keys] != [key.kid for key in self._keys]:
            log.info("keys fetched from=%s keys=%d", self._name, len(keys))
        self._keys, self._known = keys, True


def of_url(url: str, algorithms: Collection[str]) -> KeySet:
    """The set of a URL. Symmetric keys in it are not taken: nobody publishes his secrets."""

    async def fetch() -> bytes:
        async with httpx.AsyncClient(timeout=PATIENCE_S, follow_redirects=False) as client:
            return await bounded_get(client, url)

    return KeySet(fetch, name=redact_url(url), algorithms=algorithms)


def of_file(path: Path, algorithms: Collection[str]) -> KeySet:
    """The set in a file."""

    def read() -> bytes:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES)

    async def fetch() -> bytes:
        return await asyncio.to_thread(read)

    return KeySet(fetch, name=str(path), secrets=True, algorithms=algorithms)


async def bounded_get(client: httpx.AsyncClient, url: str) -> bytes:
    """The body of 200. Raises httpx.HTTPError, ValueError for another status and for too much."""
    async with client.stream("GET", url, headers={"accept": "application/json"}) as answer:
        if answer.status_code != 200:
            raise ValueError(f"HTTP {answer.status_code}")
        return await bounded_body(answer, MAX_BYTES)


async def bounded_body(answer: httpx.Response, limit: int) -> bytes:
    """The body of an answer. Raises ValueError when it is longer than ``limit`` bytes."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > limit:
            raise ValueError(f"more than {limit} bytes")
    return bytes(body)


def _words(error: Any) -> str:
    return redact_url(str(error))[:200] or type(error).__name__
