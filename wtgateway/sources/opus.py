"""Opus packets as a container has them: how long they are, and what a decoder must be told.

Pure. Source: RFC 6716 section 3 (packets), RFC 7845 section 5.1 (OpusHead).
"""

from __future__ import annotations

SAMPLE_RATE = 48_000
MAX_US = 120_000  # R5 of RFC 6716, section 3.4
MAX_PACKET_BYTES = 61_440  # 48 frames of 1275 bytes and what is around them
_SILK_US = (10_000, 20_000, 40_000, 60_000)
_CELT_US = (2_500, 5_000, 10_000, 20_000)


def duration_us(packet: bytes) -> int | None:
    """By the table of contents byte (3.1, 3.2); None for what cannot be an Opus packet."""
    if not packet or len(packet) > MAX_PACKET_BYTES:
        return None
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame_us = _SILK_US[config & 3]
    elif config < 16:
        frame_us = _SILK_US[config & 1]
    else:
        frame_us = _CELT_US[config & 3]
    if code == 3 and len(packet) < 2:
        return None
    frames = (1, 2, 2, packet[1] & 63 if code == 3 else 0)[code]
    length_us = frames * frame_us
    return length_us if 0 < length_us <= MAX_US else None


def description(extradata: bytes, channels: int) -> bytes | None:
    """What WebCodecs wants as description; empty for mono and stereo, None when it cannot be had."""
    if 1 <= channels <= 2:
        return b""
    # Family 1 is the only one that says which loudspeaker is which.
    head = extradata[:8] == b"OpusHead" and len(extradata) >= 21 + channels
    if not head or extradata[9] != channels or extradata[18] != 1:
        return None
    return extradata[: 21 + channels]
