"""The certificate store: one file with the current and the next certificate.

Everything here blocks and belongs in a thread. One file, replaced as a whole, is why no reader and no crash
ever sees half a rotation. Several processes on one directory agree: whoever holds the lock reads what the
others made before it plans. Imports errors, private_files and this room.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from wtgateway.certs.certificate import Certificate, CertificateSet, make_certificate, parse_pem, to_pem
from wtgateway.certs.names import SubjectNames
from wtgateway.certs.policy import Plan, Window, force, plan
from wtgateway.errors import CertificateError
from wtgateway.private_files import (
    change_mark,
    directory_lock,
    prepare_directory,
    read_private,
    write_private,
)

log = logging.getLogger(__name__)

STORE_FILE = "webtransport.pem"
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
        return change_mark(self.path)

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
        data = read_private(self.path, MAX_FILE_BYTES)
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
