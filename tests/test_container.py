"""Dockerfile and compose.yaml against the project: what they copy exists, what they set is understood."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from wtgateway.config import load

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_everything_that_is_copied_exists_and_is_not_ignored() -> None:
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name.rstrip("/") in allowed, name


def test_the_environment_it_sets_is_a_configuration() -> None:
    block = re.search(r"^ENV ((?:.*\\\n)*.+)", DOCKERFILE, re.MULTILINE)
    assert block is not None
    pairs = dict(item.split("=", 1) for item in block[1].replace("\\\n", " ").split())
    config = load({}, {k: v for k, v in pairs.items() if k.startswith("WTG_")})
    assert (str(config.bind), str(config.web)) == ("[::]:4433", "0.0.0.0:8080")
    assert config.certs_dir == Path("/certs")
    assert config.json_log


def test_the_build_is_a_wheel_that_carries_the_client() -> None:
    assert "client/src" in DOCKERFILE
    assert '"client/src" = "wtgateway/_client"' in (ROOT / "pyproject.toml").read_text()


def test_compose_publishes_what_the_image_exposes_on_loopback_only() -> None:
    gateway = COMPOSE["services"]["gateway"]
    exposed = set(re.search(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)[1].split())  # type: ignore[index]
    published = {port.rsplit(":", 1)[1] for port in gateway["ports"]}
    assert published == exposed
    assert all(port.startswith("127.0.0.1:") for port in gateway["ports"])
    assert gateway["read_only"]
    assert set(COMPOSE["volumes"]) == {volume.split(":")[0] for volume in gateway["volumes"]}
