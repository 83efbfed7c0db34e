"""The configuration room: command line > ``WTG_*`` environment > YAML file > defaults, in one frozen tree.

Imports only errors, and YAML only when there is a file (start-up time). Every wrong setting raises
:exc:`wtgateway.errors.ConfigError` that names where it was written, key, value and what was expected.
"""

from __future__ import annotations

from wtgateway.config.access import AccessConfig
from wtgateway.config.allowed_sources import SourceRules, check_source
from wtgateway.config.load import load
from wtgateway.config.model import (
    Address,
    ApiConfig,
    AudioConfig,
    BroadcastConfig,
    BroadcastLimits,
    ClusterConfig,
    GatewayConfig,
    LbSettings,
    LimitsConfig,
    RenditionConfig,
    TransportConfig,
    VideoConfig,
)
from wtgateway.config.names import derive_name
from wtgateway.config.values import (
    format_duration,
    parse_address,
    parse_bitrate,
    parse_duration,
    parse_name,
    parse_size,
)

__all__ = [
    "AccessConfig",
    "Address",
    "ApiConfig",
    "AudioConfig",
    "BroadcastConfig",
    "BroadcastLimits",
    "ClusterConfig",
    "GatewayConfig",
    "LbSettings",
    "LimitsConfig",
    "RenditionConfig",
    "SourceRules",
    "TransportConfig",
    "VideoConfig",
    "check_source",
    "derive_name",
    "format_duration",
    "load",
    "parse_address",
    "parse_bitrate",
    "parse_duration",
    "parse_name",
    "parse_size",
]
