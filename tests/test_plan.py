"""Which renditions a broadcast has, by its configuration and by what its source is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from wtgateway.config import AudioConfig, RenditionConfig, VideoConfig
from wtgateway.encoders import Measurement
from wtgateway.errors import SourceError
from wtgateway.pipeline.plan import (
    AUTO_CODECS,
    encoded_size,
    plan_audio,
    plan_video,
    wants_audio_forwarding,
    wants_forwarding,
)
from wtgateway.sources.base import SourceInfo

CODED = SourceInfo(
    description="camera", has_video=True, has_audio=False, width=1920, height=1080, fps=25.0,
    video_codec="h264", coded_video="h264",
)  # fmt: skip
RAW = SourceInfo(description="screen", has_video=True, has_audio=False, width=1920, height=1080, fps=30.0)


def nobody_measures(codecs: Sequence[str]) -> Iterable[Measurement]:
    raise AssertionError("only codec: auto has to know what encoders cost")


def shapes(video: VideoConfig, info: SourceInfo) -> list[Any]:
    found = []
    for planned in plan_video(video, info, nobody_measures):
        settings = planned.settings
        found.append(
            (settings.codec, *encoded_size(settings, info), settings.bitrate_bps) if settings else "forwarded"
        )
    return found


def test_what_is_coded_is_forwarded_and_encoded_for_who_cannot_decode_it() -> None:
    assert shapes(VideoConfig(), CODED) == ["forwarded", ("h264", 1920, 1080, 4_000_000)]
    assert shapes(VideoConfig(), RAW) == [("h264", 1920, 1080, 4_000_000)]


def test_never_and_always() -> None:
    never, always = VideoConfig(reencode="never"), VideoConfig(reencode="always")
    assert shapes(never, CODED) == ["forwarded"]
    with pytest.raises(SourceError, match=r"screen has no coded pictures .*set reencode: auto"):
        plan_video(never, RAW, nobody_measures)
    assert wants_forwarding(never)
    assert not wants_forwarding(always)


@pytest.mark.parametrize(
    "asked",
    [{"codec": "vp9"}, {"bitrate_bps": 1_000_000}, {"fps": 15.0}, {"width": 640}, {"preset": "fast"}],
)
def test_who_asks_for_something_that_only_encoding_gives_gets_that(asked: dict[str, Any]) -> None:
    assert not wants_forwarding(VideoConfig(**asked))
    assert wants_forwarding(VideoConfig(keyframe_interval_s=1.0))
    assert not wants_forwarding(None)


def test_a_ladder_stands_beside_what_is_forwarded() -> None:
    ladder = VideoConfig(
        codec="vp9",
        renditions=(
            RenditionConfig(height=720, bitrate_bps=3_000_000),
            RenditionConfig(width=640, codec="h264"),
        ),
    )
    assert wants_forwarding(ladder)
    assert shapes(ladder, CODED) == [
        "forwarded",
        ("vp9", 1280, 720, 3_000_000),
        ("h264", 640, 360, 4_000_000),
    ]
    assert [planned.id for planned in plan_video(ladder, CODED, nobody_measures)] == [0, 1, 2]


def test_what_has_not_run_is_announced_as_it_will_be() -> None:
    (planned,) = plan_video(VideoConfig(height=540, bitrate_bps=1_200_000), RAW, nobody_measures)
    expected = planned.expected(RAW)
    assert (expected.width, expected.height, expected.fps) == (960, 540, 30.0)
    assert (expected.codec[:5], expected.bitrate_bps, expected.forwarded) == ("avc1.", 1_200_000, False)


def test_automatic_is_what_this_machine_keeps_up_with_and_h264_in_any_case() -> None:
    def measured(codecs: Sequence[str]) -> Iterable[Measurement]:
        assert tuple(codecs) == AUTO_CODECS
        for encoder, codec, cost_ms in (
            ("libsvtav1", "av1", 12.0),
            ("libx265", "hevc", 80.0),
            ("libvpx-vp9", "vp9", 11.0),
            ("libx264", "h264", 300.0),
        ):
            yield Measurement(encoder=encoder, codec=codec, hardware=False, ok=True, ms_per_frame=cost_ms)

    small = SourceInfo(description="s", has_video=True, has_audio=False, width=1280, height=720, fps=30.0)
    chosen = plan_video(VideoConfig(codec="auto"), small, measured)
    assert [planned.settings.codec for planned in chosen if planned.settings] == ["av1", "vp9", "h264"]
    quick = SourceInfo(description="s", has_video=True, has_audio=False, width=3840, height=2160, fps=60.0)
    chosen = plan_video(VideoConfig(codec="auto"), quick, measured)
    assert [planned.settings.codec for planned in chosen if planned.settings] == ["h264"]


def sounds(audio: AudioConfig, coded: str) -> list[str]:
    info = SourceInfo(
        description="camera",
        has_video=False,
        has_audio=True,
        channels=2,
        audio_codec="pcm",
        coded_audio=coded,
    )
    return [
        "forwarded" if planned.settings is None else planned.expected(info).codec
        for planned in plan_audio(audio, info)
    ]


def test_sound_is_forwarded_and_made_into_opus_for_who_cannot_decode_it() -> None:
    assert sounds(AudioConfig(), "aac") == ["forwarded", "opus"]
    assert sounds(AudioConfig(), "opus") == ["forwarded"], "every browser decodes it"
    assert sounds(AudioConfig(), "") == ["opus"]


def test_sound_never_and_always() -> None:
    never, always = AudioConfig(reencode="never"), AudioConfig(reencode="always")
    assert sounds(never, "aac") == ["forwarded"]
    with pytest.raises(SourceError, match=r"camera has no coded sound .*pcm.*set audio.reencode: auto"):
        sounds(never, "")
    assert wants_audio_forwarding(never)
    assert not wants_audio_forwarding(always)
    assert not wants_audio_forwarding(None)


@pytest.mark.parametrize("asked", [{"bitrate_bps": 64_000}, {"channels": 1}, {"frame_ms": 10}, {"fec": True}])
def test_sound_that_only_encoding_gives_is_encoded(asked: dict[str, Any]) -> None:
    assert wants_audio_forwarding(AudioConfig())
    assert not wants_audio_forwarding(AudioConfig(**asked))
    assert wants_audio_forwarding(AudioConfig(reencode="never", **asked))
