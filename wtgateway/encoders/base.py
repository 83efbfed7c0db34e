"""Settings of encoders, and which of them this build has.

May import media, errors, clock, av and the values of sources.base. The rule: an encoder is used
by one thread and holds nothing back: what goes in comes out in the same call.
"""

from __future__ import annotations

from dataclasses import dataclass

import av

from wtgateway.encoders.profiles import PROFILES, VIDEO_CODECS

AUDIO_CODECS = ("opus",)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """How to encode pictures. 0 means: the source's own, or chosen from the figures."""

    codec: str = "h264"  # one of VIDEO_CODECS, or h265 for hevc
    encoder: str = ""  # FFmpeg's name of one, as "h264_nvenc"; "": the codec's software encoder
    bitrate_bps: int = 4_000_000
    fps: float = 30.0  # nominal; real timing comes from the pictures
    width: int = 0  # one of the two alone keeps the aspect ratio
    height: int = 0
    preset: str = "ultrafast"  # x264's word, or a value of the encoder's own ("12", "p3")
    # Rate control may put so many seconds of the bit rate into one frame: it is what a keyframe
    # adds to latency on a link of just that rate.
    buffer_s: float = 0.1
    droppable: bool = False  # where the encoder can: some frames that no other refers to
    threads: int = 0  # for one picture; 0: one for H.264 up to 1280x720, else all cores up to 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSettings:
    """How to encode sound; always at 48 kHz."""

    codec: str = "opus"
    bitrate_bps: int = 128_000
    channels: int = 0  # 0: the source's (mono, stereo, else 5.1 from six channels on); or 1, 2, 6
    frame_ms: int = 20  # or 10
    fec: bool = False  # each frame carries a coarse copy of the one before (RFC 6716, section 2.1.7)
    dtx: bool = False  # of silence that lasts, frames of one byte (section 2.1.9); mono and stereo


__all__ = [
    "AUDIO_CODECS",
    "VIDEO_CODECS",
    "AudioSettings",
    "VideoSettings",
    "available_encoders",
]


def available_encoders() -> list[str]:
    """FFmpeg's names of the encoders in this build that wtgateway knows, software first.

    A hardware encoder is listed when it is compiled in; whether the hardware answers is another
    matter that only opening it shows.
    """
    return [name for name in (*PROFILES, "libopus") if name in av.codecs_available]
