"""What a machine may run out of, for real: file descriptors, disk, and the time of day."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import signal
import socket
from pathlib import Path

import httpx
import pytest

from scripts.support.gateway import Gateway
from tests.lifecycle.conftest import SOURCE, assert_no_gap, said, until, watched
from wtgateway.events import Events
from wtgateway.lifecycle import shortages
from wtgateway.lifecycle.shortages import FDS, Shortages, descriptors_short
from wtgateway.web.connections import Gate, most_connections

HOUR_S = 3600.0


# --- in memory -----------------------------------------------------------------------------------


def test_a_shortage_is_said_when_it_begins_and_when_it_is_over() -> None:
    now, events = [0.0], Events()
    found = Shortages(events, lambda: now[0])
    for why in ("", "a", "a, still", "", ""):
        found.note("disk", why)
    assert [(e.kind, e.fields["what"]) for e in events.kept] == [("degraded", "disk"), ("recovered", "disk")]
    for _ in range(50):  # it comes and goes: no flood of lines
        found.note("disk", "again")
        assert found.present == {"disk": "again"}
        found.note("disk", "")
        now[0] += 0.1
    assert len(events.kept) == 2
    now[0] += shortages.SAY_AGAIN_S
    found.note("disk", "again")
    assert events.kept[-1].kind == "degraded"


@pytest.mark.parametrize(
    ("used", "limit", "was_short", "short"),
    [
        (10, 1024, False, False),
        (1017, 1024, False, True),
        (1016, 1024, False, False),
        (1016, 1024, True, True),  # it is not over before some more are free
        (1008, 1024, True, False),
        (None, 1024, False, True),
        (64, 20, False, True),  # the limit was lowered below what there is
    ],
)
def test_when_file_descriptors_are_short(used: int | None, limit: int, was_short: bool, short: bool) -> None:
    assert bool(descriptors_short(used, limit, was_short)) is short


def test_pages_take_half_of_the_descriptors_at_most() -> None:
    assert [most_connections(n) for n in (4, 64, 1024, 1 << 20)] == [8, 32, 512, 8192]
    gate = Gate(2)
    assert [gate.enter() for _ in range(4)] == [True, True, False, False]
    gate.leave()
    assert gate.enter()
    assert (gate.open, gate.refused) == (2, 2)


# --- for real ------------------------------------------------------------------------------------


def limit_descriptors(pid: int, soft: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("workers", [1, 2])
async def test_without_file_descriptors_viewers_go_on_and_all_else_comes_back(
    tmp_path: Path, workers: int
) -> None:
    arguments = (SOURCE, "--workers", str(workers))
    async with Gateway(*arguments, directory=tmp_path) as gateway, watched(gateway) as viewer:
        await viewer.until(lambda: len(viewer.track(0)) >= 3)
        limit_descriptors(gateway.pid, 1)
        await until(lambda: bool(said(gateway, f"degraded what={FDS}")))
        # Whoever asks for a page now is not answered; whoever watches goes on watching.
        with contextlib.suppress(OSError, httpx.HTTPError):
            async with httpx.AsyncClient(timeout=1) as client:
                await client.get(f"{gateway.url}/healthz")
        count = len(viewer.track(0))
        await viewer.until(lambda: len(viewer.track(0)) >= count + 5)
        children = process_tree(gateway.pid)
        if workers > 1:  # a process that dies cannot be replaced now, and is as soon as it can
            os.kill(children[-1], signal.SIGKILL)
            await until(lambda: bool(said(gateway, "a process for a worker cannot be started")))
        limit_descriptors(gateway.pid, 1024)
        await until(lambda: bool(said(gateway, f"recovered what={FDS}")))
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{gateway.url}/healthz")).status_code == 200
        if workers > 1:
            await until(lambda: len(process_tree(gateway.pid)) == len(children), "a process in its place")
        assert_no_gap(viewer.track(0))
        assert len(said(gateway, "degraded")) == 1
        assert not any("exception" in event for event in gateway.events)
        assert await gateway.stop() == 0


async def test_connections_that_say_nothing_leave_room_for_the_source(tmp_path: Path) -> None:
    prefix = ("prlimit", "--nofile=64:64")
    async with Gateway(SOURCE, directory=tmp_path, prefix=prefix) as gateway, watched(gateway) as viewer:
        silent = [socket.create_connection((gateway.host, gateway.web_port)) for _ in range(80)]
        await until(lambda: bool(said(gateway, "connections are open, more are closed at once")))
        await viewer.until(lambda: len(viewer.track(0)) >= 5)
        assert not said(gateway, "degraded")
        for each in silent:
            each.close()

        async def answered() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient() as client:
                    return (await client.get(f"{gateway.url}/readyz")).status_code == 200
            return False

        async with asyncio.timeout(10):  # hypercorn alone keeps them for 30 s
            while not await answered():
                await asyncio.sleep(0.05)


def process_tree(pid: int) -> list[int]:
    """Its children, the oldest first."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


async def test_on_a_full_disk_certificates_rotate_in_memory(tmp_path: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"

    def fill() -> None:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))

    fill()
    gateway = Gateway(
        *(SOURCE, "--certs-dir", small_disk / "certs", "--cert-rotate", "2s"), directory=tmp_path
    )
    async with gateway, watched(gateway) as viewer:
        assert len(said(gateway, "degraded what=room for certificates")) == 1
        rotations = len(said(gateway, "is in use until"))
        await until(lambda: len(said(gateway, "is in use until")) > rotations, "a rotation in memory")
        assert len(gateway.get("/api/v1/transport")["certificateHashes"]) >= 2
        ballast.unlink()
        await until(lambda: bool(said(gateway, "recovered what=room for certificates")))
        store = small_disk / "certs" / "webtransport.pem"
        stored = store.read_bytes()
        fill()
        await until(
            lambda: len(said(gateway, "the certificate store")) >= 3, "a rotation that cannot be stored"
        )
        assert store.read_bytes().startswith(b"-----BEGIN"), stored
        count = len(viewer.track(0))
        await viewer.until(lambda: len(viewer.track(0)) >= count + 3)
        assert viewer.end is None
        assert len(said(gateway, "degraded")) == 1  # told at most once a minute


CLOCK = """
import os, time
_path, _time, _time_ns = os.environ["TEST_CLOCK"], time.time, time.time_ns
def _step():
    with open(_path) as file:
        return float(file.read() or 0)
time.time = lambda: _time() + _step()
time.time_ns = lambda: _time_ns() + int(_step() * 1e9)
"""


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_a_step_of_the_clock_tears_no_timeline_and_rotates_what_is_due(
    tmp_path: Path, step_s: float
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    clock = tmp_path / "clock"
    clock.write_text("0")
    environment = {"PYTHONPATH": str(tmp_path), "TEST_CLOCK": str(clock)}
    gateway = Gateway(SOURCE, "--cert-rotate", "30m", directory=tmp_path, env=environment)
    async with gateway:
        before = gateway.ready["certificate_sha256"]
        async with watched(gateway) as viewer:
            await viewer.until(lambda: len(viewer.track(0)) >= 5)
            beside = tmp_path / "clock.new"
            beside.write_text(str(step_s))
            beside.replace(clock)
            if step_s > 0:  # certificates go by the time of day, which browsers go by as well
                await until(lambda: bool(said(gateway, "is in use until")))
            count = len(viewer.track(0))
            await viewer.until(lambda: len(viewer.track(0)) >= count + 30)
            frames = sorted(viewer.track(0), key=lambda f: (f.group, f.index))
            assert_no_gap(frames)
            for one, next_one in itertools.pairwise(frames):
                assert 0 < next_one.capture_us - one.capture_us < HOUR_S * 1e6 / 2
            assert viewer.end is None
        async with httpx.AsyncClient() as client:
            now = (await client.get(f"{gateway.url}/certificate.sha256")).text
        assert (now != before) is (step_s > 0)
        async with watched(gateway, fingerprint=now) as viewer:
            await viewer.until(lambda: len(viewer.track(0)) >= 3)
        assert not any("exception" in event for event in gateway.events)
