"""Certificates as values: made, written as PEM, read back, described. Imports the policy's window and errors.

ECDSA P-256, self-signed, as browsers demand of a certificate that is accepted by hash
(W3C WebTransport, "custom certificate requirements").
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TypedDict

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wtgateway.certs.names import SubjectNames
from wtgateway.certs.policy import BACKDATE_S, Window
from wtgateway.errors import CertificateError

_PEM = re.compile(
    rb"-----BEGIN (?:EC )?PRIVATE KEY-----.*?-----END (?:EC )?PRIVATE KEY-----\s*"
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\s*",
    re.DOTALL,
)


class HashEntry(TypedDict):
    """One element of `certificateHashes`; times as RFC 3339."""

    algorithm: str
    value: bytes
    notBefore: str
    notAfter: str


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """A certificate in figures, for tables and logs. Times are UTC."""

    fingerprint: bytes  # SHA-256 over the DER
    not_before: datetime.datetime
    not_after: datetime.datetime
    active_from: datetime.datetime


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    fingerprint: bytes

    @property
    def not_before(self) -> datetime.datetime:
        """Begin of validity, UTC."""
        return self.cert.not_valid_before_utc

    @property
    def not_after(self) -> datetime.datetime:
        """End of validity, UTC."""
        return self.cert.not_valid_after_utc

    @property
    def window(self) -> Window:
        """Its life for the policy; the turn begins a fixed time after the validity."""
        start = int(self.not_before.timestamp())
        return Window(start + BACKDATE_S, start, int(self.not_after.timestamp()))

    @property
    def info(self) -> CertificateInfo:
        """Its figures."""
        active_from = self.not_before + datetime.timedelta(seconds=BACKDATE_S)
        return CertificateInfo(self.fingerprint, self.not_before, self.not_after, active_from)

    def hash_entry(self) -> HashEntry:
        """Its element of `certificateHashes`."""
        return {
            "algorithm": "sha-256",
            "value": self.fingerprint,
            "notBefore": _rfc3339(self.not_before),
            "notAfter": _rfc3339(self.not_after),
        }


@dataclass(frozen=True, slots=True)
class CertificateSet:
    """The certificate that new connections get, the one that follows it, and those that other nodes may use.

    ``previous`` holds the one before the current one, as long as another node may not have left it.
    """

    current: Certificate
    next: Certificate
    previous: tuple[Certificate, ...] = ()

    def hashes(self) -> list[HashEntry]:
        """`certificateHashes` for pages: the current one first, then the next one."""
        return [c.hash_entry() for c in (self.current, self.next, *self.previous)]

    @property
    def certificates(self) -> tuple[Certificate, Certificate]:
        """Both, the current one first."""
        return self.current, self.next


def make_certificate(window: Window, names: SubjectNames) -> Certificate:
    """A fresh P-256 key and its self-signed certificate, valid as ``window`` says."""
    return _signed(ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number(), window, names)


def derive_certificate(secret: int, serial: int, window: Window, names: SubjectNames) -> Certificate:
    """The certificate of the private key ``secret`` (below the order of P-256): always the same bytes.

    The signature is deterministic ECDSA (RFC 6979). Raises :exc:`CertificateError` where the machine's
    OpenSSL does not know that.
    """
    try:
        return _signed(
            ec.derive_private_key(secret, ec.SECP256R1()), serial, window, names, deterministic=True
        )
    except UnsupportedAlgorithm:
        raise CertificateError(
            "certificates cannot be derived from the cluster secret: deterministic ECDSA needs OpenSSL 3.2; "
            "install the cryptography package from PyPI, or share a directory with --certs-dir instead"
        ) from None


def _signed(
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    window: Window,
    names: SubjectNames,
    *,
    deterministic: bool | None = None,
) -> Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wtgateway")])
    alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in names.hosts]
    alternatives += [x509.IPAddress(address) for address in names.addresses]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(datetime.datetime.fromtimestamp(window.not_before, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(window.not_after, datetime.UTC))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    cert = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=deterministic)
    return Certificate(cert, key, cert.fingerprint(hashes.SHA256()))


def to_pem(certificate: Certificate) -> bytes:
    """Key and certificate, the unit of the store's files."""
    key = certificate.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key + certificate.cert.public_bytes(serialization.Encoding.PEM)


def parse_pem(data: bytes) -> tuple[list[Certificate], bool]:
    """All good pairs of key and certificate in ``data``, and whether it held nothing else.

    Never raises: what is cut short, foreign or does not fit together is left out.
    """
    found = [_parse_pair(match[0]) for match in _PEM.finditer(data)]
    good = [certificate for certificate in found if certificate is not None]
    return good, len(good) == len(found) and not _PEM.sub(b"", data).strip()


def _parse_pair(block: bytes) -> Certificate | None:
    key_pem, begin, cert_pem = block.partition(b"-----BEGIN CERTIFICATE-----")
    try:
        cert = x509.load_pem_x509_certificate(begin + cert_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        public = cert.public_key()
        fits = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        if not fits or not isinstance(key, ec.EllipticCurvePrivateKey) or public != key.public_key():
            return None
        return Certificate(cert, key, cert.fingerprint(hashes.SHA256()))
    except Exception:  # cryptography raises many kinds for damaged DER, some of them its own
        return None


def subject_names_of(certificate: Certificate) -> SubjectNames:
    """The names that a certificate carries."""
    try:
        extension = certificate.cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return SubjectNames((), ())
    values = extension.value
    addresses = values.get_values_for_type(x509.IPAddress)
    return SubjectNames(
        tuple(values.get_values_for_type(x509.DNSName)),
        tuple(address for address in addresses if not hasattr(address, "hostmask")),
    )


def _rfc3339(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
