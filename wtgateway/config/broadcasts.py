"""Broadcasts out of the layers: built in < `defaults:` < the broadcast's block < environment < flags.

Imports only errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from wtgateway.config import settings
from wtgateway.config.document import Listing, Section, Text, parsed, unknown_key
from wtgateway.config.hooks import RUN_ON, parse_hook
from wtgateway.config.model import (
    AudioConfig,
    BroadcastConfig,
    BroadcastLimits,
    RenditionConfig,
    VideoConfig,
)
from wtgateway.config.names import derive_name
from wtgateway.config.values import parse_bool, parse_name
from wtgateway.errors import ConfigError

Layer: TypeAlias = dict[str, Text]
_KEYS = (*(s.key for s in settings.BROADCAST), "source", "options", "limits", "video", "audio", *RUN_ON)
_MEDIA: Mapping[str, tuple[tuple[settings.Setting, ...], Callable[..., Any]]] = {
    "video": (settings.VIDEO, VideoConfig),
    "audio": (settings.AUDIO, AudioConfig),
}
_MOST_RENDITIONS = 8
_AUDIO_ONLY = "audio-only"  # may stand in the list; sound alone is always offered
Values: TypeAlias = dict[str, Any]  # field values of one broadcast; "video"/"audio" are dicts or None


def broadcasts_from_file(
    defaults: Text | Section | None, blocks: Text | Section | None, layer: Layer
) -> dict[str, BroadcastConfig]:
    """The file's `broadcasts:` by name. Raises :exc:`ConfigError`."""
    found: dict[str, BroadcastConfig] = {}
    base = _defaults(defaults)
    for raw_name, block in _section(blocks).items():
        name = parsed(Text(block.where, block.key, raw_name), parse_name)
        if name in found:
            raise ConfigError(block.where, block.key, raw_name, "each broadcast name once")
        values = _with_block(base, block)
        if "source" not in values:
            raise ConfigError(block.where, block.key, "no source", "a source, such as source: movie.mp4")
        found[name] = _build(name, values, layer)
    return found


def broadcasts_from_sources(
    sources: Sequence[Text],
    names: Sequence[Text],
    defaults: Text | Section | None,
    layer: Layer,
    taken: set[str],
) -> Iterator[BroadcastConfig]:
    """SOURCE... with --name...; a source without a name gets one that is not taken."""
    if len(names) > len(sources):
        extra = names[len(sources)]
        raise ConfigError(
            extra.where, extra.key, extra.text, f"one name a source at most ({len(sources)} given)"
        )
    base = _defaults(defaults)
    given = [parsed(name, parse_name) for name in names]
    for twice in (name for index, name in enumerate(given) if name in given[:index]):
        raise ConfigError(names[0].where, names[0].key, twice, "a different name for each source")
    used = taken | set(given)
    for index, source in enumerate(sources):
        name = given[index] if index < len(given) else derive_name(source.text, used)
        used.add(name)
        yield _build(name, base | {"source": parsed(source, _source)}, layer)


def _source(text: str) -> str:
    if not text.strip() or any(ord(sign) < 32 for sign in text):
        raise ConfigError("source", "", text, "a file or a URL such as rtsp://camera/stream, x11::0 or test:")
    return text.strip()


def _section(value: Text | Section | None) -> Section:
    """An absent or empty block is an empty one."""
    if isinstance(value, Section):
        return value
    if value is not None and not value.is_null and value.text:
        raise ConfigError(value.where, value.key, value.text, "a mapping")
    return Section("", "", "")


def _defaults(block: Text | Section | None) -> Values:
    section = _section(block)
    for name, value in section.items_with_lists(*RUN_ON):
        if name == "source":
            raise ConfigError(value.where, value.key, name, "source only inside a broadcast")
    return _with_block({"video": {}, "audio": {}, "options": {}, "limits": {}, "hooks": {}}, section)


def _with_block(base: Values, block: Text | Section) -> Values:
    """``base`` overlaid with a block of the file; a lone text is the source (``cam: rtsp://...``)."""
    if isinstance(block, Text):
        return base if block.is_null else base | {"source": parsed(block, _source)}
    values = dict(base)
    simple = {s.key: s for s in settings.BROADCAST}
    for name, given in block.items_with_lists(*RUN_ON):
        if name not in _KEYS:
            raise unknown_key(given.where, given.key, name, _KEYS)
        if name in RUN_ON:
            values["hooks"] = values["hooks"] | {name: parse_hook(given)}
            continue
        assert not isinstance(given, Listing)
        if isinstance(given, Text) and given.is_null:
            continue
        if name in _MEDIA:
            values[name] = _with_medium(values[name], given, _MEDIA[name][0])
        elif name == "options":
            values[name] = values[name] | dict(_options(_section(given)))
        elif name == "limits":
            values[name] = values[name] | _limits(_section(given))
        elif name == "source":
            values[name] = parsed(given, _source)
        else:
            values |= _fields(simple[name], given)
    return values


def _with_medium(
    base: Values | None, given: Text | Section, table: Iterable[settings.Setting]
) -> Values | None:
    """``video: false`` is off, ``true`` on, a mapping on with those settings over ``base``."""
    if isinstance(given, Text):
        on = parsed(given, _switch)
        return (base or {}) if on else None
    values = dict(base or {})
    known = {s.key: s for s in table}
    lists = ("renditions",) if table is settings.VIDEO else ()
    for name, value in given.items_with_lists(*lists):
        if name not in known and name not in lists:
            raise unknown_key(value.where, value.key, name, (*known, *lists))
        if name in lists:
            values[name] = tuple(_renditions(value))
        elif isinstance(value, Listing):
            raise ConfigError(value.where, value.key, "a list", "a single value")
        elif not (isinstance(value, Text) and value.is_null):
            values |= _fields(known[name], value)
    return values


def _renditions(given: Text | Section | Listing) -> Iterator[RenditionConfig]:
    """``renditions: [{height: 1080, bitrate: 6M}, {height: 540, bitrate: 1.2M}]``."""
    if not isinstance(given, Listing):
        raise ConfigError(given.where, given.key, "no list", "a list such as [{height: 540, bitrate: 1.2M}]")
    if len(given.nodes) > _MOST_RENDITIONS:
        raise ConfigError(
            given.where, given.key, f"{len(given.nodes)} of them", f"at most {_MOST_RENDITIONS}"
        )
    known = {s.key: s for s in settings.VIDEO if s.key in settings.RENDITION_KEYS}
    for entry in given.items():
        if isinstance(entry, Text):
            if entry.text != _AUDIO_ONLY:
                raise ConfigError(entry.where, entry.key, entry.text, f"a mapping, or {_AUDIO_ONLY}")
            continue
        values: Values = {}
        for name, value in entry.items():
            if name not in known:
                raise unknown_key(value.where, value.key, name, known)
            values |= _fields(known[name], value)
        yield RenditionConfig(**values)


def _switch(text: str) -> bool:
    try:
        return parse_bool(text)
    except ConfigError as error:
        raise ConfigError("switch", "", text, f"{error.expected}, or a mapping of settings") from None


def _fields(setting: settings.Setting, given: Text | Section) -> Values:
    value = parsed(given, setting.parse)
    return dict(zip(setting.fields, value if len(setting.fields) > 1 else (value,), strict=True))


def _options(section: Section) -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        yield name, parsed(value, str)


def _limits(section: Section) -> Values:
    known = {s.key: s for s in settings.BROADCAST_LIMITS}
    values: Values = {}
    for name, value in section.items():
        if name not in known:
            raise unknown_key(value.where, value.key, name, known)
        values |= _fields(known[name], value)
    return values


def _build(name: str, values: Values, layer: Layer) -> BroadcastConfig:
    values = dict(values)
    for setting in settings.BROADCAST:
        if setting.layer_key in layer:
            values |= _fields(setting, layer[setting.layer_key])
    for medium, (table, make) in _MEDIA.items():
        fields = values[medium]
        if medium in layer:
            fields = (fields or {}) if parsed(layer[medium], parse_bool) else None
        if fields is not None:
            for setting in (s for s in table if s.layer_key in layer and s.layer_key):
                fields = fields | _fields(setting, layer[setting.layer_key])
        values[medium] = None if fields is None else make(**fields)
    if values["video"] is None and values["audio"] is None:
        raise ConfigError("broadcast", name, "no video and no audio", "at least one of them on")
    values["hooks"] = {key: hook for key, hook in values["hooks"].items() if hook is not None}
    values["limits"] = BroadcastLimits(**values["limits"])
    return BroadcastConfig(name=name, **values)
