"""The browser client's files: found, held in memory, versioned, and their import graph known.

Rule: a request never reaches the file system by its path. Files are looked up in a snapshot of the
client directory, so no spelling of a path leads out of it. A snapshot carries a digest of all files;
pages name files below ``/_client/@<digest>/``, which may be cached for ever, and everybody else below
``/_client/``, which is revalidated. Below ``+/`` a module or style
sheet comes joined with all that it imports. Imports errors and the linker only.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wtgateway.errors import ConfigError
from wtgateway.web.linker import LinkError, link, link_styles

_log = logging.getLogger(__name__)

MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
MAX_FILE_BYTES = 8 * 1024 * 1024
_REQUIRED = ("index.html", "watch.html", "error.html")
_REFRESH_S = 0.5


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, media type and entity tag (RFC 9110, section 8.8.3).

    ``packed`` is the same by gzip, for what pages wait for on slow links; empty: not worth it.
    """

    data: bytes
    media_type: str
    etag: str
    packed: bytes = b""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All client files at one time, by their path with "/"; ``digest`` names their content.

    ``joined`` remembers what :meth:`linked` has made.
    """

    files: dict[str, Asset]
    digest: str
    joined: dict[str, Asset] = field(default_factory=dict)

    def text(self, path: str) -> str:
        """A file's text; raises KeyError when there is none."""
        return self.files[path].data.decode()

    def linked(self, entry: str) -> Asset:
        """A module or style sheet and all that it imports as one (:mod:`wtgateway.web.linker`); some ms once.

        What cannot be linked is given as it is, which works as well, only more slowly. Raises
        KeyError when there is none.
        """
        if (made := self.joined.get(entry)) is not None:
            return made
        asset = self.files[entry]
        join = link_styles if entry.endswith(".css") else link
        if entry.endswith((".js", ".mjs", ".css")):
            kinds = (".js", ".mjs", ".css")
            sources = {p: a.data.decode(errors="replace") for p, a in self.files.items() if p.endswith(kinds)}
            try:
                data = join(sources, entry).encode()
            except LinkError as error:
                _log.warning("web: client file served unlinked file=%s reason=%s", entry, error)
            else:
                etag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
                asset = Asset(data, asset.media_type, etag, gzip.compress(data, mtime=0))
        self.joined[entry] = asset
        return asset


def take_snapshot(directory: Path) -> Snapshot:
    """Read all files of known type below ``directory`` (blocking; a few ms).

    Hidden files, links that lead out of the directory and files over 8 MiB are left out.
    """
    root = directory.resolve()
    files: dict[str, Asset] = {}
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts) or path.suffix not in MEDIA_TYPES:
            continue
        if not path.is_file() or not path.resolve().is_relative_to(root):
            continue
        if path.stat().st_size > MAX_FILE_BYTES:
            continue
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        whole.update(f"{relative.as_posix()}\0{digest}\n".encode())
        files[relative.as_posix()] = Asset(data, MEDIA_TYPES[path.suffix], f'"{digest[:20]}"')
    return Snapshot(files, whole.hexdigest()[:12])


def _stats(directory: str) -> Iterator[tuple[str, int, int]]:
    """Path, time and size of every file; by scandir, since a page waits for it in a checkout."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _stats(entry.path)
            else:
                stat = entry.stat()
                yield entry.path, stat.st_mtime_ns, stat.st_size


def find_client_dir() -> Path:
    """The client's files: those in the installed package, else those of the checkout.

    Raises ConfigError when there are none, which means a broken installation.
    """
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_client", package.parent / "client" / "src"):
        if (candidate / "index.html").is_file():
            return candidate
    raise ConfigError(
        "installation",
        "client files",
        str(package / "_client"),
        "the browser client; install wtgateway again",
    )


class Assets:
    """The client's files, read again when they change (only where they can: in a checkout)."""

    def __init__(self, directory: Path, *, watch: bool | None = None) -> None:
        """Read ``directory``; raises ConfigError when it is not a client directory."""
        self._directory = directory
        self._watch = directory.name != "_client" if watch is None else watch
        self._checked = time.monotonic()
        self._stamp = self._stamp_of_tree() if self._watch else 0
        self.snapshot = take_snapshot(directory)
        for name in _REQUIRED:
            if name not in self.snapshot.files:
                raise ConfigError("installation", "client files", str(directory), f"a directory with {name}")

    def _stamp_of_tree(self) -> int:
        return hash(tuple(sorted(_stats(os.fspath(self._directory)))))

    def _reread(self) -> Snapshot | None:
        try:
            stamp = self._stamp_of_tree()
            if stamp == self._stamp:
                return None
            snapshot = take_snapshot(self._directory)
        except OSError:  # a file went away while the tree was read: the next request tries again
            return None
        self._stamp = stamp
        return snapshot if all(name in snapshot.files for name in _REQUIRED) else None

    async def refresh(self) -> Snapshot:
        """The current snapshot; looks at the disk at most twice a second, in a thread."""
        now = time.monotonic()
        if self._watch and now - self._checked >= _REFRESH_S:
            self._checked = now
            changed: Snapshot | None = await asyncio.to_thread(self._reread)
            self.snapshot = changed or self.snapshot
        return self.snapshot
