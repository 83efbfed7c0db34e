"""Pictures of a track that is forwarded as it is: decoded beside it, and only while somebody wants them.

May import av, clock and its sister modules. The rule: decoding never keeps a packet from being passed
on. It is done in small steps, by the thread that reads the source, when that has nothing else to do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from wtgateway.sources.base import RawVideo
from wtgateway.sources.deinterlace import Deinterlacer
from wtgateway.sources.timeline import to_us

MAX_BYTES = 16 * 1024 * 1024  # of a group: a longer one is waited out when pictures are wanted in its middle
MAX_PACKETS = 600
_MAX_BEHIND = 60  # units: further behind at a keyframe, what came before it is left out
_BROKEN_IN_A_ROW = 30
_US = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Tapped:
    """An access unit as it is forwarded. ``entry``: a decoder can begin here."""

    payload: bytes
    entry: bool
    pts_us: int
    capture_us: int
    grabbed_us: int
    duration_us: int
    shown: bool = True


class _Run:
    """Units in decoding order from an entry on, within the bounds."""

    def __init__(self) -> None:
        self.units: deque[Tapped] = deque()
        self._bytes = 0
        self._waiting = True  # for an entry

    def add(self, unit: Tapped) -> bool:
        """False: it does not fit, or nothing before it can be decoded."""
        if self._waiting and not unit.entry:
            return False
        self._waiting = False
        self.units.append(unit)
        self._bytes += len(unit.payload)
        if self._bytes > MAX_BYTES or len(self.units) > MAX_PACKETS:
            self.clear()
            return False
        return True

    def pop(self) -> Tapped:
        unit = self.units.popleft()
        self._bytes -= len(unit.payload)
        return unit

    def break_off(self) -> None:
        """Something is missing here: what comes next is of no use until an entry."""
        self._waiting = True

    def clear(self) -> None:
        """Nothing is kept until the next entry."""
        self.units.clear()
        self._bytes, self._waiting = 0, True


class PictureTap:
    """``want`` from any thread, all else from the one that reads the source."""

    def __init__(self, decoder: str) -> None:
        """``decoder``: FFmpeg's name of it."""
        self.skipped = 0  # units that were not decoded because decoding was too slow
        self.damaged = 0  # units that the decoder refused
        self._name = decoder
        self._wanted = False
        self._decoder: Any = None  # av.VideoCodecContext
        self._group = _Run()  # what a decoder that begins now needs
        self._pending = _Run()  # what the decoder still has to take
        self._behind = False  # it begins in the middle of a group: only the newest picture is of use
        self._in_a_row = 0
        self._newest_us: int | None = None  # pts of the last picture
        self._times: dict[int, Tapped] = {}  # by pts, of units in the decoder
        self._whole = Deinterlacer(_US)

    def want(self, wanted: bool) -> None:
        """See Source.want_pictures."""
        self._wanted = wanted

    def add(self, unit: Tapped) -> None:
        """A unit that was forwarded, or could be decoded though nobody takes it coded."""
        if unit.entry:
            self._group.clear()
        self._group.add(unit)
        if self._decoder is None:
            return
        waiting = len(self._pending.units)
        if unit.entry and waiting > _MAX_BEHIND:
            self.skipped += waiting
            self._pending.clear()
        if not self._pending.add(unit):
            self.skipped += 1

    def interrupt(self) -> None:
        """Units are missing before the next one."""
        self._group.clear()
        self._pending.break_off()

    @property
    def busy(self) -> bool:
        """Whether a call of work would do something."""
        return bool(self._pending.units) or self._wanted != (self._decoder is not None)

    def work(self) -> list[RawVideo]:
        """Take a small step, of one unit at most; the pictures that came out of it."""
        if not self._wanted:
            self._close()
            return []
        if self._decoder is None:
            self._open()
        if not self._pending.units:
            return []
        pictures = self._decode(self._pending.pop())
        if self._behind and self._pending.units:
            return []
        self._behind = self._behind and not pictures
        return pictures

    def flush(self) -> list[RawVideo]:
        """The source has ended: the pictures that the decoder still holds."""
        if self._decoder is None or not self._wanted:
            return []
        pictures = [picture for unit in self._drain() for picture in self._decode(unit)]
        pictures += self._decode(None)
        self._close()
        return pictures

    def close(self) -> None:
        """Nothing more will come."""
        self._wanted = False

    def _drain(self) -> list[Tapped]:
        return [self._pending.pop() for _ in range(len(self._pending.units))]

    def _open(self) -> None:
        context: Any = av.CodecContext.create(self._name, "r")
        context.thread_type = "SLICE"  # frame threads hold pictures back
        if context.codec.canonical_name == "av1":
            context.flags |= av.codec.context.Flags.low_delay  # dav1d has no other way to say so
        self._decoder, self._in_a_row, self._whole = context, 0, Deinterlacer(_US)
        for unit in self._group.units:
            self._pending.add(unit)
        self._behind = len(self._pending.units) > 1

    def _close(self) -> None:
        self._decoder = None
        self._pending.clear()
        self._times.clear()
        self._behind = False

    def _decode(self, unit: Tapped | None) -> list[RawVideo]:
        packet = None
        if unit is not None:
            packet = av.Packet(unit.payload)
            packet.pts, packet.time_base = unit.pts_us, _US
            self._remember(unit)
        try:
            frames = self._decoder.decode(packet)
        except av.error.EOFError:
            return []
        except (av.FFmpegError, ValueError):
            self._broken()
            return []
        self._in_a_row = 0
        frames = [whole for frame in frames for whole in self._whole(frame)]
        frames += self._whole.flush() if unit is None else []
        return [picture for frame in frames if (picture := self._picture(frame)) is not None]

    def _remember(self, unit: Tapped) -> None:
        self._times[unit.pts_us] = unit
        while len(self._times) > 2 * _MAX_BEHIND:
            del self._times[next(iter(self._times))]

    def _picture(self, frame: Any) -> RawVideo | None:
        unit = self._times.pop(to_us(frame.pts, frame.time_base), None)
        if unit is None or not unit.shown or (self._newest_us is not None and unit.pts_us <= self._newest_us):
            return None  # a unit may hold two fields; the decoder may guess times of its own
        self._newest_us = unit.pts_us
        return RawVideo(frame, unit.pts_us, unit.capture_us, unit.grabbed_us, unit.duration_us)

    def _broken(self) -> None:
        self.damaged += 1
        self._in_a_row += 1
        if self._in_a_row >= _BROKEN_IN_A_ROW:  # another decoder, from the next entry on
            self._close()
            self._group.clear()
