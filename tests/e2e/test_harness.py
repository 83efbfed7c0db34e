"""The harness itself: both browsers do what the other tests ask of them."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.browsers import Tab

PAGE = "data:text/html,<title>hello</title><button onclick=\"this.textContent='pressed'\">press</button>"


async def test_a_tab_loads_evaluates_and_clicks(tab: Tab, tmp_path: Path) -> None:
    await tab.goto(PAGE)
    assert await tab.evaluate("document.title") == "hello"
    await tab.click("button")
    assert await tab.evaluate("document.querySelector('button').textContent") == "pressed"
    await tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


async def test_a_promise_is_awaited_and_objects_come_back(tab: Tab) -> None:
    await tab.goto(PAGE)
    assert await tab.evaluate("Promise.resolve({a: [1, 2.5, null], b: 'x'})") == {
        "a": [1, 2.5, None],
        "b": "x",
    }


async def test_the_browser_has_what_the_player_needs(tab: Tab, http_page: str) -> None:
    await tab.goto(http_page)
    names = "[isSecureContext, typeof WebTransport, typeof VideoDecoder, typeof AudioDecoder]"
    assert await tab.evaluate(names) == [True, "function", "function", "function"]


async def test_console_lines_are_kept_for_messages(tab: Tab) -> None:
    await tab.goto(PAGE)
    await tab.evaluate("console.log('seen', 1)")
    assert any("seen" in line for line in await tab.console())
