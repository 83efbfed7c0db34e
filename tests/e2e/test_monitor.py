"""The operator's page: what it shows is what goes on, and its buttons do what they say."""

from __future__ import annotations

import json

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Json, Tab
from tests.e2e.conftest import StartGateway

CELLS = """[...document.querySelectorAll('table[aria-label=%s] tbody tr')]
  .map((row) => Object.fromEntries([...row.cells].map((cell) => [cell.dataset.label, cell.innerText])))"""


async def table(tab: Tab, label: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = await tab.evaluate(CELLS % json.dumps(label))
    return rows


async def viewer_in(tab: Tab, gateway: Gateway, name: str) -> None:
    """A player in the monitor's own page: it is watched and watches."""
    await tab.evaluate(
        f"""import('/_client/player.js').then(({{ Player }}) => {{
          const container = document.body.appendChild(document.createElement('div'));
          window.player = new Player({{ url: location.origin, broadcast: {json.dumps(name)}, container }});
          window.player.addEventListener('state', ({{ detail }}) => (window.states ??= []).push(detail));
          window.player.start();
        }})"""
    )
    await watching.until(tab, "window.player.stats().framesPainted > 5", "pictures")


async def one(tab: Tab, label: str, column: str, wanted: str) -> dict[str, str]:
    """The row of a table that has those words, once it is there."""

    async def find() -> Json:
        return next((row for row in await table(tab, label) if wanted in row[column]), None)

    found: dict[str, str] = await watching.poll(find, f"{wanted} among the {label}", tab)
    return found


async def test_broadcasts_and_sessions_are_shown_and_a_viewer_is_sent_away(
    tab: Tab, gateways: StartGateway
) -> None:
    gateway = await gateways("test:", "/nowhere/to/be/found.mp4", "--name", "test", "--name", "gone")
    await tab.goto(f"{gateway.url}/_monitor")
    assert "Live" in (await one(tab, "Broadcasts", "State", "Live"))["State"]
    assert "gone" in (await one(tab, "Broadcasts", "State", "Source away"))["Broadcast"]
    await watching.until(tab, "document.body.innerText.includes('Nobody is watching now.')", "nobody")

    await viewer_in(tab, gateway, "test")
    session = await one(tab, "Sessions", "Broadcast", "test")
    assert session["Over"] == "WebTransport"
    await watching.until(
        tab,
        "[...document.querySelectorAll('table[aria-label=Sessions] td[data-label=Rate]')]"
        ".some((cell) => /[1-9].*bit/.test(cell.innerText))",
        "a rate",
    )
    await watching.until(tab, "document.querySelector('.events').innerText.includes('test has a new viewer')")

    await tab.click("table[aria-label=Sessions] a")
    await watching.until(tab, "location.hash.startsWith('#/session/')", "the session's own page")
    await watching.until(
        tab,
        "[...document.querySelectorAll('.chart b')].some((b) => /[1-9].*bit/.test(b.innerText))",
        "a curve",
    )
    keyframes = "window.player.stats().framesPainted"
    painted = await tab.evaluate(keyframes)
    await press(tab, "Ask for a keyframe", "The next picture is one.")
    await watching.until(tab, f"{keyframes} > {painted}", "it plays on")

    await press(tab, "End the session")
    await press(tab, "Really end it?", "The viewer was told.")
    await watching.until(tab, "window.states.some(({ code }) => code === 'kicked')", "the viewer is told")
    await watching.until(tab, "document.body.innerText.includes('This session is over.')", "its last figures")


async def test_a_broadcast_has_a_page_and_its_source_is_opened_again(
    tab: Tab, gateways: StartGateway
) -> None:
    gateway = await gateways("test:")
    await tab.goto(f"{gateway.url}/_monitor#/broadcast/test")
    await watching.until(
        tab, "document.querySelector('.facts').innerText.includes('1280 × 720')", "its picture"
    )
    await watching.until(
        tab, "/[1-9].*bit/.test(document.querySelector('.chart b').innerText)", "what is made of it"
    )
    await press(tab, "Open the source again")
    await press(tab, "Really open it again?", "The source is opened again; viewers stay.")
    await watching.until(
        tab,
        "[...document.querySelectorAll('.events li')].filter((e) => /is live/.test(e.innerText)).length > 1",
        "it was opened again",
    )


async def press(tab: Tab, label: str, then: str = "") -> None:
    find = (
        f"[...document.querySelectorAll('.actions button')].find((b) => b.innerText === {json.dumps(label)})"
    )
    await watching.until(tab, f"{find} && !{find}.disabled", label)
    await tab.evaluate(f"{find}.click()")
    if then:
        await watching.until(
            tab, f"document.querySelector('.outcome').innerText === {json.dumps(then)}", then
        )
