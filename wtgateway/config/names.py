"""A broadcast's name from its source: file stem, camera path, stream id; unique and always legal.

Pure; imports only errors (through values).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from wtgateway.config.values import MAX_NAME_LENGTH, parse_name
from wtgateway.errors import ConfigError

_PLAYLISTS = frozenset({"index", "playlist", "master", "chunklist", "stream", "main"})
_FIXED = {"test": "test", "lavfi": "lavfi", "x11": "screen"}
_ROOM_FOR_SUFFIX = 8


def derive_name(source: str, taken: Collection[str] = ()) -> str:
    """A legal name for ``source`` that is not in ``taken``: ``movie.mp4`` is ``movie``, then ``movie-2``."""
    base = _legal(_raw_name(source))
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _raw_name(source: str) -> str:
    scheme, colon, rest = source.partition(":")
    scheme = scheme.lower()
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return PurePosixPath(source).stem
    if scheme in _FIXED:
        return _FIXED[scheme]
    if not rest.startswith("//"):
        stem = PurePosixPath(rest).stem if scheme == "file" else PurePosixPath(rest).name
        return f"{scheme}-{stem}" if scheme == "alsa" else stem
    return _from_url(source, scheme)


def _from_url(source: str, scheme: str) -> str:
    try:
        parts = urlsplit(source)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return scheme
    path = PurePosixPath(unquote(parts.path))
    if scheme == "file":
        return path.stem
    for wanted in ("streamid", "name"):
        if values := parse_qs(parts.query).get(wanted):
            resource = re.search(r"\br=([^,]+)", values[0])  # SRT access control: "#!::r=live/cam,m=request"
            return resource[1] if resource else values[0]
    if scheme in ("http", "https"):
        path = path.parent if path.stem.lower() in _PLAYLISTS else path.with_suffix("")
    return str(path).strip("/.") or "-".join(str(part) for part in (host, port) if part)


def _legal(raw: str) -> str:
    segments = [re.sub(r"[^A-Za-z0-9._~-]+", "-", part).strip("-._") for part in raw.split("/")]
    name = (
        "/".join(part for part in segments if part)[: MAX_NAME_LENGTH - _ROOM_FOR_SUFFIX].strip("/")
        or "source"
    )
    try:
        return parse_name(name)
    except ConfigError:  # a reserved word
        return f"source-{name}"
