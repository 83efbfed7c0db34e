"""Write client/src/media/sound_probes.js: a moment of sound by which a browser proves what it decodes.

    python -m scripts.support.probe_sounds

The left channel is a loud tone, the right one is silent, so that a decoder which gives out anything else
is found out. To be run again when a codec is added; what it wrote is committed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

TARGET = Path(__file__).resolve().parents[2] / "client" / "src" / "media" / "sound_probes.js"
RATE = 48_000
TONE_HZ = 1000
LEVEL = 0.5  # amplitude; its root mean square is 0.35
PACKETS = 5  # a decoder that begins needs some to be right


@dataclass(frozen=True)
class Probe:
    """How to make a codec's packets; ``name`` is what it is called among a viewer's abilities."""

    name: str
    codec: str
    encoder: str
    block: int  # samples of a packet
    format: str
    described: bool  # the decoder is told the encoder's description


PROBES = (
    Probe("opus", "opus", "libopus", 960, "flt", described=False),
    Probe("mp4a", "mp4a.40.2", "aac", 1024, "fltp", described=True),
)


def packets(probe: Probe) -> tuple[bytes, list[bytes]]:
    """The description and the packets."""
    context = av.CodecContext.create(probe.encoder, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = RATE, "stereo", probe.format
    context.bit_rate = 64_000
    made: list[bytes] = []
    for number in range(PACKETS + 2):
        time = (np.arange(probe.block) + number * probe.block) / RATE
        tone = (LEVEL * np.sin(2 * np.pi * TONE_HZ * time)).astype(np.float32)
        samples = np.stack((tone, np.zeros_like(tone)))
        if probe.format == "flt":
            samples = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, probe.format, "stereo")
        frame.sample_rate, frame.pts = RATE, number * probe.block
        made += [bytes(packet) for packet in context.encode(frame)]
    description = bytes(context.extradata or b"") if probe.described else b""
    return description, made[-PACKETS:]


def main() -> None:
    """Write the module."""
    lines = [
        "/**",
        " * A moment of sound in each codec, 48 kHz, stereo: a tone on the left, silence on the right.",
        " * Written by scripts/support/probe_sounds.py; a test decodes them. Imports nothing.",
        " */",
        "",
        "/** By their names among a viewer's abilities (docs/protocol.md); description and packets: base64.",
        " * @type {Record<string, {codec: string, description: string, packets: string[]}>} */",
        "export const SOUND_PROBES = {",
    ]
    for probe in PROBES:
        description, made = packets(probe)
        lines += [
            f"  {probe.name}: {{",
            f"    codec: '{probe.codec}',",
            f"    description: '{base64.b64encode(description).decode()}',",
            "    packets: [",
            *(f"      '{base64.b64encode(data).decode()}'," for data in made),
            "    ],",
            "  },",
        ]
    TARGET.write_text("\n".join([*lines, "};", ""]))


if __name__ == "__main__":
    main()
