"""Tokens in the page: links that play, words where there is none, renewal in an open session, revocation."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Tab
from wtgateway.access.own_tokens import create_token, load_key
from wtgateway.access.permissions import Action, Permission

HOUR_S = 3600
FORM = "document.querySelector('#message form.token')"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """It lets in who shows a token of its own."""
    directory = tmp_path_factory.mktemp("gateway")
    async with Gateway("test:", "--access", "token", directory=directory) as guarded:
        yield guarded


def token(gateway: Gateway, action: Action = Action.READ, of: str = "test", seconds: float = HOUR_S) -> str:
    """Signed with the gateway's key."""
    return token_and_id(gateway, action, of, seconds)[0]


def token_and_id(gateway: Gateway, action: Action, of: str, seconds: float = HOUR_S) -> tuple[str, str]:
    """The same, and what it is revoked by."""
    key = load_key(gateway.directory / "certs" / "access.key")
    now_us = time.time_ns() // 1000
    return create_token(key, [Permission(action, of)], now_us=now_us, valid_us=round(seconds * 1e6))


async def says(tab: Tab, title: str) -> None:
    """The page says it over the picture, with a form."""
    await watching.until(tab, f"document.querySelector('#message h2')?.innerText.includes({title!r})", title)
    await watching.until(tab, f"{FORM}?.checkVisibility()", "the form")


async def test_a_link_with_a_token_plays_and_its_token_leaves_the_address(tab: Tab, gateway: Gateway) -> None:
    secret = token(gateway)
    await watching.watch(tab, f"{gateway.url}/test?delivery=auto&token={secret}")
    assert await watching.counters(tab, 2)
    assert await tab.evaluate("location.search") == "?delivery=auto"
    assert not await tab.evaluate(f"JSON.stringify(localStorage).includes({secret!r})")
    await watching.watch(tab, f"{gateway.url}/test?transport=websocket")
    stats = await watching.stats(tab)
    assert stats["transport"] == "websocket", "the token stays in the tab, and opens a WebSocket too"
    assert await watching.counters(tab, 2)


async def test_without_a_token_the_page_says_so_and_takes_one(tab: Tab, gateway: Gateway) -> None:
    await tab.goto(f"{gateway.url}/test")
    await says(tab, "needs a link with a token")
    assert await tab.evaluate("window.player.state.code") == "unauthorized"
    paste = "(text => {const field = %s.elements.token; field.value = text; %s.requestSubmit();})(%s)"
    await tab.evaluate(paste % (FORM, FORM, json.dumps(token(gateway, of="other"))))
    await says(tab, "does not open this broadcast")
    assert await tab.evaluate("window.player.state.code") == "forbidden"
    link = f"{gateway.url}/test?token={token(gateway)}"
    await tab.evaluate(paste % (FORM, FORM, json.dumps(link)))
    await watching.until(tab, "window.player.stats().state === 'playing'", "playing")
    assert await watching.counters(tab, 2)


async def test_a_token_is_renewed_on_the_session_that_is_open(tab: Tab, gateway: Gateway) -> None:
    await tab.goto(f"{gateway.url}/test")
    await says(tab, "needs a link with a token")
    short_s = 3.0
    tokens = [token(gateway, seconds=short_s), token(gateway)]
    over_ms = (time.time() + short_s + 1) * 1000  # its last second is rounded up
    await tab.evaluate(
        "(async (url, tokens) => {"
        " window.player.close(); window.asked = 0;"
        " const {Player} = await import(`${url}/_client/player.js`);"
        " const container = document.querySelector('#picture');"
        " const token = async () => tokens[Math.min(window.asked++, tokens.length - 1)];"
        " window.player = new Player({url, broadcast: 'test', container, token});"
        " window.player.start();"
        f"}})({json.dumps(gateway.url)}, {json.dumps(tokens)})"
    )
    await watching.until(tab, "window.player.stats().state === 'playing'", "playing")
    await watching.until(tab, "window.asked === 2", "asked for another one")
    await watching.until(tab, f"Date.now() > {over_ms}", "the first token is over")
    await watching.more_frames(tab, 10)
    stats = await watching.stats(tab)
    assert (stats["state"], stats["reconnects"], stats["roams"]) == ("playing", 0, 0)
    assert await tab.evaluate("window.asked") == 2


async def test_a_token_that_is_taken_back_ends_the_session_in_words(tab: Tab, gateway: Gateway) -> None:
    secret, token_id = token_and_id(gateway, Action.READ, "test")
    await watching.watch(tab, f"{gateway.url}/test?token={secret}")
    operator = token(gateway, Action.API, "*")
    request = urllib.request.Request(
        f"{gateway.url}/api/v1/access/revocations",
        json.dumps({"tokenId": token_id}).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {operator}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201
    await says(tab, "not valid any more")
    assert await tab.evaluate("window.player.state.code") == "revoked"
