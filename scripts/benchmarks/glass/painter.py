"""Program: paints the clock and moving content on an X display at a fixed rate.

Below the barcode (32 blocks in the top 40 rows) a texture scrolls and a square of noise changes with
each frame, so that an encoder has real work. Each painted time goes to ``--log`` as a little-endian
float64 in epoch ms.
"""

from __future__ import annotations

import argparse
import struct
import time
from pathlib import Path

import numpy as np

from scripts.benchmarks.glass.barcode import BLOCKS, blocks
from scripts.support.x11 import Display, Image, Pixels

STRIP_ROWS = 40
NOISE_SIDE = 256
SCROLL_ROWS = 4
_LATE_SECONDS = 0.25


def texture(width: int, height: int) -> Pixels:
    """A smooth colour texture, periodic in both directions: height x width x 3."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for channel in range(3):
        grain = rng.random((height, width))
        for axis in (0, 1):
            grain = sum((np.roll(grain, shift, axis) for shift in range(-4, 5)), np.zeros_like(grain)) / 9
        waves = np.sin(2 * np.pi * (x / width * (channel + 1) + y / height * 2))
        planes.append(np.clip(90 + 60 * waves + 350 * (grain - 0.5), 0, 255))
    return np.stack(planes, axis=-1).astype(np.uint8)


class Painter:
    """The window and what is drawn into it."""

    def __init__(self, display: str, width: int, height: int) -> None:
        self._display = Display(display)
        self._size = (width, height)
        self._window = self._display.window(width, height)
        self._rng = np.random.default_rng(1)
        self._below = height - STRIP_ROWS
        self._texture = self._display.image(width, 2 * self._below)
        half = texture(width, self._below)
        self._texture.pixels[..., :3] = np.concatenate([half, half])
        self._noise = self._make_noise()
        self._strip = self._display.image(width, STRIP_ROWS)
        self._count = 0

    def _make_noise(self) -> Image:
        """Coarse noise, twice as wide as shown; each frame shows another window of it."""
        noise = self._display.image(2 * NOISE_SIDE, 2 * NOISE_SIDE)
        cells = self._rng.integers(60, 196, (NOISE_SIDE // 4, NOISE_SIDE // 4, 3))
        noise.pixels[..., :3] = np.kron(cells, np.ones((8, 8, 1)))
        return noise

    def paint(self) -> int:
        """One frame, the barcode last; the epoch ms that it shows."""
        width, height = self._size
        row = self._count * SCROLL_ROWS % self._below
        self._count += 1
        self._display.put(self._window, self._texture, (0, row), (0, STRIP_ROWS), (width, self._below))
        x, y = (int(n) for n in self._rng.integers(0, NOISE_SIDE, 2))
        corner = (width - NOISE_SIDE - 40, height - NOISE_SIDE - 40)
        self._display.put(self._window, self._noise, (x, y), corner, (NOISE_SIDE, NOISE_SIDE))
        now_ms = round(time.time() * 1000)
        bits = np.repeat(np.array(blocks(now_ms), np.uint8) * 255, width // BLOCKS)
        self._strip.pixels[:, : len(bits), :3] = bits[None, :, None]
        self._display.put(self._window, self._strip, (0, 0), (0, 0), (width, STRIP_ROWS))
        self._display.sync()
        return now_ms


def main() -> None:
    """Paint until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--display", required=True)
    parser.add_argument("--fps", type=float, default=60)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--log", type=Path, default=Path("/dev/null"))
    chosen = parser.parse_args()
    width, height = map(int, chosen.size.split("x"))
    painter = Painter(chosen.display, width, height)
    print("painting", flush=True)
    due = time.monotonic()
    with chosen.log.open("wb", buffering=0) as log:
        while True:
            due += 1 / chosen.fps
            now = time.monotonic()
            if due < now - _LATE_SECONDS:  # the machine stood still: go on from here, do not catch up
                due = now
            time.sleep(max(0.0, due - now))
            log.write(struct.pack("<d", painter.paint()))


if __name__ == "__main__":
    main()
