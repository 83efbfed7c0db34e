"""Roaming on one host: a path that falls silent, and a gateway that hands its viewers over to another one."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Tab
from tests.e2e.relays import relaying

RELAY_HOST = "127.0.0.2"  # the page names its own address for QUIC: there the relay stands
SMALL = ("--size", "640x360", "--video-bitrate", "1M")
KEPT_MS = 1200  # the gateway keeps frames for one and a half seconds
QUIET = {"playing", "roaming"}  # while a busy machine says nothing for a moment, another session is tried
RecordProperty = Callable[[str, object], None]
_TELL_STATES = """window.states = [];
window.player.addEventListener('state', event => window.states.push(event.detail.state)), 0"""


async def test_a_path_falls_silent(tab: Tab, tmp_path: Path, record_property: RecordProperty) -> None:
    """Another session goes on with the next frame: none is missing, none comes twice."""
    gateway = Gateway("test:", *SMALL, directory=tmp_path, web_host=RELAY_HOST)
    listen, target = (RELAY_HOST, gateway.quic_port), (gateway.host, gateway.quic_port)
    async with gateway, relaying(listen, target) as relay:
        await watching.watch(tab, f"{gateway.url}/test?deadline=3000")
        await watching.until(tab, "window.player.stats().rttMs > 0", "a clock")
        await tab.evaluate(_TELL_STATES)
        for times in range(1, 5):  # on a busy machine it may take so long that what was kept is gone
            before, newest = await watching.stats(tab), (await watching.received_frames(tab))[-1]
            relay.silence()
            after = await roamed(tab, before)
            assert len(relay.flows) > times
            assert after["roamMs"] >= 250, "that much silence is waited for"
            if after["roamMs"] < KEPT_MS:
                break
        record_property("gap_ms", after["roamMs"])
        frames = await watching.received_frames(tab)
        frames = frames[frames.index(newest) :]
        assert [(one, two) for one, two in itertools.pairwise(frames) if not follows(one, two)] == []
        for name in ("reconnects", "framesLost", "keyframeRequests", "framesOutOfOrder", "decoderErrors"):
            assert after[name] == before[name], name
        states = await tab.evaluate("window.states")
        assert (states[0], states[-1], set(states)) == ("roaming", "playing", {"roaming", "playing"})
        await watching.counters(tab, 2)


async def test_a_gateway_leaves_and_the_other_one_dies(
    tab: Tab, tmp_path: Path, record_property: RecordProperty
) -> None:
    """Handed over at SIGTERM, and found by itself after SIGKILL: the page plays on, sound and all."""
    first, second = (
        Gateway("test:", *SMALL, "--drain-timeout", "60s", directory=tmp_path, web_host=RELAY_HOST)
        for _ in range(2)
    )
    listen, target = (RELAY_HOST, first.quic_port), (first.host, first.quic_port)
    async with first, second, relaying(listen, target) as relay:
        await watching.watch(tab, f"{first.url}/test", sound=True)
        await watching.counters(tab, 1)  # what reads them is fetched while its server is there
        await tab.evaluate(_TELL_STATES)
        before = await watching.stats(tab)
        relay.target = (second.host, second.quic_port)
        leaving = asyncio.ensure_future(first.stop(signal.SIGTERM))
        handed_over = await roamed(tab, before)
        assert await leaving == 0, "it is empty before its time is over"
        await first.start()
        relay.target = target
        await second.stop(signal.SIGKILL)
        after = await roamed(tab, handed_over)
        assert set(await tab.evaluate("window.states")) <= QUIET
        record_property("gaps_ms", (handed_over["roamMs"], after["roamMs"]))
        for name in ("reconnects", "framesOutOfOrder", "decoderErrors"):
            assert after[name] == before[name], name
        await watching.until(
            tab, f"window.player.stats().audioPlayedMs > {after['audioPlayedMs'] + 300}", "sound goes on"
        )
        await watching.counters(tab, 2)


def follows(one: tuple[int, int], two: tuple[int, int]) -> bool:
    """Whether no frame is missing between the two, nor a whole group."""
    return two in ((one[0], one[1] + 1), (one[0] + 1, 0))


async def roamed(tab: Tab, before: dict[str, Any]) -> dict[str, Any]:
    """Statistics when another session has taken the place of the one before, and delivers."""
    condition = f"(s => s.roams > {before['roams']} && s.state === 'playing')(window.player.stats())"
    await watching.until(tab, condition, "another session plays")
    await watching.more_frames(tab, 10)
    return await watching.stats(tab)
