"""Write client/src/media/probes.js: one small keyframe per codec, for a browser to prove that it decodes it.

    python -m scripts.support.probe_frames

The pictures are 64x64, left half dark and right half bright, so that a decoder which gives out
anything else is found out. To be run again when a codec is added; what it wrote is committed, since
a gateway need not have the encoders of the codecs that it passes through.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

TARGET = Path(__file__).resolve().parents[2] / "client" / "src" / "media" / "probes.js"
SIDE = 64
DARK, BRIGHT = 60, 200


@dataclass(frozen=True)
class Probe:
    """How to make a codec's keyframe, and the codec string that it is configured with."""

    codec: str
    encoder: str
    options: dict[str, str]


PROBES = (
    Probe("avc1.42C00A", "libx264", {"preset": "veryslow", "tune": "zerolatency", "profile": "baseline"}),
    Probe("hvc1.1.6.L30.90", "libx265", {"tune": "zerolatency", "x265-params": "info=0:log-level=none"}),
    Probe("av01.0.00M.08", "libsvtav1", {"preset": "8", "svtav1-params": "rc=2:pred-struct=1:lp=3"}),
    Probe("vp09.00.10.08", "libvpx-vp9", {"deadline": "realtime", "lag-in-frames": "0"}),
)  # fmt: skip


def keyframe(probe: Probe) -> bytes:
    """The encoded picture, without the encoder's advertisement in an H.264 SEI."""
    context = av.CodecContext.create(probe.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width = context.height = SIDE
    context.pix_fmt, context.bit_rate = "yuv420p", 300_000
    context.time_base, context.framerate, context.options = Fraction(1, 30), Fraction(30), probe.options
    picture = np.full((SIDE * 3 // 2, SIDE), 128, dtype=np.uint8)
    picture[:SIDE, : SIDE // 2], picture[:SIDE, SIDE // 2 :] = DARK, BRIGHT
    frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)][:1])
    if probe.encoder == "libx264":
        units = [unit for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]
        data = b"".join(b"\0\0\0\1" + unit.rstrip(b"\0") for unit in units if unit[0] & 0x1F != 6)
    return data


def main() -> None:
    """Write the module."""
    lines = [
        "/**",
        " * A keyframe of each codec, 64x64, left half dark and right half bright (luma 60 and 200).",
        " * Written by scripts/support/probe_frames.py; a test decodes them. Imports nothing.",
        " */",
        "",
        "/** By the first part of a codec string; data: base64.",
        " * @type {Record<string, {codec: string, data: string}>} */",
        "export const PROBES = {",
    ]
    for probe in PROBES:
        data = base64.b64encode(keyframe(probe)).decode()
        lines += [
            f"  {probe.codec.split('.')[0]}: {{",
            f"    codec: '{probe.codec}',",
            f"    data: '{data}',",
            "  },",
        ]
    TARGET.write_text("\n".join([*lines, "};", ""]))


if __name__ == "__main__":
    main()
