"""Revocations in a directory that several gateways share: nobody's are lost, and all of them learn."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from wtgateway.access import control as control_module
from wtgateway.access.control import AccessControl
from wtgateway.access.revocation_file import FILE_NAME, Change, RevocationFile
from wtgateway.access.revocations import MAX_REVOCATIONS, Revocation, RevocationsFullError
from wtgateway.config import AccessConfig, GatewayConfig
from wtgateway.errors import ConfigError

NOW_US = 1_790_000_000_000_000
FIRST, SECOND = Revocation(token_id="first"), Revocation(identity="anna")


def rows(directory: Path) -> list[list[object]]:
    return json.loads((directory / FILE_NAME).read_text())  # type: ignore[no-any-return]


# --- the file ----------------------------------------------------------------------------------------


def test_a_change_is_made_on_top_of_what_others_wrote(tmp_path: Path) -> None:
    one, other = RevocationFile(tmp_path), RevocationFile(tmp_path)
    assert one.read() is None
    assert other.change([Change(FIRST)], (), NOW_US) == [FIRST]
    assert one.change([Change(SECOND)], (), NOW_US) == [FIRST, SECOND]
    assert other.news() == [FIRST, SECOND]
    assert other.news() is None
    assert other.change([Change(FIRST, restored=True)], (), NOW_US) == [SECOND]
    assert one.news() == [SECOND]
    assert one.news() is None
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


def test_a_file_that_was_lost_is_made_of_what_is_known(tmp_path: Path) -> None:
    assert RevocationFile(tmp_path / "new").change([Change(SECOND)], [FIRST], NOW_US) == [FIRST, SECOND]
    assert rows(tmp_path / "new") == [["first", "", 0], ["", "anna", 0]]


def test_what_is_over_is_not_kept(tmp_path: Path) -> None:
    file = RevocationFile(tmp_path)
    file.change([Change(Revocation(token_id="short", until_us=NOW_US + 1))], (), NOW_US)
    assert file.change([Change(FIRST)], (), NOW_US + 1) == [FIRST]


def test_a_damaged_file_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("[[")
    with pytest.raises(ConfigError, match=FILE_NAME):
        RevocationFile(tmp_path).change([Change(FIRST)], (), NOW_US)
    assert (tmp_path / FILE_NAME).read_text() == "[["


def test_a_full_file_takes_no_more_and_loses_nothing(tmp_path: Path) -> None:
    full = [Change(Revocation(token_id=f"t{number}")) for number in range(MAX_REVOCATIONS)]
    file = RevocationFile(tmp_path)
    file.change(full, (), NOW_US)
    with pytest.raises(RevocationsFullError):
        file.change([Change(FIRST)], (), NOW_US)
    assert len(rows(tmp_path)) == MAX_REVOCATIONS


@examples(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.booleans()), max_size=20))
def test_whoever_writes_all_agree(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    directory = tmp_path_factory.mktemp("shared")
    files = [RevocationFile(directory) for _ in range(3)]
    expected: dict[int, Revocation] = {}
    for who, number, restored in steps:
        revocation = Revocation(token_id=f"t{number}")
        files[who].change([Change(revocation, restored=restored)], (), NOW_US)
        if restored:
            expected.pop(number, None)
        else:
            expected.setdefault(number, revocation)
    for file in files:
        assert {each.token_id for each in file.read() or ()} == {e.token_id for e in expected.values()}


# --- gateways ----------------------------------------------------------------------------------------


class Node:
    """An access control, and a queue of what it was told to end sessions for."""

    def __init__(self, directory: Path) -> None:
        self.control = AccessControl(GatewayConfig(certs_dir=directory, access=AccessConfig(mode=("token",))))
        self.revoked: asyncio.Queue[Revocation] = asyncio.Queue()
        self.control.on_revoked = self.revoked.put_nowait

    async def until(self, held: list[Revocation]) -> None:
        """Wait until exactly these hold here."""
        async with asyncio.timeout(10):
            while self.control.revocations() != held:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def nodes(directory: Path, count: int) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as stack:
        made = [Node(directory) for _ in range(count)]
        for each in made:
            await each.control.start()
            stack.push_async_callback(each.control.close)
        yield made


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "LOOK_EVERY_S", 0.01)


async def test_what_one_gateway_takes_back_all_do(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (one, other, third):
        await asyncio.gather(one.control.revoke(FIRST), other.control.revoke(SECOND))
        for each in (one, other, third):
            told = {(await each.revoked.get()).names for _ in range(2)}
            assert told == {FIRST.names, SECOND.names}
        assert await third.control.restore("first", "")
        for each in (one, other, third):
            await each.until([SECOND])
            assert each.revoked.empty(), "once each"
        assert not await one.control.restore("first", "")
    async with nodes(tmp_path, 1) as (later,):
        assert later.control.revocations() == [SECOND]
        assert later.revoked.empty()


async def test_another_end_is_taken_over_in_silence(tmp_path: Path) -> None:
    never = 4_000_000_000_000_000
    async with nodes(tmp_path, 2) as (one, other):
        await one.control.revoke(FIRST)
        assert await other.revoked.get() == FIRST
        assert await one.control.restore("first", "")
        await one.control.revoke(Revocation(token_id="first", until_us=never))
        await other.until([Revocation(token_id="first", until_us=never)])


async def test_without_room_it_holds_and_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wtgateway.access")
    async with nodes(tmp_path, 2) as (one, other):
        fsync = os.fsync

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            await one.control.revoke(FIRST)
        assert one.control.revocations() == [FIRST]
        assert one.revoked.get_nowait() == FIRST
        assert other.control.revocations() == []
        monkeypatch.setattr(os, "fsync", fsync)
        assert await other.revoked.get() == FIRST
        assert rows(tmp_path) == [["first", "", 0]]
        await one.until([FIRST])
    assert not list(tmp_path.glob(".*.tmp"))


async def test_a_file_that_somebody_damaged_is_told_once_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wtgateway.access")
    async with nodes(tmp_path, 1) as (one,):
        await one.control.revoke(FIRST)
        good = (tmp_path / FILE_NAME).read_bytes()
        (tmp_path / FILE_NAME).write_bytes(b"{}")
        async with asyncio.timeout(10):
            while "not shared" not in caplog.text:
                await asyncio.sleep(0.005)
        assert one.control.revocations() == [FIRST]
        (tmp_path / FILE_NAME).write_bytes(good)
        async with asyncio.timeout(10):
            while "kept again" not in caplog.text:
                await asyncio.sleep(0.005)
        assert one.control.revocations() == [FIRST]
    assert caplog.text.count("not shared") == 1
