"""The certificate store: one file with the current and the next certificate, and the lock around it.

Everything here blocks and belongs in a thread. One file, replaced as a whole, is why no reader and no crash
ever sees half a rotation. Several processes on one directory agree: whoever holds the lock reads what the
others made before it plans. Imports errors and this room.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wtgateway.certs.certificate import Certificate, CertificateSet, make_certificate, parse_pem, to_pem
from wtgateway.certs.names import SubjectNames
from wtgateway.certs.policy import Plan, Window, force, plan
from wtgateway.errors import CertificateError

log = logging.getLogger(__name__)

STORE_FILE = "webtransport.pem"
LOCK_FILE = ".lock"
LOCK_TIMEOUT_S = 10.0
LOCK_RETRY_S = 0.02
MAX_FILE_BYTES = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE)


class StoreFull(CertificateError):
    """There is no room for it, for now; nothing is wrong with its place."""


class CertificateStore:
    """Certificates in ``directory``, each current for ``rotate_s`` seconds, carrying ``names``."""

    def __init__(self, directory: Path, rotate_s: float, names: SubjectNames) -> None:
        self.directory, self.rotate_s, self.names = directory, rotate_s, names
        self.path = directory / STORE_FILE

    def load_or_create(
        self, now: float, known: Sequence[Certificate] = (), *, merge: bool = False
    ) -> CertificateSet:
        """What to use at ``now`` (Unix seconds); makes, drops and saves what the policy asks for.

        ``known``: what the caller uses so far; saved again when the store was lost, for pages know it,
        and with ``merge`` (it could not be saved before) weighed with what is stored.

        A damaged store is replaced and reported in the log. Raises :exc:`CertificateError` when the
        directory cannot be used at all.
        """
        return self._carry_out(lambda windows: plan(now, windows, self.rotate_s), known, merge=merge)

    def rotate(self, now: float, overlap_s: float) -> CertificateSet:
        """Let a new certificate take over ``overlap_s`` from now. Raises :exc:`CertificateError`."""
        return self._carry_out(lambda windows: force(now, windows, self.rotate_s, overlap_s))

    def read(self) -> list[Certificate]:
        """What is stored, in order of use; changes nothing. Raises :exc:`CertificateError`."""
        return self._read()[0]

    def change_mark(self) -> tuple[int, int, int] | None:
        """Differs whenever the file was replaced; None when there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def in_memory(self, certificates: Sequence[Certificate], now: float) -> CertificateSet:
        """The policy applied to ``certificates`` without the disk, for when that cannot be written."""
        return self._apply(certificates, plan(now, [c.window for c in certificates], self.rotate_s))

    def _carry_out(
        self,
        decide: Callable[[list[Window]], Plan],
        known: Sequence[Certificate] = (),
        *,
        merge: bool = False,
    ) -> CertificateSet:
        try:
            prepare_directory(self.directory)
            with directory_lock(self.directory):
                stored, intact = self._read()
                usable = [*stored, *known] if merge else stored or known
                outcome = self._apply(usable, decide([c.window for c in usable]))
                saved = [c.fingerprint for c in stored]
                if not intact or saved != [c.fingerprint for c in outcome.certificates]:
                    write_private(self.path, b"".join(to_pem(c) for c in outcome.certificates))
                return outcome
        except OSError as error:
            why = f"the certificate store {self.directory} cannot be used: {error.strerror or error}"
            if error.errno in _NO_ROOM:
                raise StoreFull(f"{why}; make room, or choose another directory with --certs-dir") from None
            raise CertificateError(f"{why}; choose a writable directory with --certs-dir") from None

    def _apply(self, stored: Sequence[Certificate], decided: Plan) -> CertificateSet:
        kept = {c.window: c for c in stored if c.window in decided.keep}
        for window in decided.make:
            kept[window] = make_certificate(window, self.names)
        current, following = (kept[window] for window in decided.windows)
        return CertificateSet(current, following)

    def _read(self) -> tuple[list[Certificate], bool]:
        data = read_private(self.path)
        if data is None:
            return [], True
        found, intact = parse_pem(data)
        if not intact:
            log.warning(
                "the certificate store %s is damaged; %d usable in it, the rest is replaced",
                self.path,
                len(found),
            )
        return sorted(found, key=lambda c: c.window), intact


def prepare_directory(directory: Path) -> None:
    """Make it, for the owner only. One that exists keeps its mode: it may be shared on purpose."""
    if directory.is_dir():
        mode = directory.stat().st_mode
        if mode & 0o002 and not mode & 0o1000:
            log.warning("anybody may replace files in the certificate store %s; use chmod 700", directory)
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextlib.contextmanager
def directory_lock(directory: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Exclusive among processes and threads. Raises :exc:`CertificateError` when it is never free."""
    import fcntl

    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise CertificateError(
                        f"another process has held {directory / LOCK_FILE} for {timeout_s:g} s; "
                        "stop it or choose another --certs-dir"
                    ) from None
                time.sleep(LOCK_RETRY_S)  # in a thread, and held for milliseconds only
        yield
    finally:
        os.close(descriptor)  # frees the lock; the file stays, or two could hold different ones


def read_private(path: Path) -> bytes | None:
    """The file's bytes, None when there is none. A mode open to others is closed and reported."""
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                log.warning("others could read the private keys in %s; now they cannot (mode 0600)", path)
                with contextlib.suppress(OSError):
                    os.fchmod(stream.fileno(), 0o600)
            return stream.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return None


def write_private(path: Path, data: bytes) -> None:
    """Replace the file as a whole, mode 0600: a crash leaves the old or the new one, never a part."""
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
