"""Pictures to encode, and decoding as a browser does: what the tests of encoders share."""

from __future__ import annotations

import functools
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from wtgateway.encoders import GroupBorders, VideoEncoder, VideoSettings
from wtgateway.media import Frame
from wtgateway.sources import RawVideo
from wtgateway.sources.testpicture import TestPicture

START_US = 1_700_000_000_000_000
STEP_US = 33_333
FPS = 30
DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d", "vp9": "vp9"}


class AskedEncoder(VideoEncoder):
    """An encoder by itself, which is told when a group is to begin."""

    def __init__(self, settings: VideoSettings, keyframe_interval_s: float) -> None:
        self.borders = GroupBorders(first_group=7, interval_s=keyframe_interval_s)
        super().__init__(settings, track=3, rendition=1, groups=self.borders)

    def encode(self, raw: RawVideo, *, keyframe: bool = False) -> list[Frame]:
        if keyframe:
            self.borders.want()
        return super().encode(raw)


def encoder(*, keyframe_interval_s: float = 10.0, **settings: Any) -> AskedEncoder:
    return AskedEncoder(VideoSettings(**settings), keyframe_interval_s)


def raw(frame: av.VideoFrame, number: int, *, at_us: int | None = None) -> RawVideo:
    pts_us = START_US + number * STEP_US if at_us is None else at_us
    return RawVideo(frame, pts_us, pts_us - 500, pts_us - 200, STEP_US)


def pictures(count: int, width: int = 320, height: int = 180) -> list[RawVideo]:
    """The test picture with its number in a bar code, from 1 on."""
    drawing = TestPicture(width, height)
    return [raw(drawing.draw(i + 1, START_US + i * STEP_US), i) for i in range(count)]


def noise(number: int, width: int = 640, height: int = 360) -> RawVideo:
    """Blocks of any colour: two numbers are a scene cut."""
    random = np.random.default_rng(number)
    small = random.integers(0, 255, (height // 8, width // 8, 4), np.uint8)
    pixels = np.ascontiguousarray(small.repeat(8, axis=0).repeat(8, axis=1))
    return raw(av.VideoFrame.from_numpy_buffer(pixels, format="bgra"), number)


@functools.cache
def _landscape(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Structure at all scales, as a photograph has."""
    random = np.random.default_rng(1)
    total = np.zeros((height, width, 4))
    for size in (64, 32, 16, 8, 4, 2):
        part = random.normal(0, 1, (height // size + 1, width // size + 1, 4))
        total += np.kron(part, np.ones((size, size, 1)))[:height, :width] * size**0.5
    low, high = total.min(), total.max()
    return ((total - low) / (high - low) * 255).astype(np.uint8)


def panning(number: int, width: int = 640, height: int = 360) -> RawVideo:
    """A camera that swings over a landscape, with a patch of noise that moves: never still."""
    land = _landscape(width + 1200, height + 400)
    x, y = int(600 + 500 * np.sin(number / 23)), int(200 + 150 * np.sin(number / 17))
    pixels = np.ascontiguousarray(land[y : y + height, x : x + width])
    at = number * 7 % (width - 60)
    pixels[100:160, at : at + 60] = np.random.default_rng(number).integers(0, 255, (60, 60, 4))
    return raw(av.VideoFrame.from_numpy_buffer(pixels, format="bgra"), number)


def decode_each(frames: list[Frame], codec: str = "h264") -> list[list[av.VideoFrame]]:
    """What each frame alone gives, in order, without flushing in between: as in a browser."""
    context: Any = av.CodecContext.create(DECODERS[codec], "r")
    context.thread_count = 1
    if codec == "av1":
        context.options = {"max_frame_delay": "1"}
    return [context.decode(av.Packet(frame.payload)) for frame in frames]


def decode(frames: list[Frame], codec: str = "h264") -> list[av.VideoFrame]:
    return [shown for made in decode_each(frames, codec) for shown in made]
