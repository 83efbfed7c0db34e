"""Whether an access unit can be left out without harm to any other: told by the bits of the stream itself.

H.264: nal_ref_idc 0 in all slices (ITU-T H.264, 7.4.1). HEVC: sub-layer non-reference pictures of the highest
sub-layer (ITU-T H.265, 7.4.2.2). AV1: no reference slot is refreshed (AV1 5.9.2). VP9: the same, in a stream
of error resilient frames only, because others take more than samples from what came before them.
"""

from __future__ import annotations

from collections.abc import Sequence

from wtgateway.bitstream import av1, h264, hevc, vp9
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.bitstream.nal import split_annexb


class Discardable:
    """Asked of each access unit of one stream, in decoding order. ``codec`` is h264, hevc, av1 or vp9."""

    def __init__(self, codec: str) -> None:
        self._judge = {"h264": self._h264, "hevc": self._hevc, "av1": self._av1, "vp9": self._vp9}[codec]
        self._sub_layers = 7  # the most there can be, until an SPS tells
        self._sequence: av1.SequenceHeader | None = None
        self._resilient = False

    def __call__(self, unit: bytes) -> bool:
        """``unit`` is as WebCodecs takes it: Annex B, a temporal unit, a frame or superframe.

        What cannot be read is not discardable.
        """
        try:
            return self._judge(unit)
        except BitstreamError:
            return False

    def _h264(self, unit: bytes) -> bool:
        slices = [each for each in split_annexb(unit) if h264.nal_type(each) in h264.SLICES]
        return bool(slices) and not any(each[0] & 0x60 for each in slices)

    def _hevc(self, unit: bytes) -> bool:
        units: Sequence[bytes] = split_annexb(unit)
        for each in units:
            if hevc.nal_type(each) == hevc.SPS:
                self._sub_layers = len(hevc.parse_sps(each).sub_layers)
        slices = [each for each in units if hevc.is_slice(each)]
        return bool(slices) and all(hevc.is_disposable(each, self._sub_layers) for each in slices)

    def _av1(self, unit: bytes) -> bool:
        parsed = av1.parse_temporal_unit(unit, self._sequence)
        self._sequence = parsed.sequence or self._sequence
        return parsed.droppable

    def _vp9(self, unit: bytes) -> bool:
        parsed = vp9.parse_access_unit(unit)
        if parsed.keyframe:
            self._resilient = True
        self._resilient = self._resilient and all(f.error_resilient for f in parsed.frames if not f.keyframe)
        return self._resilient and parsed.droppable
