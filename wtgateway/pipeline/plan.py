"""Which renditions the tracks of a broadcast have: the source's own coding, and those encoded on demand.

Pure but for asking what encoders were measured to cost. May import config, media, errors and the
values of sources and encoders. The rule: best first, since each viewer gets the first it decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wtgateway.errors import SourceError
from wtgateway.media import Rendition

if TYPE_CHECKING:
    from wtgateway.config import AudioConfig, RenditionConfig, VideoConfig
    from wtgateway.encoders import AudioSettings, Measurement, VideoSettings
    from wtgateway.sources.base import SourceInfo

FALLBACK_FPS = 30.0
DEFAULT_BITRATE_BPS = 4_000_000
# `codec: auto`, best first: by what they need for the same picture. Every browser takes the last.
AUTO_CODECS = ("av1", "hevc", "vp9", "h264")
# What a catalog says of a rendition before it has run: what its encoder makes of a picture like it.
_EXPECTED = {
    "h264": "avc1.42C028",
    "hevc": "hvc1.1.6.L120.90",
    "av1": "av01.0.08M.08",
    "vp9": "vp09.00.40.08",
}

Measure = Callable[[Sequence[str]], Iterable["Measurement"]]


@dataclass(frozen=True, slots=True)
class Planned:
    """One rendition of the video. ``settings`` None: the source's own coding, forwarded."""

    id: int
    settings: VideoSettings | None

    def expected(self, info: SourceInfo) -> Rendition:
        """What can be said of an encoded one that has not run yet."""
        assert self.settings is not None
        width, height = encoded_size(self.settings, info)
        return Rendition(
            id=self.id,
            codec=_EXPECTED[self.settings.codec],
            bitrate_bps=self.settings.bitrate_bps,
            width=width,
            height=height,
            fps=self.settings.fps,
        )


@dataclass(frozen=True, slots=True)
class PlannedAudio:
    """One rendition of the sound. ``settings`` None: the source's own coding, forwarded."""

    id: int
    settings: AudioSettings | None

    def expected(self, info: SourceInfo) -> Rendition:
        """What can be said of an encoded one that has not run yet."""
        from wtgateway.encoders.audio import audio_rendition

        assert self.settings is not None
        return audio_rendition(self.id, self.settings, info.channels)


def wants_audio_forwarding(audio: AudioConfig | None) -> bool:
    """Whether a source should yield its coded sound, if it has such."""
    if audio is None or audio.reencode == "always":
        return False
    return audio.reencode == "never" or not _asks_for_encoded_sound(audio)


def plan_audio(audio: AudioConfig, info: SourceInfo) -> tuple[PlannedAudio, ...]:
    """The renditions of a source's sound, best first. Raises SourceError when nothing may be heard.

    Every browser decodes Opus, so nothing is made of that.
    """
    if audio.reencode == "never" and not info.coded_audio:
        raise SourceError(
            f"{info.description} has no coded sound that could be forwarded"
            f" ({info.audio_codec or 'unknown codec'}); set audio.reencode: auto"
        )
    forwarded = [PlannedAudio(0, None)] if info.coded_audio else []
    if info.coded_audio == "opus" or audio.reencode == "never":
        return tuple(forwarded)
    return (*forwarded, PlannedAudio(len(forwarded), audio_settings(audio)))


def audio_settings(audio: AudioConfig) -> AudioSettings:
    """How to encode sound."""
    from wtgateway.encoders import AudioSettings

    return AudioSettings(
        codec=audio.codec,
        bitrate_bps=audio.bitrate_bps,
        channels=audio.channels,
        frame_ms=audio.frame_ms,
        fec=audio.fec,
        dtx=audio.dtx,
    )


def _asks_for_encoded_sound(audio: AudioConfig) -> bool:
    return replace(audio, reencode="auto") != type(audio)()


def wants_forwarding(video: VideoConfig | None) -> bool:
    """Whether a source should yield its coded pictures, if it has such."""
    if video is None or video.reencode == "always":
        return False
    return video.reencode == "never" or bool(video.renditions) or not _asks_for_encoding(video)


def plan_video(video: VideoConfig, info: SourceInfo, measure: Measure) -> tuple[Planned, ...]:
    """The renditions of a source, in order. ``measure`` blocks, and is asked for ``codec: auto`` only.

    Raises SourceError when nothing may be shown.
    """
    forwarded = bool(info.coded_video)
    if video.reencode == "never":
        if not forwarded:
            raise SourceError(
                f"{info.description} has no coded pictures that could be forwarded"
                f" ({info.video_codec or 'unknown codec'}); set reencode: auto"
            )
        return (Planned(0, None),)
    settings: list[VideoSettings | None] = [None] if forwarded else []
    for wanted in video.renditions or (video,):
        settings += _encoded(wanted, video, info, measure)
    return tuple(Planned(number, each) for number, each in enumerate(settings))


def _asks_for_encoding(wanted: RenditionConfig) -> bool:
    return any((wanted.codec, wanted.bitrate_bps, wanted.fps, wanted.width, wanted.height, wanted.preset))


def _encoded(
    wanted: RenditionConfig, video: VideoConfig, info: SourceInfo, measure: Measure
) -> Iterator[VideoSettings]:
    from wtgateway.encoders import VideoSettings

    settings = VideoSettings(
        bitrate_bps=wanted.bitrate_bps or video.bitrate_bps or DEFAULT_BITRATE_BPS,
        fps=wanted.fps or video.fps or info.fps or FALLBACK_FPS,
        width=wanted.width or (0 if wanted.height else video.width),
        height=wanted.height or (0 if wanted.width else video.height),
        droppable=video.droppable == "auto",
    )
    if preset := wanted.preset or video.preset:
        settings = replace(settings, preset=preset)
    codec = wanted.codec or video.codec or "h264"
    if codec != "auto":
        yield replace(settings, codec=codec)
        return
    yield from _automatic(settings, info, measure)


def _automatic(settings: VideoSettings, info: SourceInfo, measure: Measure) -> Iterator[VideoSettings]:
    """One for each codec that this machine keeps up with; H.264 whatever it costs: all decode it."""
    from wtgateway.encoders import choose

    measured = tuple(measure(AUTO_CODECS))
    for codec in AUTO_CODECS:
        best = choose((codec,), settings.fps, encoded_size(settings, info), measured)
        if best is not None:
            yield replace(settings, codec=codec, encoder=best.encoder)
        elif codec == AUTO_CODECS[-1]:
            yield replace(settings, codec=codec)


def encoded_size(settings: VideoSettings, info: SourceInfo) -> tuple[int, int]:
    """Width and height that come out of pictures as the source announces them; 0: it does not say."""
    from wtgateway.encoders.convert import PictureConverter

    if not info.width or not info.height:
        return settings.width, settings.height
    return PictureConverter(settings.width, settings.height).size_for(info.width, info.height)
