"""Encoders: raw pictures and samples to frames, in threads. av lives here and in sources/ only."""

from wtgateway.encoders.audio import AudioEncoder
from wtgateway.encoders.base import AudioSettings, MediaEncoder, VideoSettings, available_encoders
from wtgateway.encoders.video import VideoEncoder

__all__ = [
    "AudioEncoder",
    "AudioSettings",
    "MediaEncoder",
    "VideoEncoder",
    "VideoSettings",
    "available_encoders",
]
