"""Pages: what is in them, and the headers around them."""

from __future__ import annotations

import json
import re
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.web.api import embeddable_json
from wtgateway.web.view import is_broadcast_name


def config_of(page: str):
    blocks = re.findall(r'<script type="application/json" id="wtgateway-config">(.*?)</script>', page)
    assert len(blocks) == 1
    return json.loads(blocks[0])


async def test_player_page_needs_no_second_request_to_connect(http):
    page = (await http.get("/test")).text
    config = config_of(page)
    assert config["broadcast"] == "test"
    assert config["known"] is True
    assert config["summary"]["state"] == "live"
    assert config["transport"] == (await http.get("/api/v1/transport")).json()
    assert "<title>test" in page


async def test_player_page_of_a_nested_name(http):
    answer = await http.get("/house/door")
    assert answer.status_code == 200
    assert config_of(answer.text)["broadcast"] == "house/door"


async def test_unknown_broadcast_is_404_and_still_a_player(http):
    answer = await http.get("/later")
    assert answer.status_code == 404
    config = config_of(answer.text)
    assert (config["broadcast"], config["known"], config["summary"]) == ("later", False, None)


async def test_player_page_before_the_gateway_is_ready_has_no_transport(http, view):
    view.is_ready, view.hashes = False, []
    assert "transport" not in config_of((await http.get("/test")).text)


async def test_list_page_carries_the_list(http):
    answer = await http.get("/")
    assert answer.status_code == 200
    assert [b["name"] for b in config_of(answer.text)["broadcasts"]] == ["test", "house/door"]


async def test_a_slash_at_the_end_leads_to_the_page(http):
    for path in ("/house/door/", "/house/door//"):
        answer = await http.get(path)
        assert answer.status_code == 308
        assert urljoin(f"http://x{path}", answer.headers["location"]) == "http://x/house/door"
        assert not answer.headers["location"].startswith("/"), "a proxy may have put something before it"


@pytest.mark.parametrize(
    "path", ["/_private", "/a%20b", "//evil.example/", "/%2e%2e/x", "/a//b", "/%3Cscript%3E", "/_client"]
)
async def test_what_cannot_be_a_name_is_404_in_words(http, path):
    answer = await http.get(f"http://localhost:8080{path}")
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert "There is nothing here" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/test", "/nowhere", "/%20", "/_monitor", "/api/v1/transport", "/api/x", "/healthz"]
)
async def test_security_headers_are_everywhere(http, path):
    headers = (await http.get(path)).headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy
    assert "worker-src 'self' blob:;" in policy
    assert "connect-src 'self' https: wss:;" in policy
    assert "set-cookie" not in headers


@pytest.mark.parametrize("path", ["/", "/test", "/%20", "/_monitor"])
async def test_pages_have_no_inline_script_or_style_and_nothing_from_elsewhere(http, path):
    page = (await http.get(path)).text
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page, re.DOTALL)
    for attributes, body in scripts:
        assert 'type="application/json"' in attributes or body == ""
    assert "<style" not in page
    assert not re.search(r"\s(style|on\w+)=", page)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


async def test_pages_name_their_files_by_version_and_all_exist(http):
    for path in ("/", "/test", "/_monitor", "/house/door", "/%20", "/a%2Fb/%20/", "/a//b"):
        page = (await http.get(f"http://localhost:8080{path}")).text
        urls = [u.partition("#")[0] for u in re.findall(r'(?:src|href)="([^"]*_client/[^"]+)"', page)]
        assert urls
        for url in (urljoin(f"http://localhost:8080{path}", url) for url in urls):
            assert url.startswith("http://localhost:8080/_client/@")
            answer = await http.get(url)
            assert answer.status_code == 200, url
            assert "immutable" in answer.headers["cache-control"]
        assert "<!-- wtgateway:" not in page


@pytest.mark.parametrize("path", ["/", "/test", "/house/door", "/nowhere/at/all", "/%20", "/a%2Fb/%20/"])
async def test_nothing_in_a_page_is_absolute_so_that_it_may_stand_anywhere(http, path):
    page = (await http.get(f"http://localhost:8080{path}")).text
    links = re.findall(r'\s(?:src|href|action|content|srcset)="([^"]*)"', page)
    assert links
    assert not [link for link in links if link.startswith("/")]
    home = re.findall(r'class="brand" href="([^"]*)"', page)
    assert [urljoin(f"https://proxy.example/live{path}", link) for link in home] == [
        "https://proxy.example/live/"
    ]
    if "wtgateway-config" in page:
        assert config_of(page)["base"] == home[0]


@given(st.recursive(st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_embedded_json_is_the_value_and_no_markup(value):
    text = embeddable_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set(text) & set("<>&")


@pytest.mark.parametrize("name", ["test", "cam1", "a/b/c", "a.b~c_d-e", "x" * 200, "...", "_a"[1:], "apis"])
def test_names(name):
    assert is_broadcast_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.", "x" * 201),
        *("_a", "api", "api/v1", "healthz", "readyz", "certificate.sha256", "favicon.ico"),
        *("a b", "a\n", "a%2fb", 'a"b', "a<b", "é"),
    ],
)
def test_not_names(name):
    assert not is_broadcast_name(name)
