"""Rotation in a running gateway: on time, by other processes, through clock jumps and a failing disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wtgateway.certs import (
    CertificateManager,
    CertificateSet,
    CertificateStore,
    StoredCertificates,
    subject_names,
)
from wtgateway.certs import manager as manager_module
from wtgateway.errors import CertificateError

NOW = 1_800_000_000.0
NAMES = subject_names()


class Rig:
    """A manager on a clock of the test's own; its task sleeps for an hour, so that only check() acts."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.store = CertificateStore(directory, 60.0, NAMES)
        self.changes: list[CertificateSet] = []
        source = StoredCertificates(self.store)
        self.manager = CertificateManager(source, on_change=self.changes.append, wall=lambda: self.now)


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    never = asyncio.Event()

    async def idle(_self: CertificateManager) -> None:
        await never.wait()

    monkeypatch.setattr(CertificateManager, "_run", idle)
    await made.manager.start()
    yield made
    await made.manager.close()
    await made.manager.close()


async def test_nothing_changes_before_its_turn(rig: Rig) -> None:
    rig.now += 59
    assert not await rig.manager.check()
    assert rig.changes == []


async def test_the_next_one_takes_over_and_is_told(rig: Rig) -> None:
    first = rig.manager.certificates
    rig.now += 60
    assert await rig.manager.check()
    after = rig.manager.certificates
    assert rig.changes == [after]
    assert after.current.fingerprint == first.next.fingerprint
    assert rig.manager.rotations == 1
    known = [entry["value"] for entry in after.hashes()]
    assert known == [after.current.fingerprint, after.next.fingerprint, first.current.fingerprint]


async def test_a_forced_rotation_of_another_process_is_picked_up(rig: Rig) -> None:
    first = rig.manager.certificates
    forced = CertificateStore(rig.store.directory, 60.0, NAMES).rotate(rig.now, 10)
    assert await rig.manager.check()
    assert rig.manager.certificates.hashes() == forced.hashes()
    assert rig.manager.certificates.current.fingerprint == first.current.fingerprint
    rig.now += 10
    assert await rig.manager.check()
    assert rig.manager.certificates.current.fingerprint == forced.next.fingerprint


async def test_a_certificate_that_must_not_be_used_any_more_is_published_no_more(rig: Rig) -> None:
    rig.now += 60
    await rig.manager.check()
    before = {c.fingerprint for c in rig.manager.certificates.certificates}
    CertificateStore(rig.store.directory, 60.0, NAMES).rotate(rig.now, 0)
    assert await rig.manager.check()
    after = rig.manager.certificates
    assert len(after.hashes()) == 2
    assert before.isdisjoint(entry["value"] for entry in after.hashes())


@pytest.mark.parametrize("jump", [-1e9, -7200.0, 86400.0, 1e9])
async def test_a_clock_jump_is_answered_by_a_valid_certificate(rig: Rig, jump: float) -> None:
    rig.now += jump
    assert await rig.manager.check()
    assert rig.manager.certificates.current.window.usable(rig.now)


async def test_a_store_that_is_lost_is_written_again(rig: Rig) -> None:
    first = rig.manager.certificates
    rig.store.path.unlink()
    assert not await rig.manager.check(), "pages know these; they stay"
    assert [c.fingerprint for c in rig.store.read()] == [c.fingerprint for c in first.certificates]


async def test_a_failing_disk_is_survived_in_memory_and_told_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object, **_options: object) -> CertificateSet:
        raise CertificateError("the disk is full")

    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patch:
        patch.setattr(CertificateStore, "load_or_create", broken)
        first = rig.manager.certificates
        for _ in range(3):
            rig.now += 60
            assert await rig.manager.check()
        assert rig.changes[0].current.fingerprint == first.next.fingerprint
        assert caplog.text.count("the disk is full") == 1
    monkeypatch.setattr(manager_module, "RETRY_STORE_EVERY_S", 0.0)
    in_use = rig.manager.certificates.current.fingerprint
    await rig.manager.check()
    assert "works again" in caplog.text
    assert rig.manager.certificates.current.window.usable(rig.now)
    assert in_use == rig.manager.certificates.current.fingerprint, "pages know it"


async def test_start_without_a_usable_store_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    manager = CertificateManager(StoredCertificates(CertificateStore(tmp_path / "file", 60.0, NAMES)))
    with pytest.raises(CertificateError):
        await manager.start()
    await manager.close()


async def test_it_rotates_by_itself(tmp_path: Path) -> None:
    changed: asyncio.Queue[CertificateSet] = asyncio.Queue()
    store = CertificateStore(tmp_path, 1.0, NAMES)
    manager = CertificateManager(StoredCertificates(store), on_change=changed.put_nowait)
    before = await manager.start()
    for _ in range(2):
        after = await asyncio.wait_for(changed.get(), 30)
        assert after.current.fingerprint == before.next.fingerprint, "its hash was known before"
        assert after.current.window.usable(time.time())
        before = after
    await manager.close()


async def test_two_gateways_on_one_store_stay_in_step(rig: Rig) -> None:
    other = Rig(rig.store.directory)
    await other.manager.start()
    for step in (0, 60, 30, 30, 600, -1800, 7200, -1e7):
        rig.now = other.now = rig.now + step
        await other.manager.check()
        await rig.manager.check()
        assert _fingerprints(rig) == _fingerprints(other)
        rig, other = other, rig
    await rig.manager.close()
    await other.manager.close()


def _fingerprints(rig: Rig) -> list[bytes]:
    return [certificate.fingerprint for certificate in rig.manager.certificates.certificates]
