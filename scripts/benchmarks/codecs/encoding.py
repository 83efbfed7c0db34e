"""Each codec at each size and bit rate: what it costs, how long it takes, how it looks."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks.codecs.pictures import FPS, write_y4m
from scripts.benchmarks.codecs.quality import QualityError, compare
from scripts.benchmarks.report import Figure, Options
from scripts.support.processes import ROOT
from wtgateway.encoders import VIDEO_CODECS

SIZES = ((640, 360), (1280, 720), (1920, 1080))
MEGABITS = (1, 2, 4)
PICTURES = 150  # five seconds
QUICK_PICTURES = 30
DESKTOP_SIZE = (1280, 720)
RATE_GOAL = 1.1  # of what was asked for; more is what a viewer's link was not asked about
_RUN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    """One content at one size, which all codecs encode at all rates."""

    content: str
    size: tuple[int, int]
    megabits: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.content} {self.size[0]}x{self.size[1]}"


def cases(*, quick: bool) -> Iterator[Case]:
    """What is encoded."""
    if quick:
        yield Case("camera", SIZES[0], MEGABITS[:1])
        return
    for size in SIZES:
        yield Case("camera", size, MEGABITS)
    yield Case("desktop", DESKTOP_SIZE, MEGABITS)


async def figures(options: Options) -> list[Figure]:
    """Of all cases; a codec that cannot be measured has figures without values."""
    found: list[Figure] = []
    count = QUICK_PICTURES if options.quick else PICTURES
    for case in cases(quick=options.quick):
        source = options.directory / "pictures.y4m"
        await asyncio.to_thread(write_y4m, source, case.content, case.size, count)
        for codec in VIDEO_CODECS:
            for megabits in case.megabits:
                name = f"{codec} {case} {megabits}M"
                progress(name)
                found += await _measured(name, codec, megabits, source, count)
        source.unlink()
    progress("")
    return found


async def _measured(name: str, codec: str, megabits: int, source: Path, count: int) -> list[Figure]:
    encoded = source.with_name("encoded.mkv")
    took: dict[str, Any] = {}
    psnr_db = ssim = None
    try:
        took = await _encode(codec, megabits * 1_000_000, source, encoded)
        quality = await compare(encoded, source)
        if quality.frames != count:
            raise QualityError(f"{quality.frames} pictures of {count} could be compared")
        psnr_db = quality.psnr_db if math.isfinite(quality.psnr_db) else None
        ssim = quality.ssim
    except (QualityError, TimeoutError) as error:
        print(f"{name}: {error or 'it took too long'}", file=sys.stderr)
    finally:
        encoded.unlink(missing_ok=True)
    return named(name, megabits, took, psnr_db, ssim)


def named(
    name: str, megabits: int, took: dict[str, Any], psnr_db: float | None, ssim: float | None
) -> list[Figure]:
    """The figures of one run. ``took``: what encode.py printed; empty if it did not run."""
    bps = took.get("bitrate_bps")
    return [
        Figure(name=f"{name} cpu", value=_rounded(took.get("cpu_ms"), 2), unit="ms/frame"),
        Figure(
            name=f"{name} wall",
            value=_rounded(took.get("wall_ms"), 2),
            unit="ms/frame",
            goal=round(1000 / FPS, 1),
        ),
        Figure(name=f"{name} delay", value=took.get("delay_frames"), unit="frames", goal=0),
        Figure(
            name=f"{name} rate",
            value=None if bps is None else round(bps / 1e6, 2),
            unit="Mbit/s",
            goal=round(megabits * RATE_GOAL, 2),
        ),
        Figure(name=f"{name} psnr", value=_rounded(psnr_db, 2), unit="dB"),
        Figure(name=f"{name} ssim", value=_rounded(ssim, 4), unit=""),
    ]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


async def _encode(codec: str, bitrate_bps: int, source: Path, encoded: Path) -> dict[str, Any]:
    """Run encode.py. Raises QualityError with its last words, TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.benchmarks.codecs.encode", "--codec", codec),
        *("--bitrate", str(bitrate_bps), source, encoded),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_RUN_SECONDS):
            said, complaints = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise QualityError((complaints.decode(errors="replace").strip().splitlines() or ["it failed"])[-1])
    took: dict[str, Any] = json.loads(said)
    return took


def progress(what: str) -> None:
    """A line that replaces the one before; only where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)
