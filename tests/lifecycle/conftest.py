"""Gateways as processes: with a manager that listens, and viewers of their broadcasts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from scripts.support.gateway import Gateway
from tests.test_gateway import QUERY, Watcher
from wtgateway.media import Frame
from wtgateway.transport.client import connect, disconnect

PATIENCE_S = 30.0
SOURCE = "test:?size=320x180"


async def until(condition: Callable[[], bool], what: str = "") -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}") from None


def assert_no_gap(frames: list[Frame]) -> None:
    """Each frame follows another: as the next of its group, or the first of the next. They may overtake."""
    for before, after in itertools.pairwise(sorted(frames, key=lambda f: (f.group, f.index))):
        follows = (before.group, before.index + 1) if after.index else (before.group + 1, 0)
        assert (after.group, after.index) == follows


@contextlib.asynccontextmanager
async def watched(gateway: Gateway, name: str = "test", fingerprint: str = "") -> AsyncIterator[Watcher]:
    """A native viewer of one of a process's broadcasts."""
    watcher = Watcher()
    known = bytes.fromhex(fingerprint or gateway.ready["certificate_sha256"])
    url = f"https://{gateway.host}:{gateway.quic_port}/{name}{QUERY}"
    session = await connect(url, watcher, certificate_hashes=[known])
    try:
        yield watcher
    finally:
        await disconnect(session)


def said(gateway: Gateway, words: str) -> list[str]:
    """What it has logged with these words in it."""
    return [line for event in gateway.events if words in (line := str(event.get("message", "")))]


class Manager:
    """A service manager's end of sd_notify; ``heard`` are the datagrams so far."""

    def __init__(self, path: Path) -> None:
        self.heard: list[str] = []
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.path)
        asyncio.get_running_loop().add_reader(self._socket, self.listen)  # its queue has room for ten

    def listen(self) -> list[str]:
        """All that was said until now."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self._socket.recv(4096).decode())
        return self.heard

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()
