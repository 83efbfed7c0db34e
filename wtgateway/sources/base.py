"""What every source looks like to the pipeline, and the values it yields.

May import media, errors, clock and av. The rule: a source is driven by one thread (open, then
read until it raises); close() alone may come from another. Times are gateway time in µs, taken
from capture (a device's, file's or stream's own clock), never from when a read happened to return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import av


@dataclass(frozen=True, slots=True)
class RawVideo:
    """One picture. A frame is given to one encoder at a time: encoding writes its pts and type.

    ``rotation``: degrees clockwise that it is to be turned for display, where the picture itself says so.
    """

    frame: av.VideoFrame
    pts_us: int
    capture_us: int
    grabbed_us: int
    duration_us: int
    rotation: int = 0


@dataclass(frozen=True, slots=True)
class RawAudio:
    """Some samples; ``pts_us`` and ``capture_us`` are those of the first one."""

    frame: av.AudioFrame
    pts_us: int
    capture_us: int
    duration_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedFormat:
    """What a decoder must know of a coded track; the same object until it changes. Unknown numbers are 0."""

    codec: str  # as WebCodecs names it, from the bits themselves: "avc1.64001F", "opus"
    width: int = 0  # of the picture as coded, before it is turned
    height: int = 0
    fps: float = 0.0
    bitrate_bps: int = 0
    reorder_frames: int = 0  # by how many pictures output lags decoding; 0: none is shown out of order
    rotation: int = 0  # degrees clockwise that the picture is to be turned for display: 0, 90, 180, 270
    sample_rate: int = 0
    channels: int = 0
    description: bytes = b""  # of WebCodecs, where parameters are not in band: OpusHead for more than stereo
    findings: tuple[str, ...] = ()  # what makes browsers hold pictures back, as the linter words it
    rewritten: bool = False  # the SPS was rewritten so that decoders need not hold pictures back


@dataclass(frozen=True, slots=True)
class CodedVideo:
    """One access unit in decoding order, as WebCodecs takes it without a description.

    H.264 and HEVC are Annex B, keyframes with all parameter sets; AV1 is a low-overhead temporal unit,
    keyframes with the sequence header; VP9 is a frame or superframe as it is.
    """

    payload: bytes
    keyframe: bool
    pts_us: int
    capture_us: int
    grabbed_us: int
    duration_us: int
    format: CodedFormat
    discardable: bool = False  # nothing refers to it


@dataclass(frozen=True, slots=True)
class CodedAudio:
    """One packet of coded sound; ``pts_us`` and ``capture_us`` are those of its first sample."""

    payload: bytes
    pts_us: int
    capture_us: int
    duration_us: int
    format: CodedFormat


Piece = RawVideo | RawAudio | CodedVideo | CodedAudio


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What an opened source offers. Unknown numbers are 0; ``description`` holds no password."""

    description: str
    has_video: bool
    has_audio: bool
    width: int = 0
    height: int = 0
    fps: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    video_codec: str = ""
    audio_codec: str = ""
    live: bool = True
    coded_video: str = ""  # canonical codec of the video that is forwarded ("h264"); empty: none is
    coded_audio: str = ""  # the same of the sound: "opus", "aac"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How to open a source. ``fps``, ``width``, ``height`` 0: the source's own."""

    loop: bool = True  # files: begin again at the end
    fps: float = 0.0  # devices, screens and the test picture
    width: int = 0  # the same
    height: int = 0
    capture: str = "auto"  # screens: "damage", "poll" or "auto"
    open_timeout_s: float = 10.0
    read_timeout_s: float = 10.0  # nothing for so long: the source is lost
    forward: bool = False  # yield coded video, where the source has such that can be forwarded
    forward_audio: bool = False  # the same of sound
    options: Mapping[str, str] = field(default_factory=dict)  # for FFmpeg, as they are


class Source(Protocol):
    """Where pictures and sound come from."""

    def open(self) -> SourceInfo:
        """Connect; blocks for at most the open timeout. Raises SourceError."""

    def read(self) -> Piece:
        """The next picture or samples; blocks. Raises SourceEnded or SourceError."""

    def want_pictures(self, wanted: bool) -> None:
        """From any thread: whether RawVideo is to come beside CodedVideo; at first it is not.

        A source that has no coded video (``SourceInfo.coded_video``) yields RawVideo always.
        """

    def want_sound(self, wanted: bool) -> None:
        """The same of RawAudio beside CodedAudio (``SourceInfo.coded_audio``)."""

    def close(self) -> None:
        """From any thread: makes open and read raise SourceError soon. May be called twice."""
