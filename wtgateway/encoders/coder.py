"""One open codec: pictures of one size and colour in, access units out.

May import av, errors, encoders.profiles, encoders.convert, encoders.keyframes. The rule: what is
fixed when a codec is opened is in ``Shape`` and in the bit rate; another one needs another coder.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from wtgateway.encoders.convert import Colour
from wtgateway.encoders.keyframes import ParameterSets
from wtgateway.encoders.profiles import CodecProfile, OpenRequest
from wtgateway.encoders.scheduling import without_real_time

TIME_BASE = Fraction(1, 1_000_000)
_ONE_THREAD_PIXELS = 1280 * 720
_MOST_THREADS = 4
_MOST_TRIES = 3
# Down to this share of the rate it was opened with, a codec with a live bit rate follows. Its buffer stays
# what it was: at half the rate one frame may take twice the time.
_FOLLOWS_TO = 0.5


@dataclass(frozen=True, slots=True)
class Shape:
    """What a codec is opened for besides its rate."""

    width: int
    height: int
    colour: Colour
    fps: float
    rotation: int = 0  # told on, as are the others


@dataclass(frozen=True, slots=True)
class Coded:
    """One access unit; ``pts`` is that of the picture it came from."""

    payload: bytes
    keyframe: bool
    pts: int


class Coder:
    """An encoder of FFmpeg, opened by its profile. Used by one thread."""

    def __init__(
        self,
        profile: CodecProfile,
        shape: Shape,
        *,
        bitrate_bps: int,
        buffer_s: float,
        preset: str,
        threads: int,
        level: str = "",
        droppable: bool = False,
    ) -> None:
        """Raises av.FFmpegError, ValueError. ``threads`` 0: by size and codec. ``level`` "": the least."""
        self.profile, self.shape = profile, shape
        self.opened_bps = bitrate_bps
        threads = threads or _threads(profile, shape)
        self._request = OpenRequest(
            width=shape.width,
            height=shape.height,
            fps=shape.fps,
            target_bps=bitrate_bps,
            bitrate_bps=self._asked(bitrate_bps),
            buffer_s=buffer_s,
            preset=preset,
            threads=threads,
            level=level,
            droppable=droppable,
        )
        self._context = _open(profile, shape, self._request)
        self._headers = ParameterSets(profile.codec) if profile.headers_once else None
        self._cap_bytes = bitrate_bps * buffer_s / 8
        self._open = True
        self._rested_at = 0.0
        self._sent_pts = -1  # of what the codec was given last

    def can_follow(self, bitrate_bps: int) -> bool:
        """Whether this rate needs no other coder."""
        if self.profile.live_bitrate:
            return self.opened_bps * _FOLLOWS_TO <= bitrate_bps <= self.opened_bps
        return bitrate_bps == self.opened_bps

    def follow(self, bitrate_bps: int) -> None:
        """Take a rate that can_follow allows, from the next picture on."""
        if self.profile.live_bitrate:
            self._context.bit_rate = self._asked(bitrate_bps)

    def _asked(self, bitrate_bps: int) -> int:
        """What to ask of the codec so that this comes out."""
        shape = self.shape
        return round(
            bitrate_bps * self.profile.rate_factor(bitrate_bps / (shape.width * shape.height * shape.fps))
        )

    def encode(self, picture: av.VideoFrame, pts: int, *, keyframe: bool) -> list[Coded]:
        """Encode a picture; ``pts`` in µs must grow. Raises av.FFmpegError, ValueError."""
        coded = self._encode(picture, pts, keyframe=keyframe)
        for _ in range(_MOST_TRIES if self.profile.oversized else 0):
            if sum(len(unit.payload) for unit in coded) <= self._cap_bytes:
                break
            if self.profile.oversized == "anew":
                self._context = _open(self.profile, self.shape, self._request)
            again = self._encode(picture, pts, keyframe=True)
            coded = [replace(unit, pts=pts, keyframe=keyframe) for unit in again]
        return coded

    def _encode(self, picture: av.VideoFrame, pts: int, *, keyframe: bool) -> list[Coded]:
        pts = self._sent_pts = max(pts, self._sent_pts + 1)
        picture.pts, picture.time_base = pts, TIME_BASE
        picture.pict_type = PictureType.I if keyframe else PictureType.NONE
        if (early_s := self._rested_at - time.monotonic()) > 0:
            time.sleep(early_s)
        coded = self._coded(self._context.encode(picture), pts)
        self._rested_at = time.monotonic() + self.profile.rest_s
        return coded

    def close(self) -> list[Coded]:
        """What the codec still held; it is of no use afterwards. Idempotent."""
        if not self._open:
            return []
        self._open = False
        with contextlib.suppress(av.FFmpegError, ValueError):
            return self._coded(self._context.encode(None), 0)  # libsvtav1 wants to be told the end
        return []

    def _coded(self, packets: Iterable[av.Packet[Any]], pts: int) -> list[Coded]:
        coded = []
        for packet in packets:
            payload = bytes(packet)
            if self._headers is not None:
                payload = self._headers.complete(payload, keyframe=packet.is_keyframe)
            if payload:
                coded.append(Coded(payload, packet.is_keyframe, pts if packet.pts is None else packet.pts))
        return coded


def _threads(profile: CodecProfile, shape: Shape) -> int:
    small = shape.width * shape.height <= _ONE_THREAD_PIXELS
    return 1 if small and not profile.all_cores else min(_MOST_THREADS, os.cpu_count() or 1)


def _open(profile: CodecProfile, shape: Shape, request: OpenRequest) -> VideoCodecContext:
    if profile.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors; it writes its settings to stderr otherwise
    context = av.CodecContext.create(profile.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = shape.width, shape.height, profile.pixel_format
    context.bit_rate = request.bitrate_bps
    context.time_base = TIME_BASE
    context.framerate = Fraction(shape.fps).limit_denominator(1001)
    context.thread_count = 1 if profile.library_threads else request.threads
    context.colorspace, context.color_range = shape.colour.matrix, shape.colour.range
    context.color_primaries, context.color_trc = shape.colour.primaries, shape.colour.transfer
    context.options = profile.options(request)
    with without_real_time():
        context.open()
    return context
