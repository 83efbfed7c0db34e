"""Packets of a container to access units as WebCodecs takes them, codec by codec, without decoding.

May import bitstream and sources.base. The rule: a unit that cannot be read raises BitstreamError and
leaves the state as it was before, but for parameter sets that came in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from wtgateway.bitstream import av1, h264, hevc, vp9
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.bitstream.discardable import Discardable
from wtgateway.bitstream.linter import Code, Observer, Sps, lint, needs_rewrite, safe_to_rewrite
from wtgateway.bitstream.nal import (
    AccessUnitFacts,
    SliceType,
    join_annexb,
    split_annexb,
    split_length_prefixed,
)
from wtgateway.bitstream.records import parse_avcc, parse_hvcc
from wtgateway.bitstream.sets import SetStore
from wtgateway.sources.base import CodedFormat

# What a viewer waits for; other findings are for whoever looks after the source.
_HOLDING = frozenset(
    {
        Code.REORDER_UNSTATED, Code.REORDER_STATED, Code.B_FRAMES, Code.LARGE_DPB, Code.INTERLACED,
        Code.OPEN_GROUPS,
    }
)  # fmt: skip
# What decoders in browsers have names for: baseline, main, high, high 10, 4:2:2, 4:4:4; main, main 10, RExt.
_H264_PROFILES = frozenset({66, 77, 100, 110, 122, 244})
_HEVC_PROFILES = frozenset({1, 2, 3, 4})
_AV1_PROFILES = frozenset({0, 1})
# NAL units of no use to who decodes: delimiter, filler, and the layers of SVC and MVC; HEVC the first two.
_LEFT_OUT = {"h264": frozenset({9, 12, 14, 15, 20, 21}), "hevc": frozenset({hevc.DELIMITER, 38})}
_OTHER_LAYER = 63  # what hevc.nal_type says of it


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit. ``format`` is there at keyframes, without what only the container knows.

    ``keyframe``: it begins a closed group. ``entry``: our own decoder can begin here, which is more patient
    than a browser's (H.264 recovery points).
    """

    payload: bytes
    keyframe: bool
    entry: bool
    format: CodedFormat | None = None
    discardable: bool = False  # nothing refers to it


class Units(Protocol):
    """What cuts and mends the packets of one codec."""

    def configure(self, extradata: bytes) -> None:
        """A (new) decoder configuration out of band. Raises BitstreamError."""

    def take(self, data: bytes, pts: int | None) -> Unit | None:
        """One packet in decoding order; None: there is nothing in it to pass on. Raises BitstreamError."""

    def interrupt(self) -> None:
        """Something was lost before the next packet."""

    def seen_whole(self) -> None:
        """The source begins again: what was seen is all there is in it."""


def units_of(codec: str, *, fps: float, bitrate_bps: int, reorder_frames: int) -> Units:
    """``codec`` is h264, hevc, av1 or vp9; the numbers are the container's, 0 where it has none."""
    if codec == "av1":
        return Av1Units()
    if codec == "vp9":
        return Vp9Units(fps, bitrate_bps)
    return NalUnits(codec, reorder_frames)


def nameable(codec: str, extradata: bytes) -> bool:
    """Whether browsers have a name for what the extradata announces; True where it announces nothing."""
    try:
        if codec == "av1":
            sequence = av1.sequence_of_extradata(extradata)
            return sequence is None or sequence.profile in _AV1_PROFILES
        units = NalUnits(codec) if codec in ("h264", "hevc") else None
        if units is not None:
            units.configure(extradata)
        return units is None or units.nameable
    except BitstreamError:
        return True  # the stream itself will tell


class NalUnits:
    """H.264 and HEVC: Annex B, with all parameter sets at keyframes, and an SPS that holds nothing back."""

    def __init__(self, codec: str, reorder_frames: int = 0) -> None:
        self._codec = codec
        self._reorder_frames = reorder_frames  # as the container's prober saw it
        self._length_size = 0  # 0: Annex B
        self._sets = SetStore(codec)
        self._observer = Observer(codec)
        self._watched: Sps | None = None
        self._whole = False  # all of the source was seen
        self._replace: dict[bytes, bytes] = {}  # SPS as they came to SPS as they go

    def configure(self, extradata: bytes) -> None:
        """avcC or hvcC, or parameter sets in Annex B, or nothing."""
        if not extradata:
            return
        if extradata[0] == 1:
            record = (parse_avcc if self._codec == "h264" else parse_hvcc)(extradata)
            self._length_size, sets = record.length_size, record.parameter_sets
        else:
            self._length_size, sets = 0, split_annexb(extradata)
        self._sets.add(sets)
        self._observer.add(sets)

    @property
    def nameable(self) -> bool:
        """Whether browsers have a name for all encodings that were announced so far."""
        return all(map(_names_it, self._observer.sps))

    def take(self, data: bytes, pts: int | None) -> Unit | None:
        """See Units.take. A leading picture that nobody who joins at its CRA can decode is left out."""
        size = self._length_size
        units = split_length_prefixed(data, size) if size else split_annexb(data)
        self._sets.add(units)
        facts = self._observer.observe(units, pts)
        if facts is None:
            raise BitstreamError("a parameter set or slice header is broken")
        if not facts.has_picture or facts.skipped_leading:
            return None
        format_ = self._look(units) if facts.keyframe else None
        entry = facts.keyframe or facts.recovery_point or _all_intra(facts)
        kept = [unit for unit in units if self._kept(unit)]
        if entry:
            kept = [*self._sets.units, *(unit for unit in kept if not self._sets.is_set(unit))]
        payload = join_annexb(self._replace.get(unit, unit) for unit in kept)
        return Unit(payload, facts.keyframe, entry, format_, facts.disposable)

    def interrupt(self) -> None:
        """See Units.interrupt."""
        self._observer.gap()

    def seen_whole(self) -> None:
        """See Units.seen_whole."""
        self._whole = True

    def _kind(self, unit: bytes) -> int:
        return h264.nal_type(unit) if self._codec == "h264" else hevc.nal_type(unit)

    def _is_slice(self, unit: bytes) -> bool:
        return self._kind(unit) in h264.SLICES if self._codec == "h264" else hevc.is_slice(unit)

    def _kept(self, unit: bytes) -> bool:
        kind = self._kind(unit)
        return kind not in _LEFT_OUT[self._codec] and not (self._codec == "hevc" and kind == _OTHER_LAYER)

    def _look(self, units: tuple[bytes, ...]) -> CodedFormat:
        """What this keyframe says, and what becomes of its SPS until the next one."""
        came = self._sets.sps_of(next(filter(self._is_slice, units)))
        sps = self._parse(came)
        if self._watched is not None and self._watched != sps:
            # Another encoding, which may put pictures in another order.
            self._observer, self._whole = Observer(self._codec), False
            self._observer.add(self._sets.units)
            self._observer.observe(units)
        self._watched = sps
        # What is broken is not passed on: what is was seen, all of it.
        seen = replace(self._observer.observation, broken=0)
        rewritten = needs_rewrite(sps) and safe_to_rewrite(sps, seen, whole_stream=self._whole).safe
        self._replace = {came: self._rewrite(came)} if rewritten else {}
        sps = self._parse(self._replace.get(came, came))
        stated = isinstance(sps, hevc.Sps) or sps.restriction is not None
        ordered = isinstance(sps, h264.Sps) and sps.poc_type == 2
        guess = max(self._reorder_frames, seen.reorder_depth)
        findings = [finding for finding in lint(sps, seen) if finding.code in _HOLDING]
        if seen.pictures == 1:  # too early to say that none is put in order
            findings = [finding for finding in findings if finding.code is not Code.REORDER_STATED]
        return CodedFormat(
            codec=sps.codec if _names_it(sps) else "",
            width=sps.width,
            height=sps.height,
            reorder_frames=0 if ordered else sps.reorder_frames if stated else guess,
            findings=tuple(f"{finding.code}: {finding.message}" for finding in findings),
            rewritten=rewritten,
        )

    def _parse(self, unit: bytes) -> Sps:
        return h264.parse_sps(unit) if self._codec == "h264" else hevc.parse_sps(unit)

    def _rewrite(self, unit: bytes) -> bytes:
        change = h264.declare_no_reordering if self._codec == "h264" else hevc.declare_no_reordering
        return change(unit)


class Av1Units:
    """AV1: low-overhead temporal units, with the sequence header at keyframes."""

    def __init__(self) -> None:
        self._sequence: av1.SequenceHeader | None = None

    def configure(self, extradata: bytes) -> None:
        """av1C or OBUs, or nothing."""
        if extradata:
            self._sequence = av1.sequence_of_extradata(extradata) or self._sequence

    def take(self, data: bytes, pts: int | None) -> Unit | None:
        """See Units.take."""
        unit = av1.parse_temporal_unit(data, self._sequence)
        if not unit.frames:
            return None
        payload = av1.low_overhead(unit, self._sequence)
        self._sequence = unit.sequence or self._sequence
        format_ = None
        if unit.keyframe and (sequence := self._sequence):
            width, height = unit.frames[0].size or (sequence.max_width, sequence.max_height)
            codec = av1.codec_string(sequence) if sequence.profile in _AV1_PROFILES else ""
            format_ = CodedFormat(codec=codec, width=width, height=height)
        return Unit(payload, unit.keyframe, unit.keyframe, format_, unit.droppable)

    def interrupt(self) -> None:
        """Nothing is watched here."""

    def seen_whole(self) -> None:
        """Nothing is watched here."""


class Vp9Units:
    """VP9: frames and superframes as they are."""

    def __init__(self, fps: float, bitrate_bps: int) -> None:
        self._fps, self._bitrate_bps = fps, bitrate_bps
        self._discardable = Discardable("vp9")

    def configure(self, extradata: bytes) -> None:
        """VP9 needs none; vpcC says nothing that its keyframes do not."""

    def take(self, data: bytes, pts: int | None) -> Unit | None:
        """See Units.take."""
        unit = vp9.parse_access_unit(data)
        first, format_ = unit.frames[0], None
        if unit.keyframe and first.format is not None and first.size is not None:
            level = vp9.level_of(*first.size, self._fps, self._bitrate_bps)
            width, height = first.size
            format_ = CodedFormat(codec=vp9.codec_string(first.format, level), width=width, height=height)
        return Unit(data, unit.keyframe, unit.keyframe, format_, self._discardable(data))

    def interrupt(self) -> None:
        """Nothing is watched here."""

    def seen_whole(self) -> None:
        """Nothing is watched here."""


def _all_intra(facts: AccessUnitFacts) -> bool:
    """Better than nothing in a stream that has no other place to begin."""
    return facts.slice_types == {SliceType.I}


def _names_it(sps: Sps) -> bool:
    """Whether any browser has a decoder for such pictures: profile, depth, and colour."""
    if isinstance(sps, hevc.Sps):
        return sps.profile.idc in _HEVC_PROFILES and sps.chroma_format_idc > 0 and sps.bit_depth_luma <= 12
    return sps.profile_idc in _H264_PROFILES and sps.chroma_format_idc > 0 and sps.bit_depth_luma <= 10
