"""A feed to which we set the pace: files, generators, HLS. May import clock, av.

The rule: frames come out in the order of their timestamps over all tracks, each when it is due,
and a file that is played again goes on where its longest track ended. Coded pictures are due when
they are to be decoded, and keep the time at which they are to be shown.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import av

from wtgateway import clock
from wtgateway.errors import SourceEnded, SourceError
from wtgateway.sources.base import Piece, RawAudio, RawVideo
from wtgateway.sources.decode import rotation_of
from wtgateway.sources.errors_text import source_error
from wtgateway.sources.opened import Opened, OpenTrack
from wtgateway.sources.passing import PassedAudio, PassedVideo
from wtgateway.sources.reader import Item, PacketReader
from wtgateway.sources.samples import RawSamples, Sample, Samples, SoundSamples, VideoSamples
from wtgateway.sources.sound import SoundUnit
from wtgateway.sources.timeline import Ascending, LoopTimeline, Seams

_LATE_US = 1_000_000  # later than this, the timeline is shifted instead of hurrying after it
_LEAD_US = 20_000  # the first frames are decoded before they are due
_HOLE_US = 600_000_000  # nothing in any track for so long: a spliced file, not a slow one
_LIVE_HOLE_US = 10_000_000  # the same of HLS, whose segments follow one another
_AHEAD_BYTES = 16 * 1024 * 1024  # of one track, while another one has nothing
_AHEAD_PACKETS = 300


@dataclass(slots=True)
class _Lane:
    """One track of this pass: packets not yet looked at, samples not yet due."""

    source: Samples
    items: deque[Item] = field(default_factory=deque)
    samples: deque[Sample] = field(default_factory=deque)
    bytes: int = 0


class PacedFeed:
    """Frames in real time by their own timestamps. ``passed``: the tracks that are not decoded."""

    def __init__(
        self,
        reader: PacketReader,
        description: str,
        passed: dict[int, PassedVideo | PassedAudio],
        *,
        live: bool,
    ) -> None:
        self._reader, self._description = reader, description
        self._passed = passed
        self._hole_us = _LIVE_HOLE_US if live else _HOLE_US
        self._video = next((track for track in passed.values() if isinstance(track, PassedVideo)), None)
        self._beside: deque[Piece] = deque()  # decoded of what was passed on, and not yet read
        self._opened: Opened | None = None
        self._lanes: dict[int, _Lane] = {}
        self._passes = 0
        self._pass_ended = False
        self._over: SourceError | None = None
        self._timeline: LoopTimeline | None = None
        self._ascending = {"video": Ascending(), "audio": Ascending()}
        self._closed = False
        self._wake = threading.Event()

    def read(self) -> Piece:
        """See Source.read."""
        while True:
            if self._beside:
                return self._beside.popleft()
            try:
                lane = self._earliest()
            except SourceEnded:
                if self._video is None or not (pictures := self._video.tap.flush()):
                    raise
                self._beside.extend(pictures)
                continue
            if self._wait_for(lane.samples[0]):
                piece = self._place(lane, lane.samples.popleft())
                if piece is not None:
                    return piece

    def want_pictures(self, wanted: bool) -> None:
        """See Source.want_pictures."""
        if self._video is not None:
            self._video.tap.want(wanted)
            self._wake.set()

    def want_sound(self, wanted: bool) -> None:
        """See Source.want_sound."""
        for passed in self._passed.values():
            if isinstance(passed, PassedAudio):
                passed.tap.want(wanted)

    def close(self) -> None:
        """Wake a read that waits for its time."""
        self._closed = True
        self._wake.set()

    def _wait_for(self, sample: Sample) -> bool:
        """Until the sample is due; False when pictures came out of decoding meanwhile."""
        timeline = self._timeline
        if timeline is None:
            timeline = self._timeline = LoopTimeline(clock.now_us() + _LEAD_US)
        if not timeline.begun:
            # Decoding begins before the first picture is shown; the pass begins with what is shown.
            timeline.begin(min(lane.samples[0].pts_us for lane in self._lanes.values() if lane.samples))
        late_us = clock.now_us() - timeline.due(sample.due_us)
        if late_us > _LATE_US or (self._passed and late_us < -self._hole_us):
            timeline.shift(late_us)
        while (early_us := timeline.due(sample.due_us) - clock.now_us()) > 0:
            if self._video is not None and self._video.tap.busy:
                self._beside.extend(self._video.tap.work())
                if self._beside:
                    return False
                continue
            if self._closed:
                raise SourceError(f"{self._description}: closed")
            if self._wake.wait(early_us / 1e6):
                self._wake.clear()
        return True

    def _place(self, lane: _Lane, sample: Sample) -> Piece | None:
        timeline = self._timeline
        assert timeline is not None
        pts_us = timeline.place(sample.pts_us, sample.duration_us)
        if isinstance(sample.content, av.VideoFrame):
            pts_us = self._ascending["video"](pts_us)
            turned = rotation_of(sample.content)
            return RawVideo(sample.content, pts_us, pts_us, clock.now_us(), sample.duration_us, turned)
        if isinstance(sample.content, av.AudioFrame):
            pts_us = self._ascending["audio"](pts_us)
            return RawAudio(sample.content, pts_us, pts_us, sample.duration_us)
        passed = sample.passed
        if isinstance(sample.content, SoundUnit):
            assert isinstance(passed, PassedAudio)
            pts_us = self._ascending["audio"](pts_us)
            self._beside.extend(passed.place(sample.content, pts_us, pts_us))
            return self._beside.popleft() if self._beside else None
        assert isinstance(passed, PassedVideo)
        # To who counts from there to the eye, a picture began when its data was there.
        capture_us = min(pts_us, timeline.due(sample.due_us))
        return passed.place(
            sample.content,
            sample.pts_us,
            pts_us,
            capture_us,
            duration_us=sample.duration_us,
            shown=sample.shown,
        )

    def _earliest(self) -> _Lane:
        """The lane whose next sample is the earliest of all. Raises SourceEnded, SourceError."""
        while True:
            for lane in self._lanes.values():
                self._decode_ahead(lane)
            ready = [lane for lane in self._lanes.values() if lane.samples]
            complete = ready and (len(ready) == len(self._lanes) or self._far_ahead())
            if complete or (self._pass_ended and ready):
                return min(ready, key=lambda lane: lane.samples[0].due_us)
            if self._pass_ended:
                self._next_pass()
            else:
                self._pull()

    def _decode_ahead(self, lane: _Lane) -> None:
        while lane.items and not lane.samples:
            item = lane.items.popleft()
            lane.bytes -= item.bytes
            try:
                lane.samples.extend(lane.source.take(item.packet))
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
            self._begin_pass(item.opened)
        if item.packet is None:
            self._pass_ended = True
            return
        lane = self._lanes[item.packet.stream_index]
        lane.items.append(item)
        lane.bytes += item.bytes

    def _begin_pass(self, opened: Opened) -> None:
        self._opened = opened
        seams = Seams() if self._passed else None
        self._lanes = {track.index: _Lane(self._samples(track, seams)) for track in opened.tracks}
        self._passes += 1

    def _samples(self, track: OpenTrack, seams: Seams | None) -> Samples:
        passed: Any = self._passed.get(track.index)
        if isinstance(passed, PassedAudio):
            return SoundSamples(track.index, passed, seams)
        if isinstance(passed, PassedVideo):
            if self._passes:
                passed.reopen(track)
            return VideoSamples(track.index, passed, seams)
        return RawSamples(track, seams)

    def _next_pass(self) -> None:
        if self._over is not None:
            raise self._over
        if self._timeline is None or not self._timeline.next_pass():
            raise SourceError(f"{self._description}: nothing in it could be decoded")
        self._pass_ended = False
        self._lanes = {}
        self._opened = None
