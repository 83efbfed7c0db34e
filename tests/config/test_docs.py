"""docs/configuration.md and the example file say what the code does."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wtgateway.cli import build_parser
from wtgateway.config import (
    AccessConfig,
    ApiConfig,
    AudioConfig,
    BroadcastConfig,
    BroadcastLimits,
    ClusterConfig,
    GatewayConfig,
    LbSettings,
    LimitsConfig,
    TransportConfig,
    VideoConfig,
    load,
)
from wtgateway.config import settings as tables
from wtgateway.config.values import RESERVED_NAMES

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "configuration.md").read_text()
WORDS = set(re.findall(r"`([^`\s=]+)`", DOCS)) | set(re.findall(r"--[a-z][a-z-]*|WTG_[A-Z_]+", DOCS))
UNITS = ("_bps", "_bytes", "_s")


@pytest.mark.parametrize(
    "model",
    [
        GatewayConfig,
        TransportConfig,
        LimitsConfig,
        ApiConfig,
        AccessConfig,
        ClusterConfig,
        LbSettings,
        BroadcastConfig,
        BroadcastLimits,
        VideoConfig,
        AudioConfig,
    ],
)
def test_every_field_is_documented(model: type) -> None:
    for field in dataclasses.fields(model):
        if not field.compare:  # no setting
            continue
        name = field.name
        for unit in UNITS:
            name = name.removesuffix(unit)
        assert {name, field.name} & WORDS, f"docs/configuration.md does not mention {name}"


def test_every_key_and_variable_is_documented() -> None:
    gateway = (
        tables.GATEWAY,
        tables.TRANSPORT,
        tables.CLUSTER,
        tables.LB,
        tables.LIMITS,
        tables.API,
        tables.ACCESS,
    )
    for table in (*gateway, tables.BROADCAST, tables.VIDEO, tables.AUDIO):
        assert {setting.key for setting in table} <= WORDS
    assert set(tables.layer_keys().values()) <= WORDS
    assert set(RESERVED_NAMES) <= WORDS


def test_no_variable_is_documented_that_does_not_exist() -> None:
    known = set(tables.layer_keys().values()) | {"WTG_BNID", "WTG_"}
    assert {word for word in WORDS if word.startswith("WTG_")} <= known


def flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from flags(child)
        elif action.help != argparse.SUPPRESS:
            yield from (option for option in action.option_strings if option.startswith("--"))


def test_every_flag_is_documented_and_exists() -> None:
    existing = set(flags(build_parser())) - {"--help"}
    documented = {word for word in WORDS if re.fullmatch(r"--[a-z-]+", word)}
    assert existing == documented


def test_every_setting_of_all_layers_has_a_flag() -> None:
    existing = {flag.removeprefix("--").replace("-", "_") for flag in flags(build_parser())}
    existing |= {"source", "video", "audio"}  # SOURCE, --no-video, --no-audio
    assert set(tables.layer_keys()) <= existing


@pytest.mark.parametrize(
    "text", [(ROOT / "wtgateway.example.yml").read_text(), *re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)]
)
def test_examples_are_valid(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wtgateway.yml"
    path.write_text(text)
    assert load({}, {}, path).broadcasts
    # the example's commented blocks are valid too
    path.write_text(re.sub(r"^(\s*)# (public|movie|door|desk|  )", r"\1\2", text, flags=re.MULTILINE))
    assert load({}, {}, path).broadcasts


def test_the_example_without_its_comments_is_the_default(tmp_path: Path) -> None:
    assert load({}, {}, ROOT / "wtgateway.example.yml") == GatewayConfig()
