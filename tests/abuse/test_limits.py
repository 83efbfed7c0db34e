"""The gateway's limits, at an endpoint on real sockets and over several processes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.stage import CERTIFICATE, FRAME_BYTES, QUERY, Stage, attacking, position, staged
from tests.test_gateway import running, settings, watching
from tests.transport.ends import fingerprint
from wtgateway.config.model import ApiConfig, BroadcastLimits, LimitsConfig
from wtgateway.errors import ConfigError, SessionRefused
from wtgateway.limits import LEAST_BURST_BYTES
from wtgateway.transport.client import connect


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
        before, began = session.core.bytes_sent, time.monotonic()
        session.set_limit(rate, began)
        newest = stage.published[-1]
        await watcher.until(lambda: position(watcher.frames[-1]) > (newest[0] + 5, 0))  # it goes on
        sent, elapsed = session.core.bytes_sent - before, time.monotonic() - began
        assert sent <= LEAST_BURST_BYTES + rate / 8 * elapsed + 2 * FRAME_BYTES
        assert sent < 0.9 * len([p for p in stage.published if p > newest]) * FRAME_BYTES  # some was left out
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


async def test_limits_and_rules_are_taken_over_while_it_runs(tmp_path: Path) -> None:
    config = settings(tmp_path)
    async with running(config) as gateway, watching(gateway) as viewer:
        assert await gateway.put_broadcast("other", {"source": "test:?size=160x90"})
        changed = replace(config, limits=LimitsConfig(sessions=1), api=ApiConfig())
        assert set((await gateway.apply(changed)).settings) == {"limits", "api"}
        with pytest.raises(SessionRefused, match="503"):
            async with watching(gateway):
                pass
        with pytest.raises(ConfigError, match="allowed_sources"):
            await gateway.put_broadcast("another", {"source": "test:?size=160x90"})
        with pytest.raises(ConfigError):
            await gateway.put_broadcast("another", {"source": "/etc/passwd"})
        limits = [event.fields["limit"] for event in gateway.events.kept if event.kind == "limit.reached"]
        assert limits == ["sessions"]
        assert viewer.end is None
        await gateway.apply(config)
        async with watching(gateway):
            pass


async def test_a_broadcast_has_limits_of_its_own(tmp_path: Path) -> None:
    config = settings(tmp_path)
    (test,) = config.broadcasts
    config = replace(config, broadcasts=(replace(test, limits=BroadcastLimits(sessions=1)),))
    async with running(config) as gateway, watching(gateway):
        with pytest.raises(SessionRefused, match="503"):
            async with watching(gateway):
                pass
