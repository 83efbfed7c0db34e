"""A configuration that is read again, by a real process and in memory."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from scripts.support.gateway import Gateway
from tests.lifecycle.conftest import SOURCE, Manager, assert_no_gap, said, until, watched
from wtgateway.config import GatewayConfig
from wtgateway.config.origin import file_mark
from wtgateway.errors import ConfigError, SessionRefused
from wtgateway.events import Events
from wtgateway.lifecycle.difference import Difference
from wtgateway.lifecycle.notify import Notifier
from wtgateway.lifecycle.reload import Reloader, watch_file


def replace(file: Path, text: str) -> None:
    """As editors do: a new file in the place of the old."""
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.replace(file)


def config(*names: str, more: str = "") -> str:
    return more + "broadcasts:\n" + "".join(f"  {name}: {{source: '{SOURCE}'}}\n" for name in names)


def names(gateway: Gateway) -> list[str]:
    return [entry["name"] for entry in gateway.get("/api/v1/broadcasts")]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_changed_file_and_sighup_touch_only_what_differs(
    tmp_path: Path, manager: Manager, workers: int
) -> None:
    file = tmp_path / "wtgateway.yml"
    file.write_text(config("a", "b"))
    gateway = Gateway(
        *("-c", file, "--workers", str(workers)),
        directory=tmp_path,
        env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"},
    )
    async with gateway:
        async with watched(gateway, "a") as viewer, watched(gateway, "b") as other:
            await viewer.until(lambda: len(viewer.track(0)) >= 3)
            replace(file, config("a", "c"))
            await other.until(lambda: other.end is not None)
            await until(lambda: len(said(gateway, "configuration read again added=c removed=b")) == 1)
            assert names(gateway) == ["a", "c"]

            replace(file, config("a", "d", more="nonsense: 1\n"))
            await until(lambda: bool(said(gateway, "configuration refused, nothing has changed")))
            (why,) = said(gateway, "refused")
            assert f"{file}:1: nonsense" in why
            assert names(gateway) == ["a", "c"]

            before = len(said(gateway, "configuration read again"))
            file.write_text(config("a", "d", more="web: '127.0.0.1:1'\nlog_level: debug\n"))
            await until(lambda: len(said(gateway, "configuration read again")) > before)
            assert said(gateway, "needs a restart of the gateway: web") == []  # the command line has it
            assert names(gateway) == ["a", "d"]

            before = len(said(gateway, "configuration read again"))
            os.kill(gateway.pid, signal.SIGHUP)
            await until(lambda: len(said(gateway, "configuration read again nothing differs")) > 0)
            count = len(viewer.track(0))
            await viewer.until(lambda: len(viewer.track(0)) >= count + 5)
            assert_no_gap(viewer.track(0))
            assert viewer.end is None
        await until(lambda: manager.listen().count("WATCHDOG=1") >= 3)
        assert await gateway.stop() == 0
    heard = manager.listen()
    assert heard[0] == "STATUS=starting"
    order = [word.partition("\n")[0] for word in heard if word.startswith(("READY", "RELOADING", "STOPPING"))]
    assert order[0] == "READY=1"
    assert order[1:9] == ["RELOADING=1", "READY=1"] * 4
    assert order[9] == "STOPPING=1"
    assert any("broadcasts live" in word for word in heard)


async def test_what_needs_a_restart_is_named_and_no_watch_leaves_it_to_sighup(tmp_path: Path) -> None:
    file = tmp_path / "wtgateway.yml"
    file.write_text(config("a"))
    async with Gateway("-c", file, "--no-watch", directory=tmp_path) as gateway:
        replace(file, config("a", "b", more="workers: 2\nnode: x\n"))
        os.kill(gateway.pid, signal.SIGHUP)
        await until(lambda: bool(said(gateway, "needs a restart of the gateway: workers, node")))
        await until(lambda: bool(said(gateway, "configuration read again added=b")))
        replace(file, config("a"))
        # Whatever was watched would have been noticed before what comes after it.
        os.kill(gateway.pid, signal.SIGHUP)
        await until(lambda: bool(said(gateway, "configuration read again removed=b")))
        assert len(said(gateway, "configuration read again")) == 2


async def test_who_asks_meanwhile_has_it_read_once_more() -> None:
    reads: list[int] = []
    applied: list[GatewayConfig] = []

    def load() -> GatewayConfig:
        reads.append(1)
        if len(reads) == 1:
            for _ in range(5):
                loop.call_soon_threadsafe(reloader.ask)
        if len(reads) == 3:
            raise ConfigError("f.yml:3", "bind", "rtsp://u:secret@h/", "an address")
        if len(reads) == 4:
            raise RuntimeError("a defect")
        return GatewayConfig()

    async def apply(config: GatewayConfig) -> Difference:
        applied.append(config)
        return Difference(needs_restart=("bind",))

    loop, events = asyncio.get_running_loop(), Events()
    reloader = Reloader(load, apply, events, Notifier())
    task = asyncio.create_task(reloader.run())
    reloader.ask()
    await until(lambda: len(applied) == 2)
    reloader.ask()
    await until(lambda: len(events.kept) == 3)
    reloader.ask()
    await until(lambda: len(events.kept) == 4)
    reloader.ask()
    await until(lambda: len(applied) == 3)
    task.cancel()
    kinds = [event.kind for event in events.kept]
    assert kinds == ["config.reloaded"] * 2 + ["config.refused"] * 2 + ["config.reloaded"]
    refused = events.kept[2].fields
    assert (refused["where"], refused["key"]) == ("f.yml:3", "bind")
    assert "secret" not in str(refused["why"])
    assert events.kept[0].fields["needs_restart"] == "bind"


async def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes does with a ConfigMap: ..data is replaced, the file itself never is."""
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "c.yml").write_text(f"# {number}\n")
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "c.yml"
    file.symlink_to("..data/c.yml")
    changes: list[str] = []
    mark = file_mark(file)
    (tmp_path / "new").symlink_to("..2")
    (tmp_path / "new").replace(tmp_path / "..data")  # before it is watched, but after it was read
    task = asyncio.create_task(watch_file(file, mark, lambda: changes.append(file.read_text())))
    await until(lambda: changes == ["# 2\n"])
    (tmp_path / "new").symlink_to("..1")
    (tmp_path / "new").replace(tmp_path / "..data")
    await until(lambda: changes == ["# 2\n", "# 1\n"])
    task.cancel()
    assert file_mark(tmp_path / "none") is None


@pytest.mark.parametrize("workers", [1, 2])
async def test_access_that_is_reloaded_holds_for_whoever_comes(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "wtgateway.yml"
    file.write_text(config("a"))
    gateway = Gateway("-c", file, "--workers", str(workers), directory=tmp_path)
    async with gateway, watched(gateway, "a") as viewer:
        await viewer.until(lambda: len(viewer.track(0)) >= 3)
        file.write_text(config("a", more="access: {mode: jwt, jwt_key: /nowhere/key}\n"))
        await until(lambda: bool(said(gateway, "configuration refused")))
        async with watched(gateway, "a"):
            pass
        file.write_text(config("a", more="access: {mode: token}\n"))
        await until(lambda: bool(said(gateway, "configuration read again settings=access")))
        with pytest.raises(SessionRefused, match="401"):
            async with watched(gateway, "a"):
                pass
        file.write_text(config("a", more="access: {mode: token, anonymous: ['read:a']}\n"))
        await until(lambda: len(said(gateway, "configuration read again settings=access")) == 2)
        async with watched(gateway, "a"):
            pass
        count = len(viewer.track(0))
        await viewer.until(lambda: len(viewer.track(0)) >= count + 3)  # who was there stays
        assert viewer.end is None
