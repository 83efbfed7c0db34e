"""What a source holds: tracks, codecs, sizes, rates. May import media, errors, av."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av

from wtgateway.media import Kind
from wtgateway.sources.base import Source, SourceOptions
from wtgateway.sources.errors_text import source_error
from wtgateway.sources.uri import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTrack:
    """One track as the source has it; unknown numbers are 0, unknown words empty."""

    kind: Kind
    codec: str
    profile: str = ""
    pixel_format: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    bitrate_bps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What was found; ``description`` is the URI without passwords."""

    description: str
    format: str
    duration_s: float  # 0: unknown or endless
    tracks: tuple[ProbeTrack, ...]


def probe_plan(plan: Plan, options: SourceOptions) -> ProbeResult:
    """By FFmpeg. Raises SourceError."""
    try:
        with av.open(
            plan.url,
            "r",
            format=plan.format,
            options=dict(plan.options),
            timeout=(options.open_timeout_s, options.read_timeout_s),
        ) as container:
            return ProbeResult(
                description=plan.description,
                format=container.format.name,
                duration_s=(container.duration or 0) / 1e6,
                tracks=tuple(_track(stream) for stream in container.streams),
            )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise source_error(plan.description, "cannot be opened", error) from error


def probe_source(source: Source) -> ProbeResult:
    """Of our own sources. Raises SourceError."""
    try:
        info = source.open()
    finally:
        source.close()
    tracks = []
    if info.has_video:
        tracks.append(
            ProbeTrack(kind=Kind.VIDEO, codec="raw", width=info.width, height=info.height, fps=info.fps)
        )
    if info.has_audio:
        tracks.append(
            ProbeTrack(kind=Kind.AUDIO, codec="raw", sample_rate=info.sample_rate, channels=info.channels)
        )
    return ProbeResult(description=info.description, format="", duration_s=0.0, tracks=tuple(tracks))


def _track(stream: Any) -> ProbeTrack:
    context = stream.codec_context
    if context is None or stream.type not in ("video", "audio"):
        return ProbeTrack(kind=Kind.DATA, codec=context.codec.canonical_name if context else "")
    common: dict[str, Any] = {
        "codec": context.codec.canonical_name,
        "profile": context.profile or "",
        "bitrate_bps": context.bit_rate or 0,
    }
    if stream.type == "audio":
        return ProbeTrack(
            kind=Kind.AUDIO, sample_rate=context.sample_rate, channels=context.channels, **common
        )
    return ProbeTrack(
        kind=Kind.VIDEO,
        width=context.width,
        height=context.height,
        fps=float(stream.guessed_rate or stream.average_rate or 0),
        pixel_format=context.pix_fmt or "",
        **common,
    )
