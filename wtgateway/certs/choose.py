"""Which certificates a gateway uses: of the cluster's secret where there is one, else of the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wtgateway.certs.derived import DerivedCertificates
from wtgateway.certs.manager import CertificateSource, StoredCertificates
from wtgateway.certs.names import shared_names, subject_names
from wtgateway.certs.store import CertificateStore
from wtgateway.cluster import ClusterSecret


def certificate_source(
    secret: ClusterSecret | None, directory: Path, rotate_s: float, *, host: str, public_hosts: Sequence[str]
) -> CertificateSource:
    """The source for :class:`~wtgateway.certs.manager.CertificateManager`; looks at the machine's interfaces.

    ``host`` is what QUIC is bound to, of this machine alone; ``public_hosts`` is what viewers know.
    """
    if secret is not None:
        return DerivedCertificates(secret, rotate_s, shared_names(public_hosts))
    names = subject_names([host, *public_hosts])
    return StoredCertificates(CertificateStore(directory, rotate_s, names))
