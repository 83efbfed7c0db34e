"""A feed to which we set the pace: files, generators, HLS. May import clock, av.

The rule: frames come out in the order of their timestamps over all tracks, each when it is due,
and a file that is played again goes on where its longest track ended.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import av

from wtgateway import clock
from wtgateway.errors import SourceEnded, SourceError
from wtgateway.sources.base import RawAudio, RawVideo
from wtgateway.sources.decode import TrackDecoder
from wtgateway.sources.errors_text import source_error
from wtgateway.sources.reader import Item, Opened, PacketReader
from wtgateway.sources.timeline import Ascending, LoopTimeline

_LATE_US = 1_000_000  # later than this, the timeline is shifted instead of hurrying after it
_LEAD_US = 20_000  # the first frames are decoded before they are due
_AHEAD_BYTES = 16 * 1024 * 1024  # of one track, while another one has nothing
_AHEAD_PACKETS = 300


@dataclass(slots=True)
class _Lane:
    """One track of this pass: packets not yet decoded, frames not yet due."""

    decoder: TrackDecoder
    items: deque[Item] = field(default_factory=deque)
    frames: deque[tuple[Any, int, int]] = field(default_factory=deque)
    bytes: int = 0


class PacedFeed:
    """Frames in real time by their own timestamps."""

    def __init__(self, reader: PacketReader, description: str) -> None:
        self._reader, self._description = reader, description
        self._opened: Opened | None = None
        self._lanes: dict[int, _Lane] = {}
        self._pass_ended = False
        self._over: SourceError | None = None
        self._timeline: LoopTimeline | None = None
        self._ascending = {"video": Ascending(), "audio": Ascending()}
        self._closed = threading.Event()

    def read(self) -> RawVideo | RawAudio:
        """See Source.read."""
        lane = self._earliest()
        frame, timestamp_us, duration_us = lane.frames.popleft()
        if self._timeline is None:
            self._timeline = LoopTimeline(clock.now_us() + _LEAD_US)
        due_us = self._timeline.place(timestamp_us, duration_us)
        late_us = clock.now_us() - due_us
        if late_us > _LATE_US:
            self._timeline.shift(late_us)
            due_us += late_us
        elif late_us < 0 and self._closed.wait(-late_us / 1e6):
            raise SourceError(f"{self._description}: closed")
        pts_us = self._ascending[lane.decoder.kind](due_us)
        if lane.decoder.kind == "video":
            return RawVideo(frame, pts_us, pts_us, clock.now_us(), duration_us)
        return RawAudio(frame, pts_us, pts_us, duration_us)

    def close(self) -> None:
        """Wake a read that waits for its time."""
        self._closed.set()

    def _earliest(self) -> _Lane:
        """The lane whose next frame is the earliest of all. Raises SourceEnded, SourceError."""
        while True:
            for lane in self._lanes.values():
                self._decode_ahead(lane)
            with_frames = [lane for lane in self._lanes.values() if lane.frames]
            complete = with_frames and (len(with_frames) == len(self._lanes) or self._far_ahead())
            if complete or (self._pass_ended and with_frames):
                return min(with_frames, key=lambda lane: lane.frames[0][1])
            if self._pass_ended:
                self._next_pass()
            else:
                self._pull()

    def _decode_ahead(self, lane: _Lane) -> None:
        while lane.items and not lane.frames:
            item = lane.items.popleft()
            lane.bytes -= item.bytes
            try:
                lane.frames.extend(lane.decoder.decode(item.packet))
            except av.FFmpegError as error:
                raise source_error(self._description, "cannot be decoded", error) from error

    def _far_ahead(self) -> bool:
        """One track is silent for so long that waiting for it costs too much memory."""
        return any(
            lane.bytes > _AHEAD_BYTES or len(lane.items) > _AHEAD_PACKETS for lane in self._lanes.values()
        )

    def _pull(self) -> None:
        try:
            item = self._reader.next()
        except SourceEnded as error:  # what is decoded already is still played
            self._over, self._pass_ended = error, True
            return
        if item.opened is not self._opened:
            self._opened = item.opened
            self._lanes = {track.index: _Lane(TrackDecoder(track)) for track in item.opened.tracks}
        if item.packet is None:
            self._pass_ended = True
            return
        lane = self._lanes[item.packet.stream_index]
        lane.items.append(item)
        lane.bytes += item.bytes

    def _next_pass(self) -> None:
        if self._over is not None:
            raise self._over
        if self._timeline is None or not self._timeline.next_pass():
            raise SourceError(f"{self._description}: nothing in it could be decoded")
        self._pass_ended = False
        self._lanes = {}
        self._opened = None
