"""What a broadcast's configuration asks of sources and encoders.

Imports them only when asked, since FFmpeg takes a fifth of a second to load.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wtgateway.errors import ConfigError
from wtgateway.log import redact_url
from wtgateway.pipeline.plan import wants_audio_forwarding, wants_forwarding
from wtgateway.protocol.targets import Policy

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.sources.base import Source


def check_sources(broadcasts: Iterable[BroadcastConfig], where: str) -> None:
    """Raise ConfigError for a source that no retry will cure; ``where`` is what configured them."""
    from wtgateway.sources import check_uri

    for broadcast in broadcasts:
        try:
            check_uri(broadcast.source)
        except ConfigError as error:
            key = f"broadcasts.{broadcast.name}.source"
            raise ConfigError(where, key, redact_url(broadcast.source), error.expected) from None


def policy_of(config: BroadcastConfig) -> Policy:
    """How a broadcast's encoders and viewers adapt."""
    video = config.video
    return Policy(video.adapt, video.min_bitrate_bps) if video is not None else Policy("off")


def is_network_source(config: BroadcastConfig) -> bool:
    """Whether a broadcast's source is reached over the network. Raises ConfigError."""
    from wtgateway.sources.uri import is_network

    return is_network(config.source)


def make_source(config: BroadcastConfig) -> Source:
    """The source of a broadcast, not yet opened. Raises ConfigError."""
    from wtgateway import sources

    video = config.video
    options = sources.SourceOptions(
        loop=config.loop,
        fps=video.fps if video else 0,
        width=video.width if video else 0,
        height=video.height if video else 0,
        capture=config.capture,
        forward=wants_forwarding(video),
        forward_audio=wants_audio_forwarding(config.audio),
        options=config.options,
    )
    return sources.make_source(config.source, options)
