"""A feed whose peer sets the pace: a camera, a publisher, a device. May import clock, av."""

from __future__ import annotations

from collections import deque
from typing import Any

import av

from wtgateway import clock
from wtgateway.sources.base import Piece, RawAudio, RawVideo
from wtgateway.sources.decode import TrackDecoder, rotation_of
from wtgateway.sources.errors_text import source_error
from wtgateway.sources.forward import Taken
from wtgateway.sources.passing import PassedAudio, PassedVideo
from wtgateway.sources.reader import Item, PacketReader
from wtgateway.sources.timeline import Ascending, StreamClock, to_us

_UNTIMED = 30  # frames without a timestamp at the beginning
_PLAUSIBLE_US = 10_000_000  # a device that stamps further away does not stamp with the wall clock


class LiveFeed:
    """Frames as they come, stamped by the stream's clock (or the device's, with ``wall_clock``).

    ``passed``: the tracks that are not decoded, by their index.
    """

    def __init__(
        self,
        reader: PacketReader,
        description: str,
        *,
        wall_clock: bool,
        passed: dict[int, PassedVideo | PassedAudio],
    ) -> None:
        self._reader, self._description = reader, description
        self._wall_clock = wall_clock
        self._clock = StreamClock()
        self._decoders: dict[int, TrackDecoder] = {}
        self._passed = passed
        self._video = next((track for track in passed.values() if isinstance(track, PassedVideo)), None)
        self._times = _Times()
        self._dropped = 0
        self._ascending: dict[str, Ascending] = {"video": Ascending(), "audio": Ascending()}
        self._ready: deque[Piece] = deque()

    def read(self) -> Piece:
        """See Source.read. What came is passed on before anything is decoded beside it."""
        while not self._ready:
            tap = self._video.tap if self._video is not None else None
            if tap is not None and tap.busy:
                item = self._reader.poll()
                if item is None:
                    self._ready.extend(tap.work())
                    continue
            else:
                item = self._reader.wait()
            if item is not None and item.packet is not None:
                self._take(item, item.packet)
        return self._ready.popleft()

    def want_pictures(self, wanted: bool) -> None:
        """See Source.want_pictures."""
        if self._video is not None:
            self._video.tap.want(wanted)
            self._reader.wake()

    def want_sound(self, wanted: bool) -> None:
        """See Source.want_sound."""
        for passed in self._passed.values():
            if isinstance(passed, PassedAudio):
                passed.tap.want(wanted)

    def close(self) -> None:
        """Nothing waits here but the reader."""

    def _take(self, item: Item, packet: Any) -> None:
        passed = self._passed.get(packet.stream_index)
        ticks = packet.pts if packet.pts is not None or passed is None else packet.dts
        if ticks is not None:
            self._clock.observe(to_us(ticks, packet.time_base), item.arrival_us)
        if isinstance(passed, PassedVideo):
            self._pass_video(item, packet, passed)
        elif isinstance(passed, PassedAudio):
            self._pass_audio(item, packet, passed)
        else:
            self._decode(item, packet)

    def _pass_video(self, item: Item, packet: Any, passed: PassedVideo) -> None:
        if self._dropped != self._reader.dropped:  # counted before anything behind the gap is handed out
            self._dropped = self._reader.dropped
            passed.interrupt()
        taken = passed.take(packet)
        if taken is None:
            return
        for unit, timestamp_us in self._times(taken):
            capture_us = item.arrival_us
            if timestamp_us is not None:
                capture_us = self._capture_us(timestamp_us, item.arrival_us)
            piece = passed.place(unit, timestamp_us, capture_us, capture_us)
            if piece is not None:
                self._ready.append(piece)

    def _pass_audio(self, item: Item, packet: Any, passed: PassedAudio) -> None:
        unit = passed.take(packet)
        if unit is None or packet.pts is None:
            return
        capture_us = self._capture_us(to_us(packet.pts, packet.time_base), item.arrival_us)
        pts_us = self._ascending["audio"](capture_us)
        self._ready.extend(passed.place(unit, pts_us, capture_us))

    def _decode(self, item: Item, packet: Any) -> None:
        index = packet.stream_index
        decoder = self._decoders.get(index)
        if decoder is None:
            track = next(track for track in item.opened.tracks if track.index == index)
            decoder = self._decoders[index] = TrackDecoder(track, patience=_UNTIMED)
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
                turned = rotation_of(frame)
                raw = RawVideo(frame, pts_us, capture_us, clock.now_us(), duration_us, turned)
                self._ready.append(raw)
            else:
                self._ready.append(RawAudio(frame, pts_us, capture_us, duration_us))

    def _capture_us(self, timestamp_us: int, arrival_us: int) -> int:
        if self._wall_clock:
            stamped_us = clock.from_wall_us(timestamp_us)
            if abs(arrival_us - stamped_us) < _PLAUSIBLE_US:
                return stamped_us
        return self._clock.map(timestamp_us)


class _Times:
    """The time of each coded unit, also of those that come without one.

    The first of an RTSP stream do: they are kept until one has a time, and counted back from it. When none
    has for long, the format has no times at all.
    """

    def __init__(self) -> None:
        self._kept: list[Taken] = []
        self._patience = _UNTIMED
        self._next_us: int | None = None

    def __call__(self, taken: Taken) -> list[tuple[Taken, int | None]]:
        """Units in decoding order, each with the stream's time; None: there will be none."""
        at_us = taken.pts_us if taken.pts_us is not None else taken.dts_us
        if at_us is None:
            at_us = self._next_us
        kept, self._kept = [*self._kept, taken], []
        if at_us is None and len(kept) <= self._patience:
            self._kept = kept
            return []
        if at_us is None:
            self._patience = 0
            return [(unit, None) for unit in kept]
        self._next_us = at_us + taken.duration_us
        back_us = sum(unit.duration_us for unit in kept[:-1])
        timed: list[tuple[Taken, int | None]] = []
        for unit in kept:
            timed.append((unit, at_us - back_us))
            back_us -= unit.duration_us
        return timed
