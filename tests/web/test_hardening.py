"""What every answer of the pages' server says to browsers, and what no request can make it say or read."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Mount, Route, WebSocketRoute

from wtgateway.config.reach import parse_frame_ancestors
from wtgateway.errors import ConfigError
from wtgateway.transport import headers
from wtgateway.transport.webtransport import Refusal
from wtgateway.web.app import create_app
from wtgateway.web.headers import content_security_policy
from wtgateway.web.sse import Streams

from .conftest import CLIENT_DIR, FakeControl, FakeView, client_for


def full_app(**options: Any) -> Any:
    return create_app(
        FakeView(),
        CLIENT_DIR,
        control=(control := FakeControl()),
        streams=Streams(control.events, "i"),
        **options,
    )


def paths(routes: Any, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every path of the application, with something in the place of its parameters."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            yield prefix + re.sub(r"\{[^}]*\}", "test", route.path), route.methods or {"GET"}
        else:
            assert isinstance(route, WebSocketRoute), f"a kind of route that is not looked at: {route}"


async def test_every_route_keeps_browsers_from_what_pages_do_not_need() -> None:
    app = full_app()
    seen = 0
    async with client_for(app) as http:
        for path, methods in [
            *paths(app.routes),
            ("/nothing/here/%20", {"GET"}),
            ("/api/v1/nothing", {"GET"}),
        ]:
            for method in sorted(methods | {"OPTIONS"}):
                if "events" in path and method == "GET":
                    continue  # it has no end: the same middleware answers
                answer = await http.request(method, path)
                seen += 1
                policy = answer.headers["content-security-policy"]
                assert "unsafe" not in policy, path
                assert "default-src 'self'" in policy
                assert "frame-ancestors 'self'" in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert answer.headers["cross-origin-opener-policy"] == "same-origin"
                assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
                assert answer.headers["cross-origin-resource-policy"] in ("same-origin", "cross-origin")
                assert "camera=()" in answer.headers["permissions-policy"]
                assert "set-cookie" not in answer.headers
                if "text/html" in answer.headers.get("content-type", ""):
                    assert not re.search(
                        r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", answer.text
                    ), path
                    assert not re.search(r"\son[a-z]+=|\sstyle=|<style", answer.text), path
    assert seen > 20


async def test_an_error_of_ours_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    view = FakeView()
    monkeypatch.setattr(view, "broadcasts", lambda: 1 / 0)
    async with client_for(create_app(view, CLIENT_DIR)) as http:
        answer = await http.get("/api/v1/broadcasts")
    assert answer.status_code == 500
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert "division" not in answer.text


async def test_frames_may_be_allowed_elsewhere() -> None:
    allowed = parse_frame_ancestors("self, https://intranet.example")
    async with client_for(full_app(frame_ancestors=allowed)) as http:
        answer = await http.get("/")
    assert "frame-ancestors 'self' https://intranet.example" in answer.headers["content-security-policy"]
    assert content_security_policy(parse_frame_ancestors("none")).endswith("frame-ancestors 'none'")


@pytest.mark.parametrize(
    "text", ["", "none, self", "evil", "https://a b;c", "https://x; script-src *", "https://*", "data:"]
)
def test_frame_ancestors_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_frame_ancestors(text)


@given(st.text())
def test_frame_ancestors_never_leave_their_directive(text: str) -> None:
    try:
        found = parse_frame_ancestors(text)
    except ConfigError:
        return
    assert not set("".join(found)) & set('; ,\r\n"')


# --- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost:8080", True), ("127.0.0.1:8080", True), ("[::1]:8080", True), ("10.0.0.5", True),
        ("cams.example", True), ("cam.localhost", True), ("evil.example", False), ("evil.example:80", False),
        ("cams.example.evil.example", False), ("", False), ("localhost.evil.example", False), ("[::1", False),
    ],
)  # fmt: skip
async def test_a_gateway_on_loopback_answers_under_its_own_names(host: str, answered: bool) -> None:
    async with client_for(full_app(own_names=("cams.example",))) as http:
        for path in (
            "/",
            "/test",
            "/api/v1/transport",
            "/api/v1/broadcasts",
            "/metrics",
            "/certificate.sha256",
        ):
            answer = await http.get(path, headers={"host": host})
            assert (answer.status_code != 421) is answered, path
            if not answered:
                assert "Test" not in answer.text
        assert (await http.get("/healthz", headers={"host": host})).status_code == 200


async def test_where_a_trusted_proxy_asks_the_name_is_its_business() -> None:
    import ipaddress

    app = full_app(own_names=(), trusted_proxies=[ipaddress.ip_network("127.0.0.1")])
    async with client_for(app) as http:  # httpx is 127.0.0.1 to the application
        assert (await http.get("/api/v1/broadcasts", headers={"host": "cams.example"})).status_code == 200


# --- what comes in does not go out ---------------------------------------------------------------------

NASTY = st.text(st.sampled_from(string.ascii_letters + "/.%\\\r\n\x00:<>\"'?#&=; é@"), max_size=40)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=NASTY)
async def test_no_path_leads_out_of_the_client_or_into_a_header(path: str) -> None:
    app = _APP
    async with client_for(app) as http:
        for prefix in ("/_client/", "/_client/@x/", "/"):
            url = httpx.URL("http://localhost:8080").copy_with(raw_path=(prefix + _escaped(path)).encode())
            answer = await http.get(url)
            assert answer.status_code in (200, 304, 308, 400, 404), path
            for name, value in answer.headers.items():
                assert not set(name + value) & set("\r\n\x00")
            if answer.status_code == 308:
                assert not re.match(r"[a-z]+:|//", answer.headers["location"]), answer.headers["location"]
            if prefix != "/" and answer.status_code == 200:
                assert "root:" not in answer.text


_APP = full_app()


def _escaped(path: str) -> str:
    """As a client that does not tidy up would send it: dots and slashes as they are."""
    return "".join(
        c if c in string.ascii_letters + "/.%:=&;@'" else "".join(f"%{b:02X}" for b in c.encode())
        for c in path
    )


@pytest.mark.parametrize(
    "path",
    [
        "../pyproject.toml",
        "..%2fpyproject.toml",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd",
        "/etc/passwd",
        "@x/../../../etc/passwd",
        "+/../x",
        "styles/../../index.html",
        "%00",
        "styles/base.css%00.png",
        "C:\\boot.ini",
    ],
)
async def test_known_ways_out_of_a_folder(path: str) -> None:
    async with client_for(_APP) as http:
        url = httpx.URL("http://localhost:8080").copy_with(raw_path=f"/_client/{path}".encode())
        assert (await http.get(url)).status_code == 404


@given(st.text(max_size=400))
def test_words_of_a_refusal_stay_in_their_header(words: str) -> None:
    for name, value in headers.refusal(Refusal(400, words, 5)):
        assert not set(name + value) & set(b"\r\n\x00")
        assert value.isascii()
        assert len(value) <= 1024


@given(host=st.text(max_size=60))
@settings(max_examples=100, deadline=None)
async def test_no_host_gets_into_a_page_or_an_address(host: str) -> None:
    try:
        raw = host.encode("latin-1")
    except UnicodeEncodeError:
        return
    if set(raw) & {0, 10, 13}:
        return  # no server hands that on
    async with client_for(_APP) as http:
        answer = await http.get("/test", headers=[(b"host", raw)])
        assert answer.status_code in (200, 400, 404)
        for sign in ("<", '"'):
            if sign in host and len(host) > 6:
                assert host not in answer.text
