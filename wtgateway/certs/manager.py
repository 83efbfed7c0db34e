"""Rotation in a running gateway: an asyncio task that keeps the :class:`CertificateSet` right.

Disk and key generation run in threads; the loop only swaps a reference. Where certificates come from is a
:class:`CertificateSource`: a store (here), or the cluster's secret (:mod:`wtgateway.certs.derived`). A store
that fails while the gateway runs never stops it: certificates then rotate in memory and are saved when that
works again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from wtgateway.certs.certificate import Certificate, CertificateSet
from wtgateway.certs.policy import plan
from wtgateway.certs.store import CertificateStore, StoreFull
from wtgateway.errors import CertificateError

log = logging.getLogger(__name__)

# a jump of the wall clock and a rotation by another process are noticed at the latest after this
LOOK_EVERY_S = 1.0
RETRY_STORE_EVERY_S = 2.0


class CertificateSource(Protocol):
    """Where certificates come from. Both methods block and belong in a thread; ``now`` is in Unix seconds."""

    def begin(self, now: float) -> CertificateSet:
        """What to begin with. Raises :exc:`CertificateError`."""

    def look(self, now: float, before: CertificateSet) -> CertificateSet:
        """What to use now; ``before`` itself when nothing has changed."""

    @property
    def trouble(self) -> str:
        """Why they are not as safe as they should be, in words; empty: they are."""


class StoredCertificates:
    """The certificates of a store, which other processes may look after as well."""

    def __init__(self, store: CertificateStore) -> None:
        self._store = store
        self._mark: tuple[int, int, int] | None = None
        self._unsaved_since: float | None = None
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why they are in memory only; empty: they are stored."""
        return self._trouble

    def begin(self, now: float) -> CertificateSet:
        """Load or make them; in memory where there is just no room. Raises :exc:`CertificateError`."""
        try:
            return self._load(now)
        except StoreFull as error:
            return self._in_memory(error, (), now)

    def look(self, now: float, before: CertificateSet) -> CertificateSet:
        """What is due, and what other processes have made of the store meanwhile."""
        windows = [c.window for c in before.certificates]
        due = plan(now, windows, self._store.rotate_s)
        nothing_due = not due.make and due.keep == tuple(windows)
        if nothing_due and not self._changed():
            return before
        return _with_previous(self._renewed(now, before), before)

    def rotate(self, now: float, overlap_s: float) -> None:
        """Have the store make one that takes over after the overlap. Raises :exc:`CertificateError`."""
        self._store.rotate(now, overlap_s)

    def _changed(self) -> bool:
        if self._unsaved_since is not None:
            return time.monotonic() - self._unsaved_since >= RETRY_STORE_EVERY_S
        return self._store.change_mark() != self._mark

    def _load(self, now: float, known: CertificateSet | None = None) -> CertificateSet:
        certificates = known.certificates if known else ()
        unsaved = self._unsaved_since is not None
        outcome = self._store.load_or_create(now, certificates, merge=unsaved)
        self._mark = self._store.change_mark()
        return outcome

    def _renewed(self, now: float, before: CertificateSet) -> CertificateSet:
        """By the store, or in memory while that fails."""
        try:
            outcome = self._load(now, before)
        except CertificateError as error:
            return self._in_memory(error, before.certificates, now)
        if self._unsaved_since is not None:
            log.info("the certificate store %s works again", self._store.directory)
        self._unsaved_since, self._trouble = None, ""
        return outcome

    def _in_memory(self, error: CertificateError, known: Sequence[Certificate], now: float) -> CertificateSet:
        if self._unsaved_since is None:
            log.error("%s; certificates rotate in memory until it works again", error)
        self._unsaved_since, self._trouble = time.monotonic(), str(error)
        return self._store.in_memory(known, now)


def _with_previous(after: CertificateSet, before: CertificateSet) -> CertificateSet:
    """Also the hash of the one before, which another process may use until it has looked as well.

    Not where the current one did not get its turn in order: then it was replaced because it must not be used.
    """
    if after.current.fingerprint == before.current.fingerprint:
        return dataclasses.replace(after, previous=before.previous)
    if after.current.fingerprint == before.next.fingerprint:
        return dataclasses.replace(after, previous=(before.current,))
    return after


class CertificateManager:
    """Keeps the certificates of ``source`` in their turn.

    ``on_change`` is called on the loop with every new set, not with the first; ``on_trouble`` after each look
    at the source, with why certificates are not stored, or nothing. ``wall`` gives Unix seconds.
    """

    def __init__(
        self,
        source: CertificateSource,
        *,
        on_change: Callable[[CertificateSet], None] | None = None,
        on_trouble: Callable[[str], None] = lambda why: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._source, self._on_change, self._wall = source, on_change, wall
        self._on_trouble = on_trouble
        self._set: CertificateSet | None = None
        self._task: asyncio.Task[None] | None = None
        self.rotations = 0  # how often the current certificate was replaced

    @property
    def certificates(self) -> CertificateSet:
        """The set in use; only after :meth:`start`."""
        assert self._set is not None, "start() comes first"
        return self._set

    async def start(self) -> CertificateSet:
        """Load or make the certificates and begin to rotate. Raises :exc:`CertificateError`."""
        self._set = await asyncio.to_thread(self._source.begin, self._wall())
        self._on_trouble(self._source.trouble)
        self._task = asyncio.create_task(self._run(), name="certificates")
        return self._set

    async def close(self) -> None:
        """Stop rotating; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def rotate(self, overlap_s: float) -> bool:
        """Make one that takes over after the overlap; False: these change with the clock alone.

        Raises :exc:`CertificateError`.
        """
        source = self._source
        if not isinstance(source, StoredCertificates):
            return False
        await asyncio.to_thread(source.rotate, self._wall(), overlap_s)
        await self.check()
        return True

    async def check(self) -> bool:
        """Look now whether anything is due. Returns whether the set changed."""
        before = self.certificates
        after = await asyncio.to_thread(self._source.look, self._wall(), before)
        self._on_trouble(self._source.trouble)
        if after.hashes() == before.hashes():
            return False
        self._set = after
        if after.current.fingerprint != before.current.fingerprint:
            self.rotations += 1
        log.info(
            "certificate %s is in use until %s, then %s",
            after.current.fingerprint.hex()[:16],
            after.next.info.active_from.isoformat(),
            after.next.fingerprint.hex()[:16],
        )
        if self._on_change is not None:
            self._on_change(after)
        return True

    async def _run(self) -> None:
        while True:
            left = self.certificates.next.window.active_from - self._wall()
            await asyncio.sleep(min(max(left, 0.01), LOOK_EVERY_S))
            try:
                await self.check()
            except Exception:  # a defect must not end rotation: the next look may do better
                log.exception("looking after the certificates failed")
