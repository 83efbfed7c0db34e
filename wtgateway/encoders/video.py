"""Pictures to H.264: libx264 without a frame of delay, keyframes on demand, Annex B.

May import media, errors, clock, av, sources.base. The rule: one picture in, one frame out of the
same call; every group begins with an IDR that carries SPS and PPS in band; nothing is reordered.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from wtgateway import clock
from wtgateway.encoders.base import VIDEO_CODECS, VideoSettings, available_encoders
from wtgateway.encoders.convert import Colour, PictureConverter
from wtgateway.encoders.h264 import codec_string
from wtgateway.errors import EncoderError
from wtgateway.media import Frame, Rendition
from wtgateway.sources.base import RawVideo

_TIME_BASE = Fraction(1, 1_000_000)
_ONE_THREAD_PIXELS = 1280 * 720
_VBV_S = 0.1  # a keyframe may take a tenth of a second of the bit rate, not more
_ENDLESS_GOP = 1 << 29  # keyframes are ours to time


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a codec context is opened for; another shape needs another context."""

    width: int
    height: int
    colour: Colour


class VideoEncoder:
    """One rendition of a video track. Used by one thread.

    ``rendition`` is known after the first encode, its codec string read from the real SPS; it
    changes when the picture's size does. ``next_group`` is where a successor should begin.
    """

    def __init__(self, settings: VideoSettings, *, track: int, rendition: int, first_group: int) -> None:
        if settings.codec not in VIDEO_CODECS or "libx264" not in available_encoders():
            raise EncoderError(f"no encoder for video codec {settings.codec!r}; use h264 (libx264)")
        self.rendition: Rendition | None = None
        self.next_group = first_group
        self._settings = settings
        self._track, self._rendition_id = track, rendition
        self._bitrate_bps = settings.bitrate_bps
        self._converter = PictureConverter(settings.width, settings.height)
        self._context: VideoCodecContext | None = None
        self._shape: _Shape | None = None
        self._opened_bps = 0
        self._index = 0
        self._origin_us = 0
        self._last_pts_us = 0
        self._last_key_us = 0

    def encode(self, raw: RawVideo, *, keyframe: bool = False) -> list[Frame]:
        """Encode one picture; ``keyframe`` begins a new group. Raises EncoderError."""
        try:
            picture, colour = self._converter.convert(raw.frame)
            converted_us = clock.now_us()
            context, fresh = self._context_for(_Shape(picture.width, picture.height, colour), raw.pts_us)
            key = keyframe or fresh or self._key_is_due(raw.pts_us)
            pts_us = max(raw.pts_us, self._last_pts_us + 1)  # x264 wants time to pass
            picture.pts, picture.time_base = pts_us - self._origin_us, _TIME_BASE
            picture.pict_type = PictureType.I if key else PictureType.NONE
            packets = context.encode(picture)
        except (av.FFmpegError, ValueError) as error:
            raise EncoderError(
                f"libx264 failed on a {raw.frame.width}x{raw.frame.height} picture: {error}"
            ) from error
        self._last_pts_us = pts_us
        return [
            self._frame(raw, bytes(packet), packet.is_keyframe, converted_us, clock.now_us())
            for packet in packets
        ]

    def set_bitrate(self, bps: int) -> None:
        """Follow another bit rate from the next picture on.

        Up to the rate it was opened with, libx264 follows without a keyframe; beyond, its VBV
        has to be opened anew, which begins a group.
        """
        self._bitrate_bps = bps
        if self._context is not None and bps <= self._opened_bps:
            self._context.bit_rate = bps

    def close(self) -> None:
        """Free the codec; idempotent."""
        self._context = None
        self._shape = None

    def _key_is_due(self, pts_us: int) -> bool:
        interval_us = self._settings.keyframe_interval_s * 1e6
        return 0 < interval_us <= pts_us - self._last_key_us

    def _context_for(self, shape: _Shape, pts_us: int) -> tuple[VideoCodecContext, bool]:
        if self._context is not None and shape == self._shape and self._bitrate_bps <= self._opened_bps:
            return self._context, False
        self._context = self._open(shape)
        self._shape = shape
        self._opened_bps = self._bitrate_bps
        self._origin_us = pts_us
        self._last_pts_us = pts_us - 1
        self.rendition = None
        return self._context, True

    def _open(self, shape: _Shape) -> VideoCodecContext:
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = shape.width, shape.height, "yuv420p"
        context.bit_rate = self._bitrate_bps
        context.time_base = _TIME_BASE
        context.framerate = Fraction(self._settings.fps or 30).limit_denominator(1001)
        context.thread_count = self._threads(shape)
        context.colorspace, context.color_range = shape.colour.matrix, shape.colour.range
        context.color_primaries, context.color_trc = shape.colour.primaries, shape.colour.transfer
        context.options = {
            "preset": self._settings.preset or "ultrafast",
            "tune": "zerolatency",  # no lookahead, no B-frames, slices instead of frame threads
            "profile": "baseline",
            "forced-idr": "1",
            "g": str(_ENDLESS_GOP),
            "sc_threshold": "0",  # a keyframe nobody asked for costs everybody a burst
            "maxrate": str(self._bitrate_bps),
            "bufsize": str(max(1000, round(self._bitrate_bps * _VBV_S))),
        }
        context.open()
        return context

    def _threads(self, shape: _Shape) -> int:
        if self._settings.threads:
            return self._settings.threads
        small = shape.width * shape.height <= _ONE_THREAD_PIXELS
        return 1 if small else min(4, os.cpu_count() or 1)

    def _frame(self, raw: RawVideo, payload: bytes, key: bool, converted_us: int, encoded_us: int) -> Frame:
        if key:
            self._index = 0
            self._last_key_us = raw.pts_us
            self.next_group += 1
            if self.rendition is None:
                self.rendition = self._describe(payload)
        frame = Frame(
            track=self._track,
            rendition=self._rendition_id,
            group=self.next_group - 1,
            index=self._index,
            keyframe=key,
            pts_us=raw.pts_us,
            capture_us=raw.capture_us,
            duration_us=raw.duration_us,
            payload=payload,
            grabbed_us=raw.grabbed_us,
            converted_us=converted_us,
            encoded_us=encoded_us,
        )
        self._index += 1
        return frame

    def _describe(self, payload: bytes) -> Rendition:
        codec, shape = codec_string(payload), self._shape
        if codec is None or shape is None:
            raise EncoderError("libx264 made a keyframe without parameter sets")
        return Rendition(
            id=self._rendition_id,
            codec=codec,
            bitrate_bps=self._bitrate_bps,
            width=shape.width,
            height=shape.height,
            fps=float(self._settings.fps),
        )
