"""Settings of encoders, and the shape that every encoder (and later a passthrough) has.

May import media, errors, clock, av and the values of sources.base. The rule: an encoder is used
by one thread and holds nothing back: what goes in comes out in the same call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import av

from wtgateway.media import Frame, Rendition
from wtgateway.sources.base import RawAudio, RawVideo

_KNOWN = {
    "h264": ("libx264", "h264_nvenc", "h264_qsv", "h264_v4l2m2m"),
    "h265": ("libx265",),
    "av1": ("libsvtav1",),
    "vp9": ("libvpx-vp9",),
    "opus": ("libopus",),
}
VIDEO_CODECS = ("h264",)  # what VideoEncoder speaks today
AUDIO_CODECS = ("opus",)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """How to encode pictures. 0 means: the source's own, or chosen from the figures."""

    codec: str = "h264"
    bitrate_bps: int = 4_000_000
    fps: float = 30.0  # nominal; real timing comes from the pictures
    width: int = 0  # one of the two alone keeps the aspect ratio
    height: int = 0
    preset: str = "ultrafast"
    keyframe_interval_s: float = 10.0  # 0: only on demand
    threads: int = 0  # slices of one picture; 0: one up to 1280x720, then all cores up to 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSettings:
    """How to encode sound; always at 48 kHz."""

    codec: str = "opus"
    bitrate_bps: int = 128_000
    channels: int = 0  # 0: the source's (mono, stereo, else 5.1 from six channels on); or 1, 2, 6
    frame_ms: int = 20  # or 10


RawT = TypeVar("RawT", RawVideo, RawAudio, contravariant=True)


class MediaEncoder(Protocol[RawT]):
    """The common shape; ``rendition`` is None until the first frame came out."""

    rendition: Rendition | None
    next_group: int

    def encode(self, raw: RawT, *, keyframe: bool = False) -> list[Frame]:
        """Raises EncoderError."""

    def close(self) -> None:
        """Free the codec; idempotent."""


def available_encoders() -> list[str]:
    """FFmpeg's names of the encoders in this build that wtgateway knows, best first.

    A hardware encoder is listed when it is compiled in; whether the hardware answers is another
    matter that only opening it shows.
    """
    return [name for names in _KNOWN.values() for name in names if name in av.codecs_available]
