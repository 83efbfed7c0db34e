"""Coded video on its way through: packets of one track to access units that any decoder can take.

May import bitstream, av and its sister modules. The rule: what is passed on can be decoded from the last
keyframe on. After a loss or damage that is the next keyframe; what comes in between is counted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import av

from wtgateway.bitstream.bits import BitstreamError
from wtgateway.sources.base import CodedFormat
from wtgateway.sources.decode import rotation_of
from wtgateway.sources.opened import Opened, OpenTrack
from wtgateway.sources.timeline import to_us
from wtgateway.sources.units import Unit, Units, nameable, units_of

MAX_UNIT_BYTES = 15 * 1024 * 1024  # what the protocol can carry, less what is put in
_MAX_DURATION_US = 600_000_000  # more is a broken number, not a slide
_PATIENCE = 900  # units without a keyframe before a word is said of it
_RATE_WINDOW_US = 2_000_000
_RATE_CHANGE = 3.0  # a scene that moves is no other encoding
# Formats that do not say when pictures are shown; FFmpeg finds out by decoding.
_UNTIMED_FORMATS = frozenset({"h264", "hevc", "avi"})
# Formats that may turn a picture for display.
_TURNING_FORMATS = frozenset({"mov", "matroska"})
_COMMON = frozenset(f"yuv{chroma}p{depth}" for chroma in (420, 422, 444) for depth in ("", "10le"))
_FULL_RANGE = frozenset({"yuvj420p", "yuvj422p", "yuvj444p"})
_12_BIT = frozenset({"yuv420p12le", "yuv422p12le", "yuv444p12le"})
# Codecs that browsers have decoders for, and the pixel formats that these give out.
_PIXELS = {
    "h264": _COMMON | _FULL_RANGE,
    "hevc": _COMMON | _FULL_RANGE | _12_BIT,
    "av1": _COMMON - {"yuv422p", "yuv422p10le"} | {"gray", "gray10le"},
    "vp9": _COMMON | _12_BIT,
}
_NOT_IN_BROWSERS = frozenset({"Extended", "CAVLC 4:4:4", "Scc", "Professional"})
_log = logging.getLogger(__name__)


def forwardable(opened: Opened, track: OpenTrack) -> bool:
    """Whether a video track can be forwarded: browsers have decoders for it, its times are known."""
    context, pixels = track.decoder, _PIXELS.get(track.codec)
    if pixels is None or context.profile in _NOT_IN_BROWSERS:
        return False
    if context.pix_fmt is not None and context.pix_fmt not in pixels:
        return False
    if not nameable(track.codec, bytes(context.extradata or b"")):
        return False
    return track.codec not in ("h264", "hevc") or opened.format not in _UNTIMED_FORMATS


@dataclass(frozen=True, slots=True)
class Taken:
    """A unit of the track. ``format`` None: it is of use to our own decoder only. Times in µs."""

    unit: Unit
    entry: bool
    format: CodedFormat | None
    pts_us: int | None
    dts_us: int | None
    duration_us: int


class Forwarder:
    """The packets of one track, in decoding order, also of a source that is opened again and again."""

    def __init__(self, opened: Opened, track: OpenTrack, description: str) -> None:
        self.damaged = 0  # units that could not be read, or came damaged, in all
        self.skipped = 0  # good units that had no keyframe before them
        self._description = description
        self._track = track
        context = track.decoder
        self._rate = _Rate(context.bit_rate or 0)
        self._units: Units = units_of(
            track.codec,
            fps=track.fps,
            bitrate_bps=context.bit_rate or 0,
            reorder_frames=context.reorder_depth,
        )
        self._turns = bool(_TURNING_FORMATS & set(opened.format.split(",")))
        self._rotation: int | None = None if self._turns else 0
        self._format: CodedFormat | None = None
        self._open = False  # a group is being passed on
        self._trouble = _Trouble()
        self._troubles = 0
        self._without_key = 0
        self._configure(bytes(context.extradata or b""))

    def reopen(self, track: OpenTrack) -> None:
        """The source begins again."""
        self._units.seen_whole()
        self._track = track
        self._rotation = None if self._turns else 0
        self._open = False
        self._configure(bytes(track.decoder.extradata or b""))

    def interrupt(self) -> None:
        """Packets were lost before the next one."""
        self._open = False
        self._units.interrupt()

    def take(self, packet: av.Packet[Any]) -> Taken | None:
        """What the packet is to a decoder; None when it is nothing to one."""
        try:
            unit = self._read(packet)
        except BitstreamError as error:
            self.damaged += 1
            self._trouble.add(str(error))
            self.interrupt()
            return None
        if unit is None:
            return None
        format_ = self._format_of(unit, packet)
        if format_ is None:
            self._skip()
        return Taken(
            unit,
            unit.keyframe or (unit.entry and not self._open),
            format_,
            _us(packet.pts, packet),
            _us(packet.dts, packet),
            self._duration_us(packet),
        )

    def _read(self, packet: av.Packet[Any]) -> Unit | None:
        if packet.has_sidedata("new_extradata"):  # RTMP, and MP4 that changes its description
            self._configure(bytes(packet.get_sidedata("new_extradata")))
        if not packet.size:
            return None
        if packet.is_corrupt:
            raise BitstreamError("it came damaged")
        if packet.size > MAX_UNIT_BYTES:
            raise BitstreamError(f"a unit of {packet.size} bytes")
        unit = self._units.take(bytes(packet), packet.pts)
        if unit is not None and len(unit.payload) > MAX_UNIT_BYTES:
            raise BitstreamError(f"a unit of {len(unit.payload)} bytes")
        return unit

    def _configure(self, extradata: bytes) -> None:
        try:
            self._units.configure(extradata)
        except BitstreamError as error:
            _log.warning("%s: the decoder configuration cannot be read: %s", self._description, error)

    def _format_of(self, unit: Unit, packet: av.Packet[Any]) -> CodedFormat | None:
        """The format of a unit that is passed on; None for one that is not."""
        self._rate.add(len(unit.payload), _us(packet.dts if packet.dts is not None else packet.pts, packet))
        if unit.keyframe and unit.format is not None:
            self._begin(unit.format, packet)
        return self._format if self._open else None

    def _begin(self, said: CodedFormat, packet: av.Packet[Any]) -> None:
        self._open = bool(said.codec)
        if not self._open:
            return
        self._end_trouble()
        self._without_key = 0
        if self._rotation is None:
            self._rotation = _rotation(self._track, packet)
        format_ = replace(said, fps=self._track.fps, rotation=self._rotation, bitrate_bps=self._rate.bps)
        if self._format is None or _essence(format_) != _essence(self._format):
            self._format = format_

    def _skip(self) -> None:
        self.skipped += 1
        self._trouble.skipped += self._trouble.now
        self._without_key += 1
        if self._without_key == _PATIENCE:
            _log.warning(
                "%s: no keyframe that a browser could begin at in %d pictures; nothing is forwarded",
                self._description, _PATIENCE,
            )  # fmt: skip

    def _end_trouble(self) -> None:
        """A word of it; of the first, the second, the fourth and so on, since a bad line has thousands."""
        trouble = self._trouble
        if not trouble.now:  # it only joined in the middle of a group
            return
        trouble.now = False
        self._troubles += 1
        if self._troubles & (self._troubles - 1) == 0:
            _log.warning(
                "%s: forwarded again from a keyframe on; troubles=%d, since the last word: damaged=%d "
                "skipped=%d (%s)",
                self._description, self._troubles, trouble.damaged, trouble.skipped, trouble.why,
            )  # fmt: skip
            self._trouble = _Trouble()

    def _duration_us(self, packet: av.Packet[Any]) -> int:
        duration_us = _us(packet.duration, packet)
        if duration_us is not None and 0 < duration_us <= _MAX_DURATION_US:
            return duration_us
        return round(1_000_000 / self._track.fps) if self._track.fps else 40_000


@dataclass(slots=True)
class _Trouble:
    """From the first damaged unit to the next keyframe; several such, until a word was said."""

    now: bool = False
    damaged: int = 0
    skipped: int = 0
    why: str = ""  # the first reason

    def add(self, why: str) -> None:
        """A damaged unit."""
        self.now, self.damaged, self.why = True, self.damaged + 1, self.why or why


class _Rate:
    """Bits per second: as the container says, else as measured; steady, so that a format does not flicker."""

    def __init__(self, stated_bps: int) -> None:
        self.bps = stated_bps
        self._stated = stated_bps > 0
        self._bytes = 0
        self._since_us: int | None = None

    def add(self, size: int, at_us: int | None) -> None:
        """So many bytes at a time of the stream's clock."""
        if self._stated or at_us is None:
            return
        if self._since_us is None or not 0 <= at_us - self._since_us < 10 * _RATE_WINDOW_US:
            self._since_us, self._bytes = at_us, 0
        elif (passed_us := at_us - self._since_us) >= _RATE_WINDOW_US:
            measured = self._bytes * 8_000_000 // passed_us
            if not self.bps / _RATE_CHANGE <= measured <= self.bps * _RATE_CHANGE:
                self.bps = measured
            self._since_us, self._bytes = at_us, 0
        self._bytes += size


def _essence(format_: CodedFormat) -> CodedFormat:
    """Without the figures in the findings, which change with every keyframe."""
    return replace(format_, findings=tuple(words.partition(":")[0] for words in format_.findings))


def _us(ticks: int | None, packet: av.Packet[Any]) -> int | None:
    return None if ticks is None else to_us(ticks, packet.time_base)


def _rotation(track: OpenTrack, keyframe: av.Packet[Any]) -> int:
    """Only a decoded picture tells it, so one is decoded."""
    try:
        frames = [*track.decoder.decode(keyframe), *track.decoder.decode(None)]
    except (av.FFmpegError, ValueError):
        return 0
    return rotation_of(frames[0]) if frames else 0
