"""The dependency rule of docs/architecture.md, checked on the imports that the files really have.

    media, errors, clock, log <- protocol, sources, encoders, certs <- hub <- transport, web
        <- pipeline, workers, gateway, viewer <- cli

A room may import rooms to its left, and its own. Imports under ``if TYPE_CHECKING`` count too: what
a type needs to know is knowledge.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wtgateway"
LEVELS = [
    {"media", "errors", "clock", "log", "private_files", "__init__"},
    {"config", "bitstream", "cluster", "events"},
    {"access", "limits", "protocol", "sources", "encoders", "certs"},
    {"hub"},
    {"transport", "web"},
    {"monitoring", "hooks", "pipeline", "workers", "isolation", "announce", "gateway", "lifecycle"}
    | {"viewer", "lb"},
    {"cli", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
# Rooms of one level know nothing of each other, except where one is made of the others.
SIBLINGS = {
    ("encoders", "sources"),  # what goes in is what came out there: RawVideo, RawAudio
    ("gateway", "announce"),
    ("announce", "gateway"),  # the values of what it announces
    ("gateway", "lifecycle"),
    ("gateway", "pipeline"),
    ("workers", "monitoring"),  # each process looks at its own event loop
    ("lifecycle", "monitoring"),
    ("lifecycle", "hooks"),
    ("gateway", "workers"),
    ("gateway", "monitoring"),
    ("lifecycle", "pipeline"),
    ("lifecycle", "workers"),
    ("lifecycle", "isolation"),
    ("isolation", "pipeline"),
    ("isolation", "workers"),
    ("workers", "pipeline"),
    ("__main__", "cli"),
}
OWNERS = {
    "av": {"sources", "encoders", "viewer"},
    "aioquic": {"transport"},
    "jwt": {"access"},
    "hypercorn": {"web"},
    "starlette": {"web"},
}
# What the protocol core may use besides itself: nothing that has a clock, a loop or dice of its own.
PROTOCOL_MAY = {
    "__future__", "base64", "collections", "cryptography.exceptions",
    "cryptography.hazmat.primitives.ciphers.aead", "dataclasses", "enum", "functools", "hashlib", "itertools",
    "math", "msgpack", "numpy", "re", "struct",
    "types", "typing", "urllib.parse", "wtgateway.errors", "wtgateway.media", "wtgateway.protocol",
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """The room of ``wtgateway.x.y`` is x."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in the file it does."""
    package = module_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # "from wtgateway import clock" imports a room, not a name of __init__.
            yield from (f"{origin}.{a.name}" if origin == "wtgateway" else origin for a in node.names)


def _allowed(importer: str, imported: str) -> bool:
    if importer == imported or (importer, imported) in SIBLINGS:
        return True
    if importer == "config":
        return imported == "errors"
    if importer not in LEVEL or imported not in LEVEL:
        return False
    return LEVEL[imported] < LEVEL[importer]


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path))
def test_rooms_import_only_rooms_to_their_left(path: Path) -> None:
    importer = room_of(module_of(path))
    assert importer in LEVEL, f"{path} is a room that the dependency rule does not know"
    for name in imports(path):
        # A lower case name behind "wtgateway." is a room, another one (__version__) a name of ours.
        if name.split(".")[0] != "wtgateway" or name.split(".")[-1].startswith("__"):
            continue
        assert _allowed(importer, room_of(name)), f"{importer} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    importer = room_of(module_of(path))
    for name in imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or importer in owners, f"{importer} must not import {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "protocol").glob("*.py")), ids=lambda path: path.stem)
def test_the_protocol_core_is_pure(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        prefixes = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        assert prefixes & PROTOCOL_MAY, f"protocol must not import {name}"


def test_the_protocol_core_loads_nothing_with_a_clock_or_a_loop() -> None:
    """The same at run time, in a fresh interpreter: no room of ours is pulled in by another way."""
    code = (
        "import sys, pkgutil, importlib, wtgateway.protocol as p\n"
        "[importlib.import_module(f'{p.__name__}.{m.name}') for m in pkgutil.iter_modules(p.__path__)]\n"
        "rest = ('asyncio', 'av', 'aioquic', 'random', 'wtgateway.clock', 'wtgateway.hub')\n"
        "print([m for m in rest if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
