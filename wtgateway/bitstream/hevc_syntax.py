"""The inner syntax structures of an HEVC sequence parameter set: read where they matter, else passed over.

Source: ITU-T H.265 clauses 7.3.3 (profile_tier_level), 7.3.4 (scaling_list_data), 7.3.7
(st_ref_pic_set), E.2.1 (vui_parameters) and E.2.2 (hrd_parameters).
"""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.bitstream import vui
from wtgateway.bitstream.bits import BitReader, BitstreamError

_MAX_REFERENCES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The general profile, tier and level."""

    space: int  # general_profile_space
    high_tier: bool
    idc: int
    compatibility: int  # 32 flags, general_profile_compatibility_flag[0] the highest bit
    constraints: bytes  # 6 bytes: progressive, interlaced, ... and 44 bits that the profile defines
    level_idc: int  # 30 times the level

    @property
    def codec_suffix(self) -> str:
        """What follows ``hvc1.`` or ``hev1.`` in a codec string (ISO/IEC 14496-15 E.3)."""
        space = ("", "A", "B", "C")[self.space]
        reversed_flags = int(f"{self.compatibility:032b}"[::-1], 2)
        tier = "H" if self.high_tier else "L"
        parts = [f"{space}{self.idc}", f"{reversed_flags:X}", f"{tier}{self.level_idc}"]
        # Constraint bytes that are zero at the end are left out.
        return ".".join([*parts, *(f"{byte:X}" for byte in self.constraints.rstrip(b"\0"))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Usability:
    """What is kept of the VUI."""

    sample_aspect_ratio: tuple[int, int] | None = None
    colour: vui.Colour = vui.UNSPECIFIED
    timing: vui.Timing | None = None
    field_seq: bool = False
    min_spatial_segmentation: int = 0


def read_profile(r: BitReader, sub_layers: int) -> Profile:
    """profile_tier_level(1, sub_layers - 1)."""
    space, high_tier, idc, compatibility = r.u(2), r.flag(), r.u(5), r.u(32)
    constraints, level_idc = r.u(48).to_bytes(6, "big"), r.u(8)
    below = sub_layers - 1
    present = [(r.flag(), r.flag()) for _ in range(below)]
    r.skip(2 * (8 - below) if below else 0)
    for profile_present, level_present in present:
        r.skip(88 * profile_present + 8 * level_present)
    return Profile(
        space=space, high_tier=high_tier, idc=idc, compatibility=compatibility,
        constraints=constraints, level_idc=level_idc,
    )  # fmt: skip


def skip_coding_tools(r: BitReader, log2_max_poc_lsb: int) -> None:
    """From log2_min_luma_coding_block_size_minus3 to strong_intra_smoothing_enabled_flag."""
    for _ in range(6):  # block sizes and transform depths
        r.ue(31)
    if r.flag() and r.flag():  # scaling lists: enabled, and in the SPS
        _skip_scaling_lists(r)
    r.skip(2)  # amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if r.flag():  # pcm_enabled_flag
        r.skip(8)
        r.ue(31)
        r.ue(31)
        r.skip(1)
    sets: list[list[int]] = []
    for _ in range(r.ue(64)):
        sets.append(_read_reference_set(r, sets[-1] if sets else None))
    if r.flag():  # long_term_ref_pics_present_flag
        r.skip(r.ue(32) * (log2_max_poc_lsb + 1))
    r.skip(2)  # sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag


def _skip_scaling_lists(r: BitReader) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not r.flag():  # scaling_list_pred_mode_flag
                r.ue(5)
                continue
            for _ in range(min(64, 1 << (4 + 2 * size)) + (size > 1)):
                r.se()


def _read_reference_set(r: BitReader, previous: list[int] | None) -> list[int]:
    """st_ref_pic_set in an SPS: POC differences, the past ones first, each side nearest first."""
    if previous is not None and r.flag():  # inter_ref_pic_set_prediction_flag
        sign = -1 if r.flag() else 1
        delta = sign * (1 + r.ue(32767))
        # used_by_curr_pic_flag, and where it is 0, use_delta_flag.
        differences = [base + delta for base in [*previous, 0] if r.flag() or r.flag()]
        past = sorted((d for d in differences if d < 0), reverse=True)
        future = sorted(d for d in differences if d > 0)
    else:
        counts = r.ue(_MAX_REFERENCES), r.ue(_MAX_REFERENCES)
        past, future = (
            [sign * d for d in _read_steps(r, n)] for sign, n in zip((-1, 1), counts, strict=True)
        )
    if len(past) + len(future) > _MAX_REFERENCES:
        raise BitstreamError(f"a reference picture set of {len(past) + len(future)} pictures")
    return past + future


def _read_steps(r: BitReader, count: int) -> list[int]:
    total, values = 0, []
    for _ in range(count):
        total += 1 + r.ue(32767)
        r.skip(1)  # used_by_curr_pic_flag
        values.append(total)
    return values


def read_vui(r: BitReader, sub_layers: int) -> Usability:
    """vui_parameters."""
    aspect = vui.read_aspect_ratio(r)
    vui.skip_overscan(r)
    colour = vui.read_colour(r)
    vui.skip_chroma_location(r)
    r.skip(1)  # neutral_chroma_indication_flag
    field_seq = r.flag()
    r.skip(1)  # frame_field_info_present_flag
    if r.flag():  # default_display_window_flag
        for _ in range(4):
            r.ue()
    timing = _read_timing(r, sub_layers) if r.flag() else None
    segmentation = 0
    if r.flag():  # bitstream_restriction_flag
        r.skip(3)
        segmentation = r.ue(4095)
        for _ in range(4):  # max_bytes_per_pic, max_bits_per_min_cu, log2_max_mv_length of both directions
            r.ue(32)
    return Usability(
        sample_aspect_ratio=aspect, colour=colour, timing=timing, field_seq=field_seq,
        min_spatial_segmentation=segmentation,
    )  # fmt: skip


def _read_timing(r: BitReader, sub_layers: int) -> vui.Timing:
    timing = vui.Timing(num_units_in_tick=r.u(32), time_scale=r.u(32))
    if r.flag():  # vui_poc_proportional_to_timing_flag
        r.ue()
    if r.flag():  # vui_hrd_parameters_present_flag
        _skip_hrd(r, sub_layers)
    return timing


def _skip_hrd(r: BitReader, sub_layers: int) -> None:
    """hrd_parameters(1, sub_layers - 1)."""
    nal, vcl = r.flag(), r.flag()
    sub_pic = False
    if nal or vcl:
        sub_pic = r.flag()
        r.skip(19 if sub_pic else 0)
        r.skip(8)  # bit_rate_scale, cpb_size_scale
        r.skip(4 if sub_pic else 0)
        r.skip(15)  # three delay lengths
    for _ in range(sub_layers):
        general = r.flag()
        within_cvs = general or r.flag()
        low_delay = False
        if within_cvs:
            r.ue(2047)  # elemental_duration_in_tc_minus1
        else:
            low_delay = r.flag()
        count = 1 if low_delay else 1 + r.ue(31)
        for _ in range((nal + vcl) * count):
            for _ in range(4 if sub_pic else 2):
                r.ue()
            r.skip(1)  # cbr_flag
