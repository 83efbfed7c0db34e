"""The certificate room: rotation policy (pure), store, and the task that rotates in a running gateway.

May import errors and cluster only. The rule kept: a page that fetched the hashes at any time can connect for
at least one rotation period from then, and rotation touches no live session.
"""

from __future__ import annotations

from wtgateway.certs.certificate import Certificate, CertificateInfo, CertificateSet, HashEntry
from wtgateway.certs.choose import certificate_source
from wtgateway.certs.derived import DerivedCertificates
from wtgateway.certs.manager import CertificateManager, CertificateSource, StoredCertificates
from wtgateway.certs.names import SubjectNames, shared_names, subject_names
from wtgateway.certs.page import make_page_certificate
from wtgateway.certs.policy import Plan, Window, in_turn, plan
from wtgateway.certs.store import CertificateStore

__all__ = [
    "Certificate",
    "CertificateInfo",
    "CertificateManager",
    "CertificateSet",
    "CertificateSource",
    "CertificateStore",
    "DerivedCertificates",
    "HashEntry",
    "Plan",
    "StoredCertificates",
    "SubjectNames",
    "Window",
    "certificate_source",
    "in_turn",
    "make_page_certificate",
    "plan",
    "shared_names",
    "subject_names",
]
