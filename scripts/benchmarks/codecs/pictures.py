"""Pictures to encode, the same ones each time: a camera that is never still, and a desktop.

Written as YUV4MPEG2 (4:2:0, limited range), which everybody reads without decoding anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]
FPS = 30
CONTENTS = ("camera", "desktop")
_ROOM = 400  # pixels that the camera may swing, to the right and down
_BLACK, _WHITE = 16, 235
_FRAME = b"FRAME\n"


def planes(content: str, width: int, height: int, count: int) -> Iterator[Planes]:
    """``count`` pictures as Y, U, V. ValueError for a content that is none of CONTENTS."""
    if content == "camera":
        return _camera(width, height, count)
    if content == "desktop":
        return _desktop(width, height, count)
    raise ValueError(f"{content!r} is none of {', '.join(CONTENTS)}")


def _camera(width: int, height: int, count: int) -> Iterator[Planes]:
    """It swings over a landscape; there is a patch of noise, and the noise of a sensor."""
    random = np.random.default_rng(7)
    land = [_landscape(seed, width + _ROOM, height + _ROOM) for seed in (1, 2, 3)]
    for number in range(count):
        x = int(_ROOM / 2 * (1 + np.sin(number / 23))) & ~1
        y = int(_ROOM / 2 * (1 + np.sin(number / 17))) & ~1
        luma = land[0][y : y + height, x : x + width].astype(np.int16)
        luma += random.integers(-2, 3, luma.shape, np.int16)
        at = number * 8 % (width - 64)
        luma[height // 3 : height // 3 + 64, at : at + 64] = random.integers(_BLACK, _WHITE, (64, 64))
        u, v = (plane[y : y + height : 2, x : x + width : 2] for plane in land[1:])
        yield luma.clip(_BLACK, _WHITE).astype(np.uint8), u, v


def _landscape(seed: int, width: int, height: int) -> Plane:
    """Structure at all scales, as a photograph has."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for size in (64, 32, 16, 8, 4, 2):
        part = random.normal(0, 1, (height // size + 1, width // size + 1))
        total += np.kron(part, np.ones((size, size)))[:height, :width] * size**0.5
    low, high = total.min(), total.max()
    scaled: Plane = (_BLACK + (total - low) / (high - low) * (_WHITE - _BLACK)).astype(np.uint8)
    return scaled


def _desktop(width: int, height: int, count: int) -> Iterator[Planes]:
    """Lines of what looks like text on white, which scroll for a second and rest for one; a window moves."""
    random = np.random.default_rng(11)
    page = np.full((height * 2, width), _WHITE, np.uint8)
    for top in range(8, height * 2 - 16, 20):
        marks = random.random((6, width // 2)) < 0.4
        page[top : top + 12] = np.where(np.kron(marks, np.ones((2, 2), bool))[:, :width], _BLACK, _WHITE)
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    scrolled = 0
    for number in range(count):
        scrolled += 4 * (number // FPS % 2 == 0)
        top = scrolled % height
        luma, u = page[top : top + height].copy(), grey.copy()
        x = (number * 6 % (width // 2)) & ~1
        luma[height // 4 : height // 2, x : x + width // 3] = 120
        u[height // 8 : height // 4, x // 2 : (x + width // 3) // 2] = 170
        yield luma, u, grey


def write_y4m(path: Path, content: str, size: tuple[int, int], count: int) -> None:
    """Write ``count`` pictures."""
    width, height = size
    with path.open("wb") as out:
        out.write(f"YUV4MPEG2 W{width} H{height} F{FPS}:1 Ip A1:1 C420mpeg2\n".encode())
        for picture in planes(content, width, height, count):
            out.write(_FRAME)
            for plane in picture:
                out.write(plane.tobytes())


def read_y4m(path: Path) -> Iterator[Plane]:
    """The pictures of a file that ``write_y4m`` wrote: planes below each other, as PyAV takes them."""
    with path.open("rb") as file:
        fields = {field[:1]: field[1:] for field in file.readline().decode().split()[1:]}
        width, height = int(fields["W"]), int(fields["H"])
        while file.read(len(_FRAME)) == _FRAME:
            yield np.frombuffer(file.read(width * height * 3 // 2), np.uint8).reshape(-1, width)
