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
    """One picture. A frame is given to one encoder at a time: encoding writes its pts and type."""

    frame: av.VideoFrame
    pts_us: int
    capture_us: int
    grabbed_us: int
    duration_us: int


@dataclass(frozen=True, slots=True)
class RawAudio:
    """Some samples; ``pts_us`` and ``capture_us`` are those of the first one."""

    frame: av.AudioFrame
    pts_us: int
    capture_us: int
    duration_us: int


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
    options: Mapping[str, str] = field(default_factory=dict)  # for FFmpeg, as they are


class Source(Protocol):
    """Where pictures and sound come from."""

    def open(self) -> SourceInfo:
        """Connect; blocks for at most the open timeout. Raises SourceError."""

    def read(self) -> RawVideo | RawAudio:
        """The next picture or samples; blocks. Raises SourceEnded or SourceError."""

    def close(self) -> None:
        """From any thread: makes open and read raise SourceError soon. May be called twice."""
