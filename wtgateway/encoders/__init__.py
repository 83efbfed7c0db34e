"""Encoders: raw pictures and samples to frames, in threads. av lives here and in sources/ only."""

from wtgateway.encoders.audio import AudioEncoder
from wtgateway.encoders.base import (
    VIDEO_CODECS,
    AudioSettings,
    VideoSettings,
    available_encoders,
)
from wtgateway.encoders.groups import GroupBorders
from wtgateway.encoders.measurements import Measurement, choose
from wtgateway.encoders.video import VideoEncoder

__all__ = [
    "VIDEO_CODECS",
    "AudioEncoder",
    "AudioSettings",
    "GroupBorders",
    "Measurement",
    "VideoEncoder",
    "VideoSettings",
    "available_encoders",
    "choose",
]
