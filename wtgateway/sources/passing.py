"""What both feeds do with a track that is forwarded: units with their times, and pictures beside them.

May import clock, av and its sister modules.
"""

from __future__ import annotations

from typing import Any

import av

from wtgateway import clock
from wtgateway.sources import opus
from wtgateway.sources.base import CodedAudio, CodedFormat, CodedVideo
from wtgateway.sources.forward import Forwarder, Taken, forwardable
from wtgateway.sources.opened import Opened, OpenTrack
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
            unit.payload, unit.keyframe, pts_us, capture_us, grabbed_us, duration_us, taken.format
        )


class PassedOpus:
    """Opus packets on their way through."""

    def __init__(self, track: OpenTrack) -> None:
        self.damaged = 0
        context = track.decoder
        channels = context.layout.nb_channels
        self.format = CodedFormat(
            codec="opus",
            sample_rate=opus.SAMPLE_RATE,
            channels=channels,
            bitrate_bps=context.bit_rate or 0,
            description=opus.description(bytes(context.extradata or b""), channels) or b"",
        )

    def take(self, packet: av.Packet[Any]) -> tuple[bytes, int] | None:
        """The packet and its duration in µs; None when it is none."""
        data = bytes(packet) if packet.size else b""
        duration_us = opus.duration_us(data)
        if duration_us is None or packet.is_corrupt:
            self.damaged += bool(packet.size)
            return None
        return data, duration_us

    def place(self, data: bytes, pts_us: int, capture_us: int, duration_us: int) -> CodedAudio:
        """It in gateway time."""
        return CodedAudio(data, pts_us, capture_us, duration_us, self.format)


def passable(opened: Opened, track: OpenTrack) -> bool:
    """Whether a track can be passed on as it is; else it has to be decoded."""
    if track.kind == "video":
        return forwardable(opened, track)
    context = track.decoder
    extradata = bytes(context.extradata or b"")
    return track.codec == "opus" and opus.description(extradata, context.layout.nb_channels) is not None
