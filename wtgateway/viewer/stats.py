"""What a viewer measures, and how it says so. All times are arguments. Imports media only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from wtgateway.media import Kind
from wtgateway.protocol.messages import Access

RECENT_S = 2.0
MAX_LATENCIES = 100_000  # half an hour of pictures at 60 Hz


def percentile(values: list[int], share: float) -> int | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


@dataclass(slots=True)
class TrackFigures:
    """One kind of track since the viewer began, over all its sessions."""

    codec: str = ""
    frames_received: int = 0
    bytes_received: int = 0
    frames_decoded: int = 0
    frames_concealed: int = 0  # of sound: made up, or recovered from the packet after
    frames_dropped: int = 0  # received and not decoded
    gaps: int = 0
    decode_errors: int = 0
    jitter_us: float = 0.0
    latencies_us: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_LATENCIES))
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _recent_latencies: deque[tuple[float, int]] = field(default_factory=deque)

    def arrived(self, now: float, size_bytes: int) -> None:
        """A frame came, in order."""
        self.frames_received += 1
        self.bytes_received += size_bytes
        self._recent.append((now, size_bytes))
        _forget(self._recent, now)

    def decoded(self, now: float, latency_us: int | None) -> None:
        """A frame was decoded, so long after its capture (None: the clock is not known yet)."""
        self.frames_decoded += 1
        if latency_us is not None:
            self.latencies_us.append(latency_us)
            self._recent_latencies.append((now, latency_us))
            _forget(self._recent_latencies, now)

    def rates(self, now: float) -> tuple[float, float]:
        """Frames and bits a second, lately."""
        _forget(self._recent, now)
        if len(self._recent) < 2:
            return 0.0, 0.0
        span = self._recent[-1][0] - self._recent[0][0]
        if span <= 0:
            return 0.0, 0.0
        later = list(self._recent)[1:]
        return len(later) / span, sum(size for _, size in later) * 8 / span

    def recent_latency(self, share: float) -> int | None:
        """A percentile of the latency lately, in µs."""
        return percentile([latency for _, latency in self._recent_latencies], share)


def _forget(recent: deque[tuple[float, int]], now: float) -> None:
    while recent and recent[0][0] < now - RECENT_S:
        recent.popleft()


@dataclass(slots=True)
class ViewerFigures:
    """All that a viewer measures."""

    started_at: float
    state: str = "connecting"
    transport: str = "webtransport"  # or "websocket"
    access: Access | None = None  # as the gateway said last
    source_state: str = ""
    delivery: str = "stream"
    width: int = 0
    height: int = 0
    reconnects: int = 0
    roams: int = 0  # sessions opened beside another one that took its place
    roam_us: int | None = None  # the gap in the picture, when that happened last
    keyframe_requests: int = 0
    rtt_us: int = 0
    connected_at: float | None = None
    first_frame_s: float | None = None  # from CONNECT to the first decoded picture (or sound)
    recorded: str = ""
    fragments_received: int = 0
    fragments_recovered: int = 0  # that were made from parity
    nacks_sent: int = 0  # frames, or parts of frames, that were asked for again
    frames_expired: int = 0  # of which a part came, and the rest not before their deadline
    duplicates: int = 0  # datagrams, and frames, that came twice
    gateway: dict[str, Any] = field(default_factory=dict)
    tracks: dict[Kind, TrackFigures] = field(
        default_factory=lambda: {Kind.VIDEO: TrackFigures(), Kind.AUDIO: TrackFigures()}
    )

    def skew_us(self) -> int | None:
        """How much later pictures are than sound, lately, by the medians of their latencies."""
        video = self.tracks[Kind.VIDEO].recent_latency(0.5)
        audio = self.tracks[Kind.AUDIO].recent_latency(0.5)
        return None if video is None or audio is None else video - audio

    def line(self, now: float) -> str:
        """One line for a person."""
        video, audio = self.tracks[Kind.VIDEO], self.tracks[Kind.AUDIO]
        main = video if video.frames_received else audio
        fps, bits = video.rates(now)
        bits += audio.rates(now)[1]
        words = [self.state if not self.source_state else f"{self.state}/{self.source_state}"]
        if video.codec:
            words.append(f"{video.codec} {self.width}x{self.height} {fps:.1f} fps")
        if audio.codec:
            words.append(audio.codec)
        words.append(f"{bits / 1e6:.2f} Mbit/s")
        p50, p95 = main.recent_latency(0.5), main.recent_latency(0.95)
        if p50 is not None and p95 is not None:
            words.append(f"latency {p50 / 1e3:.1f}/{p95 / 1e3:.1f} ms")
        words.append(f"jitter {main.jitter_us / 1e3:.1f} ms")
        words.append(f"gaps {video.gaps}+{audio.gaps} dropped {video.frames_dropped + audio.frames_dropped}")
        if (skew := self.skew_us()) is not None:
            words.append(f"A/V {skew / 1e3:+.0f} ms")
        return "  ".join(words)

    def as_dict(self, now: float) -> dict[str, Any]:
        """The figures under the names of the player's ``stats()``, and some more."""
        video, audio = self.tracks[Kind.VIDEO], self.tracks[Kind.AUDIO]
        seconds = max(now - (self.connected_at or self.started_at), 1e-6)
        skew = self.skew_us()
        main = video if video.frames_received else audio
        return {
            "state": self.state,
            "sourceState": self.source_state,
            "transport": self.transport,
            "delivery": self.delivery,
            "codec": video.codec,
            "width": self.width,
            "height": self.height,
            **_track_dict(video),
            "fps": round(video.frames_received / seconds, 2),
            "bitrateBps": round((video.bytes_received + audio.bytes_received) * 8 / seconds),
            "latencyMs": _latency_dict(main),
            "jitterMs": round(main.jitter_us / 1e3, 2),
            "avSkewMs": None if skew is None else round(skew / 1e3, 1),
            "audio": {"codec": audio.codec, **_track_dict(audio), "latencyMs": _latency_dict(audio)},
            "firstFrameMs": None if self.first_frame_s is None else round(self.first_frame_s * 1e3, 1),
            "reconnects": self.reconnects,
            "roams": self.roams,
            "roamMs": None if self.roam_us is None else round(self.roam_us / 1e3, 1),
            "keyframeRequests": self.keyframe_requests,
            "rttMs": round(self.rtt_us / 1e3, 2),
            "fragmentsReceived": self.fragments_received,
            "fragmentsRecovered": self.fragments_recovered,
            "nacksSent": self.nacks_sent,
            "framesExpired": self.frames_expired,
            "duplicates": self.duplicates,
            "seconds": round(seconds, 2),
            "recorded": self.recorded,
            "gateway": self.gateway,
        }


def _track_dict(track: TrackFigures) -> dict[str, int]:
    return {
        "framesReceived": track.frames_received,
        "framesDecoded": track.frames_decoded,
        "framesConcealed": track.frames_concealed,
        "framesDropped": track.frames_dropped,
        "gaps": track.gaps,
        "decodeErrors": track.decode_errors,
    }


def _latency_dict(track: TrackFigures) -> dict[str, float | None]:
    values = list(track.latencies_us)

    def ms(value: int | None) -> float | None:
        return None if value is None else round(value / 1e3, 2)

    return {
        "last": ms(values[-1] if values else None),
        "p50": ms(percentile(values, 0.5)),
        "p95": ms(percentile(values, 0.95)),
    }
