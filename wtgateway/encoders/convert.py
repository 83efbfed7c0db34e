"""Any picture to the 4:2:0 that encoders take, with its colour said out loud.

May import av. The rule: a picture that already fits is passed on untouched, without a copy.
RGB becomes BT.709 in limited range, the one combination every browser gets right; YUV keeps its
own matrix, which is signalled.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

import av
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

_UNSPECIFIED = 2  # of matrix, primaries and transfer alike (ITU-T H.273)
_HD_LINES = 720  # unlabelled pictures: BT.709 from here on, BT.601 below, as players assume


@dataclass(frozen=True, slots=True)
class Colour:
    """Code points of ITU-T H.273, and FFmpeg's range."""

    matrix: int
    primaries: int
    transfer: int
    range: int = int(ColorRange.MPEG)


BT709 = Colour(int(Colorspace.ITU709), int(ColorPrimaries.BT709), int(ColorTrc.BT709))
# FFmpeg's constant for the matrix is swscale's, which has the same as number 5.
BT601 = Colour(6, int(ColorPrimaries.SMPTE170M), int(ColorTrc.SMPTE170M))


def colour_of(frame: av.VideoFrame) -> Colour:
    """The colour an encoded picture of this frame should be labelled with."""
    default = BT709 if frame.format.is_rgb or frame.height >= _HD_LINES else BT601
    if frame.format.is_rgb:
        return BT709
    if frame.colorspace in (0, 3, _UNSPECIFIED):  # 0 would be RGB, 3 is reserved
        return default
    return Colour(
        frame.colorspace,
        default.primaries if frame.color_primaries in (0, _UNSPECIFIED) else frame.color_primaries,
        default.transfer if frame.color_trc in (0, _UNSPECIFIED) else frame.color_trc,
    )


class PictureConverter:
    """Keeps swscale's tables between pictures. ``width``, ``height`` 0: the picture's own.

    ``scale`` is of what these come to.
    ``pixel_format`` is what comes out: "yuv420p", or "nv12" for encoders that want chroma in pairs.
    ``shared``: others are given the same pictures, and hold this while they look at one: scaling writes
    into the picture's head for as long as it lasts. What fits is copied then, since encoding does too.
    """

    def __init__(
        self,
        width: int = 0,
        height: int = 0,
        pixel_format: str = "yuv420p",
        *,
        scale: float = 1.0,
        shared: threading.Lock | None = None,
    ) -> None:
        self._shared, self._scale = shared, scale
        self._width, self._height, self._pixel_format = width, height, pixel_format
        self._reformatter = VideoReformatter()

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """The encoded size of a picture of this size: even, as 4:2:0 needs."""
        width, height = self.nominal_for(width, height)
        return _even(width * self._scale), _even(height * self._scale)

    def nominal_for(self, width: int, height: int) -> tuple[int, int]:
        """The same without the scale."""
        if self._width and self._height:
            wanted = (self._width, self._height)
        elif self._width:
            wanted = (self._width, round(height * self._width / width))
        elif self._height:
            wanted = (round(width * self._height / height), self._height)
        else:
            wanted = (width, height)
        return _even(wanted[0]), _even(wanted[1])

    def convert(self, frame: av.VideoFrame) -> tuple[av.VideoFrame, Colour]:
        """A 4:2:0 picture in limited range, and its colour. Raises av.FFmpegError, ValueError."""
        with self._shared or contextlib.nullcontext():
            return self._convert(frame)

    def _convert(self, frame: av.VideoFrame) -> tuple[av.VideoFrame, Colour]:
        width, height = self.size_for(frame.width, frame.height)
        colour = colour_of(frame)
        fits = (
            frame.format.name == self._pixel_format
            and frame.color_range != ColorRange.JPEG
            and (frame.width, frame.height) == (width, height)
        )
        if fits:
            return (_copy(frame) if self._shared else frame), colour
        # Not POINT, though it is 0.2 ms faster: it takes the colour of every second line only.
        converted = self._reformatter.reformat(
            frame,
            width,
            height,
            self._pixel_format,
            src_colorspace=None if frame.format.is_rgb else colour.matrix,
            dst_colorspace=colour.matrix,
            dst_color_range=ColorRange.MPEG,
            interpolation="FAST_BILINEAR" if (width, height) == (frame.width, frame.height) else "BILINEAR",
        )
        return converted, colour


def _even(side: float) -> int:
    return max(2, round(side) & ~1)


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    copied = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
    copied.colorspace, copied.color_range = frame.colorspace, frame.color_range
    return copied
