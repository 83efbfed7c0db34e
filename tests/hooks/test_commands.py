"""run_on_* commands: when they run, with what, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from wtgateway.config.hooks_model import HookConfig
from wtgateway.events import Event
from wtgateway.hooks import commands as commanding
from wtgateway.hooks.commands import Commands
from wtgateway.hooks.process import arguments, environment


def shell(text: str, *, restart: bool = False) -> HookConfig:
    return HookConfig((text,), shell=True, restart=restart)


def event(kind: str, **fields: str | int) -> Event:
    return Event(kind, 1, {"broadcast": "cam", **fields})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def hooks() -> dict[str, HookConfig]:
    return {}


@pytest_asyncio.fixture
async def commands(hooks: Mapping[str, HookConfig]) -> AsyncIterator[Commands]:
    made = Commands(lambda name: hooks, lambda name: f"rtsp://***@{name}", node="n1")
    yield made
    await made.close()
    assert made.running == 0


async def test_a_command_knows_what_it_is_for(
    hooks: dict[str, HookConfig], commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WTG_SOURCE", "rtsp://me:word@cam")
    monkeypatch.setenv("WTG_ACCESS", "secret")
    out = tmp_path / "out"
    hooks["run_on_disconnect"] = shell(f'env | grep ^WTG_ | sort > "{out}.new"; mv "{out}.new" "{out}"')
    commands.put(event("session.closed", session="s1", code=51, reason="enough"))
    await until(out.exists)
    assert out.read_text().splitlines() == [
        "WTG_BROADCAST=cam", "WTG_CODE=51", "WTG_EVENT=session.closed", "WTG_NODE=n1", "WTG_REASON=enough",
        "WTG_SESSION=s1", "WTG_SOURCE=rtsp://***@cam",
    ]  # fmt: skip


async def test_one_that_lasts_ends_with_what_it_is_for_and_takes_its_children_along(
    hooks: dict[str, HookConfig], commands: Commands, tmp_path: Path
) -> None:
    pids, ended = tmp_path / "pids", tmp_path / "ended"
    hooks["run_on_available"] = shell(f'sleep 1000 & echo $! $$ > "{pids}.n"; mv "{pids}.n" "{pids}"; wait')
    hooks["run_on_unavailable"] = HookConfig(("touch", str(ended)))
    commands.put(event("broadcast.available"))
    commands.put(event("broadcast.available"))  # the same once more is nothing new
    await until(pids.exists)
    assert commands.counters["started"] == 1
    children = [int(pid) for pid in pids.read_text().split()]
    assert all(alive(pid) for pid in children)
    commands.put(event("broadcast.unavailable", reason="away"))
    await until(ended.exists)
    await until(lambda: not any(alive(pid) for pid in children) and commands.running == 0)
    assert commands.counters["failed"] == 0


async def test_what_a_command_leaves_behind_ends_with_it(
    hooks: dict[str, HookConfig], commands: Commands, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    hooks["run_on_unread"] = shell(f"sleep 1000 & echo $! > '{pid}'")
    commands.put(event("broadcast.unread"))
    await until(lambda: commands.running == 0)
    await until(lambda: not alive(int(pid.read_text())))


async def test_a_broadcast_that_is_removed_ends_its_commands(
    hooks: dict[str, HookConfig], commands: Commands
) -> None:
    hooks["run_on_available"] = hooks["run_on_read"] = HookConfig(("sleep", "1000"))
    commands.put(event("broadcast.available"))
    commands.put(event("broadcast.read"))
    assert commands.running == 2
    commands.put(event("broadcast.removed"))
    await until(lambda: commands.running == 0)


async def test_sessions_have_a_command_each(hooks: dict[str, HookConfig], commands: Commands) -> None:
    hooks["run_on_connect"] = HookConfig(("sleep", "1000"))
    for session in ("s1", "s2"):
        commands.put(event("session.opened", session=session))
    assert commands.running == 2
    commands.put(event("session.closed", session="s1"))
    await until(lambda: commands.running == 1)


async def test_one_that_ignores_sigterm_is_killed(
    hooks: dict[str, HookConfig], commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wtgateway.hooks.process.PATIENCE_S", 0.05)
    ready = tmp_path / "ready"
    hooks["run_on_read"] = shell(f"trap '' TERM; touch '{ready}'; while :; do sleep 1; done")
    commands.put(event("broadcast.read"))
    await until(ready.exists)
    commands.put(event("broadcast.unread"))
    await until(lambda: commands.running == 0)


async def test_one_that_ends_too_soon_is_begun_again_later_each_time(
    hooks: dict[str, HookConfig], commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "FIRST_PAUSE_S", 0.01)
    runs = tmp_path / "runs"
    hooks["run_on_read"] = shell(f"echo >> '{runs}'; exit 3", restart=True)
    hooks["run_on_available"] = shell("exit 3")
    commands.put(event("broadcast.read"))
    commands.put(event("broadcast.available"))
    await until(lambda: runs.exists() and len(runs.read_text()) >= 3)
    commands.put(event("broadcast.unread"))
    await until(lambda: commands.running == 0)
    started = commands.counters["started"]
    await asyncio.sleep(0.1)
    assert commands.counters["started"] == started
    assert commands.counters["failed"] >= 3


async def test_what_cannot_be_started_is_counted(hooks: dict[str, HookConfig], commands: Commands) -> None:
    hooks["run_on_read"] = HookConfig(("/no/such/program",))
    commands.put(event("broadcast.read"))
    await until(lambda: commands.counters["failed"] == 1)


async def test_too_many_are_skipped(
    hooks: dict[str, HookConfig], commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "MAX_RUNNING", 2)
    hooks["run_on_connect"] = HookConfig(("sleep", "1000"))
    for number in range(5):
        commands.put(event("session.opened", session=f"s{number}"))
    assert (commands.running, commands.counters["skipped"]) == (2, 3)


async def test_at_the_end_what_runs_to_its_end_may_do_so(tmp_path: Path) -> None:
    done = tmp_path / "done"
    hooks = {
        "run_on_unread": shell(f"sleep 0.2; touch '{done}'"),
        "run_on_available": HookConfig(("sleep", "1000")),
    }
    commands = Commands(lambda name: hooks, lambda name: "")
    commands.put(event("broadcast.available"))
    commands.put(event("broadcast.unread"))
    await commands.close()
    assert done.exists()
    assert commands.running == 0


async def test_output_goes_into_the_log_a_line_each(
    hooks: dict[str, HookConfig], commands: Commands, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "wtgateway.hooks")
    hooks["run_on_read"] = shell("echo hello; echo there >&2; seq 1000")
    commands.put(event("broadcast.read"))
    await until(lambda: commands.running == 0)
    lines = [record.getMessage() for record in caplog.records]
    assert "hook output hook=run_on_read line=hello" in lines
    assert "hook output hook=run_on_read line=there" in lines
    assert "hook output hook=run_on_read lines_left_out=802" in lines


def test_values_are_never_code_nor_further_arguments() -> None:
    variables = {"WTG_CLIENT": "a b; rm -rf / $(id) $WTG_SOURCE", "WTG_SOURCE": "secret"}
    hook = HookConfig(("echo", "x$WTG_CLIENT", "${WTG_CLIENT}y", "$WTG_NONE", "$HOME"))
    assert arguments(hook, variables) == [
        "echo", "x" + variables["WTG_CLIENT"], variables["WTG_CLIENT"] + "y", "", "$HOME",
    ]  # fmt: skip
    shelled = HookConfig(("echo $WTG_CLIENT",), shell=True)
    assert arguments(shelled, variables) == ["/bin/sh", "-c", "echo $WTG_CLIENT"]
    assert environment({"WTG_ACCESS": "x", "HOME": "/"}, {"WTG_CLIENT": "a\0b"}) == {
        "HOME": "/",
        "WTG_CLIENT": "a b",
    }


def alive(pid: int) -> bool:
    """Whether a process runs: one that nobody has buried yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z" and os.getpid() != pid
