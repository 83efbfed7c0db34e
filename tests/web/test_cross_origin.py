"""What a page of another origin may read of an open gateway, and show it."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from tests.web.conftest import CLIENT_DIR, client_for
from wtgateway.web.app import create_app
from wtgateway.web.operations import Rules

PATHS = ("/api/v1/transport", "/api/v1/broadcasts")
ASKS = {
    "origin": "https://elsewhere.example",
    "access-control-request-method": "GET",
    "access-control-request-headers": "authorization",
}


async def refuse(*_: object) -> None:
    """A guard that lets nobody in."""
    raise HTTPException(429, "later", {"retry-after": "7"})


@pytest.mark.parametrize("path", PATHS)
async def test_a_browser_that_asks_first_is_told_that_a_token_may_be_shown(view, path):
    async with client_for(create_app(view, CLIENT_DIR, open_access=True)) as http:
        answer = await http.options(path, headers=ASKS)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-headers"] == "authorization"
        assert answer.headers["access-control-allow-methods"] == "GET"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
async def test_a_refusal_can_be_read_by_the_page_that_is_refused(view, path):
    app = create_app(view, CLIENT_DIR, open_access=True, rules=Rules(guard=refuse))
    async with client_for(app) as http:
        answer = await http.get(path, headers={"origin": "https://elsewhere.example"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == "retry-after"


@pytest.mark.parametrize("path", ["/", "/test", "/api/v1/sessions", "/metrics", "/api/v1/transport/x"])
async def test_nothing_else_is_allowed(view, path):
    async with client_for(create_app(view, CLIENT_DIR, open_access=True)) as http:
        for answer in (await http.options(path, headers=ASKS), await http.get(path)):
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
async def test_a_gateway_that_is_not_open_allows_nothing(http, path):
    for answer in (await http.options(path, headers=ASKS), await http.get(path, headers=ASKS)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_options_without_a_question_of_a_browser_is_no_method_of_these(view):
    async with client_for(create_app(view, CLIENT_DIR, open_access=True)) as http:
        assert (await http.options(PATHS[0])).status_code == 405
