"""Exact versions and hashes of the container's packages, found by ``pip install --dry-run --report``.

pip resolves once for each machine that the image is built for, and the hashes are put together: a version
that is not the same on all is an error. Nothing is installed. See scripts/pins.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
RUNTIME, BUILD = "requirements.lock", "requirements-build.lock"
PYTHON = "3.11"  # the image's
MACHINES = ("x86_64", "aarch64")
GLIBC = ("manylinux_2_17", "manylinux_2_28", "manylinux2014")
HEAD = "# Written by scripts/pins: do not edit. What {what}, on Linux, Python {python}, {machines}.\n"
ENVIRONMENT = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}

Pins = dict[str, tuple[str, set[str]]]  # by canonical name: version, and hashes


def wanted() -> dict[str, list[str]]:
    """What pyproject.toml asks for, by the lock's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = [*project["build-system"]["requires"], "build>=1"]
    return {RUNTIME: project["project"]["dependencies"], BUILD: build}


def resolve(requirements: Iterable[str], machine: str) -> list[dict[str, Any]]:
    """pip's report of what it would install there."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--report", str(report), "--target", folder, "--only-binary", ":all:"),
            *("--python-version", PYTHON, "--implementation", "cp"),
            *(f"--platform={glibc}_{machine}" for glibc in GLIBC),
            *requirements,
        ]
        subprocess.run(command, check=True)
        return list(json.loads(report.read_text())["install"])


def merged(reports: Iterable[list[dict[str, Any]]]) -> Pins:
    """One version of each package, with the hashes of all machines."""
    pins: Pins = {}
    for report in reports:
        for item in report:
            name = canonicalize_name(item["metadata"]["name"])
            version = item["metadata"]["version"]
            known, hashes = pins.setdefault(name, (version, set()))
            if known != version:
                raise SystemExit(f"{name}: {known} on one machine, {version} on another")
            hashes.add("sha256:" + item["download_info"]["archive_info"]["hashes"]["sha256"])
    return pins


def text_of(pins: Pins, what: str) -> str:
    """The lock, as pip reads it."""
    lines = [HEAD.format(what=what, python=PYTHON, machines=" and ".join(MACHINES))]
    for name, (version, hashes) in sorted(pins.items()):
        lines.append(
            f"{name}=={version}" + "".join(f" \\\n    --hash={each}" for each in sorted(hashes)) + "\n"
        )
    return "".join(lines)


def read(text: str) -> Pins:
    """The same back again. Raises ValueError for a line that has no exact version or no hash."""
    pins: Pins = {}
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
        if match is None:
            raise ValueError(f"no exact version with hashes: {line!r}")
        pins[match[1]] = (match[2], set(re.findall(r"sha256:[0-9a-f]{64}", match[3])))
    return pins


def problems(pins: Pins, requirements: Iterable[str]) -> list[str]:
    """What of the requirements the pins do not meet, in words."""
    found = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(ENVIRONMENT):
            continue
        version = pins.get(canonicalize_name(requirement.name), ("", set()))[0]
        if not version:
            found.append(f"{text}: it is not pinned")
        elif not requirement.specifier.contains(version):
            found.append(f"{text}: pinned is {version}")
    return found


def main(arguments: list[str]) -> int:
    """Write the locks, or check them."""
    parser = argparse.ArgumentParser(prog="scripts/pins")
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    bad: list[str] = []
    for name, requirements in wanted().items():
        path = ROOT / name
        if not check:
            what = "the gateway needs" if name == RUNTIME else "makes its wheel"
            path.write_text(text_of(merged(resolve(requirements, machine) for machine in MACHINES), what))
        bad += [f"{name}: {words}" for words in problems(read(path.read_text()), requirements)]
    for words in bad:
        print(words, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
