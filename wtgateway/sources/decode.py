"""Packets of one track to raw pictures or samples with timestamps. May import av."""

from __future__ import annotations

from typing import Any

import av

from wtgateway.sources.deinterlace import Deinterlacer
from wtgateway.sources.opened import OpenTrack
from wtgateway.sources.timeline import to_us

_BROKEN_IN_A_ROW = 200  # some seconds of nothing but damage: another decoder may fare better


def rotation_of(frame: Any) -> int:
    """Degrees clockwise that a decoded picture is to be turned for display: a quarter turn or several."""
    turned: int = round(-frame.rotation / 90) * 90
    return turned % 360


class TrackDecoder:
    """Decodes one track. Damaged packets are counted and passed over.

    Frames without a timestamp follow the one before. Streams may begin with a few (RTSP), which
    are left out; from ``patience`` of them on it is taken that the format has none at all.
    """

    def __init__(self, track: OpenTrack, *, patience: int = 0) -> None:
        self.kind = track.kind
        self.damaged = 0
        self._decoder = track.decoder
        self._time_base = track.time_base
        self._in_a_row = 0
        self._next_us: int | None = None
        self._patience = patience
        self._whole = Deinterlacer(track.time_base)

    def decode(self, packet: av.Packet[Any] | None) -> list[tuple[Any, int, int]]:
        """(frame, timestamp in µs, duration in µs) of each; an empty packet flushes.

        Raises av.FFmpegError when nothing can be decoded any more.
        """
        ends = packet is None or not packet.size
        try:
            frames = self._decoder.decode(None if ends else packet)
        except av.error.EOFError:
            return []
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            self.damaged += 1
            self._in_a_row += 1
            if self._in_a_row >= _BROKEN_IN_A_ROW:
                raise
            return []
        self._in_a_row = 0
        if self.kind == "video":
            frames = [whole for frame in frames for whole in self._whole(frame)]
            frames += self._whole.flush() if ends else []
        return [timed for timed in map(self._timed, frames) if timed is not None]

    def _timed(self, frame: Any) -> tuple[Any, int, int] | None:
        time_base = frame.time_base or self._time_base
        if self.kind == "audio":
            duration_us = frame.samples * 1_000_000 // frame.sample_rate
        else:
            duration_us = to_us(frame.duration or 0, time_base) or self._nominal_us()
        if frame.pts is not None:
            timestamp_us = to_us(frame.pts, time_base)
        elif self._next_us is not None:
            timestamp_us = self._next_us
        elif self._patience > 0:
            self._patience -= 1
            return None
        else:
            timestamp_us = 0
        self._next_us = timestamp_us + duration_us
        return frame, timestamp_us, duration_us

    def _nominal_us(self) -> int:
        rate = self._decoder.framerate
        return round(1_000_000 / rate) if rate else 40_000
