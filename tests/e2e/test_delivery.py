"""Delivery: by streams, by datagrams and as the gateway finds best, on a good network and on a bad one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.support.gateway import Gateway
from scripts.support.processes import ROOT, Program, running
from tests.e2e import watching
from tests.e2e.browsers import Tab

RELAY_HOST = "127.0.0.2"  # the page names its own address for QUIC: there the relay stands
LOSSY = ("--loss", "5%", "--delay", "20ms", "--seed", "7")  # each way
SMALL = ("--size", "640x360", "--video-bitrate", "1M")  # far less than any path here carries
IN_A_ROW = 150
RecordProperty = Callable[[str, object], None]
LOST = ("framesLost", "framesOutOfOrder", "framesExpired", "decoderErrors", "reconnects")


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("", "auto"),
        ("?delivery=datagram&deadline=400", "datagram"),
        ("?delivery=stream", "stream"),
        ("?delivery=pigeon&deadline=soon", "auto"),
    ],
    ids=["by-itself", "datagram", "stream", "nonsense"],
)
async def test_a_broadcast_plays(tab: Tab, gateway: Gateway, query: str, mode: str) -> None:
    await watching.watch(tab, f"{gateway.url}/test{query}")
    before = await watching.stats(tab)
    await watching.more_frames(tab, 60)
    seen = await watching.counters(tab, 5)
    assert seen == sorted(set(seen)), "the counter goes up with each frame looked at"
    after = await watching.stats(tab)
    assert after["delivery"] == mode
    if mode != "auto":
        assert (after["fragmentsReceived"] > 60) == (mode == "datagram"), await watching.situation(tab)
    assert told(before, after) == dict.fromkeys(LOST, 0), await watching.situation(tab)
    assert watching.breaks(await watching.received_frames(tab)) == [], await watching.situation(tab)


@pytest.mark.parametrize("mode", ["datagram", "auto"])
async def test_nothing_is_missing_where_a_twentieth_is_lost(
    tab: Tab, tmp_path: Path, record_property: RecordProperty, mode: str
) -> None:
    """Loss alone: the path has room for more than the pictures take.

    Every fifth frame loses a piece. So many in a row are whole only if all of them were mended in time.
    """
    gateway = Gateway("test:", *SMALL, directory=tmp_path, web_host=RELAY_HOST)
    async with gateway, lossy(gateway):
        await watching.watch(tab, f"{gateway.url}/test?delivery={mode}")
        before = await watching.stats(tab)

        async def in_a_row() -> bool:
            nonlocal before
            now = await watching.stats(tab)
            if any(told(before, now).values()):  # a busy machine is late, too
                before = now
            return bool(now["framesDecoded"] >= before["framesDecoded"] + IN_A_ROW)

        await watching.poll(in_a_row, f"{IN_A_ROW} frames in a row", tab, seconds=60)
        after = await watching.stats(tab)
        frames = (await watching.received_frames(tab))[-IN_A_ROW:]
    record_property("nacks", after["nacksSent"] - before["nacksSent"])
    record_property("recovered", after["fragmentsRecovered"] - before["fragmentsRecovered"])
    assert watching.breaks(frames) == []
    mended = [after[name] - before[name] for name in ("nacksSent", "fragmentsRecovered")]
    assert sum(mended) > IN_A_ROW // 15, f"something was lost and mended: {mended}"


def told(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """What went wrong in between."""
    return {name: after[name] - before[name] for name in LOST}


@contextlib.asynccontextmanager
async def lossy(gateway: Gateway) -> AsyncIterator[Program]:
    """A bad network between the gateway and those who come by the page's address."""
    places = (f"{RELAY_HOST}:{gateway.quic_port}", f"{gateway.host}:{gateway.quic_port}")
    command = (sys.executable, "-m", "scripts.netsimulator", "--quiet", *LOSSY, *places)
    async with running(*command, cwd=ROOT) as program:
        await program.until(lambda: "relaying" in program.output(), "relay")
        yield program
