"""The clock as 32 black or white blocks: 24 bits of epoch milliseconds, then their CRC-8 (polynomial 7)."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = 32
_WRAP = 1 << 24
_OLDEST_MS = 60_000
_YOUNGEST_MS = -1_000


def crc8(value: int) -> int:
    """CRC-8, polynomial 0x07, initial 0, of the three bytes of ``value``."""
    crc = 0
    for byte in value.to_bytes(3, "big"):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def blocks(epoch_ms: int) -> list[int]:
    """The 32 bits of that time, most significant first."""
    value = epoch_ms % _WRAP
    return [int(digit) for digit in f"{value << 8 | crc8(value):032b}"]


def painted_ms(bits: Sequence[object], now_ms: float) -> int | None:
    """The epoch time 32 blocks stand for; None when the CRC is wrong or the time makes no sense now."""
    word = int("".join("1" if bit else "0" for bit in bits), 2)
    value = word >> 8
    if crc8(value) != word & 0xFF:
        return None
    age = (now_ms - value) % _WRAP
    if age > _WRAP / 2:
        age -= _WRAP
    return round(now_ms - age) if _YOUNGEST_MS < age < _OLDEST_MS else None
