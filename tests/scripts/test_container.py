"""The container's files agree with the project, as far as that can be told without an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def copied() -> list[str]:
    """What the build copies out of the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def compose() -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return value


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source in allowed, f"{source} is not sent to the engine"


def test_what_the_wheel_is_built_from_is_copied() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for needed in ("client/src", "README.md", "LICENSE"):
        assert f'"{needed}"' in project
        assert needed in copied()


def test_it_does_not_run_as_root() -> None:
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER (?!root)\w+$", final, re.MULTILINE)


def test_both_images_are_of_the_python_that_the_project_promises() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images == ["python:3.11-slim", "python:3.11-slim"]


def test_compose_publishes_the_ports_that_the_gateway_is_told() -> None:
    gateway = compose()["services"]["gateway"]
    command = gateway["command"]
    udp = command[command.index("--bind") + 1].rpartition(":")[2]
    tcp = command[command.index("--web") + 1].rpartition(":")[2]
    assert f"{udp}:{udp}/udp" in gateway["ports"]
    assert f"127.0.0.1:{tcp}:{tcp}" in gateway["ports"]
    assert any(f":{tcp}/healthz" in part for part in gateway["healthcheck"]["test"])


def test_compose_keeps_certificates_and_nothing_else() -> None:
    gateway = compose()["services"]["gateway"]
    (volume,) = gateway["volumes"]
    name, _, target = volume.partition(":")
    assert name in compose()["volumes"]
    assert f"WTG_CERTS_DIR={target}" in DOCKERFILE
    assert gateway["read_only"] is True
