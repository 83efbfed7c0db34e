"""/healthz is for whoever restarts a gateway, /readyz for whoever sends viewers to it."""

from __future__ import annotations

from dataclasses import replace

import httpx

from tests.web.conftest import FakeView


async def test_health_says_whether_and_why(http: httpx.AsyncClient, view: FakeView) -> None:
    async def get(path: str) -> tuple[int, str]:
        answer = await http.get(path)
        return answer.status_code, answer.text

    assert await get("/healthz") == (200, "ok\n")
    assert await get("/readyz") == (200, "ready\n")
    view.short_of = ("file descriptors",)
    assert await get("/readyz") == (200, "ready\nshort of file descriptors\n")
    view.is_ready = False
    assert await get("/readyz") == (503, "not ready: the gateway is starting\nshort of file descriptors\n")
    view.node = replace(view.node, draining=True)
    assert (await get("/readyz"))[1].startswith("not ready: viewers are sent to other nodes\n")
    assert await get("/healthz") == (200, "ok\n")
    view.dead = "a broadcast is not looked after any more; the log says why"
    assert await get("/healthz") == (503, f"not alive: {view.dead}\n")
