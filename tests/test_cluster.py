"""The secret that nodes share: its file, its keys, and that nothing of it is ever shown."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.announce import ready_facts
from wtgateway.cli import main
from wtgateway.cluster import MAX_FILE_BYTES, ClusterSecret, make_secret, parse_secret
from wtgateway.config import Address, BroadcastConfig, ClusterConfig, GatewayConfig
from wtgateway.errors import ConfigError
from wtgateway.gateway import Gateway

SECRET = bytes(range(32))


def test_keys_are_hkdf_sha256_of_the_secret() -> None:
    """RFC 5869 written out with HMAC alone: another program derives the same."""
    import hashlib
    import hmac

    extracted = hmac.digest(bytes(32), SECRET, hashlib.sha256)
    first = hmac.digest(extracted, b"wtgateway retry\x01", hashlib.sha256)
    second = hmac.digest(extracted, first + b"wtgateway retry\x02", hashlib.sha256)
    assert ClusterSecret(SECRET).key("retry") == first
    assert ClusterSecret(SECRET).key("retry", 48) == (first + second)[:48]


def test_each_use_and_each_secret_has_keys_of_its_own() -> None:
    labels = ("retry", "stateless reset", "resume", "certificates", "fingerprint")
    keys = {ClusterSecret(secret).key(label) for secret in (SECRET, SECRET[::-1]) for label in labels}
    assert len(keys) == 10


def test_a_secret_is_made_once_for_its_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "cluster.secret"
    assert main(["cluster", "secret", str(file)]) == 0
    said = capsys.readouterr().out
    assert file.stat().st_mode & 0o777 == 0o600
    secret = parse_secret(file.read_bytes())
    assert len(secret) == 32
    assert secret.hex() not in said
    assert f"--cluster-secret {file}" in said and "every node" in said
    assert ClusterSecret.load(file).fingerprint in said
    assert not caplog.records

    before = file.read_bytes()
    assert main(["cluster", "secret", str(file)]) == 2
    assert "does not exist yet" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert main(["cluster", "secret", str(tmp_path / "other")]) == 0
    assert parse_secret((tmp_path / "other").read_bytes()) != secret


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a place where a file can be made"):
        make_secret(tmp_path / "missing" / "secret")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        make_secret(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_secret_that_others_could_read_is_closed_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "secret"
    make_secret(file)
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        ClusterSecret.load(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "others could read the cluster secret" in caplog.text


@pytest.mark.parametrize(("mode", "told"), [(0o444, True), (0o440, False)])
def test_one_that_is_mounted_by_somebody_else_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: int, told: bool
) -> None:
    """A container's secret belongs to root and a group, on a file system that nobody here may change."""

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    file = tmp_path / "secret"
    made = make_secret(file)
    file.chmod(mode)
    monkeypatch.setattr(os, "fchmod", refused)
    assert ClusterSecret.load(file).key("retry") == made.key("retry")
    assert ("everybody on this machine can read" in caplog.text) is told


def test_the_secret_is_shown_nowhere() -> None:
    secret = ClusterSecret(SECRET)
    for text in (repr(secret), str(secret), f"{secret}", secret.fingerprint):
        assert SECRET.hex() not in text and repr(SECRET)[2:-1] not in text
    assert ClusterSecret(SECRET).fingerprint == secret.fingerprint
    assert ClusterSecret(SECRET[::-1]).fingerprint != secret.fingerprint


def test_what_a_missing_or_useless_file_is_answered_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.secret.*No such file"):
        ClusterSecret.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="a file that can be read"):
        ClusterSecret.load(tmp_path)
    file = tmp_path / "secret"
    for content in (b"", b"# only a comment\n", SECRET.hex()[:-2].encode(), b"x" * 64, b"0" * MAX_FILE_BYTES):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="wtgateway cluster secret FILE") as told:
            ClusterSecret.load(file)
        assert content[:8].decode() not in str(told.value) or not content


@pytest.mark.parametrize(
    "text", ["{0}", "# a\n{0}\n", "\ufeff{0}\r\n", "  {0}  \n # end\n", "{1}\n{2}\n", "{0:}".upper()]
)
def test_the_text_may_be_laid_out_as_editors_and_tools_do(text: str) -> None:
    digits = SECRET.hex()
    assert parse_secret(text.format(digits, digits[:32], digits[32:]).encode()) == SECRET


@given(st.binary(max_size=400))
def test_any_file_is_a_secret_or_a_value_error(data: bytes) -> None:
    try:
        secret = parse_secret(data)
    except ValueError:
        return
    assert 32 <= len(secret) <= 256


@given(st.binary(min_size=32, max_size=256))
def test_every_secret_survives_its_file(secret: bytes) -> None:
    assert parse_secret(b"# note\n" + secret.hex(" ").encode() + b"\n") == secret


async def test_nodes_with_one_secret_present_one_certificate_and_keep_none(tmp_path: Path) -> None:
    make_secret(tmp_path / "secret")
    told = []
    for node in ("a", "b"):
        config = GatewayConfig(
            bind=Address("127.0.0.1", 0),
            web=Address("127.0.0.1", 0),
            certs_dir=tmp_path / node,
            cluster=ClusterConfig(secret=tmp_path / "secret"),
            advertise=Address("media.example", 443),
            public_url="https://cams.example/live/",
            broadcasts=(BroadcastConfig(name="test", source="test:?size=320x180", on_demand=True),),
        )
        gateway = Gateway(config)

        def ready(gateway: Gateway) -> None:
            told.append((gateway.certificate_hashes(), ready_facts(gateway)))
            gateway.stop()

        await gateway.run(ready)
        assert not (tmp_path / node).exists()
    (one, facts), (other, _) = told
    assert one == other
    assert len(one) == 3
    assert facts["page"] == "https://cams.example/live/test"
    assert facts["advertised"] == "https://media.example:443"
    assert facts["certificate_sha256"] == one[0]["value"].hex()


async def test_a_gateway_without_its_clusters_secret_does_not_start(tmp_path: Path) -> None:
    config = GatewayConfig(cluster=ClusterConfig(secret=tmp_path / "none"))
    with pytest.raises(ConfigError, match="No such file"):
        await Gateway(config).run()


def test_derived_certificates_are_shown_and_not_rotated_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_secret(tmp_path / "secret")
    cluster = ["--cluster-secret", str(tmp_path / "secret"), "--certs-dir", str(tmp_path / "certs")]
    assert main(["certs", "show", "--json", *cluster, "--advertise", "media.example"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [certificate["use"] for certificate in shown] == ["previous", "current", "next"]
    assert main(["certs", "show", "--json", *cluster, "--public-url", "https://media.example/live"]) == 0
    assert json.loads(capsys.readouterr().out) == shown, "the same names, the same certificates"
    assert main(["certs", "rotate", *cluster]) == 2
    assert "a new secret" in capsys.readouterr().err
    assert main(["check", *cluster, "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "::1"]) == 0
    said = capsys.readouterr().out
    assert "derived from" in said and "10.0.0.0/8, ::1/128" in said
    assert not (tmp_path / "certs").exists()


def test_one_that_is_there_already_may_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For containers that are started again: the first start makes it. A damaged one is not passed over."""
    file = tmp_path / "secret"
    assert main(["cluster", "secret", "--if-missing", str(file)]) == 0
    before = file.read_bytes()
    assert main(["cluster", "secret", "--if-missing", str(file)]) == 0
    assert "is there already" in capsys.readouterr().out
    assert file.read_bytes() == before
    file.write_text("# empty")
    assert main(["cluster", "secret", "--if-missing", str(file)]) == 2
