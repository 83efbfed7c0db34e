"""An HTTP service decides: POST of who asks for what, 2xx is yes.

    {"user": "...", "token": "...", "action": "read", "broadcast": "cam1", "ip": "192.0.2.7",
     "protocol": "webtransport"}

An empty ``broadcast`` is the gateway as a whole. The answer may be a JSON object: ``identity``,
``permissions`` (as in tokens; without them: what was asked for), ``expiresInS``. A yes is remembered for some
seconds, a no for one; both bounded. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from wtgateway import clock
from wtgateway.access.checker import UnavailableError
from wtgateway.access.credentials import NEEDS_TOKEN, NOT_ALLOWED, Credentials, Refused
from wtgateway.access.jwks import bounded_body
from wtgateway.access.permissions import Grant, Permission, clean_identity, permissions_of_claim
from wtgateway.log import redact_url

log = logging.getLogger("wtgateway.access")

TIMEOUT_S = 2.0
YES_S = 10.0
NO_S = 1.0
MAX_REMEMBERED = 1024
MAX_ANSWER_BYTES = 64 * 1024
AT_ONCE = 32
_LONGEST_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class _Answer:
    grant: Grant | None
    status: int
    until: float


class Callback:
    """``url`` is asked, also for who shows no token. ``yes_s``: how long a yes is remembered; 0: not."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        yes_s: float = YES_S,
        now: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = clock.now_us,
    ) -> None:
        self.asks_without_token = True
        self.asked = self.failures = 0
        self._url, self._timeout_s, self._yes_s = url, timeout_s, yes_s
        self._now, self._now_us = now, now_us
        self._client: httpx.AsyncClient | None = None
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[_Answer]] = {}

    async def start(self) -> None:
        """Connections are made when they are needed."""
        self._client = httpx.AsyncClient(
            timeout=self._timeout_s,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=4),
        )

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def check(self, credentials: Credentials) -> Grant | None:
        """What the service says. Raises Refused for 4xx, UnavailableError where it does not answer."""
        key = _key(credentials)
        known = self._answers.get(key)
        if known is None or known.until <= self._now():
            known = await self._asked(key, credentials)
        if known.grant is not None:
            return known.grant
        if known.status == 403:
            raise Refused(403, NOT_ALLOWED)
        if not credentials.token:
            raise Refused(401, NEEDS_TOKEN)
        return None

    async def _asked(self, key: bytes, credentials: Credentials) -> _Answer:
        """One question at a time for the same; all who ask it get the answer."""
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= AT_ONCE:
                raise UnavailableError
            task = self._under_way[key] = asyncio.create_task(self._ask(credentials), name="access callback")
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        answer = await asyncio.shield(task)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    async def _ask(self, credentials: Credentials) -> _Answer:
        assert self._client is not None
        self.asked += 1
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", self._url, json=_question(credentials)) as answer,
            ):
                status = answer.status_code
                body = await bounded_body(answer, MAX_ANSWER_BYTES) if 200 <= status < 300 else b""
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as error:
            raise self._failed(str(error) or type(error).__name__) from None
        if not (200 <= status < 300 or 400 <= status < 500):
            raise self._failed(f"HTTP {status}")
        if status >= 400:
            return _Answer(None, status, self._now() + NO_S)
        grant = grant_of_answer(body, credentials, self._now_us())
        return _Answer(grant, status, self._now() + (self._yes_s if grant is not None else NO_S))

    def _failed(self, why: str) -> UnavailableError:
        self.failures += 1
        log.warning("access callback failed url=%s reason=%s", redact_url(self._url), redact_url(why)[:200])
        return UnavailableError()


def _question(credentials: Credentials) -> dict[str, Any]:
    question = {
        "token": credentials.token,
        "action": credentials.action.value,
        "broadcast": credentials.broadcast,
        "ip": credentials.address,
        "protocol": credentials.transport,
    }
    return {"user": credentials.user, **question} if credentials.user else question


def _key(credentials: Credentials) -> bytes:
    question = json.dumps(_question(credentials), sort_keys=True)
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()


def grant_of_answer(body: bytes, credentials: Credentials, now_us: int) -> Grant | None:
    """What a yes grants: what its JSON object says, or just what was asked for. None: it makes no sense."""
    try:
        said = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        said = {}  # a body in other words: yes is yes
    if not isinstance(said, dict):
        said = {}
    permissions: tuple[Permission, ...] = (
        Permission(credentials.action, glob.escape(credentials.broadcast) or "*"),
    )
    if "permissions" in said:
        permissions = permissions_of_claim(said["permissions"])
    expires_us = 0
    if (seconds := said.get("expiresInS")) is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_S:
            return None
        expires_us = now_us + round(seconds * 1_000_000)
    identity = clean_identity(said.get("identity")) or clean_identity(credentials.user)
    return Grant(identity, permissions, expires_us)
