"""Makes the checkout importable, so that tests can use each other's helpers and scripts/support."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from wtgateway.encoders.scheduling import without_real_time

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

# How long an example takes says something of what else the machine is doing, not of the code.
hypothesis.settings.register_profile("without-clock", deadline=None)
hypothesis.settings.load_profile("without-clock")


def pytest_configure(config: pytest.Config) -> None:
    """Some tests open libsvtav1 themselves, a few while they are collected.

    As root it would make their thread a real-time one, and a browser started from there stops the machine.
    """
    ordinary = without_real_time()
    ordinary.__enter__()
    config.add_cleanup(lambda: ordinary.__exit__(None, None, None))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here (that takes root and CAP_SYS_ADMIN)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
