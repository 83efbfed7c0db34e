"""An open container: its tracks with their decoders, and how to close it. May import av."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.stream import Disposition

from wtgateway.sources.srt import SrtInput


@dataclass(frozen=True, slots=True)
class OpenTrack:
    """One track of an open container, with its decoder."""

    kind: str  # "video" or "audio"
    index: int
    decoder: Any  # av.VideoCodecContext or av.AudioCodecContext
    time_base: Fraction
    fps: float = 0.0

    @property
    def codec(self) -> str:
        """FFmpeg's canonical name of the codec: "h264", "opus"."""
        return str(self.decoder.codec.canonical_name)

    @property
    def packet_bytes(self) -> int:
        """Memory behind each packet that its size does not tell: pictures handed on by reference."""
        return int(self.decoder.width * self.decoder.height * 4) if self._wrapped else 0

    @property
    def _wrapped(self) -> bool:
        return str(self.decoder.name) == "wrapped_avframe"

    @property
    def intra_only(self) -> bool:
        """Whether each packet stands alone."""
        return self.kind == "audio" or self._wrapped or bool(self.decoder.codec.intra_only)


@dataclass(frozen=True, slots=True)
class Opened:
    """A container whose tracks are known.

    The container belongs to the reader's thread, which closes it as soon as it is read to its end.
    """

    container: av.container.InputContainer
    tracks: tuple[OpenTrack, ...]
    format: str
    duration_us: int  # 0: unknown or endless
    input: SrtInput | None = None  # what FFmpeg reads from, when that is ours

    def close(self) -> None:
        """Close it; what was read from it stays."""
        self.container.close()
        if self.input is not None:
            self.input.close()


def tracks_of(container: av.container.InputContainer, device: bool) -> Iterator[OpenTrack]:
    """The best video and the best audio stream; pictures of an album's cover are none."""
    for kind in ("video", "audio"):
        stream: Any = container.streams.best(kind)
        if stream is None or stream.codec_context is None or not stream.time_base:
            continue
        if stream.disposition & Disposition.attached_pic:
            continue
        fps = 0.0
        if kind == "video":
            stream.codec_context.thread_type = "SLICE"  # frame threads hold pictures back
            rates = (stream.average_rate, stream.guessed_rate)
            # FFmpeg guesses a device's rate from how it came; what it was asked for is better.
            rate = next(filter(None, rates if device else reversed(rates)), 0)
            fps = float(rate) if rate < 1000 else 0.0  # 90000 and the like: it is not known
        yield OpenTrack(kind, stream.index, stream.codec_context, stream.time_base, fps)
