"""What trying an encoder gave, kept between starts, and the choice that is made of it.

Pure but for the file of the cache. May import encoders.profiles. The rule: what was measured on
another machine, with another FFmpeg or by another version of wtgateway is measured anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wtgateway.encoders.profiles import canonical_codec

MEASURED_SIZE = (1280, 720)
HEAD_ROOM = 0.5  # of the frame interval: the rest is for capture, conversion, and busier pictures
_MOST_CACHE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One encoder, tried on pictures of MEASURED_SIZE."""

    encoder: str
    codec: str
    hardware: bool
    ok: bool
    ms_per_frame: float = 0.0  # of wall time; 0 when not ok
    delay_frames: int = 0  # pictures that stay in it
    reason: str = ""  # why it is not ok

    @classmethod
    def read(cls, document: object) -> Measurement:
        """From what JSON gave. Raises ValueError for anything that is not a measurement."""
        if not isinstance(document, dict) or set(document) != {field.name for field in fields(cls)}:
            raise ValueError(f"no measurement: {str(document)[:80]}")
        values: dict[str, Any] = document
        for name, kind in _KINDS.items():
            if type(values[name]) not in kind:
                raise ValueError(f"{name} is {values[name]!r}")
        if not 0 <= values["ms_per_frame"] < 1e9 or not 0 <= values["delay_frames"] < 1e9:
            raise ValueError("a number of the measurement is out of range")
        return cls(**values)


_KINDS: dict[str, tuple[type, ...]] = {
    "encoder": (str,),
    "codec": (str,),
    "hardware": (bool,),
    "ok": (bool,),
    "ms_per_frame": (int, float),
    "delay_frames": (int,),
    "reason": (str,),
}


def choose(
    codecs: Sequence[str],
    fps: float,
    size: tuple[int, int],
    measurements: Iterable[Measurement],
    *,
    head_room: float = HEAD_ROOM,
) -> Measurement | None:
    """The encoder for pictures of that size and rate; None when no candidate keeps up.

    ``codecs`` are the candidates, best first: the first one that has an encoder which works,
    holds no picture back and needs no more than ``head_room`` of the frame interval is taken, by its
    cheapest such encoder. Cost is taken as proportional to the number of pixels.
    """
    known = tuple(measurements)
    for codec in codecs:
        fit = [
            m
            for m in known
            if m.ok
            and not m.delay_frames
            and m.codec == canonical_codec(codec)
            and _keeps_up(m, fps, size, head_room)
        ]
        if fit:
            return min(fit, key=lambda m: (m.ms_per_frame, m.encoder))
    return None


def _keeps_up(measured: Measurement, fps: float, size: tuple[int, int], head_room: float) -> bool:
    scale = size[0] * size[1] / (MEASURED_SIZE[0] * MEASURED_SIZE[1])
    return measured.ms_per_frame * scale * fps <= head_room * 1000


def cache_directory() -> Path:
    """Where measurements are kept (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wtgateway"


def fingerprint(ffmpeg: Mapping[str, tuple[int, ...]], version: str) -> str:
    """What a measurement holds for: these libraries, this wtgateway, this machine and its devices.

    ``ffmpeg`` is av.library_versions.
    """
    facts = [
        version,
        *(f"{name}={'.'.join(map(str, number))}" for name, number in sorted(ffmpeg.items())),
        platform.machine(),
        platform.node(),
        platform.release(),  # drivers come with the kernel
        _processor(),
        str(os.cpu_count()),
        *sorted(
            str(path)
            for pattern in ("dri/render*", "video*", "nvidia*")
            for path in Path("/dev").glob(pattern)
        ),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    return next((line for line in text.splitlines() if line.startswith(("model name", "Model"))), "")


def measured(
    names: Sequence[str],
    cache_directory: Path,
    key: str,
    measure: Callable[[str], Measurement],
    *,
    again: bool = False,
) -> list[Measurement]:
    """A measurement for each name, from the cache where there is one; ``again`` replaces it.

    A cache that cannot be read is measured anew, one that cannot be written is done without.
    """
    path = cache_directory / f"encoders-{key}.json"
    known = _read_cache(path)
    missing = [name for name in names if again or name not in known]
    for name in missing:
        known[name] = measure(name)
    if missing:
        _write_cache(path, known.values())
    return [known[name] for name in names]


def _read_cache(path: Path) -> dict[str, Measurement]:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MOST_CACHE_BYTES))
        if not isinstance(document, list):
            return {}
        found = [Measurement.read(item) for item in document]
    except (OSError, ValueError, RecursionError):
        return {}
    return {m.encoder: m for m in found}


def _write_cache(path: Path, measurements: Iterable[Measurement]) -> None:
    """In one step, so that another gateway that starts now reads all or nothing."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump([asdict(m) for m in measurements], file, indent=1)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
