"""The inner syntax structures of an H.264 sequence parameter set: read where they matter, else passed over.

Source: ITU-T H.264 clauses 7.3.2.1.1 (scaling lists, picture order count type 1), E.1.1 (vui_parameters)
and E.1.2 (hrd_parameters).
"""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.bitstream import vui
from wtgateway.bitstream.bits import BitReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """bitstream_restriction of the VUI: what a decoder may rely on."""

    max_num_reorder_frames: int
    max_dec_frame_buffering: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usability:
    """What is kept of the VUI, and where the rewrite needs to know it: bit positions in the RBSP."""

    sample_aspect_ratio: tuple[int, int] | None = None
    colour: vui.Colour = vui.UNSPECIFIED
    timing: vui.Timing | None = None
    restriction: Restriction | None = None
    restriction_flag: int | None = None
    reorder: int | None = None


def skip_scaling_matrix(r: BitReader, lists: int) -> None:
    """seq_scaling_matrix_present_flag and what it announces."""
    if not r.flag():
        return
    for index in range(lists):
        if r.flag():
            last = following = 8
            for _ in range(16 if index < 6 else 64):
                if following:
                    following = (last + r.se()) % 256
                last = following or last


def skip_poc_cycle(r: BitReader) -> None:
    """What the SPS says of picture order count type 1."""
    r.skip(1)  # delta_pic_order_always_zero_flag
    r.se()  # offset_for_non_ref_pic
    r.se()  # offset_for_top_to_bottom_field
    for _ in range(r.ue(255)):
        r.se()


def read_vui(r: BitReader) -> Usability:
    """vui_parameters (E.1.1)."""
    aspect = vui.read_aspect_ratio(r)
    vui.skip_overscan(r)
    colour = vui.read_colour(r)
    vui.skip_chroma_location(r)
    timing = None
    if r.flag():
        timing = vui.Timing(num_units_in_tick=r.u(32), time_scale=r.u(32))
        r.skip(1)  # fixed_frame_rate_flag
    hrds = 0
    for _ in ("nal", "vcl"):
        if r.flag():
            _skip_hrd(r)
            hrds += 1
    r.skip(2 if hrds else 1)  # low_delay_hrd_flag, pic_struct_present_flag
    flag, reorder, restriction = r.position, None, None
    if r.flag():
        r.skip(1)  # motion_vectors_over_pic_boundaries_flag
        for _ in range(4):  # max_bytes_per_pic, max_bits_per_mb, log2_max_mv_length of both directions
            r.ue(32)
        reorder = r.position
        restriction = Restriction(max_num_reorder_frames=r.ue(16), max_dec_frame_buffering=r.ue(16))
    return Usability(
        sample_aspect_ratio=aspect, colour=colour, timing=timing,
        restriction=restriction, restriction_flag=flag, reorder=reorder,
    )  # fmt: skip


def _skip_hrd(r: BitReader) -> None:
    count = 1 + r.ue(31)
    r.skip(8)  # bit_rate_scale, cpb_size_scale
    for _ in range(count):
        r.ue()
        r.ue()
        r.skip(1)  # cbr_flag
    r.skip(20)  # three delay lengths and time_offset_length
