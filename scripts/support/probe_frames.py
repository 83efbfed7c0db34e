"""Write client/src/media/probes.js: small keyframes by which a browser proves what it decodes.

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
    """How to make a codec's keyframe, and the codec string that it is configured with.

    ``name`` is what the codec is called among a viewer's abilities (docs/protocol.md).
    """

    name: str
    codec: str
    encoder: str
    options: dict[str, str]
    pix_fmt: str = "yuv420p"

    @property
    def bits(self) -> int:
        """Of a sample."""
        return 10 if self.pix_fmt.endswith("10le") else 8


X264 = {"preset": "veryslow", "tune": "zerolatency"}
X265 = {"tune": "zerolatency", "x265-params": "info=0:log-level=none"}
SVT = {"preset": "8", "svtav1-params": "rc=2:pred-struct=1:lp=3"}
VPX = {"deadline": "realtime", "lag-in-frames": "0"}
# No encoder here makes VP9 of 10 bits or AV1 of 4:4:4: no viewer can prove those.
PROBES = (
    Probe("avc1", "avc1.42C00D", "libx264", {**X264, "profile": "baseline"}),
    Probe("avc1.6E", "avc1.6E000C", "libx264", {**X264, "profile": "high10"}, "yuv420p10le"),
    Probe("avc1.7A", "avc1.7A000B", "libx264", {**X264, "profile": "high422"}, "yuv422p"),
    Probe("avc1.F4", "avc1.F4000B", "libx264", {**X264, "profile": "high444"}, "yuv444p"),
    Probe("hvc1", "hvc1.1.6.L30.90", "libx265", X265),
    Probe("hvc1.2", "hvc1.2.4.L30.90", "libx265", X265, "yuv420p10le"),
    Probe("hvc1.4", "hvc1.4.10.L30.9E.8", "libx265", X265, "yuv444p"),
    Probe("av01", "av01.0.00M.08", "libsvtav1", SVT),
    Probe("av01.0.10", "av01.0.00M.10", "libsvtav1", SVT, "yuv420p10le"),
    Probe("vp09", "vp09.00.10.08", "libvpx-vp9", VPX),
    Probe("vp09.01", "vp09.01.10.08.03", "libvpx-vp9", VPX, "yuv444p"),
)


def picture(probe: Probe) -> av.VideoFrame:
    """Left half dark, right half bright, no colour."""
    frame = av.VideoFrame(SIDE, SIDE, probe.pix_fmt)
    scale = 1 << (probe.bits - 8)
    sample = np.dtype("<u2" if probe.bits > 8 else "u1")
    for number, plane in enumerate(frame.planes):
        samples = np.full((plane.height, plane.line_size // sample.itemsize), 128 * scale, dtype=sample)
        if number == 0:
            samples[:, : SIDE // 2], samples[:, SIDE // 2 : SIDE] = DARK * scale, BRIGHT * scale
        plane.update(samples.tobytes())
    frame.pts = 0
    return frame


def keyframe(probe: Probe) -> bytes:
    """The encoded picture, without the encoder's advertisement in an H.264 SEI."""
    context = av.CodecContext.create(probe.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width = context.height = SIDE
    context.pix_fmt, context.bit_rate = probe.pix_fmt, 300_000
    context.time_base, context.framerate, context.options = Fraction(1, 30), Fraction(30), probe.options
    data = b"".join(bytes(packet) for packet in [*context.encode(picture(probe)), *context.encode(None)][:1])
    if probe.encoder == "libx264":
        units = [unit for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]
        data = b"".join(b"\0\0\0\1" + unit.rstrip(b"\0") for unit in units if unit[0] & 0x1F != 6)
    return data


def main() -> None:
    """Write the module."""
    lines = [
        "/**",
        " * A keyframe of each codec and profile, 64x64, left half dark, right half bright (luma 60, 200).",
        " * Written by scripts/support/probe_frames.py; a test decodes them. Imports nothing.",
        " */",
        "",
        "/** By their names among a viewer's abilities (docs/protocol.md); data: base64.",
        " * @type {Record<string, {codec: string, data: string}>} */",
        "export const PROBES = {",
    ]
    for probe in PROBES:
        data = base64.b64encode(keyframe(probe)).decode()
        lines += [
            f"  '{probe.name}': {{" if "." in probe.name else f"  {probe.name}: {{",
            f"    codec: '{probe.codec}',",
            f"    data: '{data}',",
            "  },",
        ]
    TARGET.write_text("\n".join([*lines, "};", ""]))


if __name__ == "__main__":
    main()
