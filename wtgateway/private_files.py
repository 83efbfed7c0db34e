"""Files that several processes share and nobody else may read: replaced whole, under a lock.

Everything here blocks and belongs in a thread. Imports nothing of wtgateway.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
LOCK_TIMEOUT_S = 10.0
LOCK_RETRY_S = 0.02


def prepare_directory(directory: Path) -> None:
    """Make it, for the owner only. One that exists keeps its mode: it may be shared on purpose."""
    if directory.is_dir():
        mode = directory.stat().st_mode
        if mode & 0o002 and not mode & 0o1000:
            log.warning("anybody may replace files in %s; use chmod 700", directory)
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextlib.contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Exclusive among processes and threads. Raises OSError, :exc:`TimeoutError` when it is never free."""
    import fcntl

    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(
                        f"another process has held {directory / LOCK_FILE} for {LOCK_TIMEOUT_S:g} s; stop it"
                    ) from None
                time.sleep(LOCK_RETRY_S)  # in a thread, and held for milliseconds only
        yield
    finally:
        os.close(descriptor)  # frees the lock; the file stays, or two could hold different ones


def change_mark(path: Path) -> tuple[int, int, int] | None:
    """Differs whenever the file was replaced; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_private(path: Path, most: int) -> bytes | None:
    """At most the file's first ``most`` bytes, None when there is none.

    A mode open to others is closed and reported. Raises OSError.
    """
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                log.warning("others could read %s, which is private; now they cannot (mode 0600)", path)
                with contextlib.suppress(OSError):
                    os.fchmod(stream.fileno(), 0o600)
            return stream.read(most)
    except FileNotFoundError:
        return None


def write_private(path: Path, data: bytes) -> None:
    """Replace the file as a whole, mode 0600: a crash leaves the old or the new one, never a part.

    Raises OSError.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:  # mkstemp: mode 0600 from the beginning
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
