"""What a service manager hears, over sockets with and without a name in the file system."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wtgateway.lifecycle.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and what NOTIFY_SOCKET says of it."""
    if request.param == "path":
        address = shown = str(tmp_path / "notify")
    else:
        name = f"wtgateway-test-{os.getpid()}"
        address, shown = f"\0{name}", f"@{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(5)
        yield listening, shown


def test_what_is_said(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42", "HOME": "/"}
    notifier = Notifier.from_environment(environ, 42)
    assert environ == {"HOME": "/"}  # no child speaks for us
    assert notifier.listens
    assert notifier.watchdog_s == 3.0
    notifier.ready()
    notifier.status("1 viewer\nREADY=0")
    notifier.status("1 viewer\nREADY=0")
    notifier.alive()
    notifier.stopping()
    said = [listening.recv(4096) for _ in range(4)]
    assert said == [b"READY=1", b"STATUS=1 viewer READY=0", b"WATCHDOG=1", b"STOPPING=1"]
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    state, _, stamp = listening.recv(4096).partition(b"\n")
    assert state == b"RELOADING=1"
    name, _, usec = stamp.partition(b"=")
    assert name == b"MONOTONIC_USEC"
    assert before <= int(usec) <= time.monotonic_ns() // 1000
    notifier.close()
    notifier.ready()
    assert not notifier.listens


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),  # no process named: whoever has the variable
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "43"}, 0.0),  # another one's
        ({"WATCHDOG_USEC": "0"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "often"}, 0.0),
        ({"WATCHDOG_USEC": "1"}, 0.0),  # nobody can
    ],
)
def test_the_watchdog_is_asked_for_by_name(environ: dict[str, str], seconds: float) -> None:
    assert Notifier.from_environment(dict(environ), 42).watchdog_s == seconds


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "nonsense"])
def test_without_a_manager_nothing_is_said(address: str) -> None:
    notifier = Notifier(address)
    assert not notifier.listens
    notifier.ready()
    notifier.close()


def test_a_manager_that_has_gone_does_no_harm(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.ready()
    notifier.alive()
    notifier.close()
