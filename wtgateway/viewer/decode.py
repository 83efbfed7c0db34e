"""The viewer's decoders: frames of the protocol to pictures and samples, in one thread.

Imports media, errors, av and opus. Rule kept: after an error a video track waits for its next keyframe.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from wtgateway.errors import EncoderError
from wtgateway.media import Frame, Kind, Rendition
from wtgateway.viewer.opus import ConcealingOpus, RefusedPacketError

MICROSECONDS = Fraction(1, 1_000_000)
_MAX_PENDING = 64


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame with what is needed to decode it."""

    frame: Frame
    kind: Kind
    rendition: Rendition


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture, or some samples, and the frame they came from; ``decoded_at`` as time.monotonic().

    ``concealed``: samples in place of a packet that never came; ``source`` is the one after it.
    """

    source: Frame
    kind: Kind
    media: av.VideoFrame | av.AudioFrame
    decoded_at: float
    concealed: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of a picture."""
        return (self.media.width, self.media.height) if isinstance(self.media, av.VideoFrame) else None


_Context = VideoCodecContext | AudioCodecContext | ConcealingOpus
_Shape = tuple[str, bytes, bool]  # codec family, description, whether pictures are reordered
_DECODERS = {  # by the first part of a codec string (RFC 6381), FFmpeg's name
    "avc1": "h264",
    "avc3": "h264",
    "hvc1": "hevc",
    "hev1": "hevc",
    "av01": "libdav1d",
    "vp09": "vp9",
    "opus": "opus",
    "mp4a": "aac",
}


def open_decoder(kind: Kind, rendition: Rendition) -> _Context:
    """A decoder that gives out each picture at once. Raises EncoderError for a codec we have not."""
    if rendition.codec == "opus" and not rendition.description and rendition.channels <= 2:
        with contextlib.suppress(EncoderError):  # without libopus FFmpeg's does, and conceals nothing
            return ConcealingOpus(rendition.channels or 2)
    name = _DECODERS.get(rendition.codec.split(".")[0])
    if name is None:
        raise EncoderError(f"codec {rendition.codec} is not one that this viewer decodes")
    context = av.CodecContext.create(name, "r")
    if rendition.description:
        context.extradata = rendition.description
    if isinstance(context, VideoCodecContext):
        if not rendition.reorder_frames:  # it would give pictures out as they come
            context.flags |= Flags.low_delay
        context.thread_count = 1  # frame threads hold pictures back
    elif isinstance(context, AudioCodecContext):
        context.sample_rate = rendition.sample_rate or 48_000
        context.layout = {1: "mono", 6: "5.1"}.get(rendition.channels, "stereo")
    else:
        raise EncoderError(f"track kind {kind} cannot be decoded")
    return context


class Decoder:
    """Decodes all tracks of a broadcast. ``decode`` is called in the worker's thread only.

    ``on_decoded`` and ``on_error`` (track, words) are called in that thread too.
    """

    def __init__(self, on_decoded: Callable[[Decoded], None], on_error: Callable[[int, str], None]) -> None:
        self._on_decoded, self._on_error = on_decoded, on_error
        self._contexts: dict[int, tuple[_Shape, _Context]] = {}
        self._waiting: set[int] = set()
        self._refused: set[str] = set()
        self._pending: dict[int, dict[int, Frame]] = {}

    def decode(self, item: Encoded) -> None:
        """Decode one frame; errors are reported, never raised."""
        track = item.frame.track
        if track in self._waiting and not item.frame.keyframe:
            return
        self._waiting.discard(track)
        try:
            context = self._context(item)
            packet = av.Packet(item.frame.payload)
            packet.pts = item.frame.pts_us
            packet.time_base = MICROSECONDS
            pending = self._pending.setdefault(track, {})
            pending[item.frame.pts_us] = item.frame
            if len(pending) > _MAX_PENDING:
                del pending[next(iter(pending))]
            for media in context.decode(packet):
                source = pending.pop(media.pts if media.pts is not None else -1, item.frame)
                concealed = isinstance(context, ConcealingOpus) and media.pts != packet.pts
                self._on_decoded(Decoded(source, item.kind, media, time.monotonic(), concealed))
        except FFmpegError as error:
            self._contexts.pop(track, None)
            self._waiting.add(track)
            self._on_error(track, f"track {track} cannot be decoded: {error.strerror}")
        except RefusedPacketError as error:
            self._on_error(track, f"track {track} cannot be decoded: {error}")
        except EncoderError as error:
            if item.rendition.codec not in self._refused:  # said once, not for each frame
                self._refused.add(item.rendition.codec)
                self._on_error(track, str(error))

    def close(self) -> None:
        """Free the decoders."""
        self._contexts.clear()

    def _context(self, item: Encoded) -> _Context:
        # Size changes come in band; only another codec or description needs another decoder.
        rendition = item.rendition
        reorders = rendition.reorder_frames > 0
        shape = (rendition.codec.split(".")[0], rendition.description, reorders)
        known = self._contexts.get(item.frame.track)
        if known is None or known[0] != shape:
            known = self._contexts[item.frame.track] = (shape, open_decoder(item.kind, rendition))
            self._pending.pop(item.frame.track, None)
        return known[1]
