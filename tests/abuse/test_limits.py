"""The gateway's limits, at an endpoint on real sockets and over several processes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.stage import QUERY, Stage, attacking, staged
from tests.test_gateway import running, settings, watching
from tests.transport.ends import fingerprint
from wtgateway.config.model import BroadcastLimits, LimitsConfig
from wtgateway.errors import SessionRefused
from wtgateway.transport.client import connect

from tests.abuse.stage import CERTIFICATE  # isort: skip


async def refused(stage: Stage) -> str:
    with pytest.raises(SessionRefused) as caught:
        await stage.join()
    return str(caught.value)


@pytest.mark.parametrize(
    ("limits", "status", "limit"),
    [
        (LimitsConfig(sessions=2), "503", "sessions"),
        (LimitsConfig(sessions_per_broadcast=2), "503", "sessions_per_broadcast"),
        (LimitsConfig(sessions_per_address=2), "429", "sessions_per_address"),
        (LimitsConfig(bitrate_bps=200_000), "503", "bitrate"),
    ],
)
async def test_one_too_many_is_told_when_to_come_back(limits: LimitsConfig, status: str, limit: str) -> None:
    told: list[dict[str, Any]] = []
    async with staged() as stage:
        stage.service.limiting.use(limits, {})
        stage.service.limiting.publish = lambda kind, **fields: told.append({"kind": kind, **fields})
        async with attacking(stage):
            for _ in range(3):
                words = await refused(stage)
                assert status in words
                assert "try again in" in words
            async with attacking(stage, session=False) as another:
                stream_id = another.ask()
                another.flush()
                await stage.until(lambda: stream_id in another.headers)
                assert another.headers[stream_id][b":status"] == status.encode()
                assert int(another.headers[stream_id][b"retry-after"]) > 0
            assert stage.counters[f"limits_reached_{limit}"] == 4
            assert [event["limit"] for event in told] == [limit]
            stage.service.limiting.use(LimitsConfig(), {})
            await stage.join()


async def test_a_viewer_who_comes_back_elsewhere_is_let_in_beside_itself() -> None:
    async with staged(LimitsConfig(sessions_per_address=1)) as stage:
        assert "429" in await refused(stage)
        session = next(iter(stage.service.sessions.values()))
        token = stage.service._make_token(session)[0]
        second = await connect(
            stage.url(f"{QUERY}&resume={token}"),
            type(stage.viewer)(),
            certificate_hashes=[fingerprint(CERTIFICATE)],
        )
        assert len(stage.service.sessions) == 2
        assert "429" in await refused(stage)
        second.close()
        await stage.until(lambda: len(stage.service.sessions) == 1)


async def test_a_bit_rate_that_is_limited_is_kept_and_nothing_stalls() -> None:
    """Here quality cannot go lower: what is too much is left out, a group at a time, and play goes on."""
    rate = 400_000  # of 1.2 Mbit/s
    async with staged() as stage:
        watcher = await stage.join()
        await watcher.until(lambda: len(watcher.frames) >= 5)
        session = list(stage.service.sessions.values())[-1]
        stage.service.limiting.use(LimitsConfig(), {"cam": BroadcastLimits()})
        stage.service.limiting.share = lambda sessions, now: session.set_limit(rate, now)  # type: ignore[method-assign]
        session.set_limit(rate, time.monotonic())
        await asyncio.sleep(1.0)  # what may be taken at once is used up
        before, began = sum(len(f.payload) for f in watcher.frames), time.monotonic()
        newest = stage.published[-1]
        await asyncio.sleep(2.5)
        bps = 8 * (sum(len(f.payload) for f in watcher.frames) - before) / (time.monotonic() - began)
        assert bps < 1.3 * rate
        assert (watcher.frames[-1].group, watcher.frames[-1].index) > newest  # it goes on
        assert watcher.end is None
        assert session.core.path.limit_bps == rate


@pytest.mark.parametrize("workers", [2])
async def test_limits_hold_over_all_processes(tmp_path: Path, workers: int) -> None:
    config = settings(tmp_path, workers=workers, limits=LimitsConfig(sessions_per_address=2))
    async with running(config) as gateway, watching(gateway), watching(gateway):
        pool = gateway.pool
        assert pool is not None
        async with asyncio.timeout(20):
            while sum(place.occupied[0] for place in pool._places) < 2:
                await asyncio.sleep(0.02)
            while True:  # each worker is told of the others a moment later
                try:
                    async with watching(gateway):
                        await asyncio.sleep(0.05)
                except SessionRefused as error:
                    assert "429" in str(error)
                    break
