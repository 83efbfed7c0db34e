"""How like the source an encoding is, by FFmpeg's own filters: PSNR and SSIM.

VMAF would say more; Debian's FFmpeg is built without it, so it is not measured.
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass
from pathlib import Path

# Pictures are compared by their numbers: Matroska's times are rounded to the millisecond.
_GRAPH = (
    "[0:v]settb=1/30,setpts=N,split[a][b];[1:v]settb=1/30,setpts=N,split[c][d];[a][c]psnr[p];[b][d]ssim[s]"
)
_PSNR = re.compile(r"PSNR .*?average:(inf|[\d.]+)")
_SSIM = re.compile(r"SSIM .*?All:([\d.]+)")
_FRAMES = re.compile(r"frame=\s*(\d+)")


class QualityError(RuntimeError):
    """FFmpeg did not say how like they are."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Of all pictures and planes. ``psnr_db`` is infinite where nothing differs; ``ssim`` up to 1."""

    psnr_db: float
    ssim: float
    frames: int


def parse(output: str) -> Quality:
    """What FFmpeg wrote to stderr. Raises QualityError with its last words."""
    psnr, ssim, frames = _PSNR.search(output), _SSIM.search(output), _FRAMES.findall(output)
    if psnr is None or ssim is None or not frames:
        words = output.strip().splitlines()[-1:] or ["it said nothing"]
        raise QualityError(f"ffmpeg: {words[0]}")
    psnr_db = math.inf if psnr[1] == "inf" else float(psnr[1])
    return Quality(psnr_db, float(ssim[1]), int(frames[-1]))


async def compare(encoded: Path, source: Path) -> Quality:
    """Decode both and compare them picture by picture. Raises QualityError."""
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-hide_banner", "-nostdin", "-i", encoded, "-i", source, "-lavfi", _GRAPH),
        *("-map", "[p]", "-map", "[s]", "-fps_mode", "passthrough", "-f", "null", "-"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    output = said.decode(errors="replace")
    if process.returncode:
        raise QualityError("ffmpeg: " + (output.strip().splitlines() or ["it failed"])[-1])
    return parse(output)
