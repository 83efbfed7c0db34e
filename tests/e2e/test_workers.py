"""Several workers: a page whose worker dies is back by itself, and a page of another one does not notice."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Browser
from tests.e2e.conftest import StartGateway
from wtgateway.transport import steering

pytestmark = pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not())


async def test_a_worker_dies(browser: Browser, gateways: StartGateway) -> None:
    gateway = await gateways("test:", "--workers", "2")
    mine, other = await browser.open(), await browser.open()
    try:
        await watching.watch(mine, f"{gateway.url}/test")
        (session,) = await _sessions(gateway, 1)
        await watching.watch(other, f"{gateway.url}/test")
        assert {s["worker"] for s in await _sessions(gateway, 2)} == {0, 1}

        os.kill(_processes_of(gateway, session["worker"])[0], signal.SIGKILL)
        await watching.until(
            mine,
            "(s => s.state === 'playing' && s.reconnects + s.roams >= 1)(window.player.stats())",
            "playing again",
        )
        await watching.more_frames(mine, 30)
        await watching.more_frames(other, 30)
        assert (await watching.stats(other))["reconnects"] == 0
        assert watching.breaks(await watching.received_frames(other)) == []

        async def replaced() -> bool:  # perhaps after who was thrown out was back
            return _processes_of(gateway, session["worker"])[1:] != []

        await watching.poll(replaced, "another worker in its place")
        third = await browser.open()
        try:
            await watching.watch(third, f"{gateway.url}/test")
            spread = [s["worker"] for s in await _sessions(gateway, 3)]
            assert sorted(map(spread.count, set(spread))) == [1, 2], "new viewers go where the fewest are"
        finally:
            await third.close()
    finally:
        await mine.close()
        await other.close()


async def _sessions(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    async def listed() -> list[dict[str, Any]] | None:
        sessions: list[dict[str, Any]] = gateway.get("/api/v1/sessions")
        return sessions if len(sessions) == count else None

    found: list[dict[str, Any]] = await watching.poll(listed, f"{count} sessions")
    return found


def _processes_of(gateway: Gateway, worker: int) -> list[int]:
    """As the log says, in turn."""
    return [
        int(event["message"].rpartition("=")[2])
        for event in gateway.events
        if event.get("worker") == worker and event["message"].startswith("worker serves")
    ]
