"""Workers as processes of a gateway that is started by its command: they log with it and die with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wtgateway.transport import steering

pytestmark = pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not())


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found


def alive(pid: int) -> bool:
    """Not even waiting to be buried: in a container nobody may do that."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Any) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """One that the test may end."""
    yield from started(tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """One for all tests that leave it with two workers and another that stands by."""
    yield from started(tmp_path_factory.mktemp("lasting"))


def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "wtgateway", "run", "test:?size=320x180", "--workers", "2", "--json-log",
             "--bind", "127.0.0.1:0", "--web", "127.0.0.1:0", "--certs-dir", str(tmp_path / "certs")],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "ready"
    yield process, log
    process.kill()
    process.wait()
    process.stdout.close()


def command_line(pid: int) -> bytes:
    """Empty for a process that has gone meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    return [pid for pid in children(process.pid) if b"wtgateway.workers" in command_line(pid)]


def test_the_lines_of_workers_are_in_the_same_log_with_their_number(
    lasting: tuple[subprocess.Popen[str], Path],
) -> None:
    _, log = lasting
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert {entry["worker"] for entry in entries if "worker" in entry} == {0, 1}


def test_no_secret_is_on_a_command_line_or_in_a_workers_files(
    lasting: tuple[subprocess.Popen[str], Path],
) -> None:
    process, log = lasting
    for pid in workers_of(process):
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert arguments[1:3] == [b"-m", b"wtgateway.workers"]
        assert arguments[3].isdigit()
        opened = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert not [name for name in opened if name.startswith(str(log.parent)) and name != str(log)]


def test_workers_do_not_outlive_a_gateway_that_is_killed(
    gateway: tuple[subprocess.Popen[str], Path],
) -> None:
    process, _ = gateway
    wait_until(lambda: len(workers_of(process)) == 3)  # one stands by
    workers = workers_of(process)
    process.kill()
    process.wait()
    wait_until(lambda: not any(alive(pid) for pid in workers))


def test_a_gateway_that_is_told_to_stop_ends_its_workers_and_itself_in_order(
    gateway: tuple[subprocess.Popen[str], Path],
) -> None:
    process, log = gateway
    workers = workers_of(process)
    assert len(workers) >= 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not any(alive(pid) for pid in workers)
    levels = {json.loads(line)["level"] for line in log.read_text().splitlines()}
    assert levels <= {"info"}, log.read_text()


def test_a_process_that_stands_by_is_replaced_when_it_dies(
    lasting: tuple[subprocess.Popen[str], Path],
) -> None:
    process, _ = lasting
    serving = set(workers_of(process))
    wait_until(lambda: len(workers_of(process)) == 3)
    (spare,) = set(workers_of(process)) - serving if len(serving) == 2 else {max(serving)}
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: len(set(workers_of(process)) - {spare}) == 3)


def test_both_at_once(lasting: tuple[subprocess.Popen[str], Path]) -> None:
    """Only one process stands by: the other place waits until another has loaded its modules."""
    process, log = lasting
    wait_until(lambda: len(workers_of(process)) == 3)
    for entry in (json.loads(line) for line in log.read_text().splitlines()):
        if entry["message"].startswith("worker serves"):
            os.kill(int(entry["message"].rpartition("=")[2]), signal.SIGKILL)
    wait_until(lambda: log.read_text().count("worker replaced") == 2)
