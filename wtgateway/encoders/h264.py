"""What little of H.264 the gateway reads: NAL units of an Annex B access unit, the codec string.

Pure; imports nothing. Sources: ITU-T H.264 (08/2021) annex B and 7.3.2.1; RFC 6381 section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator

SPS = 7
PPS = 8
IDR = 5


def nal_units(access_unit: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B byte string, without start codes and trailing zeros."""
    start = access_unit.find(b"\0\0\1")
    while start >= 0:
        start += 3
        end = access_unit.find(b"\0\0\1", start)
        unit = access_unit[start:] if end < 0 else access_unit[start:end].rstrip(b"\0")
        if unit:
            yield unit
        start = end


def codec_string(access_unit: bytes) -> str | None:
    """``avc1.PPCCLL`` from the first SPS of the access unit, or None when it has none."""
    for unit in nal_units(access_unit):
        if unit[0] & 0x1F == SPS and len(unit) >= 4:
            return f"avc1.{unit[1:4].hex().upper()}"
    return None
