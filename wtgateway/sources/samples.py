"""What a paced track is made of: raw frames or coded units, each with its times. May import av.

The rule: times are those of this pass of the container. With ``seams`` they go on where those of a
spliced container go back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import av

from wtgateway.sources.decode import TrackDecoder
from wtgateway.sources.forward import Taken
from wtgateway.sources.opened import OpenTrack
from wtgateway.sources.passing import PassedAudio, PassedVideo
from wtgateway.sources.sound import SoundUnit
from wtgateway.sources.timeline import Seams, to_us

_HIDDEN_US = 100  # of a picture that only has to be decoded
_MAX_HIDDEN = 600
_PLAUSIBLE_US = 10_000_000  # between decoding a picture and showing it; more is a broken timestamp


@dataclass(frozen=True, slots=True)
class Sample:
    """``content`` is a frame, or a unit of video or sound; ``due_us`` when it is to be handed on."""

    content: av.VideoFrame | av.AudioFrame | Taken | SoundUnit
    pts_us: int
    due_us: int
    duration_us: int
    passed: PassedVideo | PassedAudio | None = None
    shown: bool = True  # False: later ones need it, but the container leaves it out


class Samples(Protocol):
    """Makes samples of packets."""

    def take(self, packet: av.Packet[Any] | None) -> list[Sample]:
        """In the order in which they are due; an empty packet flushes. Raises av.FFmpegError."""


class RawSamples:
    """Of a track that is decoded."""

    def __init__(self, track: OpenTrack, seams: Seams | None) -> None:
        self._decoder = TrackDecoder(track)
        self._index, self._seams = track.index, seams

    def take(self, packet: av.Packet[Any] | None) -> list[Sample]:
        """See Samples.take."""
        return [self._sample(*decoded) for decoded in self._decoder.decode(packet)]

    def _sample(self, frame: Any, timestamp_us: int, duration_us: int) -> Sample:
        if self._seams is not None:
            timestamp_us += self._seams(self._index, timestamp_us, duration_us)
        return Sample(frame, timestamp_us, timestamp_us, duration_us)


class SoundSamples:
    """Of a sound track that is not decoded.

    What an encoder put in front, so that a decoder has something to begin with, is not handed on: a viewer
    begins anywhere. Of a pass that follows another it would be heard in the time of what came before.
    """

    def __init__(self, index: int, passed: PassedAudio, seams: Seams | None) -> None:
        self._index, self._passed, self._seams = index, passed, seams
        self._next_us = 0

    def take(self, packet: av.Packet[Any] | None) -> list[Sample]:
        """See Samples.take."""
        unit = None if packet is None else self._passed.take(packet)
        if unit is None or packet is None:
            return []
        if packet.is_discard or _skipped_us(packet) >= unit.duration_us:
            self._passed.tap.prime(unit)
            return []
        timestamp_us = self._next_us
        if packet.pts is not None:
            timestamp_us = to_us(packet.pts, packet.time_base)
            if self._seams is not None:
                timestamp_us += self._seams(self._index, timestamp_us, unit.duration_us)
        self._next_us = timestamp_us + unit.duration_us
        return [Sample(unit, timestamp_us, timestamp_us, unit.duration_us, self._passed)]


def _skipped_us(packet: av.Packet[Any]) -> int:
    """How much of its beginning is not to be heard, as the container says (AV_PKT_DATA_SKIP_SAMPLES)."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    samples = int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
    rate: int = packet.stream.codec_context.sample_rate
    return -(-samples * 1_000_000 // rate) if rate else 0


class VideoSamples:
    """Of a video track that is not decoded: due when they are to be decoded.

    A file that was cut without encoding begins with pictures that are not to be shown (MP4's edit list): they
    are handed on at once, in no time, just before the first one that is shown.
    """

    def __init__(self, index: int, passed: PassedVideo, seams: Seams | None) -> None:
        self._index, self._passed, self._seams = index, passed, seams
        self._due_us: int | None = None
        self._next_us = 0  # when a unit without any time would be shown
        self._hidden: list[Sample] = []

    def take(self, packet: av.Packet[Any] | None) -> list[Sample]:
        """See Samples.take."""
        taken = None if packet is None else self._passed.take(packet)
        if taken is None or packet is None:
            return []
        sample = self._sample(taken)
        if packet.is_discard and len(self._hidden) < _MAX_HIDDEN:
            self._hidden.append(sample)
            return []
        hidden, self._hidden = self._hidden, []
        order = sorted(earlier.pts_us for earlier in hidden)
        # Nothing that is shown from here on is shown before it is decoded.
        ends_us = min(sample.pts_us, sample.due_us)
        return [
            *(
                replace(
                    earlier,
                    pts_us=ends_us - _HIDDEN_US * (len(order) - order.index(earlier.pts_us)),
                    due_us=sample.due_us,
                    duration_us=_HIDDEN_US,
                    shown=False,
                )
                for earlier in hidden
            ),
            sample,
        ]

    def _sample(self, taken: Taken) -> Sample:
        pts_us, dts_us = self._plausible(taken.pts_us, taken.dts_us)
        if self._seams is not None:
            at_us = pts_us if dts_us is None else min(pts_us, dts_us)
            offset = self._seams(self._index, at_us, taken.duration_us)
            pts_us += offset
            dts_us = None if dts_us is None else dts_us + offset
        # Times of decoding only go up, but Matroska leaves out the first ones.
        if dts_us is None:
            dts_us = pts_us if self._due_us is None else self._due_us
        self._due_us = dts_us if self._due_us is None else max(dts_us, self._due_us)
        self._next_us = pts_us + taken.duration_us
        return Sample(taken, pts_us, self._due_us, taken.duration_us, self._passed)

    def _plausible(self, pts_us: int | None, dts_us: int | None) -> tuple[int, int | None]:
        """When it is shown and when it is decoded, where one of them may be missing or broken."""
        if pts_us is None:
            pts_us = self._next_us if dts_us is None else dts_us
        if dts_us is not None and abs(pts_us - dts_us) > _PLAUSIBLE_US:
            pts_us = dts_us = min(pts_us, dts_us, key=lambda at_us: abs(at_us - self._next_us))
        return pts_us, dts_us
