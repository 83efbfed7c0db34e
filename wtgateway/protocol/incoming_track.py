"""One track as a viewer receives it: bounds, order, figures. Imports media and this package."""

from __future__ import annotations

from dataclasses import dataclass, field

from wtgateway.media import Frame, Kind
from wtgateway.protocol import messages
from wtgateway.protocol.ordering import FrameOrder
from wtgateway.protocol.sound_order import SoundOrder
from wtgateway.protocol.wire import FrameParser

MAX_JITTER_US = 1_000_000_000  # timestamps are the peer's: nonsense must not overflow our own messages


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Bounds and intervals of a viewer's session; times in seconds."""

    buffered_bytes: int = 64 * 1024 * 1024  # of frames that have not wholly arrived
    early_frames: int = 256  # that came before the catalog which explains them
    early_bytes: int = 16 * 1024 * 1024
    video_patience: float = 0.15
    audio_patience: float = 0.06
    deadline: float = 0.5  # of a frame, where the viewer wishes no other: the gateway's default
    first_ping_interval: float = 0.1
    ping_interval: float = 2.0
    feedback_interval: float = 0.25
    silence: float = 10.0  # the gateway speaks every second


@dataclass(slots=True)
class DecoderFigures:
    """What the viewer makes of a track; it writes them here, and they go into the next feedback."""

    frames_decoded: int = 0
    frames_dropped: int = 0
    frames_painted: int = 0
    decode_queue: int = 0
    latency_us: int = 0


@dataclass(slots=True)
class TrackState:
    """One track as it arrives."""

    kind: Kind
    order: FrameOrder | SoundOrder
    frames: int = 0
    bytes: int = 0
    newest: tuple[int, int] = (0, 0)
    newest_at: float = 0.0
    jitter_us: float = 0.0  # RFC 3550, section 6.4.1, by capture and arrival
    decoder: DecoderFigures = field(default_factory=DecoderFigures)
    _transit_us: float | None = None

    def count(self, frame: Frame, now: float) -> None:
        """Take a frame's arrival into the figures."""
        self.frames += 1
        self.bytes += len(frame.payload)
        if (frame.group, frame.index) >= self.newest:
            self.newest, self.newest_at = (frame.group, frame.index), now
        transit_us = now * 1e6 - frame.capture_us
        if self._transit_us is not None:
            self.jitter_us += (abs(transit_us - self._transit_us) - self.jitter_us) / 16
        self._transit_us = transit_us

    @classmethod
    def of(cls, kind: Kind, limits: ClientLimits) -> TrackState:
        """A track of which nothing has come yet."""
        track = cls(
            kind, SoundOrder() if kind is Kind.AUDIO else FrameOrder(independent=kind is not Kind.VIDEO)
        )
        track.wait_for(0, limits)
        return track

    def wait_for(self, least_us: int, limits: ClientLimits) -> None:
        """What is missing is waited for at least so long."""
        patience = limits.video_patience if self.kind is Kind.VIDEO else limits.audio_patience
        self.order.patience_us = max(round(patience * 1e6), least_us)

    def coming(self, group: int, index: int) -> None:
        """A part of a frame is here, and the rest may be waited for."""
        if isinstance(self.order, FrameOrder):
            self.order.coming(group, index)

    def lost(self, rendition: int, group: int, index: int, now_us: int) -> list[Frame]:
        """A frame will never come; returns what can be decoded because of that."""
        if isinstance(self.order, SoundOrder):
            return self.order.lost(rendition, group, index, now_us)
        return self.order.lost(group, index, now_us)

    def feedback(self, track: int, arrival_us: int) -> messages.Feedback:
        """What the gateway is told; ``arrival_us`` is the newest frame's, in gateway time (0: not known)."""
        counters = self.order.counters
        return messages.Feedback(
            track=track,
            group=self.newest[0],
            index=self.newest[1],
            arrival_us=max(0, arrival_us),
            frames_received=self.frames,
            frames_decoded=self.decoder.frames_decoded,
            frames_dropped=self.decoder.frames_dropped + counters.late + counters.discarded,
            frames_painted=self.decoder.frames_painted,
            decode_queue=self.decoder.decode_queue,
            latency_us=self.decoder.latency_us,
            jitter_us=min(round(self.jitter_us), MAX_JITTER_US),
        )


class FrameStream:
    """One unidirectional stream of the gateway's, on its way to becoming frames."""

    def __init__(self) -> None:
        self.parser = FrameParser()
        self.began = 0.0  # when the first byte of the unfinished frame came

    def feed(self, data: bytes, now: float) -> list[tuple[Frame, float]]:
        """The frames completed by ``data``, and when each had begun. Raises ProtocolError."""
        if self.parser.idle:
            self.began = now
        frames, began = self.parser.feed(data), self.began
        if frames:
            self.began = now
        return [(frame, began if n == 0 else now) for n, frame in enumerate(frames)]
