"""The blocks `limits:` and `api:`."""

from __future__ import annotations

from pathlib import Path

import pytest

from wtgateway.config import BroadcastLimits, GatewayConfig, LimitsConfig, load
from wtgateway.config.allowed_sources import parse_rules
from wtgateway.errors import ConfigError


def read(tmp_path: Path, text: str) -> GatewayConfig:
    path = tmp_path / "wtgateway.yml"
    path.write_text(text)
    return load({}, {}, path)


def test_the_gateways_limits(tmp_path: Path) -> None:
    text = "limits: {sessions: 5, sessions_per_address: 2, bitrate: 10M, bitrate_per_session: 500k}"
    assert read(tmp_path, text).limits == LimitsConfig(
        sessions=5, sessions_per_address=2, bitrate_bps=10_000_000, bitrate_per_session_bps=500_000
    )
    assert read(tmp_path, "limits: {bitrate: 0, sessions: 0}").limits == LimitsConfig(sessions=0)


def test_a_broadcast_has_limits_of_its_own_over_the_defaults(tmp_path: Path) -> None:
    text = """
defaults: {limits: {sessions: 9, bitrate: 8M}}
broadcasts:
  a: {source: "test:", limits: {sessions: 3, bitrate_per_session: 1M}}
  b: "test:"
"""
    a, b = read(tmp_path, text).broadcasts
    assert a.limits == BroadcastLimits(sessions=3, bitrate_bps=8_000_000, bitrate_per_session_bps=1_000_000)
    assert b.limits == BroadcastLimits(sessions=9, bitrate_bps=8_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "limits: {sessions: -1}",
        "limits: {sessions: many}",
        "limits: {control_messages_per_s: 0}",
        "limits: {speed: 1}",
        "limits: 5",
        'broadcasts: {a: {source: "test:", limits: {sessions_per_address: 1}}}',
        'broadcasts: {a: {source: "test:", limits: 5}}',
        "api: {allowed_sources: ['lavfi:*']}",
        "api: {allowed_sources: {a: b}}",
        "api: {sources: []}",
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read(tmp_path, text)


def test_sources_that_the_api_may_add(tmp_path: Path) -> None:
    rules = "rtsp://*.cams.example", "file:/srv/media/*", "test:"
    listed = read(tmp_path, "api: {allowed_sources: ['" + "', '".join(rules) + "']}")
    assert listed.api.allowed_sources == parse_rules(",".join(rules))
    assert read(tmp_path, 'api: {allowed_sources: "test:"}').api.allowed_sources == parse_rules("test:")
    assert GatewayConfig().api.allowed_sources == ()
