"""Two gateways with one secret: a page of one plays from the other, through rotations of certificates."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest_asyncio

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Browser, Tab
from tests.e2e.watching import Json
from wtgateway.cluster import make_secret

PERIOD_S = 3


@pytest_asyncio.fixture(loop_scope="session")
async def chromium(launched: Callable[[str], Awaitable[Browser]]) -> Browser:
    return await launched("chromium")


def hashes(gateway: Gateway) -> list[str]:
    told: list[dict[str, Json]] = gateway.get("/api/v1/transport")["certificateHashes"]
    return [entry["value"] for entry in told]


async def test_a_page_needs_one_retry_at_most_whatever_hashes_it_holds(
    chromium: Browser, tmp_path: Path
) -> None:
    make_secret(tmp_path / "secret")
    # names are in the certificate, so they are the same on both, as behind one balancer
    shared = ("--cluster-secret", tmp_path / "secret", "--cert-rotate", f"{PERIOD_S}s")
    source = ("test:?size=640x360", "--name", "test")
    media = Gateway(*source, *shared, directory=tmp_path)
    at = f"127.0.0.1:{media.quic_port}"
    pages = Gateway(*source, *shared, "--advertise", at, directory=tmp_path)
    media.arguments = (*media.arguments, "--advertise", at)
    tab = await chromium.open()
    try:
        async with pages, media:
            await watching.watch(tab, f"{pages.url}/test")
            assert [len(g.get("/api/v1/sessions")) for g in (pages, media)] == [0, 1], "from the other node"
            assert set(hashes(pages)) & set(hashes(media)), "though neither asked the other"
            old = pages.get("/api/v1/transport")
            # Chromium delays a page's connections after failed ones, which are not what this is about.
            await tab.evaluate("window.player.stop()")
            await a_node_is_down_for_a_while(tab, pages, media, old)
            await tab.evaluate("window.player.start()")
            await watching.until(tab, "window.player.stats().state === 'playing'", "the page plays again")
            await watching.more_frames(tab, 5)
            await a_page_with_old_hashes(tab, old)
            assert not (tmp_path / "certs").exists()
    finally:
        await tab.close()


async def a_node_is_down_for_a_while(tab: Tab, pages: Gateway, media: Gateway, old: Json) -> None:
    """It comes back after rotations with nothing but its clock and the secret."""
    before = {entry["value"] for entry in old["certificateHashes"]}
    await media.stop(signal.SIGKILL)

    async def out_of_date() -> bool:
        return hashes(pages)[0] not in before

    await watching.poll(out_of_date, "what nodes present now is none of the old ones", tab, PERIOD_S * 20)
    await media.start()
    assert set(hashes(media)) & set(hashes(pages))


async def a_page_with_old_hashes(tab: Tab, old: Json) -> None:
    """A second player is given hashes that no certificate has any more, as a page of long ago has."""
    await tab.evaluate(
        f"""import('/_client/player.js').then(({{ Player }}) => {{
          const old = {json.dumps(old)};
          window.states = [];
          window.late = new Player({{
            url: location.origin, transportUrl: old.url, certificateHashes: old.certificateHashes,
            broadcast: 'test', container: document.body.appendChild(document.createElement('div')),
          }});
          window.late.addEventListener('state', ({{ detail }}) => window.states.push(detail));
          window.late.start();
        }})"""
    )
    await watching.until(tab, "window.late.stats().framesPainted > 5", "pictures")
    states = await tab.evaluate("window.states")
    pauses = [s["retryInMs"] for s in states if s["state"] == "reconnecting" and s["retryInMs"]]
    assert len(pauses) == 1 and pauses[0] < 1000, f"one retry, with hashes of now, within a second: {states}"
    await tab.evaluate("window.late.close()")
