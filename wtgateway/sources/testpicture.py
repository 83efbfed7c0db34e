"""The test picture: barcode, clock, frame number, a sweeping bar, and a disc that flashes.

May import numpy, av, sources.barcode. The rule: cheap (well under 2 ms a picture at 720p), so it
is a copy of a prepared background plus a few small rectangles, straight in YUV.
"""

from __future__ import annotations

import time

import av
import numpy as np
import numpy.typing as npt

from wtgateway.sources.barcode import BITS, barcode_bits

Plane = npt.NDArray[np.uint8]

FLASH_US = 100_000  # of each second; the tone beeps as long
_BLACK, _WHITE, _NEUTRAL = 16, 235, 128
_DIM, _PAPER, _INK = 70, 40, 220
_SWEEP_US = 4_000_000  # the bar crosses the picture once in that time
_BARS = ((180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198), (65, 100, 212))
# 5x7 glyphs, a row a byte of which the low five bits count.
_FONT = {
    "0": "0e11131519110e",
    "1": "040c040404040e",
    "2": "0e11010204081f",
    "3": "1f02040201110e",
    "4": "02060a121f0202",
    "5": "1f101e0101110e",
    "6": "0608101e11110e",
    "7": "1f010204080808",
    "8": "0e11110e11110e",
    "9": "0e11110f01020c",
    ":": "000c0c000c0c00",
    ".": "00000000000c0c",
    " ": "00000000000000",
    "a": "00000e010f110f",
    "e": "00000e111f100e",
    "f": "0609081c080808",
    "m": "00001a15151111",
    "r": "00001619101010",
}


def _glyph(rows: str, scale: int) -> Plane:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(rows), np.uint8)[:, None], axis=1)[:, 3:]
    bits = np.pad(bits, ((0, 0), (0, 1)))  # the space between letters
    return np.kron(np.where(bits, _INK, _PAPER), np.ones((scale, scale))).astype(np.uint8)


class TestPicture:
    """Draws pictures of one size (even numbers, at least 64x64)."""

    __test__ = False  # of pytest's business it is none

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._strip = max(2, height // 16)
        scale = max(1, min(width // (6 * 16), height // 48))
        self._glyphs = {char: _glyph(rows, scale) for char, rows in _FONT.items()}
        self._text_x = width // 16
        self._clock_y = height // 4
        self._number_y = self._clock_y + 9 * scale
        self._edges = np.arange(BITS + 1) * width // BITS
        self._background = self._draw_background()
        self._disc_place, self._disc_bright = self._draw_disc(_WHITE)
        _, self._disc_dim = self._draw_disc(_DIM)

    def draw(self, counter: int, time_us: int) -> av.VideoFrame:
        """The picture of frame ``counter``, at ``time_us`` gateway time; yuv420p, BT.709, limited."""
        canvas = self._background.copy()
        luma = canvas[: self.height]
        luma[: self._strip] = np.repeat(
            np.where(barcode_bits(counter), _WHITE, _BLACK).astype(np.uint8), np.diff(self._edges)
        )
        luma[self._disc_place] = self._disc_bright if time_us % 1_000_000 < FLASH_US else self._disc_dim
        self._sweep(luma, time_us)
        seconds, micros = divmod(time_us, 1_000_000)
        clock = f"{time.strftime('%H:%M:%S', time.gmtime(seconds))}.{micros // 1000:03d}"
        self._write(luma, self._clock_y, clock)
        self._write(luma, self._number_y, f"frame {counter}")
        frame = av.VideoFrame.from_numpy_buffer(canvas, format="yuv420p")
        frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
        return frame

    def _write(self, luma: Plane, y: int, text: str) -> None:
        x = self._text_x
        for char in text:
            glyph = self._glyphs[char]
            height, width = glyph.shape
            if x + width > self.width or y + height > self.height:
                return
            luma[y : y + height, x : x + width] = glyph
            x += width

    def _sweep(self, luma: Plane, time_us: int) -> None:
        thickness = max(2, self.width // 48)
        x = (time_us % _SWEEP_US) * (self.width - thickness) // _SWEEP_US
        top = self.height - self.height // 8
        luma[top:, x : x + thickness] = _WHITE

    def _draw_background(self) -> Plane:
        """Grey paper, colour bars below, in one array of all three planes as FFmpeg packs them."""
        width, height = self.width, self.height
        canvas = np.full((height * 3 // 2, width), _NEUTRAL, np.uint8)
        luma = canvas[:height]
        luma[:] = _PAPER
        u, v = np.split(canvas[height:].reshape(2, height // 2, width // 2), 2)
        top = (height * 11 // 16) & ~1
        bottom = (height - height // 8) & ~1
        for i, (y_level, u_level, v_level) in enumerate(_BARS):
            left, right = (i * width // 6) & ~1, ((i + 1) * width // 6) & ~1
            luma[top:bottom, left:right] = y_level
            u[0, top // 2 : bottom // 2, left // 2 : right // 2] = u_level
            v[0, top // 2 : bottom // 2, left // 2 : right // 2] = v_level
        return canvas

    def _draw_disc(self, level: int) -> tuple[tuple[slice, slice], Plane]:
        """Where the disc goes, right of the text, and its rectangle."""
        radius = self.height // 10
        x, y = self.width - self.width // 16 - radius, self.height * 9 // 16
        rows, columns = np.ogrid[-radius:radius, -radius:radius]
        inside = rows * rows + columns * columns < radius * radius
        place = (slice(y - radius, y + radius), slice(x - radius, x + radius))
        return place, np.where(inside, level, _PAPER).astype(np.uint8)
