"""Broadcasts that come, change and go while the gateway runs, with and without workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.lifecycle.conftest import assert_no_gap, until
from tests.test_gateway import QUERY, running, settings, watching
from wtgateway.config import BroadcastConfig
from wtgateway.config.model import VideoConfig
from wtgateway.errors import ConfigError, SessionRefused
from wtgateway.media import BroadcastState
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import State

SOURCE = "test:?size=320x180"
OTHER = "/other" + QUERY


@pytest.mark.parametrize("workers", [1, 2])
async def test_broadcasts_come_and_go_and_their_neighbour_notices_nothing(
    tmp_path: Path, workers: int
) -> None:
    async with running(settings(tmp_path, workers=workers)) as gateway, watching(gateway) as neighbour:
        await neighbour.until(lambda: len(neighbour.track(0)) >= 5)
        for turn in range(2):  # the second has the same name, and is another broadcast
            assert await gateway.put_broadcast("other", {"source": SOURCE, "audio": False})
            assert not await gateway.put_broadcast("other", {"source": SOURCE, "audio": False})
            async with watching(gateway, OTHER) as viewer:
                await viewer.until(lambda: len(viewer.track(0)) >= 3)
                assert viewer.track(0)[0].group == 0, turn
                assert await gateway.remove_broadcast("other")
                await viewer.until(lambda: viewer.end is not None)
                assert viewer.end == (CloseCode.NOT_FOUND, "the broadcast was removed")
            assert not await gateway.remove_broadcast("other")
        with pytest.raises(SessionRefused, match="404"):
            async with watching(gateway, OTHER):
                pass
        count = len(neighbour.track(0))
        await neighbour.until(lambda: len(neighbour.track(0)) >= count + 5)
        assert_no_gap(neighbour.track(0))
        assert neighbour.end is None
        kinds = [e.kind for e in gateway.events.kept if e.fields.get("broadcast") == "other"]
        changes = [kind for kind in kinds if kind in ("broadcast.added", "broadcast.removed")]
        assert changes == ["broadcast.added", "broadcast.removed"] * 2


@pytest.mark.parametrize("workers", [1, 2])
async def test_viewers_of_a_changed_broadcast_stay_and_go_on_with_the_next_group(
    tmp_path: Path, workers: int
) -> None:
    async with running(settings(tmp_path, workers=workers)) as gateway, watching(gateway) as viewer:
        await viewer.until(lambda: len(viewer.track(0)) >= 5)
        changes = (
            lambda: gateway.restart_broadcast("test"),
            lambda: gateway.put_broadcast("test", {"source": SOURCE, "video": {"bitrate": "1M"}}),
        )
        for change in changes:
            before = gateway.pipelines["test"]
            last = max(frame.group for frame in viewer.track(0))
            assert await change() is (change is changes[0])
            assert gateway.pipelines["test"] is not before
            await viewer.until(lambda: any(f.group > last for f in viewer.track(0)))  # noqa: B023 - at once
        assert_no_gap(viewer.track(0))
        assert {s.state for s in viewer.of(State)} >= {BroadcastState.CONNECTING, BroadcastState.LIVE}
        assert viewer.end is None
        assert not await gateway.restart_broadcast("nobody")


async def test_a_wrong_document_changes_nothing(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        for document in (
            {"source": SOURCE, "vdeo": {}},
            {},
            {"source": "nonsense://x"},
            {"source": SOURCE, "video": {"bitrate": float("nan")}},
            {"source": SOURCE, "video": [1]},
        ):
            with pytest.raises(ConfigError):
                await gateway.put_broadcast("other", document)
        with pytest.raises(ConfigError):
            await gateway.put_broadcast("../up", {"source": SOURCE})
        assert list(gateway.pipelines) == ["test"]


async def test_apply_changes_what_differs_and_names_what_needs_a_restart(tmp_path: Path) -> None:
    kept, changed, removed, added = (BroadcastConfig(name=n, source=SOURCE, audio=None) for n in "abcd")
    config = settings(tmp_path, broadcasts=(kept, changed, removed))
    async with running(config) as gateway, watching(gateway, "/a" + QUERY) as viewer:
        seen: list[str] = []
        gateway.on_config.append(lambda config: seen.append(config.log_level))
        await viewer.until(lambda: len(viewer.track(0)) >= 3)
        pipelines = gateway.pipelines
        await gateway.put_broadcast("by-hand", {"source": SOURCE})
        other = replace(changed, video=VideoConfig(bitrate_bps=1_000_000))
        new = replace(config, broadcasts=(kept, other, added), workers=5, drain_timeout_s=9.0)
        found = await gateway.apply(new)
        assert (found.kept, found.changed, found.removed, found.added) == (("a",), ("b",), ("c",), ("d",))
        assert (found.settings, found.needs_restart) == (("drain_timeout",), ("workers",))
        assert found.in_words() == "added=d removed=c changed=b settings=drain_timeout needs_restart=workers"
        assert gateway.pipelines["a"] is pipelines["a"]
        assert gateway.pipelines["b"] is not pipelines["b"]
        assert set(gateway.pipelines) == {"a", "b", "d", "by-hand"}
        assert (gateway.config.workers, gateway.config.drain_s) == (1, 9.0)
        wrong = replace(new, broadcasts=(replace(kept, source="nonsense://x"),))
        with pytest.raises(ConfigError, match=r"broadcasts\.a\.source"):
            await gateway.apply(wrong)
        assert set(gateway.pipelines) == {"a", "b", "d", "by-hand"}
        assert seen == ["info"]
        count = len(viewer.track(0))
        await viewer.until(lambda: len(viewer.track(0)) >= count + 3)
        assert_no_gap(viewer.track(0))


@pytest.mark.parametrize("workers", [2])
async def test_a_worker_that_is_replaced_knows_what_came_and_went_meanwhile(
    tmp_path: Path, workers: int
) -> None:
    async with running(settings(tmp_path, workers=workers)) as gateway:
        pool = gateway.pool
        assert pool is not None
        await gateway.put_broadcast("gone", {"source": SOURCE})
        await gateway.put_broadcast("other", {"source": SOURCE})
        await gateway.remove_broadcast("gone")
        for place in pool._places:
            assert place.process is not None
            place.process.kill()
        await until(lambda: [w.restarts for w in pool.worker_summaries()] == [1, 1])
        await until(lambda: all(w.up for w in pool.worker_summaries()))
        async with watching(gateway, OTHER) as viewer:
            await viewer.until(lambda: len(viewer.track(0)) >= 3)
        with pytest.raises(SessionRefused, match="404"):
            async with watching(gateway, "/gone" + QUERY):
                pass
