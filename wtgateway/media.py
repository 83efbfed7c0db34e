"""The values that flow through the gateway: Track, Rendition, Catalog, Frame, BroadcastState.

All are frozen; all times are integers in µs of gateway time (see :mod:`wtgateway.clock`).
The words are those of docs/architecture.md. This room imports nothing of the project.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """The medium of a track."""

    VIDEO = "video"
    AUDIO = "audio"
    DATA = "data"


class BroadcastState(enum.StrEnum):
    """What a broadcast is doing, as viewers and the API see it."""

    IDLE = "idle"  # on demand, nobody watches
    CONNECTING = "connecting"  # the source is being opened
    LIVE = "live"
    RETRYING = "retrying"  # the source is away; opened again after a pause
    ENDED = "ended"  # the source came to its end and is not looped


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One encoding of a track. Unset numbers are 0; ``id`` is unique within the track (0..255)."""

    id: int
    codec: str  # as WebCodecs wants it: "avc1.42E01F", "opus"
    bitrate_bps: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    description: bytes = b""  # WebCodecs description; empty: parameters are in band
    forwarded: bool = False  # the source's own coding: no keyframe can be asked for
    reorder_frames: int = 0  # frames come in decoding order, shown by up to so many pictures later
    rotation: int = 0  # degrees clockwise that the picture is to be turned: 0, 90, 180, 270

    def __post_init__(self) -> None:
        if not 0 <= self.id <= 255:
            raise ValueError(f"rendition id {self.id} is not in 0..255")
        if self.rotation not in (0, 90, 180, 270):
            raise ValueError(f"a rotation by {self.rotation} degrees is none of 0, 90, 180, 270")
        if len(self.description) > 4096:
            raise ValueError("a rendition's description is longer than 4096 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One medium of a broadcast; ``id`` is unique within the broadcast (0..255).

    ``renditions`` are in the order of preference. One that nobody gets may not be running.
    """

    id: int
    kind: Kind
    renditions: tuple[Rendition, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.id <= 255:
            raise ValueError(f"track id {self.id} is not in 0..255")

    def rendition(self, rendition_id: int) -> Rendition | None:
        """The rendition with that id, or None."""
        return next((r for r in self.renditions if r.id == rendition_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What a broadcast offers now. ``revision`` grows with every change."""

    revision: int = 0
    tracks: tuple[Track, ...] = ()

    def track(self, track_id: int) -> Track | None:
        """The track with that id, or None."""
        return next((t for t in self.tracks if t.id == track_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One encoded access unit.

    ``group`` grows by one with each keyframe of video (gaps are allowed, going back is not);
    ``index`` counts frames within it from 0. ``pts_us`` orders presentation on the broadcast's
    timeline and is shared by its tracks; ``capture_us`` is when the picture or the first sample
    came into being. ``grabbed_us``, ``converted_us`` and ``encoded_us`` are the gateway times at
    which each stage was done (0: no such stage).
    """

    track: int
    rendition: int
    group: int
    index: int
    keyframe: bool
    pts_us: int
    capture_us: int
    duration_us: int
    payload: bytes
    grabbed_us: int = 0
    converted_us: int = 0
    encoded_us: int = 0
    discardable: bool = False  # no other frame refers to it

    def __post_init__(self) -> None:
        for name, bits in (("track", 8), ("rendition", 8), ("group", 32), ("index", 32)):
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise ValueError(f"frame {name} {value} does not fit {bits} bits")
