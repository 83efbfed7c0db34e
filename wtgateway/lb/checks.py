"""Asks each node in turn whether it takes new viewers, by HTTP, and sets the states that routing goes by.

One task a node, nothing shared: a node that hangs delays no other's check. ``/readyz`` (the ``health`` of the
LB file) is asked each time; ``/api/v1/node`` beside it now and then, and when the node is not ready, to find
a server ID that two nodes claim, and a gateway that reads connection IDs by other configurations.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from wtgateway.lb.health import CheckResult, NodeHealth, Outcome
from wtgateway.lb.routing import Node

log = logging.getLogger("wtgateway.lb")

MAX_ANSWER_BYTES = 65536
NODE_PATH = "/api/v1/node"
ASK_NODE_EVERY = 20


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """``interval_s`` between the end of a check and the next, ``timeout_s`` of one, both in s."""

    interval_s: float = 0.25
    timeout_s: float = 0.5
    rise: int = 2
    fall: int = 2


class NodeChecks:
    """The checks of one node; :meth:`run` for as long as they are to go on.

    ``url`` empty: it is not checked, and always up. ``lb_config``: the fingerprint of the LB file.
    ``on_change`` is called with the node after its state has changed.
    """

    def __init__(
        self,
        node: Node,
        url: str,
        *,
        lb_config: str = "",
        settings: CheckSettings | None = None,
        on_change: Callable[[Node], None] = lambda node: None,
    ) -> None:
        self.node, self.url, self.settings = node, url, settings or CheckSettings()
        rise, fall = self.settings.rise, self.settings.fall
        self.health = NodeHealth(node.server_ids.values(), rise=rise, fall=fall)
        self.counters: Counter[str] = Counter()
        self.foreign_config = False  # it reads connection IDs by another LB file
        self._lb_config, self._on_change = lb_config, on_change
        self._hurry = asyncio.Event()
        self._checks = 0

    def hurry(self) -> None:
        """Check now: something else says that the node may be gone."""
        self._hurry.set()

    async def run(self) -> None:
        """Check for ever."""
        if not self.url:
            self.health.reason = "not checked: the LB file has no health URL"
            return
        while True:
            await self.check()
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self.settings.interval_s)

    async def check(self) -> None:
        """One check, and what follows from it."""
        result = await self._ask()
        if result.outcome is Outcome.NOT_READY or self._checks % ASK_NODE_EVERY == 0 or self.health.misnamed:
            result = await self._ask_node(result)
        self._checks += 1
        self.counters[f"checks_{result.outcome.name.lower()}"] += 1
        misnamed = self.health.misnamed
        changed = self.health.apply(result)
        if self.health.misnamed and not misnamed:
            expected = " or ".join(server_id.hex() for server_id in set(self.node.server_ids.values()))
            log.error(
                "node %s says that its server ID is %s, the LB file says %s: it gets no new viewers",
                *(self.node.name, self.health.claimed, expected),
            )
        self._compare_config(result.lb_config)
        if changed:
            self.node.state = self.health.state
            log.warning("node %s is %s: %s", self.node.name, self.node.state.value, self.health.reason)
            self._on_change(self.node)

    def _compare_config(self, lb_config: str | None) -> None:
        foreign = bool(lb_config and self._lb_config) and lb_config != self._lb_config
        if foreign and not self.foreign_config:
            log.warning(
                "node %s reads connection IDs by another LB file (%s, ours is %s)",
                *(self.node.name, lb_config, self._lb_config),
            )
        if lb_config is not None:
            self.foreign_config = foreign

    async def _ask(self) -> CheckResult:
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                status, _ = await http_get(self.url)
        except ConnectionRefusedError:
            return CheckResult(Outcome.CLOSED, "nothing listens at its health URL")
        except TimeoutError:
            return CheckResult(Outcome.SILENT, f"no answer within {self.settings.timeout_s:g} s")
        except (OSError, ValueError) as error:
            return CheckResult(Outcome.SILENT, f"no answer: {error}")
        if status == 503:
            return CheckResult(Outcome.NOT_READY)
        if 200 <= status < 300:
            return CheckResult(Outcome.READY)
        return CheckResult(Outcome.SILENT, f"its health URL answers {status}")

    async def _ask_node(self, result: CheckResult) -> CheckResult:
        """``result`` with what the node says of itself; as it is where it says nothing."""
        if result.outcome not in (Outcome.READY, Outcome.NOT_READY):
            return result
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(self.settings.timeout_s):
                status, body = await http_get(urljoin(self.url, NODE_PATH))
            if status == 200:
                return _with_node(result, body)
        return result


def _with_node(result: CheckResult, body: bytes) -> CheckResult:
    """What ``/api/v1/node`` answered. Raises ValueError for what is no object of JSON."""
    try:
        facts = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(facts, dict):
        raise ValueError("no object")
    server_id, lb_config = facts.get("serverId"), facts.get("lbConfig")
    return dataclasses.replace(
        result,
        draining=facts.get("draining") is True,
        server_id=server_id.lower() if isinstance(server_id, str) else None,
        lb_config=lb_config if isinstance(lb_config, str) else None,
    )


def claims(checks: Sequence[NodeChecks]) -> dict[str, list[str]]:
    """Server IDs that several nodes say they have, with the nodes' names."""
    found: dict[str, list[str]] = {}
    for check in checks:
        if check.health.claimed:
            found.setdefault(check.health.claimed, []).append(check.node.name)
    return {server_id: names for server_id, names in found.items() if len(names) > 1}


# --- HTTP -------------------------------------------------------------------------------------------


async def http_get(url: str) -> tuple[int, bytes]:
    """Status and body of a GET, at most 64 KiB of it. Raises OSError, or ValueError for no HTTP answer.

    A certificate is not verified: nothing secret is sent, and a health URL names an address.
    """
    parts = urlsplit(url)
    tls = _unverified() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls, limit=MAX_ANSWER_BYTES)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # HTTP/1.0: the answer ends with the connection and comes in one piece
        request = (
            f"GET {target} HTTP/1.0\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode("ascii", "backslashreplace"))
        answer = bytearray()
        while len(answer) < MAX_ANSWER_BYTES and (piece := await reader.read(MAX_ANSWER_BYTES)):
            answer += piece
    finally:
        writer.close()
    return parse_answer(bytes(answer))


def parse_answer(answer: bytes) -> tuple[int, bytes]:
    """Status and body. Raises ValueError for what is no answer of HTTP/1."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    status = words[1] if len(words) > 1 else b""
    if not (separator and words[0].startswith(b"HTTP/1.") and len(status) == 3 and status.isdigit()):
        raise ValueError("no answer of HTTP/1")
    return int(status), body


@functools.cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
