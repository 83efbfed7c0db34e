"""How a gateway ends: in order, in a hurry, killed; and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.support.gateway import Gateway
from scripts.support.processes import ProgramFailed, start
from tests.lifecycle.conftest import SOURCE, said, until, watched
from wtgateway.protocol.codes import CloseCode

ENDED = ("Z", "X")


def descendants(pid: int) -> Iterator[int]:
    """Its processes, and theirs."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for word in task.read_text().split():
            yield int(word)
            yield from descendants(int(word))


def state(pid: int) -> str:
    """R, S, Z (nobody has asked how it ended) ...; X: there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def named_memory(pids: list[int]) -> set[Path]:
    """Files in shared memory that some of these processes have mapped or opened, and that have a name."""
    found: set[Path] = set()
    for pid in pids:
        mapped = [line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        opened = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
        found |= {Path(name) for name in (*mapped, *opened) if name.startswith("/dev/shm/")}
    return {path for path in found if path.exists()}


async def test_kill_9_leaves_no_process_and_no_memory_and_the_next_start_serves(tmp_path: Path) -> None:
    gateway = Gateway(SOURCE, "--workers", "2", "--isolate", "true", directory=tmp_path)
    async with gateway:
        async with watched(gateway) as viewer:
            await viewer.until(lambda: len(viewer.track(0)) >= 3)
            family = list(descendants(gateway.pid))
            assert len(family) >= 3  # workers and the source's, perhaps some that stand by
            assert named_memory([gateway.pid, *family]) == set()
            os.kill(gateway.pid, signal.SIGKILL)
            await until(lambda: all(state(pid) in ENDED for pid in family), f"the end of {family}")
        assert {path.name for path in (tmp_path / "certs").iterdir()} == {".lock", "webtransport.pem"}
        await gateway.start()
        async with watched(gateway) as viewer:
            await viewer.until(lambda: len(viewer.track(0)) >= 3)
        family = list(descendants(gateway.pid))
        assert await gateway.stop() == 0
        assert all(state(pid) in ENDED for pid in family)


async def test_no_process_that_died_stays_a_zombie(tmp_path: Path) -> None:
    async with Gateway(SOURCE, "--workers", "2", directory=tmp_path) as gateway:
        await until(lambda: len(list(descendants(gateway.pid))) >= 3)
        killed = list(descendants(gateway.pid))[:2]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: all(state(pid) == "X" for pid in killed))
        await until(lambda: all(state(pid) != "Z" for pid in descendants(gateway.pid)))


async def test_the_first_sigterm_drains_and_the_second_stops_at_once(tmp_path: Path) -> None:
    async with Gateway(SOURCE, "--drain-timeout", "1h", directory=tmp_path) as gateway:
        async with watched(gateway) as viewer:
            await viewer.until(lambda: len(viewer.track(0)) >= 3)
            os.kill(gateway.pid, signal.SIGTERM)
            await until(lambda: bool(said(gateway, "draining viewers=1")))
            count = len(viewer.track(0))
            await viewer.until(lambda: len(viewer.track(0)) >= count + 3)  # who has not gone yet goes on
            os.kill(gateway.pid, signal.SIGTERM)
            await viewer.until(lambda: viewer.end is not None)
            assert viewer.end is not None
            assert viewer.end[0] == CloseCode.GOING_AWAY
        assert await gateway.program.wait() == 0


async def test_a_third_signal_waits_for_nothing(tmp_path: Path) -> None:
    """A source that never ends keeps the second one waiting, for some seconds."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\n"
        "from wtgateway.pipeline import production\n"
        "production.Production.stop = lambda self: time.sleep(3600)\n"
    )
    gateway = Gateway(SOURCE, directory=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    async with gateway:
        await until(lambda: bool(said(gateway, "broadcast is live")))
        os.kill(gateway.pid, signal.SIGTERM)
        await until(lambda: bool(said(gateway, "stopping viewers=0")))
        os.kill(gateway.pid, signal.SIGTERM)
        os.kill(gateway.pid, signal.SIGINT)
        while gateway.program.running:  # two that come together are one
            os.kill(gateway.pid, signal.SIGTERM)
            await asyncio.sleep(0.05)
        assert await gateway.program.wait() in (128 + signal.SIGTERM, 128 + signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--bind", "nonsense"), 2),
        (("-c", "/nowhere/wtgateway.yml"), 2),
        (("--certs-dir", "/proc/nowhere"), 1),
    ],
)
async def test_exit_codes_of_what_does_not_start(arguments: tuple[str, ...], code: int) -> None:
    program = await start(sys.executable, "-m", "wtgateway", "run", *arguments, "--web", "127.0.0.1:0")
    assert await program.wait() == code, program.output()
    assert program.output().splitlines()[-1].startswith("wtgateway: ")


async def test_a_port_that_is_taken_is_tried_again_by_service_managers(tmp_path: Path) -> None:
    """Exit code 2 would say that trying again is of no use."""
    async with Gateway(SOURCE, directory=tmp_path) as first:
        for quic_port, web_port in ((first.quic_port, 0), (0, first.web_port)):
            second = Gateway(SOURCE, directory=tmp_path, quic_port=quic_port, web_port=web_port)
            with pytest.raises(ProgramFailed):
                await second.start()
            assert second.program.process.returncode == 1, second.program.output()
