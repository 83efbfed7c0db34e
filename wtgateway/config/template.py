"""One broadcast out of a document that is no file: what the API is given, and what it shows.

Such a document has the keys of a block under `broadcasts:`; the file's `defaults:`, the environment and the
command line hold for it as they do for the file's own. Imports only errors.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wtgateway.config import settings
from wtgateway.config.broadcasts import Layer, broadcasts_from_file
from wtgateway.config.document import Section, Text, node_value
from wtgateway.config.model import BroadcastConfig, VideoConfig
from wtgateway.errors import ConfigError

WHERE = "request"


@dataclass(frozen=True, slots=True)
class Template:
    """What holds for all broadcasts: the file's `defaults:`, and the layers above it."""

    defaults: Text | Section | None = None
    layer: Layer = field(default_factory=dict)

    def broadcast(self, name: str, document: Mapping[str, Any]) -> BroadcastConfig:
        """The broadcast that ``document`` (values of JSON) describes. Raises :exc:`ConfigError`."""
        blocks = _section({"broadcasts": {name: dict(document)}})
        (_, block), *_ = blocks.items()
        return next(iter(broadcasts_from_file(self.defaults, block, self.layer).values()))


def _section(value: Mapping[str, Any]) -> Section:
    """JSON is YAML, so that what is sent is judged by the very code that judges the file."""
    import yaml

    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        problem = str(error).splitlines()[0][:200]
        raise ConfigError(WHERE, "", problem, "settings as in the file, as JSON") from None
    assert node is not None
    root = node_value(node, WHERE, "")
    assert isinstance(root, Section)
    return root


def document_of(config: BroadcastConfig) -> dict[str, Any]:
    """The document that makes this broadcast, without its hooks. It has the source's password."""
    document: dict[str, Any] = {
        "source": config.source,
        "options": dict(config.options),
        "limits": _values(config.limits, settings.BROADCAST_LIMITS),
        **_values(config, settings.BROADCAST),
        "video": False if config.video is None else _video(config.video),
        "audio": False if config.audio is None else _values(config.audio, settings.AUDIO),
    }
    return document


def _video(video: VideoConfig) -> dict[str, Any]:
    keys = tuple(setting for setting in settings.VIDEO if setting.key in settings.RENDITION_KEYS)
    renditions = [_values(rendition, keys) for rendition in video.renditions]
    return _values(video, settings.VIDEO) | ({"renditions": renditions} if renditions else {})


def _values(config: object, table: tuple[settings.Setting, ...]) -> dict[str, Any]:
    """What a document can say, by the file's keys; a pair stands there as its halves.

    What it cannot say (a bit rate of 0) is that nothing was said.
    """
    values: dict[str, Any] = {}
    for setting in (each for each in table if len(each.fields) == 1):
        name = setting.fields[0]
        value = getattr(config, name)
        said = "auto" if value is None else f"{value:.6f}s" if name.endswith("_s") else value
        with contextlib.suppress(ConfigError):
            setting.parse(str(said))
            values[setting.key] = said
    return values
