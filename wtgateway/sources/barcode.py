"""The frame counter in the test picture, as 32 blocks that survive a codec and a browser's scaling.

Top strip of the picture, a sixteenth of its height, full width: 32 equal blocks, white is 1: 24 bits
of counter, most significant first, then CRC-8 (polynomial 0x07, initial value 0) of those three
bytes. Pure; imports numpy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BITS = 32
COUNTER_MASK = 0xFFFFFF
_CONTRAST = 60  # white minus black; less than that is no barcode


def crc8(data: bytes) -> int:
    """CRC-8 with polynomial x^8 + x^2 + x + 1, initial value 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = ((crc << 1) ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def barcode_bits(counter: int) -> npt.NDArray[np.bool_]:
    """The 32 blocks of a counter (modulo 2**24), left to right."""
    value = (counter & COUNTER_MASK).to_bytes(3, "big")
    return np.unpackbits(np.frombuffer(value + bytes([crc8(value)]), np.uint8)).astype(np.bool_)


def decode_barcode(luma: npt.NDArray[Any]) -> int | None:
    """The counter in a picture's luma plane (height x width, any scale); None: there is none."""
    if luma.ndim != 2 or luma.shape[0] < BITS or luma.shape[1] < BITS:
        return None
    height, width = luma.shape
    middle = max(1, height // 16) // 2
    rows = luma[max(0, middle - 1) : middle + 2]
    centres = (np.arange(BITS) * 2 + 1) * width // (2 * BITS)
    reach = max(0, width // (BITS * 8))
    columns = np.clip(centres[:, None] + np.arange(-reach, reach + 1), 0, width - 1)
    levels = rows[:, columns].mean(axis=(0, 2))
    low, high = float(levels.min()), float(levels.max())
    if high - low < _CONTRAST:
        return None
    value = np.packbits(levels > (low + high) / 2).tobytes()
    return int.from_bytes(value[:3], "big") if crc8(value[:3]) == value[3] else None
