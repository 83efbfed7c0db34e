"""Certificates of the cluster's secret: the same bytes on every node, and nothing that a browser refuses."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.certs import (
    Certificate,
    CertificateManager,
    CertificateSet,
    DerivedCertificates,
    shared_names,
    subject_names,
)
from wtgateway.certs.derived import P256_ORDER
from wtgateway.certs.policy import DAY_S, HOUR_S, MAX_ROTATE_S, MAX_VALIDITY_S
from wtgateway.cluster import ClusterSecret
from wtgateway.errors import CertificateError

NOW = 1_800_000_000.25
SECRET = ClusterSecret(bytes(range(32)))
NAMES = shared_names(["media.example", "203.0.113.9"])
PERIODS = st.one_of(st.sampled_from([1.0, 2.5, 60.0, 3600.0, float(DAY_S), MAX_ROTATE_S]), st.floats(1, 9e5))
TIMES = st.floats(1.5e9, 4e9)


def at(now: float, rotate_s: float = 60.0, secret: ClusterSecret = SECRET) -> CertificateSet:
    return DerivedCertificates(secret, rotate_s, NAMES).begin(now)


def test_the_certificate_of_a_known_secret_is_the_one_that_earlier_versions_made() -> None:
    """Nodes of two versions serve together while one replaces the other: these bytes must never change."""
    fingerprint = at(NOW).current.fingerprint.hex()
    assert fingerprint == "03c220778fd416fbdc3fef527230c4fead14ed2c4d068ea306287367c2425b10"


def test_another_process_derives_the_same() -> None:
    code = (
        "from wtgateway.certs import DerivedCertificates, shared_names\n"
        "from wtgateway.cluster import ClusterSecret\n"
        "names = shared_names(['203.0.113.9', 'MEDIA.example'])\n"
        "made = DerivedCertificates(ClusterSecret(bytes(range(32))), 59.5, names).begin(1_800_000_031)\n"
        "print([entry['value'].hex() for entry in made.hashes()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([entry["value"].hex() for entry in at(NOW).hashes()])


def test_names_are_those_of_the_cluster_and_not_of_the_machine() -> None:
    extension = at(NOW).current.cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert extension.get_values_for_type(x509.DNSName) == ["localhost", "media.example"]
    addresses = [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    assert addresses == ["127.0.0.1", "203.0.113.9", "::1"]
    assert shared_names(["a.example", "[2001:db8::1]", "::", "no host"]) == shared_names(
        ["2001:db8::1", "A.example"]
    )
    assert subject_names(["media.example"]).covers(shared_names(["media.example"]))


@given(TIMES, PERIODS)
@settings(max_examples=40, deadline=None)
def test_browsers_accept_each_by_its_hash(now: float, rotate_s: float) -> None:
    made = at(now, rotate_s)
    period_s = math.ceil(rotate_s)
    for place, certificate in zip((-1, 0, 1), in_order(made), strict=True):
        public = certificate.cert.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)
        public.verify(
            certificate.cert.signature,
            certificate.cert.tbs_certificate_bytes,
            ec.ECDSA(certificate.cert.signature_hash_algorithm),
        )
        window = certificate.window
        assert window.not_after - window.not_before <= MAX_VALIDITY_S
        assert window.active_from == (now // period_s + place) * period_s
        assert window.not_before == window.active_from - HOUR_S
        assert window.not_after - (window.active_from + period_s) == 22 * HOUR_S
        assert 0 < certificate.cert.serial_number < 1 << 159, "RFC 5280, section 4.1.2.2"


@given(TIMES, PERIODS)
@settings(max_examples=25, deadline=None)
def test_the_next_of_a_period_is_the_current_one_of_the_following(now: float, rotate_s: float) -> None:
    first = at(now, rotate_s)
    assert at(first.next.window.active_from, rotate_s).current.fingerprint == first.next.fingerprint
    assert at(first.next.window.active_from - 0.5, rotate_s).hashes() == first.hashes()
    later = at(first.next.window.active_from, rotate_s)
    assert later.previous[0].fingerprint == first.current.fingerprint
    assert len({entry["value"] for entry in (*first.hashes(), *later.hashes())}) == 4


def test_keys_differ_by_period_by_its_length_and_by_secret() -> None:
    other = ClusterSecret(bytes(range(1, 33)))
    sets = [at(NOW), at(NOW + 180), at(NOW, 120), at(NOW, secret=other)]
    keys = [c.key.private_numbers().private_value for made in sets for c in in_order(made)]
    assert len(set(keys)) == 12
    assert all(0 < key < P256_ORDER for key in keys)


async def test_a_manager_rotates_them_and_tells() -> None:
    now = NOW
    changes: list[CertificateSet] = []
    manager = CertificateManager(
        DerivedCertificates(SECRET, 60.0, NAMES), on_change=changes.append, wall=lambda: now
    )
    first = await manager.start()
    assert not await manager.check()
    now += 60
    assert await manager.check()
    assert changes == [manager.certificates]
    assert manager.certificates.current.fingerprint == first.next.fingerprint
    for jump in (-1e8, 1e8, 86_400.0):
        now += jump
        await manager.check()
        assert manager.certificates.hashes() == at(now).hashes()
    await manager.close()


@pytest.mark.parametrize("rotate_s", [0.0, 0.99, MAX_ROTATE_S + 1, -1.0, math.nan])
def test_refuses_periods_that_browsers_would_not_take(rotate_s: float) -> None:
    with pytest.raises(ValueError, match="rotation period"):
        DerivedCertificates(SECRET, rotate_s, NAMES)


def test_a_machine_that_cannot_sign_so_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object, **__: object) -> x509.Certificate:
        raise UnsupportedAlgorithm("ECDSA with deterministic signature (RFC 6979) is not supported")

    monkeypatch.setattr(x509.CertificateBuilder, "sign", cannot)
    with pytest.raises(CertificateError, match="--certs-dir"):
        at(NOW)


def in_order(made: CertificateSet) -> list[Certificate]:
    return [*made.previous, made.current, made.next]
