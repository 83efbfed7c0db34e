"""What both feeds do with a track that is forwarded: units with their times, and pictures beside them.

May import clock, av and its sister modules.
"""

from __future__ import annotations

from typing import Any

import av

from wtgateway import clock
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.sources.base import CodedAudio, CodedVideo, RawAudio
from wtgateway.sources.forward import Forwarder, Taken, forwardable
from wtgateway.sources.opened import Opened, OpenTrack
from wtgateway.sources.sound import SoundTap, SoundUnit, passable_sound, sound_units
from wtgateway.sources.tap import PictureTap, Tapped
from wtgateway.sources.timeline import DisplayOrder


class PassedVideo:
    """A video track on its way through."""

    def __init__(self, opened: Opened, track: OpenTrack, description: str) -> None:
        self.forwarder = Forwarder(opened, track, description)
        self.tap = PictureTap(track.decoder.name)
        self._order = DisplayOrder()

    def reopen(self, track: OpenTrack) -> None:
        """The source begins again."""
        self.forwarder.reopen(track)

    def interrupt(self) -> None:
        """Packets were lost before the next one."""
        self.forwarder.interrupt()
        self.tap.interrupt()

    def take(self, packet: av.Packet[Any]) -> Taken | None:
        """See Forwarder.take."""
        damaged = self.forwarder.damaged
        taken = self.forwarder.take(packet)
        if self.forwarder.damaged != damaged:
            self.tap.interrupt()
        return taken

    def place(
        self,
        taken: Taken,
        timestamp_us: int | None,
        value_us: int,
        capture_us: int,
        *,
        duration_us: int = 0,
        shown: bool = True,
    ) -> CodedVideo | None:
        """The unit in gateway time; None when it is not passed on. ``timestamp_us`` is the stream's.

        ``duration_us`` 0: the unit's own. ``shown`` False: no picture of it is wanted.
        """
        duration_us = duration_us or taken.duration_us
        begins = taken.entry or taken.unit.keyframe
        pts_us = self._order(timestamp_us, value_us, begins_group=begins)
        grabbed_us = clock.now_us()
        unit = taken.unit
        self.tap.add(Tapped(unit.payload, taken.entry, pts_us, capture_us, grabbed_us, duration_us, shown))
        if taken.format is None:
            return None
        return CodedVideo(
            unit.payload,
            unit.keyframe,
            pts_us,
            capture_us,
            grabbed_us,
            duration_us,
            taken.format,
            unit.discardable,
        )


class PassedAudio:
    """A sound track on its way through."""

    def __init__(self, track: OpenTrack) -> None:
        self.damaged = 0
        self.tap = SoundTap(track.decoder.name)
        self._units = sound_units(track)

    def take(self, packet: av.Packet[Any]) -> SoundUnit | None:
        """What the packet is to a decoder; None when it is nothing to one."""
        if not packet.size:
            return None
        try:
            if packet.is_corrupt:
                raise BitstreamError("it came damaged")
            return self._units.take(bytes(packet))
        except BitstreamError:
            self.damaged += 1
            return None

    def place(self, unit: SoundUnit, pts_us: int, capture_us: int) -> list[CodedAudio | RawAudio]:
        """The unit in gateway time, if it is passed on, and its samples, if they are wanted."""
        pieces: list[CodedAudio | RawAudio] = []
        if unit.forwarded:
            pieces.append(CodedAudio(unit.payload, pts_us, capture_us, unit.duration_us, unit.format))
        return pieces + self.tap.take(unit, pts_us, capture_us)


def passable(opened: Opened, track: OpenTrack) -> bool:
    """Whether a track can be passed on as it is; else it has to be decoded."""
    return forwardable(opened, track) if track.kind == "video" else passable_sound(track)
