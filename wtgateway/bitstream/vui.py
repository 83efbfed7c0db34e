"""The parts of the video usability information that H.264 (Annex E) and HEVC (Annex E) share."""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.bitstream.bits import BitReader

EXTENDED_SAR = 255
# Table E-1 of both standards, aspect_ratio_idc 1..16.
SAMPLE_ASPECT_RATIOS = (
    (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11),
    (80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """video_signal_type: code points of ITU-T H.273, 2 meaning unspecified."""

    full_range: bool = False
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2


UNSPECIFIED = Colour()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clock of the stream; in H.264 a tick is a field, in HEVC a picture."""

    num_units_in_tick: int
    time_scale: int


def read_aspect_ratio(r: BitReader) -> tuple[int, int] | None:
    """Sample aspect ratio (width, height); None where it is absent, unspecified or reserved."""
    if not r.flag():
        return None
    idc = r.u(8)
    if idc == EXTENDED_SAR:
        width, height = r.u(16), r.u(16)
        return (width, height) if width and height else None
    return SAMPLE_ASPECT_RATIOS[idc - 1] if 1 <= idc <= len(SAMPLE_ASPECT_RATIOS) else None


def skip_overscan(r: BitReader) -> None:
    """overscan_info_present_flag and what it announces."""
    if r.flag():
        r.skip(1)


def read_colour(r: BitReader) -> Colour:
    """video_signal_type_present_flag and what it announces; without it, the inferred values."""
    if not r.flag():
        return UNSPECIFIED
    r.skip(3)  # video_format
    full_range = r.flag()
    if not r.flag():
        return Colour(full_range=full_range)
    return Colour(full_range=full_range, primaries=r.u(8), transfer=r.u(8), matrix=r.u(8))


def skip_chroma_location(r: BitReader) -> None:
    """chroma_loc_info_present_flag and what it announces."""
    if r.flag():
        r.ue(5)
        r.ue(5)
