"""A feed whose peer sets the pace: a camera, a publisher, a device. May import clock, av."""

from __future__ import annotations

from collections import deque
from typing import Any

import av

from wtgateway import clock
from wtgateway.sources.base import RawAudio, RawVideo
from wtgateway.sources.decode import TrackDecoder
from wtgateway.sources.errors_text import source_error
from wtgateway.sources.reader import Item, PacketReader
from wtgateway.sources.timeline import Ascending, StreamClock, to_us

_UNTIMED = 30  # frames without a timestamp at the beginning
_PLAUSIBLE_US = 10_000_000  # a device that stamps further away does not stamp with the wall clock


class LiveFeed:
    """Frames as they come, stamped by the stream's clock (or the device's, with ``wall_clock``)."""

    def __init__(self, reader: PacketReader, description: str, *, wall_clock: bool) -> None:
        self._reader, self._description = reader, description
        self._wall_clock = wall_clock
        self._clock = StreamClock()
        self._decoders: dict[int, TrackDecoder] = {}
        self._ascending: dict[str, Ascending] = {"video": Ascending(), "audio": Ascending()}
        self._ready: deque[RawVideo | RawAudio] = deque()

    def read(self) -> RawVideo | RawAudio:
        """See Source.read."""
        while not self._ready:
            item = self._reader.next()
            if item.packet is not None:
                self._take(item, item.packet)
        return self._ready.popleft()

    def close(self) -> None:
        """Nothing waits here but the reader."""

    def _take(self, item: Item, packet: Any) -> None:
        index = packet.stream_index
        decoder = self._decoders.get(index)
        if decoder is None:
            track = next(track for track in item.opened.tracks if track.index == index)
            decoder = self._decoders[index] = TrackDecoder(track, patience=_UNTIMED)
        if packet.pts is not None:
            self._clock.observe(to_us(packet.pts, packet.time_base), item.arrival_us)
        try:
            decoded = decoder.decode(packet)
        except av.FFmpegError as error:
            raise source_error(self._description, "cannot be decoded", error) from error
        for frame, timestamp_us, duration_us in decoded:
            if packet.pts is None:
                self._clock.observe(timestamp_us, item.arrival_us)
            capture_us = self._capture_us(timestamp_us, item.arrival_us)
            pts_us = self._ascending[decoder.kind](capture_us)
            if decoder.kind == "video":
                raw = RawVideo(frame, pts_us, capture_us, clock.now_us(), duration_us)
                self._ready.append(raw)
            else:
                self._ready.append(RawAudio(frame, pts_us, capture_us, duration_us))

    def _capture_us(self, timestamp_us: int, arrival_us: int) -> int:
        if self._wall_clock:
            stamped_us = clock.from_wall_us(timestamp_us)
            if abs(arrival_us - stamped_us) < _PLAUSIBLE_US:
                return stamped_us
        return self._clock.map(timestamp_us)
