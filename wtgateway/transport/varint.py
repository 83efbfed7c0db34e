"""Variable-length integers (RFC 9000, section 16). Pure; imports nothing."""

from __future__ import annotations

LIMIT = 1 << 62


def encode_varint(value: int) -> bytes:
    """In as few bytes as hold it; raises ValueError beyond 62 bits."""
    for length, prefix in ((1, 0x00), (2, 0x40), (4, 0x80), (8, 0xC0)):
        if 0 <= value < 1 << (8 * length - 2):
            encoded = value.to_bytes(length, "big")
            return bytes((encoded[0] | prefix,)) + encoded[1:]
    raise ValueError(f"{value} does not fit a variable-length integer")


def decode_varint(data: bytes | bytearray, offset: int) -> tuple[int, int] | None:
    """Value and the offset behind it, or None when ``data`` ends before it does."""
    if offset >= len(data):
        return None
    length = 1 << (data[offset] >> 6)
    end = offset + length
    if end > len(data):
        return None
    value = int.from_bytes(data[offset:end], "big") & ((1 << (8 * length - 2)) - 1)
    return value, end
