"""A gateway behind a reverse proxy: under a path, with the client's address and host, trusted or not."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.web.conftest import CLIENT_DIR, FakeView, client_for
from wtgateway.media import BroadcastState
from wtgateway.web.app import create_app
from wtgateway.web.view import BroadcastSummary

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)  # what httpx connects from in the application's eyes


def behind(view: FakeView, path: str = "/live/", trusted: Any = ()) -> httpx.AsyncClient:
    return client_for(create_app(view, CLIENT_DIR, public_path=path, trusted_proxies=trusted))


@pytest.mark.parametrize("prefix", ["/live", "/a/b.c"])
async def test_a_proxy_may_leave_the_prefix_or_take_it_away(view: FakeView, prefix: str) -> None:
    async with behind(view, f"{prefix}/") as http:
        for path in ("/", "/test", "/house/door", "/api/v1/transport", "/healthz", "/%20"):
            left, taken = await http.get(prefix + path), await http.get(path)
            assert left.status_code == taken.status_code
            assert left.text == taken.text
        slash = await http.get(f"{prefix}/test/")
        assert urljoin(f"{prefix}/test/", slash.headers["location"]) == f"{prefix}/test"
        bare = await http.get(prefix)
        assert bare.status_code == 308
        assert urljoin(prefix, bare.headers["location"]) == f"{prefix}/"
        assert bare.headers["x-content-type-options"] == "nosniff"
        assert (await http.get(f"{prefix}ly/test")).status_code == 404


async def test_a_broadcast_whose_name_begins_like_the_prefix_is_reached(view: FakeView) -> None:
    view.summaries = [
        BroadcastSummary(name=name, state=BroadcastState.LIVE) for name in ("live", "live/test", "test")
    ]
    async with behind(view, trusted=LOOPBACK) as http:
        assert '"broadcast":"live/test"' in (await http.get("/live/test")).text
        assert '"broadcast":"live"' in (await http.get("/live")).text
        assert '"broadcast":"live/test"' in (await http.get("/live/live/test")).text
        told = {"x-forwarded-prefix": "/live"}
        assert '"broadcast":"live/new"' in (await http.get("/live/new", headers=told)).text
        assert '"broadcast":"new"' in (await http.get("/live/new")).text


async def test_hosts_hold_from_trusted_proxies_only(view: FakeView) -> None:
    headers = {"x-forwarded-host": "cams.example", "x-forwarded-proto": "https", "host": "gateway:8080"}
    async with behind(view, "/", LOOPBACK) as http:
        answer = await http.get("/api/v1/transport", headers=headers)
        assert answer.json()["url"] == "https://cams.example:4433"
        await http.get("/api/v1/transport", headers=headers | {"x-forwarded-host": '"><script>'})
    async with behind(view, "/") as http:
        answer = await http.get("/api/v1/transport", headers=headers)
        assert answer.json()["url"] == "https://gateway:4433"
    assert view.hosts == ["cams.example", "gateway:8080", "gateway:8080"]


@pytest.mark.parametrize(("trusted", "client"), [(LOOPBACK, "203.0.113.7"), ((), "127.0.0.1")])
async def test_the_log_names_the_client(
    view: FakeView, caplog: pytest.LogCaptureFixture, trusted: Any, client: str
) -> None:
    headers = {"x-forwarded-for": "203.0.113.7"}
    with caplog.at_level(logging.DEBUG, "wtgateway.web"):
        async with behind(view, trusted=trusted) as http:
            await http.get("/live/test%0Aevil?token=secret", headers=headers)
    (line,) = [r.getMessage() for r in caplog.records if r.name.startswith("wtgateway.web")]
    assert line.startswith("request method=GET path=/live/test%0Aevil status=404 ")
    assert f" client={client} " in line
    assert "secret" not in line


async def test_a_bug_is_answered_behind_a_prefix_too(view: FakeView) -> None:
    @dataclasses.dataclass
    class Broken(FakeView):
        def ready(self) -> bool:
            raise RuntimeError("broken")

    async with behind(Broken()) as http:
        answer = await http.get("/live/api/v1/transport")
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/json")
