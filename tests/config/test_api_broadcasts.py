"""What a broadcast of the API may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from wtgateway.config import BroadcastConfig, VideoConfig
from wtgateway.config.allowed_sources import parse_rules
from wtgateway.config.api_broadcasts import api_broadcast
from wtgateway.errors import ConfigError

RULES = parse_rules("rtsp://*.cams.example, http://203.0.114.7, test:")
HOOKS = {"run_on_read": "logger read"}


def resolve(host: str) -> list[str]:
    return ["203.0.114.7"]


def made(source: str, **fields: object) -> BroadcastConfig:
    return BroadcastConfig(name="x", source=source, **fields)  # type: ignore[arg-type]


def test_what_is_allowed_has_a_process_of_its_own() -> None:
    found = api_broadcast({}, made("rtsp://a.cams.example/s", isolate=False), None, RULES, resolve=resolve)
    assert found.isolate is True
    assert api_broadcast({}, made("test:"), None, RULES).isolate is None


def test_redirects_are_not_followed() -> None:
    found = api_broadcast({}, made("http://203.0.114.7/x"), None, RULES)
    assert found.options == {"max_redirects": "0"}


@pytest.mark.parametrize("source", ["rtsp://evil.example/s", "/etc/passwd", "lavfi:movie=x", "x11::0"])
def test_what_no_rule_names_is_refused(source: str) -> None:
    with pytest.raises(ConfigError):
        api_broadcast({}, made(source), None, RULES, resolve=resolve)
    with pytest.raises(ConfigError):
        api_broadcast({}, made("test:"), None, ())


@pytest.mark.parametrize("key", ["run_on_read", "run_on_available", "webhooks", "hooks"])
def test_no_commands_come_over_the_api(key: str) -> None:
    with pytest.raises(ConfigError):
        api_broadcast({key: "id"}, made("test:"), None, RULES)


def test_what_the_configuration_has_may_be_changed_without_its_source() -> None:
    """It is the owner's, whatever the rules say; and its commands stay."""
    present = made("lavfi:testsrc", options={"x": "y"}, hooks=HOOKS)
    wanted = made("lavfi:testsrc", options={"x": "y"}, video=VideoConfig(bitrate_bps=1_000_000))
    found = api_broadcast({}, wanted, present, ())
    assert found.source == "lavfi:testsrc"
    assert found.hooks == HOOKS
    for changed in (
        made("lavfi:color", options={"x": "y"}),
        made("lavfi:testsrc", options={"x": "z"}),
        made("lavfi:testsrc", options={"x": "y"}, isolate=False),
    ):
        with pytest.raises(ConfigError):
            api_broadcast({}, changed, present, RULES, resolve=resolve)


def test_a_file_is_opened_where_it_was_found(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.mp4").touch()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    rules = parse_rules(f"file:{tmp_path}/media/*")
    found = api_broadcast({}, made(f"file:{tmp_path}/link/a.mp4"), None, rules)
    assert found.source == f"file:{tmp_path}/media/a.mp4"
