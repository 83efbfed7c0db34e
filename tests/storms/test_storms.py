"""Short forms of the storms: the rules that do not depend on how fast the machine is.

What must hold of time (latency, pauses, growth in percent) is measured by `scripts/soak`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts.storms import __main__ as soak
from scripts.storms import churn, deaths, floods, rotation, sources
from scripts.storms.control import controls
from scripts.storms.frame import Findings, Options, StormFailed
from scripts.storms.observed import ObservedGateway, sample
from scripts.support.processes import running
from tests.test_gateway import running as gateway_running
from tests.test_gateway import settings
from wtgateway.protocol.session import ServerSession
from wtgateway.transport import steering
from wtgateway.transport.engine import Link
from wtgateway.transport.h3 import WebTransportConnection
from wtgateway.transport.link import SessionLink
from wtgateway.transport.websocket import WebSocketSession
from wtgateway.transport.webtransport import WebTransportSession

KINDS = (ServerSession, Link, WebTransportConnection, WebTransportSession, WebSocketSession)
OF_TIME = ("latency", "back after", "without a picture", "growth", "longest")

assert SessionLink  # what KINDS of sessions have in common


def held(findings: Findings) -> None:
    """No rule was broken but such as depend on the machine."""
    broken = [words for words in findings.violations if not words.startswith(OF_TIME)]
    broken = [words for words in broken if not any(of in words.partition(" is ")[0] for of in OF_TIME)]
    assert not broken, "\n".join(broken)


def figure(findings: Findings, name: str) -> float:
    (found,) = [each.value for each in findings.figures if each.name == name]
    assert found is not None
    return found


def alive() -> Counter[str]:
    gc.collect()
    return Counter(type(found).__name__ for found in gc.get_objects() if type(found) in KINDS)


async def visits(url: str, count: int) -> dict[str, Any]:
    """So many joins and leaves over both transports, from a process of their own."""
    command = (sys.executable, "-u", "-m", "scripts.storms.churn", "--transports", ",".join(churn.TRANSPORTS))
    async with running(*command, url, "10", str(count)) as program:
        assert await program.wait() == 0, program.output()
        told: dict[str, Any] = json.loads(program.output().splitlines()[-1])
        return told


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


async def test_joins_and_leaves_leave_nothing(tmp_path: Path) -> None:
    async with gateway_running(settings(tmp_path)) as gateway:
        assert gateway.web_address is not None
        url = f"http://127.0.0.1:{gateway.web_address[1]}/test"

        def tasks() -> int:
            return len(asyncio.all_tasks())

        def nobody() -> bool:
            return not next(iter(gateway.hub)).viewers

        def held_by_one() -> bool:
            """A task that looks at sessions now and again may still have its hands on the last one."""
            return max(alive().values(), default=0) <= 1

        assert await visits(url, 10) == {"joined": 10, "failed": 0, "problem": ""}
        await until(lambda: nobody() and held_by_one())
        tasks_before, files_before = tasks(), sample(os.getpid()).fds
        assert await visits(url, 30) == {"joined": 30, "failed": 0, "problem": ""}
        await until(lambda: nobody() and held_by_one())
        # Some begin at their own times, and who asked last may keep alive; what leaked would be thirty.
        await until(lambda: tasks() <= tasks_before + 3)
        await until(lambda: sample(os.getpid()).fds <= files_before + 3)


@pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not())
async def test_workers_and_encoders_that_die_are_replaced_and_others_notice_nothing(tmp_path: Path) -> None:
    findings = Findings()
    await deaths.run(Options(directory=tmp_path), findings, viewers=2, deaths=2, pause=0.0)
    held(findings)
    assert figure(findings, "workers killed") == figure(findings, "encoders killed") == 1


async def test_a_camera_that_dies_is_played_again_in_the_same_sessions(tmp_path: Path) -> None:
    findings = Findings()
    try:
        await sources.run(Options(directory=tmp_path), findings, viewers=2, kills=1, away=lambda _: 0.1)
    except StormFailed as words:
        pytest.skip(str(words))
    held(findings)
    assert figure(findings, "sessions lost") == 0


async def test_rotation_and_reloads_cost_no_session_and_no_frame(tmp_path: Path) -> None:
    findings = Findings()
    await rotation.run(Options(directory=tmp_path), findings, viewers=2, seconds=4)
    held(findings)
    assert figure(findings, "certificates in use one after the other") >= 2


async def test_floods_leave_nothing_and_memory_is_bounded(tmp_path: Path) -> None:
    findings = Findings()
    attackers = {"nacks": 2, "control": 1}
    await floods.run(
        Options(directory=tmp_path),
        findings,
        seconds=1,
        attackers=attackers,
        rate=300,
        viewers=1,
        settle=False,
    )
    held(findings)
    assert figure(findings, "nacks: sent") > 0


async def test_a_live_gateway_takes_mutated_bytes_and_serves_others(tmp_path: Path) -> None:
    async with ObservedGateway("test:?size=320x180", directory=tmp_path) as gateway:
        url, findings = f"{gateway.url}/test", Findings()
        async with controls(url, 1) as watching:
            command = (sys.executable, "-u", "-m", "scripts.storms.hostile", url, str(gateway.quic_port), "2")
            async with running(*command) as program:
                kinds = (
                    "packets",
                    "control messages",
                    "datagrams",
                    "streams and capsules",
                    "WebSocket messages",
                )
                await program.until(
                    lambda: all(f'"{kind}"' in program.output(2) for kind in kinds), "all kinds", 60
                )
            await watching.more_frames(10)
            await watching.look()
            assert watching.sessions_lost == 0
            assert watching.ledger["disordered"] == watching.ledger["changed"] == 0
        gateway.judge_log(findings)
        await gateway.judge_end(findings)
        assert not findings.violations


def test_a_storm_that_breaks_a_rule_is_said_in_words_and_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(options: Options, findings: Findings) -> None:
        findings.holds("frames missing", 3)

    async def impossible(options: Options, findings: Findings) -> None:
        raise StormFailed("no such thing here")

    monkeypatch.setattr("scripts.storms.joins.run", run)
    report = tmp_path / "report.json"
    assert soak.main(["--only", "joins", "--json", str(report)]) == 1
    assert "VIOLATED joins: frames missing is 3, and must be at most 0" in capsys.readouterr().out
    written = json.loads(report.read_text())
    assert written["storms"][0]["held"] is False
    assert written["machine"]["cores"] >= 1
    monkeypatch.setattr("scripts.storms.joins.run", impossible)
    assert soak.main(["--only", "joins"]) == 3
    assert soak.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in soak.REGISTRY)
    with pytest.raises(SystemExit):
        soak.main(["--only", "nothing"])


async def test_a_traceback_and_a_process_left_behind_are_found(tmp_path: Path) -> None:
    """The frame's own rules can fail."""
    findings = Findings()
    async with ObservedGateway("test:?size=320x180", directory=tmp_path) as gateway:
        gateway._on_line('{"message": "x", "exception": "Traceback (most recent call last): ..."}')
        gateway.judge_log(findings)
        os.kill(gateway.pid, signal.SIGKILL)
        await gateway.program.wait()
    assert any(words.startswith("tracebacks in the log") for words in findings.violations)
