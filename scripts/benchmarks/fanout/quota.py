"""A bound on the processor time of single processes, by control groups: what makes a load server-bound.

Two workers and the load do not fit two cores at full speed. With each process of the server held to the
same small part of a core the load stays light, and what more workers carry is what they can do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

PERIOD_US = 20_000
_ROOTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))  # version 1, version 2


class NoQuota(RuntimeError):
    """The machine does not let us."""


def _limit(group: Path, share: float) -> None:
    quota = int(PERIOD_US * share)
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota))


@contextlib.contextmanager
def limited(processes: Iterable[int], share: float) -> Iterator[None]:
    """Hold each of ``processes`` to ``share`` of a core. Raises NoQuota."""
    root = next((root for root in _ROOTS if root.is_dir()), None)
    groups: list[Path] = []
    try:
        try:
            for pid in processes:
                if root is None:
                    raise NoQuota("there are no control groups")
                group = root / f"wtgateway-bench-{os.getpid()}-{pid}"
                group.mkdir()
                groups.append(group)
                _limit(group, share)
                (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise NoQuota(f"control groups cannot be used: {error}") from error
        yield
    finally:
        for group in groups:
            for left in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (group.parent / "cgroup.procs").write_text(left)
            with contextlib.suppress(OSError):
                group.rmdir()
