"""Pictures to frames by any of the encoders of profiles.py, keyframes on demand.

May import media, errors, clock, av, sources.base. The rule: one picture in, one frame out of the
same call; every group begins with a keyframe that carries its parameters in band; nothing is
reordered; whatever changes (rate, size, frame rate), timestamps go on without a gap.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

import av

from wtgateway import clock
from wtgateway.bitstream.discardable import Discardable
from wtgateway.encoders.base import VideoSettings, available_encoders
from wtgateway.encoders.coder import Coded, Coder, Shape
from wtgateway.encoders.convert import PictureConverter
from wtgateway.encoders.groups import GroupBorders
from wtgateway.encoders.keyframes import codec_string, covers, level_of
from wtgateway.encoders.profiles import (
    PROFILES,
    VIDEO_CODECS,
    CodecProfile,
    canonical_codec,
    encoders_of,
)
from wtgateway.errors import EncoderError
from wtgateway.media import Frame, Rendition
from wtgateway.sources.base import RawVideo

_FALLBACK_FPS = 30.0
_MOST_WAITING = 64  # pictures in a hardware encoder that has a delay
_ROOM = 1.5  # a codec that can follow is opened for more than it is to do: the rate will rise again


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A picture that is in the encoder."""

    raw: RawVideo
    pts: int  # the encoder's
    converted_us: int
    group: int


class VideoEncoder:
    """One rendition of a video track. Used by one thread.

    ``rendition`` is known after the first encode, its codec string read from the real bitstream. It says what
    was configured, and changes when the size of the pictures does, or a higher level turns out to be needed;
    not when the encoder is to do with less for a while. ``groups`` are shared by all renditions of the track;
    ``shared`` is held while a picture is looked at that others are given too. ``rotation`` is only told
    on, as is that of the pictures where it is 0.
    """

    def __init__(
        self,
        settings: VideoSettings,
        *,
        track: int,
        rendition: int,
        groups: GroupBorders,
        shared: threading.Lock | None = None,
        rotation: int = 0,
    ) -> None:
        self.profile = find_profile(settings.codec, settings.encoder)
        self.rendition: Rendition | None = None
        self._groups = groups
        self._group = -1
        self._fresh = True  # the coder has not made its first keyframe
        self._settings = settings
        self._track, self._rendition_id = track, rendition
        self._bitrate_bps = settings.bitrate_bps
        self._scale, self._every = 1.0, 1
        # Of H.264: less of the same is to say the same, so that no decoder is opened anew for it.
        self._level, self._level_of = "", 0.0  # and the samples a second that it was found to be enough for
        self._undescribed = True  # the coder's keyframe has not been looked at
        self._discardable = Discardable(self.profile.codec)
        self._shared, self._rotation = shared, rotation
        self._converter = self._make_converter()
        self._coder: Coder | None = None
        self._waiting: deque[_Waiting] = deque()
        self._index = 0
        self._origin_us = 0
        self._last_pts_us = 0
        self._last_raw_us = 0

    @property
    def frame_cap_bytes(self) -> int:
        """The most that one frame takes, from bit rate and ``buffer_s``.

        Software encoders keep to it, or their frame is made once more (CodecProfile.oversized), unless the
        worst quality that the codec has is still too large; what hardware does is its driver's affair.
        """
        opened_bps = self._coder.opened_bps if self._coder is not None else self._bitrate_bps
        return round(opened_bps * self._settings.buffer_s / 8)

    @property
    def begun(self) -> bool:
        """Whether it has made a keyframe since it began, or began anew."""
        return not self._fresh

    def encode(self, raw: RawVideo) -> list[Frame]:
        """Encode one picture, as a keyframe where a group begins. Raises EncoderError."""
        try:
            picture, colour = self._converter.convert(raw.frame)
            converted_us = clock.now_us()
            shape = Shape(
                picture.width,
                picture.height,
                colour,
                self._fps,
                self._rotation or raw.rotation,
            )
            coder, frames = self._coder_for(shape, raw.pts_us)
            group = self._groups.group_at(raw.pts_us, fresh=self._fresh)
            if group is None:
                return frames
            key = self._fresh or group > self._group
            self._group, self._fresh = max(self._group, group), False
            pts_us = max(raw.pts_us, self._last_pts_us + 1)  # encoders want time to pass
            self._last_pts_us, self._last_raw_us = pts_us, raw.pts_us
            self._wait(_Waiting(raw, pts_us - self._origin_us, converted_us, self._group))
            coded = coder.encode(picture, pts_us - self._origin_us, keyframe=key)
        except (av.FFmpegError, ValueError) as error:
            raise EncoderError(
                f"{self.profile.encoder} failed on a {raw.frame.width}x{raw.frame.height} picture:"
                f" {getattr(error, 'strerror', None) or error}"
            ) from error
        return frames + self._frames(coded)

    def set_bitrate(self, bps: int) -> None:
        """Follow another bit rate from the next picture on.

        Between half of the rate that it was opened for and all of it libx264 follows without a keyframe;
        beyond, and with all other encoders, the codec is opened anew, which begins a group.
        """
        self._bitrate_bps = bps
        if self._coder is not None and self._coder.can_follow(bps):
            self._coder.follow(bps)

    def reconfigure(
        self,
        *,
        fps: float | None = None,
        width: int | None = None,
        height: int | None = None,
        scale: float | None = None,
        every: int | None = None,
    ) -> None:
        """Another frame rate or encoded size from the next picture on, which begins a group.

        The meaning of the first three is that of VideoSettings; ``scale`` (of width and height) and ``every``
        (so manieth picture, see :meth:`skips`) do not change the rendition. None leaves one as it is.
        """
        before = (self._settings, self._scale, self._every)
        now = self._settings
        self._settings = replace(
            now,
            fps=now.fps if fps is None else fps,
            width=now.width if width is None else width,
            height=now.height if height is None else height,
        )
        self._scale = self._scale if scale is None else scale
        self._every = self._every if every is None else every
        if before != (self._settings, self._scale, self._every):
            self._converter = self._make_converter()

    def skips(self, raw: RawVideo) -> bool:
        """Whether a picture comes too soon for the reduced frame rate and begins no group: leave it out."""
        coder = self._coder
        if self._every == 1 or self._fresh or coder is None or coder.shape.fps != self._fps:
            return False
        if not 0 <= raw.pts_us - self._last_raw_us < (self._every - 0.5) * raw.duration_us:
            return False
        return self._groups.group_at(raw.pts_us) == self._group

    @property
    def _fps(self) -> float:
        return (self._settings.fps or _FALLBACK_FPS) / self._every

    def _make_converter(self) -> PictureConverter:
        return PictureConverter(
            self._settings.width,
            self._settings.height,
            self.profile.pixel_format,
            scale=self._scale,
            shared=self._shared,
        )

    def close(self) -> None:
        """Free the codec; idempotent."""
        if self._coder is not None:
            self._coder.close()
        self._coder = None
        self._waiting.clear()

    def _coder_for(self, shape: Shape, pts_us: int) -> tuple[Coder, list[Frame]]:
        """A coder that fits, and what a former one still held."""
        coder = self._coder
        if coder is not None and coder.shape == shape and coder.can_follow(self._bitrate_bps):
            return coder, []
        held = self._frames(coder.close()) if coder is not None and self._waiting else []
        self.close()
        self._coder = coder = Coder(
            self.profile,
            shape,
            bitrate_bps=self._opening_bps(),
            buffer_s=self._settings.buffer_s,
            preset=self._settings.preset,
            threads=self._settings.threads,
            level=self._level if self._level_of >= shape.width * shape.height * shape.fps else "",
            droppable=self._settings.droppable,
        )
        coder.follow(self._bitrate_bps)
        self._origin_us = pts_us
        self._last_pts_us = pts_us - 1
        self._undescribed = self._fresh = True
        return coder, held

    def _opening_bps(self) -> int:
        """With room to follow an estimate that rises again, where the codec can."""
        if not self.profile.live_bitrate or self._bitrate_bps >= self._settings.bitrate_bps:
            return self._bitrate_bps
        return min(self._settings.bitrate_bps, round(self._bitrate_bps * _ROOM))

    def _wait(self, picture: _Waiting) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            raise EncoderError(
                f"{self.profile.encoder} holds back {_MOST_WAITING} pictures; choose another encoder"
            )
        self._waiting.append(picture)

    def _frames(self, coded: list[Coded]) -> list[Frame]:
        """Each access unit with the times of the picture it was."""
        frames = []
        for unit in coded:
            while len(self._waiting) > 1 and self._waiting[0].pts < unit.pts:
                self._waiting.popleft()  # a picture that the encoder left out
            if self._waiting:
                frames.append(self._frame(self._waiting.popleft(), unit, clock.now_us()))
        return frames

    def _frame(self, picture: _Waiting, unit: Coded, encoded_us: int) -> Frame:
        raw = picture.raw
        if unit.keyframe:
            self._index = 0
            if self._undescribed:
                self.rendition, self._undescribed = self._describe(raw, unit.payload), False
        frame = Frame(
            track=self._track,
            rendition=self._rendition_id,
            group=picture.group,
            index=self._index,
            keyframe=unit.keyframe,
            pts_us=raw.pts_us,
            capture_us=raw.capture_us,
            duration_us=raw.duration_us * self._every,
            payload=unit.payload,
            grabbed_us=raw.grabbed_us,
            converted_us=picture.converted_us,
            encoded_us=encoded_us,
            discardable=self._discardable(unit.payload),
        )
        self._index += 1
        return frame

    def _describe(self, raw: RawVideo, payload: bytes) -> Rendition:
        """What was configured, whatever the encoder does now; the same object while it is the same."""
        assert self._coder is not None
        shape, nominal_bps = self._coder.shape, max(self._bitrate_bps, self._settings.bitrate_bps)
        width, height = self._converter.nominal_for(raw.frame.width, raw.frame.height)
        fps = self._settings.fps or _FALLBACK_FPS
        codec = codec_string(
            self.profile.codec, payload, size=(width, height), fps=fps, bitrate_bps=nominal_bps
        )
        if codec is None:
            raise EncoderError(f"{self.profile.encoder} made a keyframe without parameter sets")
        made = Rendition(
            id=self._rendition_id,
            codec=codec,
            bitrate_bps=nominal_bps,
            width=width,
            height=height,
            fps=float(self._settings.fps),
            rotation=shape.rotation,
        )
        if (
            codec.startswith("avc1.")
            and (samples := shape.width * shape.height * shape.fps) >= self._level_of
        ):
            self._level, self._level_of = str(level_of(codec)[1]), samples
        known = self.rendition
        if known is not None and replace(made, codec=known.codec) == known and covers(known.codec, codec):
            return known
        return made


def find_profile(codec: str, encoder: str = "") -> CodecProfile:
    """The profile of an encoder by FFmpeg's name, or of the codec's first. Raises EncoderError."""
    candidates = encoders_of(codec)
    if not candidates:
        raise EncoderError(f"no encoder for video codec {codec!r}; use {', '.join(VIDEO_CODECS)}")
    built = [p for p in candidates if p.encoder in available_encoders()]
    if encoder:
        named = PROFILES.get(encoder)
        if named not in built:
            names = ", ".join(p.encoder for p in built) or "none"
            raise EncoderError(f"{encoder!r} is no encoder of {canonical_codec(codec)} here; it has {names}")
        return named
    software = [p for p in built if not p.hardware]
    if not software:
        here = sorted({p.codec for p in PROFILES.values() if p.encoder in available_encoders()})
        raise EncoderError(
            f"this FFmpeg has no software encoder for {canonical_codec(codec)};"
            f" it has some for {', '.join(here)}"
        )
    return software[0]
