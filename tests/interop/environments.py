"""Virtual environments for programs that this project does not depend on, made once below .cache/interop."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "interop"
_VERSIONS = ("3.12", "3.13", "3.14", "3.15")
_ASK = "import sys; print(*sys.version_info[:2])"


def _candidates() -> Iterator[str]:
    yield sys.executable
    for version in _VERSIONS:
        if found := shutil.which(f"python{version}"):
            yield found
    # pyenv puts shims on PATH that refuse to run while another version is chosen; what they stand for runs.
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for version in _VERSIONS:
        yield from map(str, sorted(root.glob(f"versions/{version}*/bin/python{version}")))


@cache
def find_python(at_least: tuple[int, int]) -> str | None:
    """A Python that runs and is new enough, or None."""
    for candidate in _candidates():
        asked = subprocess.run([candidate, "-c", _ASK], capture_output=True, text=True)
        if asked.returncode == 0 and tuple(map(int, asked.stdout.split())) >= at_least:
            return candidate
    return None


def environment(python: str, requirements: tuple[str, ...]) -> Path:
    """The Python of a virtual environment with ``requirements``, from wheels of the package index only."""
    CACHE.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256("\n".join((python, *requirements)).encode()).hexdigest()[:16]
    place = CACHE / key
    interpreter, ready = place / "bin" / "python", place / "ready"
    with (CACHE / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(place, ignore_errors=True)
            _run(python, "-m", "venv", str(place))
            _run(str(interpreter), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *requirements)
            ready.touch()
    return interpreter


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
