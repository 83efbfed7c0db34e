"""What a keyframe must say of itself: its codec string, and its parameter sets in band.

May import bitstream; knows no FFmpeg.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from wtgateway.bitstream import av1, h264, hevc, vp9
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.bitstream.nal import join_annexb, split_annexb

_PARAMETER_SETS: Mapping[str, tuple[int, ...]] = {
    "h264": (h264.SPS, h264.PPS),
    "hevc": (hevc.VPS, hevc.SPS, hevc.PPS),
}
_NO_PICTURE = {"h264": range(6, 13), "hevc": range(32, 64)}  # NAL unit types without a slice


def codec_string(
    codec: str, keyframe: bytes, *, fps: float, bitrate_bps: int, size: tuple[int, int] | None = None
) -> str | None:
    """The WebCodecs string of that keyframe, or None when it does not say what it is.

    ``fps``, ``bitrate_bps`` and ``size`` (None: its own) choose the level of VP9, whose bitstream has none.
    HEVC is called hvc1 although its parameter sets are in band: some browsers know that name only.
    """
    try:
        if codec == "av1":
            sequence = av1.parse_temporal_unit(keyframe, None).sequence
            return av1.codec_string(sequence) if sequence else None
        if codec == "vp9":
            header = vp9.parse_access_unit(keyframe).frames[0]
            if header.format is None or header.size is None:
                return None
            return vp9.codec_string(header.format, vp9.level_of(*(size or header.size), fps, bitrate_bps))
        units = split_annexb(keyframe)
        if codec == "h264":
            sps = next((unit for unit in units if h264.nal_type(unit) == h264.SPS), None)
            return h264.parse_sps(sps).codec if sps else None
        sps = next((unit for unit in units if hevc.nal_type(unit) == hevc.SPS), None)
        return hevc.parse_sps(sps).codec if sps else None
    except BitstreamError:
        return None


def level_of(codec: str) -> tuple[str, int]:
    """A codec string without its level, and the level: what says less of it decodes no less."""
    if codec.startswith("avc1."):
        return codec[:-2], int(codec[-2:], 16)
    parts = codec.split(".")
    at = 3 if codec.startswith("hvc1.") else 2
    digits = "".join(sign for sign in parts[at] if sign.isdigit())
    parts[at] = parts[at].replace(digits, "")
    return ".".join(parts), int(digits)


def covers(known: str, codec: str) -> bool:
    """Whether a decoder of ``known`` is one for ``codec``: they are the same, or differ in a lower level."""
    (rest, level), (other, least) = level_of(known), level_of(codec)
    return rest == other and least <= level


class ParameterSets:
    """Keeps the parameter sets of an encoder that says them once, and puts them into keyframes.

    For hardware: V4L2 drivers give them as a buffer of their own before the first picture.
    """

    def __init__(self, codec: str) -> None:
        """``codec`` is h264 or hevc."""
        self._codec = codec
        self._family: ModuleType = h264 if codec == "h264" else hevc
        self._kept: dict[int, bytes] = {}

    def complete(self, access_unit: bytes, *, keyframe: bool) -> bytes:
        """Annex B with what a keyframe lacks in front; empty when it has no picture.

        What is no Annex B comes back as it is.
        """
        try:
            units = split_annexb(access_unit)
        except BitstreamError:
            return access_unit
        types = [self._family.nal_type(unit) for unit in units]
        for kind, unit in zip(types, units, strict=True):
            if kind in _PARAMETER_SETS[self._codec]:
                self._kept[kind] = unit
        if all(kind in _NO_PICTURE[self._codec] for kind in types):
            return b""
        if not keyframe:
            return access_unit
        missing = (self._kept[kind] for kind in sorted(self._kept) if kind not in types)
        return join_annexb(missing) + access_unit
