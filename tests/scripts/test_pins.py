"""requirements.lock against pyproject.toml, and what installs it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.support.pins import BUILD, ENVIRONMENT, RUNTIME, merged, problems, read, text_of, wanted

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [RUNTIME, BUILD])
def test_the_lock_covers_what_is_asked_for(name: str) -> None:
    assert problems(read((ROOT / name).read_text()), wanted()[name]) == []


def test_the_lock_covers_what_that_needs_in_turn() -> None:
    """By what is installed here: each package's own requirements are pinned as well."""
    pins = read((ROOT / RUNTIME).read_text())
    for name in pins:
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for text in needed:
            requirement = Requirement(text)
            environment = {
                **ENVIRONMENT,
                "extra": "",
                "python_version": "3.11",
                "python_full_version": "3.11.9",
            }
            if requirement.marker is None or requirement.marker.evaluate(environment):
                assert canonicalize_name(requirement.name) in pins, f"{name} needs {text}"


def test_the_container_installs_nothing_without_a_hash() -> None:
    dockerfile = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    commands = [
        part for line in dockerfile.splitlines() if line.startswith("RUN") for part in line.split("&&")
    ]
    installs = [part for part in commands if re.search(r"\bpip (install|wheel|download)\b", part)]
    assert len(installs) == 4
    for part in installs:
        assert "--require-hashes" in part or ("--no-index" in part and "--no-deps" in part), part
    assert "--no-isolation" in dockerfile  # else the build would fetch its own tools


@pytest.mark.parametrize("line", ["av", "av==18", "av>=18 --hash=sha256:" + "0" * 64, "av==18 --hash=md5:00"])
def test_a_line_without_version_or_hash_is_no_pin(line: str) -> None:
    with pytest.raises(ValueError, match="no exact version"):
        read(line)


def test_hashes_of_all_machines_are_put_together() -> None:
    def report(version: str, digit: str) -> list[dict[str, object]]:
        archive = {"archive_info": {"hashes": {"sha256": digit * 64}}}
        return [{"metadata": {"name": "Some_Name", "version": version}, "download_info": archive}]

    pins = merged([report("1.0", "a"), report("1.0", "b")])
    assert read(text_of(pins, "it needs")) == pins
    assert len(pins["some-name"][1]) == 2
    assert problems(pins, ["some.name>=1"]) == []
    assert problems(pins, ["some-name>=2", "other; sys_platform == 'win32'", "more"]) == [
        "some-name>=2: pinned is 1.0",
        "more: it is not pinned",
    ]
    with pytest.raises(SystemExit, match="on another"):
        merged([report("1.0", "a"), report("2.0", "b")])
