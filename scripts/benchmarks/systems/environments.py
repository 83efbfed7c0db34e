"""Virtual environments of the peers, made once for exactly these requirements."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.support.processes import ROOT

PEERS = ROOT / ".cache" / "peers"


def environment(name: str, *requirements: str, python: str = sys.executable) -> Path:
    """The folder of ``name``'s programs (its ``bin``); made or renewed when the requirements changed."""
    folder = PEERS / name
    stamp = folder / ".requirements"
    wanted = "\n".join([*requirements, "python {}.{}".format(*_version(python))])
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"== installing {', '.join(requirements)} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return folder / "bin"


def interpreter(least: tuple[int, int]) -> str | None:
    """A Python that is new enough for a peer: ours, one on PATH, one of pyenv's; None when there is none."""
    return next((python for python in _interpreters(least) if _version(python) >= least), None)


def _interpreters(least: tuple[int, int]) -> Iterator[str]:
    yield sys.executable
    for minor in range(least[1], least[1] + 5):
        if found := shutil.which(f"python{least[0]}.{minor}"):
            yield found
    yield from map(str, sorted(Path.home().glob(".pyenv/versions/*/bin/python")))


def _version(python: str) -> tuple[int, int]:
    """Of an interpreter; (0, 0) when it does not run (pyenv's shims do not always)."""
    if python == sys.executable:
        return sys.version_info[0], sys.version_info[1]
    command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    numbers = answer.stdout.split()
    return (int(numbers[0]), int(numbers[1])) if answer.returncode == 0 and len(numbers) == 2 else (0, 0)
