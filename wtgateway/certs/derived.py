"""Certificates that come of the cluster's secret and the time alone: all nodes present the same bytes.

Time is cut into periods that begin at multiples of the rotation's length since the Unix epoch. Each period
has one certificate: its private key and serial number are derived from the secret, its validity is fixed by
the period, its signature is deterministic. So nodes agree without a word between them, and one that was down,
or is new, needs nothing but its clock.

Pages are given three hashes: of the current period, the next and the one before. A node whose clock differs
by less than a period, either way, presents one of these, and a page of almost a period ago still knows the
current one. Whatever a page holds, the hashes that any node gives it now are good for all of them.

Everything here blocks for a millisecond and belongs in a thread. Imports cluster and this room.
"""

from __future__ import annotations

import math
from typing import Final

from wtgateway.certs.certificate import Certificate, CertificateSet, derive_certificate
from wtgateway.certs.names import SubjectNames
from wtgateway.certs.policy import MAX_ROTATE_S, MIN_ROTATE_S, window_for
from wtgateway.cluster import ClusterSecret

LABEL: Final = "certificates"
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEY_BYTES: Final = 40  # 64 more bits than the order has, so that its remainder is even (FIPS 186-5, A.2.1)
SERIAL_BYTES: Final = 16


class DerivedCertificates:
    """The certificates of ``secret``, each current for ``rotate_s`` seconds (whole ones, rounded up).

    ``rotate_s`` and ``names`` must be the same on all nodes. Raises ValueError for a period outside 1 s to
    13 days.
    """

    def __init__(self, secret: ClusterSecret, rotate_s: float, names: SubjectNames) -> None:
        if not MIN_ROTATE_S <= rotate_s <= MAX_ROTATE_S:
            raise ValueError(
                f"a rotation period of {rotate_s} s is not in {MIN_ROTATE_S:g}..{MAX_ROTATE_S:g} s"
            )
        self._secret, self._names = secret, names
        self.period_s = math.ceil(rotate_s)
        self._made: dict[int, Certificate] = {}

    @property
    def trouble(self) -> str:
        """None: nothing is stored."""
        return ""

    def begin(self, now: float) -> CertificateSet:
        """What is in use at ``now`` (Unix seconds). Raises :exc:`CertificateError`."""
        number = int(now // self.period_s)
        # dict.get for what the last call had: three in all, and one to make in each period
        self._made = {n: self._made.get(n) or self._of_period(n) for n in (number - 1, number, number + 1)}
        before, current, following = self._made.values()
        return CertificateSet(current, following, (before,))

    def look(self, now: float, before: CertificateSet) -> CertificateSet:
        """The same; ``before`` itself while its period lasts."""
        after = self.begin(now)
        return before if after.hashes() == before.hashes() else after

    def _of_period(self, number: int) -> Certificate:
        begin = number * self.period_s
        # The length is in it, so that no key has two certificates when the length is changed.
        label = f"{LABEL} {begin} {self.period_s}"
        material = self._secret.key(label, KEY_BYTES + SERIAL_BYTES)
        key = 1 + int.from_bytes(material[:KEY_BYTES], "big") % (P256_ORDER - 1)
        serial = 1 + int.from_bytes(material[KEY_BYTES:], "big")
        return derive_certificate(key, serial, window_for(begin, self.period_s), self._names)
