"""`wtgateway token`: links and tokens out of the command line, and what is in them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from wtgateway.access.credentials import Credentials
from wtgateway.access.own_tokens import OwnTokens, own_key
from wtgateway.access.permissions import Action
from wtgateway.access.secrets import parse_password_hash, parse_token_hash
from wtgateway.cli import main
from wtgateway.cluster import ClusterSecret, make_secret

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are made are made there."""
    monkeypatch.chdir(tmp_path)


def created(capsys: Output, *words: str) -> dict[str, object]:
    assert main(["token", "create", *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


async def test_a_link_leads_to_the_page_and_its_token_is_taken(tmp_path: Path, capsys: Output) -> None:
    made = created(
        capsys,
        "--read",
        "cam1",
        "--for",
        "2h",
        "--identity",
        "anna",
        "--public-url",
        "https://gw.example/live",
    )
    link = urlsplit(str(made["link"]))
    assert (link.netloc, link.path) == ("gw.example", "/live/cam1")
    assert parse_qs(link.query) == {"token": [made["token"]]}
    tokens = OwnTokens(lambda: own_key(None, None, tmp_path / "certs"))
    await tokens.start()
    grant = await tokens.check(Credentials(token=str(made["token"])))
    assert grant is not None
    assert (grant.identity, grant.token_id) == ("anna", made["tokenId"])
    assert grant.allows(Action.READ, "cam1")
    assert not grant.allows(Action.CONTROL, "cam1")


@pytest.mark.parametrize(
    ("words", "page", "permissions"),
    [
        (["--read", "cam*"], "http://localhost:8080/", ["read:cam*"]),
        (["--read", "a", "--read", "b"], "http://localhost:8080/", ["read:a", "read:b"]),
        (["--control", "door"], "http://localhost:8080/door", ["read:door", "control:door"]),
        (["--read", "x", "--public"], "https://localhost:8443/x", ["read:x"]),
        (["--metrics", "--api", "--web", "192.0.2.1:80"], "http://192.0.2.1:80/", ["api:*", "metrics:*"]),
        (["--read", "x", "--web", "[2001:db8::1]:80"], "http://[2001:db8::1]:80/x", ["read:x"]),
    ],
)
def test_links_and_permissions(capsys: Output, words: list[str], page: str, permissions: list[str]) -> None:
    made = created(capsys, *words)
    assert str(made["link"]).partition("?")[0] == page
    assert made["permissions"] == permissions


@pytest.mark.parametrize(
    "words", [[], ["--read", "a b"], ["--read", "x", "--for", "soon"], ["--read", "x", "--for", "0s"]]
)
def test_what_makes_no_token_is_said(capsys: Output, words: list[str]) -> None:
    assert main(["token", "create", *words]) == 2
    assert "expected" in capsys.readouterr().err


def test_a_cluster_has_one_key(tmp_path: Path, capsys: Output) -> None:
    make_secret(tmp_path / "cluster.key")
    made = created(capsys, "--read", "x", "--cluster-secret", "cluster.key")
    assert not (tmp_path / "certs").exists()
    assert ClusterSecret.load(tmp_path / "cluster.key")
    assert main(["token", "inspect", str(made["token"]), "--cluster-secret", "cluster.key"]) == 0
    assert main(["token", "inspect", str(made["token"])]) == 1
    assert "not of this gateway" in capsys.readouterr().out
    assert not (tmp_path / "certs").exists(), "looking makes no key"


def test_inspect_shows_what_is_in_a_token(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    made = created(capsys, "--read", "cam*", "--for", "1h", "--identity", "anna")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{made['token']}\n"))
    assert main(["token", "inspect", "-"]) == 0
    out = capsys.readouterr().out
    assert '"anna"' in out
    assert "cam*" in out
    assert "of this gateway" in out
    assert main(["token", "inspect", "no.token"]) == 2
    assert "no.token" not in capsys.readouterr().err


def test_hashes_for_the_file_of_users(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["token", "hash"]) == 0
    said = capsys.readouterr()
    token = said.err.rstrip().rpartition(" ")[2]
    assert parse_token_hash(said.out.removeprefix("token: ")).fits(token)
    monkeypatch.setattr("sys.stdin", io.StringIO("geheim\n"))
    assert main(["token", "hash", "--password"]) == 0
    said = capsys.readouterr()
    assert parse_password_hash(said.out.removeprefix("password: ")).fits("geheim")
    assert "geheim" not in said.out
