"""What a source holds: tracks, codecs, sizes, rates. May import bitstream, media, errors, av."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wtgateway.bitstream.linter import Finding
from wtgateway.media import Kind
from wtgateway.sources.base import Source, SourceOptions
from wtgateway.sources.inspect import inspect
from wtgateway.sources.opened import OpenTrack
from wtgateway.sources.reader import Manner, PacketReader
from wtgateway.sources.uri import Mode, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTrack:
    """One track that would be played, as the source has it; unknown numbers are 0, unknown words empty."""

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
    codec_string: str = ""  # as browsers name it, from the bits themselves (H.264, HEVC)
    findings: tuple[Finding, ...] = ()  # what makes browsers hold pictures back


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What was found; ``description`` is the URI without passwords."""

    description: str
    format: str
    duration_s: float  # 0: unknown or endless
    tracks: tuple[ProbeTrack, ...]


def probe_plan(plan: Plan, options: SourceOptions) -> ProbeResult:
    """By FFmpeg. Raises SourceError."""
    reader = PacketReader(
        plan,
        lambda _: Manner(lossy=plan.mode not in (Mode.FILE, Mode.GENERATED)),
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
    )
    try:
        opened = reader.open()
        return ProbeResult(
            description=plan.description,
            format=opened.format,
            duration_s=opened.duration_us / 1e6,
            tracks=tuple(_track(reader, track) for track in opened.tracks),
        )
    finally:
        reader.close()


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


def _track(reader: PacketReader, track: OpenTrack) -> ProbeTrack:
    context = track.decoder
    common: dict[str, Any] = {
        "codec": context.codec.canonical_name,
        "profile": context.profile or "",
        "bitrate_bps": context.bit_rate or 0,
    }
    if track.kind == "audio":
        rate, channels = context.sample_rate, context.layout.nb_channels
        return ProbeTrack(kind=Kind.AUDIO, sample_rate=rate, channels=channels, **common)
    inspection = inspect(reader, track)
    return ProbeTrack(
        kind=Kind.VIDEO,
        codec_string=inspection.codec_string,
        findings=inspection.findings,
        width=context.width,
        height=context.height,
        fps=track.fps,
        pixel_format=context.pix_fmt or "",
        **common,
    )
