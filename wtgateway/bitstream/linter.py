"""Finds what makes a decoder hold pictures back, and says when the SPS may be rewritten.

A browser shows a picture when its decoder is sure that none that comes later goes before it. What a
stream does not promise, the decoder waits for: an H.264 stream at 30 fps whose SPS says nothing can
cost half a second. :class:`Observer` watches access units, :func:`lint` names what is wrong in plain
words, :func:`safe_to_rewrite` says whether ``declare_no_reordering`` would tell the truth.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from wtgateway.bitstream import h264, hevc
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.bitstream.nal import AccessUnitFacts, SliceType
from wtgateway.bitstream.order import H264Order, HevcOrder, PictureOrder

Sps = h264.Sps | hevc.Sps
WINDOW_PICTURES = 60  # least evidence for a stream that goes on: two seconds at 30 fps
WINDOW_KEYFRAMES = 2  # and a whole group of it
LARGE_DPB = 4  # pictures; zero-latency encoders refer to one to three
_MOST_REORDER = 16  # no standard's decoder holds more


class Severity(enum.StrEnum):
    """How much a finding matters to a viewer."""

    INFO = "info"  # worth knowing, costs nothing by itself
    WARNING = "warning"  # pictures are held back, and it can be mended without re-encoding
    ERROR = "error"  # pictures are held back or cannot be decoded, and only the encoder can mend it


class Code(enum.StrEnum):
    """What a finding is about."""

    REORDER_UNSTATED = "reorder-unstated"
    REORDER_STATED = "reorder-stated"
    B_FRAMES = "b-frames"
    LARGE_DPB = "large-dpb"
    INTERLACED = "interlaced"
    NO_PARAMETER_SETS = "no-parameter-sets"
    NO_KEYFRAME = "no-keyframe"
    OPEN_GROUPS = "open-groups"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a stream, for a person: ``message`` says what it does and what to do."""

    code: Code
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a window of access units showed."""

    pictures: int = 0
    keyframes: int = 0
    keyframes_without_sets: int = 0
    b_pictures: int = 0
    open_keyframes: int = 0  # HEVC CRA and BLA; H.264 recovery points that are not IDR
    reordered: int = 0  # pictures shown before one that was decoded earlier
    reorder_depth: int = 0  # most pictures that one of them overtakes: the frames a decoder must hold
    order_unknown: int = 0  # pictures whose slices do not tell their place
    broken: int = 0  # access units or parameter sets that could not be read
    times_back: int = 0  # presentation times below one before, in decoding order

    @property
    def in_order(self) -> bool:
        """Whether every picture was seen to be shown in decoding order."""
        return not (self.reordered or self.order_unknown or self.broken or self.times_back)


class Observer:
    """Watches the access units of one stream in decoding order. Memory and work per unit are bounded.

    Make a new one when the stream is opened again. Parameter sets out of band go to :meth:`add` first.
    """

    def __init__(self, codec: str) -> None:
        """``codec`` is "h264" or "hevc"; ValueError for others."""
        if codec not in ("h264", "hevc"):
            raise ValueError(f"no linter for codec {codec!r}; use h264 or hevc")
        self._order: H264Order | HevcOrder = H264Order() if codec == "h264" else HevcOrder()
        self._counts = dict.fromkeys(Observation.__dataclass_fields__, 0)
        self._recent: deque[PictureOrder] = deque(maxlen=_MOST_REORDER)
        self._newest_pts: int | None = None

    @property
    def sps(self) -> tuple[Sps, ...]:
        """The sequence parameter sets seen, the newest of each id."""
        order = self._order
        return tuple((order.sps if isinstance(order, H264Order) else order.sets.sps).values())

    @property
    def observation(self) -> Observation:
        """What was seen so far."""
        return Observation(**self._counts)

    def add(self, parameter_sets: Iterable[bytes]) -> None:
        """Takes parameter sets in, from a configuration record for example."""
        for unit in parameter_sets:
            try:
                self._order.add(unit)
            except BitstreamError:
                self._counts["broken"] += 1

    def observe(self, units: Iterable[bytes], pts: int | None = None) -> AccessUnitFacts | None:
        """One access unit; ``pts`` in any unit, None where unknown. Never raises for what is in it.

        What it says, or None when it is broken.
        """
        units = tuple(units)
        self.add(units)
        try:
            facts = self._facts(units)
            order = self._order.next(units)
        except BitstreamError:
            self._counts["broken"] += 1
            self._counts["pictures"] += 1
            return None
        if facts.has_picture:
            if facts.closed:  # nothing is put in order across it: times that go back here are another clock
                self._newest_pts = None
            self._count(facts)
            self._place(order, pts)
        return facts

    def gap(self) -> None:
        """Access units are missing here. What was seen stands; where pictures stand is found out anew."""
        old = self._order
        if isinstance(old, H264Order):
            self._order = H264Order.following(old)
        else:
            self._order = HevcOrder.following(old)
        self._recent.clear()
        self._newest_pts = None

    def _facts(self, units: tuple[bytes, ...]) -> AccessUnitFacts:
        order = self._order
        return h264.facts(units) if isinstance(order, H264Order) else hevc.facts(units, order.sets)

    def _count(self, facts: AccessUnitFacts) -> None:
        counts = self._counts
        counts["pictures"] += 1
        counts["keyframes"] += facts.keyframe
        counts["keyframes_without_sets"] += facts.keyframe and not facts.has_parameter_sets
        counts["b_pictures"] += SliceType.B in facts.slice_types
        counts["open_keyframes"] += (facts.keyframe or facts.recovery_point) and not facts.closed

    def _place(self, order: PictureOrder | None, pts: int | None) -> None:
        counts = self._counts
        if pts is not None:
            counts["times_back"] += self._newest_pts is not None and pts < self._newest_pts
            self._newest_pts = pts if self._newest_pts is None else max(pts, self._newest_pts)
        if order is None:
            counts["order_unknown"] += 1
            return
        overtaken = sum(1 for earlier in self._recent if earlier > order)
        counts["reordered"] += overtaken > 0
        counts["reorder_depth"] = max(counts["reorder_depth"], overtaken)
        self._recent.append(order)


class Proof(enum.StrEnum):
    """Why a stream is taken to be in order."""

    SYNTAX = "syntax"  # its parameter sets leave no other possibility
    WHOLE_STREAM = "whole stream"  # every access unit was seen
    WINDOW = "window"  # nothing announces reordering and a window shows none: watch on


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rewrite would tell the truth; ``reason`` for a person, ``proof`` None when it is not safe."""

    safe: bool
    reason: str
    proof: Proof | None = None


def needs_rewrite(sps: Sps) -> bool:
    """Whether a decoder of a stream with this SPS may hold pictures back to reorder them."""
    return sps.reorder_frames > 0


def safe_to_rewrite(sps: Sps, seen: Observation, *, whole_stream: bool = False) -> Verdict:
    """Whether ``declare_no_reordering`` on ``sps`` would tell the truth about the stream ``seen``.

    ``whole_stream``: ``seen`` covers all there is, as of a file read through. Of a stream that goes on,
    a window is evidence only where nothing announces reordering; who rewrites on :attr:`Proof.WINDOW`
    goes on to observe, asks at each keyframe, and passes the original SPS again once it is unsafe.
    """
    if seen.broken:
        return Verdict(False, f"{seen.broken} access units or parameter sets could not be read")
    if seen.reordered or seen.times_back:
        count = max(seen.reordered, seen.times_back)
        return Verdict(False, f"{count} of {seen.pictures} pictures are shown out of decoding order")
    if not needs_rewrite(sps):
        return Verdict(True, "the SPS announces no reordering already", Proof.SYNTAX)
    if isinstance(sps, h264.Sps) and sps.poc_type == 2:
        return Verdict(True, "picture order count type 2: output order is decoding order", Proof.SYNTAX)
    if seen.order_unknown:
        return Verdict(False, f"{seen.order_unknown} pictures do not tell their place in output order")
    if not seen.pictures:
        return Verdict(False, "no picture was seen yet")
    if whole_stream:
        return Verdict(True, f"all {seen.pictures} pictures are in decoding order", Proof.WHOLE_STREAM)
    if isinstance(sps, hevc.Sps) or sps.restriction is not None:
        return Verdict(False, "the stream announces reordering and may begin with it at any time")
    if seen.b_pictures:
        return Verdict(False, f"{seen.b_pictures} pictures have B slices, in order so far")
    if seen.pictures < WINDOW_PICTURES or seen.keyframes < WINDOW_KEYFRAMES:
        return Verdict(
            False,
            f"{seen.pictures} pictures and {seen.keyframes} keyframes seen, "
            f"{WINDOW_PICTURES} and {WINDOW_KEYFRAMES} are wanted",
        )
    return Verdict(True, f"{seen.pictures} pictures without reordering or B slices", Proof.WINDOW)


def lint(sps: Sps, seen: Observation) -> tuple[Finding, ...]:
    """The findings about a stream, by its (newest) ``sps`` and what was ``seen`` of it."""
    stated = isinstance(sps, hevc.Sps) or sps.restriction is not None
    held = sps.dpb_frames
    if isinstance(sps, h264.Sps) and not stated:
        held = sps.max_num_ref_frames  # what must be inferred is another finding
    b_frames = bool(seen.reordered or seen.times_back)
    announced = needs_rewrite(sps) and not b_frames
    table = (
        (
            b_frames, Code.B_FRAMES, Severity.ERROR,
            f"The source sends B-frames: decoders must hold {max(seen.reorder_depth, 1)} frame(s) to put "
            "pictures in order. Turn B-frames off in the encoder, or let the gateway re-encode.",
        ),
        (
            announced and not stated, Code.REORDER_UNSTATED, Severity.WARNING,
            f"The SPS has no bitstream_restriction: decoders may hold up to {sps.reorder_frames} frames "
            "in case pictures are reordered. Rewrite the SPS, or have the encoder write "
            "max_num_reorder_frames=0.",
        ),
        (
            announced and stated, Code.REORDER_STATED, Severity.WARNING,
            f"The SPS announces up to {sps.reorder_frames} reordered frame(s), which decoders hold, but none "
            "was seen. Turn B-frames off in the encoder, or rewrite the SPS when the whole stream is known.",
        ),
        (
            held > LARGE_DPB, Code.LARGE_DPB, Severity.INFO,
            f"Decoders keep {held} frames: some hardware fills them before it shows any. "
            "Lower the number of reference frames in the encoder.",
        ),
        (
            sps.field_seq if isinstance(sps, hevc.Sps) else not sps.frame_mbs_only,
            Code.INTERLACED, Severity.WARNING,
            "The stream may be interlaced, and browsers do not deinterlace. Set the source to progressive, "
            "or have the gateway do it (reencode: always).",
        ),
        (
            seen.pictures >= WINDOW_PICTURES and not seen.keyframes, Code.NO_KEYFRAME, Severity.ERROR,
            f"No keyframe in {seen.pictures} pictures: viewers cannot join. Have the encoder send an "
            "IDR picture every few seconds.",
        ),
        (
            seen.keyframes_without_sets > 0, Code.NO_PARAMETER_SETS, Severity.INFO,
            f"{seen.keyframes_without_sets} keyframe(s) come without parameter sets; the gateway puts "
            "them in.",
        ),
        (
            seen.open_keyframes > 0, Code.OPEN_GROUPS, Severity.INFO,
            f"{seen.open_keyframes} group(s) are open: a viewer who joins there may miss the first frames. "
            "Have the encoder close its groups.",
        ),
        (
            seen.broken > 0, Code.BROKEN, Severity.WARNING,
            f"{seen.broken} access unit(s) or parameter set(s) could not be read. Check the source and "
            "the way to it for losses.",
        ),
    )  # fmt: skip
    return tuple(Finding(code, severity, message) for found, code, severity, message in table if found)
