"""The certificate store: what browsers demand, private files, damage, crashes, and several processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wtgateway import private_files
from wtgateway.certs import CertificateStore, make_page_certificate, subject_names
from wtgateway.certs.certificate import parse_pem, subject_names_of, to_pem
from wtgateway.certs.store import STORE_FILE
from wtgateway.errors import CertificateError
from wtgateway.private_files import LOCK_FILE, directory_lock

NOW = 1_800_000_000.25
NAMES = subject_names(["media.example", "[::]", "203.0.113.9", "not a host"])
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    return CertificateStore(tmp_path / "certs", 60.0, NAMES)


def test_certificates_are_what_browsers_accept_by_hash(store: CertificateStore) -> None:
    current = store.load_or_create(NOW).current
    public = current.cert.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    assert (current.not_after - current.not_before).total_seconds() < 14 * 86400
    assert current.not_before.timestamp() == 1_800_000_000 - 3600
    alternatives = current.cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = alternatives.get_values_for_type(x509.DNSName)
    addresses = {str(a) for a in alternatives.get_values_for_type(x509.IPAddress)}
    assert {"localhost", "media.example"} <= set(hosts)
    assert {"127.0.0.1", "::1", "203.0.113.9"} <= addresses
    assert "not a host" not in hosts
    assert "::" not in addresses


def test_hashes_name_the_current_and_the_next_one(store: CertificateStore) -> None:
    made = store.load_or_create(NOW)
    first, second = made.hashes()
    assert first["value"] == made.current.fingerprint
    assert second["value"] == made.next.fingerprint
    assert (first["algorithm"], first["notBefore"]) == ("sha-256", "2027-01-15T07:00:00Z")
    assert len(first["value"]) == 32


def test_a_restart_finds_the_same_certificates(store: CertificateStore) -> None:
    first = store.load_or_create(NOW)
    mark = store.change_mark()
    assert store.load_or_create(NOW + 30).hashes() == first.hashes()
    assert store.change_mark() == mark, "nothing due, nothing written"
    assert [c.fingerprint for c in store.read()] == [c.fingerprint for c in first.certificates]


def test_the_next_one_takes_its_turn(store: CertificateStore) -> None:
    first = store.load_or_create(NOW)
    second = store.load_or_create(first.next.window.active_from)
    assert second.current.fingerprint == first.next.fingerprint
    assert second.next.fingerprint not in {c.fingerprint for c in first.certificates}
    assert len(store.read()) == 2


def test_files_are_private(store: CertificateStore) -> None:
    store.load_or_create(NOW)
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert sorted(p.name for p in store.directory.iterdir()) == [LOCK_FILE, STORE_FILE]


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    CertificateStore(tmp_path, 60.0, NAMES).load_or_create(NOW)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_directory_open_to_all_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o777)
    CertificateStore(tmp_path, 60.0, NAMES).load_or_create(NOW)
    assert "anybody may replace" in caplog.text


def test_keys_open_to_others_are_closed_and_reported(
    store: CertificateStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = store.load_or_create(NOW)
    store.path.chmod(0o644)
    assert store.load_or_create(NOW).hashes() == first.hashes()
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert "others could read" in caplog.text


@pytest.mark.parametrize(
    "keep", ["nothing", "half the first key", "one and a half pairs", "zeros", "other PEM"]
)
def test_a_damaged_store_is_replaced_and_reported(
    store: CertificateStore, keep: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = store.load_or_create(NOW)
    data = store.path.read_bytes()
    pair = len(to_pem(first.current))
    damaged = {
        "nothing": b"",
        "half the first key": data[:100],
        "one and a half pairs": data[: pair + 300],
        "zeros": bytes(len(data)),
        "other PEM": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }[keep]
    store.path.write_bytes(damaged)
    second = store.load_or_create(NOW)
    kept = second.current.fingerprint == first.current.fingerprint
    assert kept == (keep == "one and a half pairs"), "what is whole is kept: pages know it"
    assert ("damaged" in caplog.text) == (keep != "nothing")
    assert store.load_or_create(NOW).hashes() == second.hashes()


def test_what_a_gateway_uses_outlives_its_store(store: CertificateStore) -> None:
    first = store.load_or_create(NOW)
    store.path.write_bytes(b"gone")
    assert store.load_or_create(NOW, first.certificates).hashes() == first.hashes()
    assert len(store.read()) == 2


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_in_the_store_are_survived(tmp_path: Path, data: st.DataObject) -> None:
    store = CertificateStore(tmp_path, 60.0, NAMES)
    whole = b"".join(to_pem(c) for c in store.load_or_create(NOW).certificates)
    begin, end = sorted(int(len(whole) * data.draw(st.floats(0, 1))) for _ in range(2))
    store.path.write_bytes(whole[:begin] + data.draw(st.binary(max_size=64)) + whole[end:])
    made = store.load_or_create(NOW)
    assert made.current.window.usable(NOW)
    assert [c.fingerprint for c in store.read()] == [c.fingerprint for c in made.certificates]


def test_keys_that_do_not_fit_their_certificate_are_not_used(store: CertificateStore) -> None:
    first, second = store.load_or_create(NOW).certificates
    mixed = to_pem(first).partition(b"-----BEGIN CERT")[0] + b"".join(
        to_pem(second).partition(b"-----BEGIN CERT")[1:]
    )
    assert parse_pem(mixed) == ([], False)


def test_a_crash_while_writing_leaves_the_old_store(
    store: CertificateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.load_or_create(NOW)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CertificateError, match="No space left on device; make room, or choose"):
        store.load_or_create(NOW + 61)
    monkeypatch.undo()
    assert [c.fingerprint for c in store.read()] == [c.fingerprint for c in first.certificates]
    assert not list(store.directory.glob("*.tmp"))


def test_a_directory_that_is_a_file_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "certs").write_text("")
    with pytest.raises(CertificateError, match="--certs-dir"):
        CertificateStore(tmp_path / "certs", 60.0, NAMES).load_or_create(NOW)


def test_a_lock_held_for_ever_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "LOCK_TIMEOUT_S", 0.0)
    store = CertificateStore(tmp_path, 60.0, NAMES)
    with directory_lock(tmp_path), pytest.raises(CertificateError, match=r"another process.*--certs-dir"):
        store.load_or_create(NOW)


def _process(stores: list[tuple[str, float]], gate: object, results: object) -> None:
    for directory, now in stores:
        store = CertificateStore(Path(directory), 60.0, NAMES)
        gate.wait()  # type: ignore[attr-defined]
        answer = [bytes(h["value"]) for h in store.load_or_create(now).hashes()]
        results.put((directory, answer))  # type: ignore[attr-defined]


def test_processes_on_one_store_agree(tmp_path: Path) -> None:
    """Four at once, on a store that is empty, then on one whose rotation is due, then on a damaged one."""
    stores = [(str(tmp_path / "empty"), NOW)]
    for state in ("rotation due", "damaged"):
        first = CertificateStore(tmp_path / state, 60.0, NAMES).load_or_create(NOW)
        stores.append((str(tmp_path / state), NOW + 61))
    (tmp_path / "damaged" / STORE_FILE).write_bytes(to_pem(first.current)[:200])
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_process, args=(stores, gate, results)) for _ in range(4)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in range(len(processes) * len(stores))]
    for process in processes:
        process.join(60)
        process.close()
    results.close()
    results.join_thread()
    for directory, _ in stores:
        given = [answer for where, answer in answers if where == directory]
        assert len(given) == 4
        assert given.count(given[0]) == 4, directory


_KILLED = """
import os, sys
from pathlib import Path
from wtgateway.certs import CertificateStore, subject_names
def die(*_): os._exit(9)
setattr(os if sys.argv[2] == "fsync" else Path, sys.argv[2], die)
CertificateStore(Path(sys.argv[1]), 60.0, subject_names()).load_or_create(float(sys.argv[3]))
"""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_killed_in_the_middle_harms_nobody(tmp_path: Path, moment: str) -> None:
    store = CertificateStore(tmp_path, 60.0, NAMES)
    first = store.load_or_create(NOW)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), moment, str(NOW + 61)], timeout=60)
    assert killed.returncode == 9
    assert store.load_or_create(NOW).hashes() == first.hashes(), "neither the lock nor a half file is left"


def test_read_only_directory_is_a_typed_error(tmp_path: Path) -> None:
    if AS_ROOT:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(CertificateError, match="Permission denied"):
        CertificateStore(tmp_path, 60.0, NAMES).load_or_create(NOW)


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_the_page_certificate_stays_while_it_can(tmp_path: Path) -> None:
    path = make_page_certificate(tmp_path, NAMES, NOW)
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert make_page_certificate(tmp_path, subject_names(["media.example"]), NOW + 300 * 86400) == path
    assert path.read_bytes() == first
    found, intact = parse_pem(first)
    assert intact
    assert subject_names_of(found[0]).covers(NAMES)


@pytest.mark.parametrize("why", ["soon over", "new name", "clock back", "damaged"])
def test_the_page_certificate_is_renewed_when_it_must(tmp_path: Path, why: str, quiet: None) -> None:
    path = make_page_certificate(tmp_path, NAMES, NOW)
    first = path.read_bytes()
    if why == "damaged":
        path.write_bytes(first[:-100])
    later = {"soon over": 380 * 86400, "clock back": -7200}.get(why, 0)
    names = subject_names(["other.example"]) if why == "new name" else NAMES
    make_page_certificate(tmp_path, names, NOW + later)
    renewed, intact = parse_pem(path.read_bytes())
    assert intact
    assert renewed[0].window.usable(NOW + later)
    assert path.read_bytes() != first
