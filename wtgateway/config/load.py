"""Merge the layers into a :class:`GatewayConfig`: command line > environment > file > defaults.

Imports only errors. The rule kept: a value is parsed where it was written, so that an error names the
flag, the variable or the file and line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wtgateway.config import settings
from wtgateway.config.access import AccessConfig, check_access
from wtgateway.config.broadcasts import Layer, broadcasts_from_file, broadcasts_from_sources
from wtgateway.config.document import Listing, Section, Text, parsed, read_document, unknown_key
from wtgateway.config.hooks import RUN_ON, WEBHOOKS, hooks_of, webhooks_of
from wtgateway.config.model import (
    Address,
    ApiConfig,
    BroadcastConfig,
    ClusterConfig,
    GatewayConfig,
    LbSettings,
    LimitsConfig,
    TransportConfig,
)
from wtgateway.config.origin import Origin, file_mark
from wtgateway.config.settings import Setting
from wtgateway.config.template import Template
from wtgateway.errors import ConfigError

PUBLIC_BIND = Address("::", 4433)
PUBLIC_WEB = Address("::", 8443)
_BLOCKS = ("transport", "limits", "api", "access", "cluster", "lb")
_HOOKS = (*RUN_ON, WEBHOOKS)
_FILE_KEYS = (*(s.key for s in settings.GATEWAY), *_BLOCKS, *_HOOKS, "defaults", "broadcasts")
_FLAGS = {
    "watch": "--no-watch",
    "loop": "--loop/--no-loop",
    "video": "--no-video",
    "audio": "--no-audio",
    "source": "SOURCE",
}


def load(
    overrides: Mapping[str, object], environ: Mapping[str, str], file: Path | None = None
) -> GatewayConfig:
    """The merged configuration. Raises :exc:`ConfigError`.

    ``overrides``: the command line by setting (``bind``, ``cert_rotate``, ``video_bitrate``, ``source`` and
    ``name`` as lists, ...; None: not given). ``environ``: ``WTG_*`` of the same names; others are
    ignored. ``file``: YAML; ``WTG_CONFIG`` when None.
    """
    file = file or (Path(environ["WTG_CONFIG"]) if environ.get("WTG_CONFIG") else None)
    _refuse_misspelt_variables(environ)
    mark = file_mark(file) if file else None
    root = read_document(file) if file else Section("", "", "")
    top = _top_level(root)
    layer = _layer(overrides, environ)
    values = _gateway_values(top, layer)
    config = GatewayConfig(
        **values,
        transport=TransportConfig(**_block(top, layer, "transport", settings.TRANSPORT)),
        limits=LimitsConfig(**_block(top, layer, "limits", settings.LIMITS)),
        api=ApiConfig(**_block(top, layer, "api", settings.API)),
        access=AccessConfig(**_block(top, layer, "access", settings.ACCESS)),
        cluster=ClusterConfig(**_block(top, layer, "cluster", settings.CLUSTER)),
        lb=LbSettings(**_block(top, layer, "lb", settings.LB)),
        hooks=hooks_of(root),
        webhooks=webhooks_of(root),
        broadcasts=_broadcasts(top, layer, overrides, environ),
        template=Template(top.get("defaults"), layer),
        origin=Origin(dict(overrides), dict(environ), file, mark),
    )
    _check_tls(config, layer, top)
    check_access(config.access, str(file or "configuration"))
    _check_lb(config, layer)
    return config


def _top_level(root: Section) -> dict[str, Text | Section]:
    top: dict[str, Text | Section] = {}
    for name, value in root.items_with_lists(*settings.LISTS, *_HOOKS):
        if name in _HOOKS:
            continue  # wtgateway.config.hooks reads them
        if name not in _FILE_KEYS:
            raise unknown_key(value.where, value.key, name, _FILE_KEYS)
        top[name] = _joined(value) if isinstance(value, Listing) else value
    return top


def _joined(listing: Listing) -> Text:
    """A list of texts as one text with commas, as variables have it."""
    words = []
    for item in listing.items():
        if isinstance(item, Section):
            raise ConfigError(item.where, item.key, "a mapping", "a single value")
        words.append(item.text)
    return Text(listing.where, listing.key, ", ".join(words))


def _layer(overrides: Mapping[str, object], environ: Mapping[str, str]) -> Layer:
    """What the command line and the environment say, the command line first."""
    layer: Layer = {}
    known = settings.layer_keys()
    for key, value in overrides.items():
        if key not in known:
            raise unknown_key("command line", key, key, known)
        if value is not None and key not in settings.LIST_KEYS and key != "config":
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if isinstance(value, list | tuple):  # of a flag that was given several times
                text = ", ".join(map(str, value))
            layer[key] = Text("command line", _FLAGS.get(key, "--" + key.replace("_", "-")), text)
    for key, variable in known.items():
        if environ.get(variable) and key not in settings.LIST_KEYS:
            layer.setdefault(key, Text("environment", variable, environ[variable]))
    return layer


def _gateway_values(top: Mapping[str, Text | Section], layer: Layer) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in settings.GATEWAY:
        given = layer.get(setting.layer_key) or top.get(setting.key)
        if given is not None and not (isinstance(given, Text) and given.is_null):
            values[setting.fields[0]] = parsed(given, setting.parse)
    if values.get("public"):
        values = {"bind": PUBLIC_BIND, "web": PUBLIC_WEB} | values
    return values


def _block(
    top: Mapping[str, Text | Section], layer: Layer, name: str, table: Sequence[Setting]
) -> dict[str, Any]:
    """The values of a block such as `transport:` by field, from all layers that may have them."""
    block = top.get(name)
    if isinstance(block, Text) and not block.is_null:
        keys = "..., ".join(setting.key + ": " for setting in table)
        raise ConfigError(block.where, block.key, block.text, f"a mapping such as {{{keys}...}}")
    known = {setting.key: setting for setting in table}
    given: dict[str, Text | Section] = {}
    for key, value in block.items_with_lists(*settings.LISTS) if isinstance(block, Section) else ():
        if key not in known:
            raise unknown_key(value.where, value.key, key, known)
        given[key] = _joined(value) if isinstance(value, Listing) else value
    given |= {s.key: layer[s.layer_key] for s in table if s.layer_key in layer}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if not (isinstance(value, Text) and value.is_null):
            values[known[key].fields[0]] = parsed(value, known[key].parse)
    return values


def _broadcasts(
    top: Mapping[str, Text | Section],
    layer: Layer,
    overrides: Mapping[str, object],
    environ: Mapping[str, str],
) -> tuple[BroadcastConfig, ...]:
    """The file's broadcasts and those of the command line; the latter replace one of the same name."""
    found = broadcasts_from_file(top.get("defaults"), top.get("broadcasts"), layer)
    sources, names = (_listed(key, overrides, environ) for key in settings.LIST_KEYS)
    for broadcast in broadcasts_from_sources(sources, names, top.get("defaults"), layer, set(found)):
        found[broadcast.name] = broadcast
    if not found:
        test = [Text("built in", "SOURCE", "test:")]
        found = {b.name: b for b in broadcasts_from_sources(test, [], top.get("defaults"), layer, set())}
    return tuple(found.values())


def _listed(key: str, overrides: Mapping[str, object], environ: Mapping[str, str]) -> list[Text]:
    """SOURCE... or --name...; in the environment one a line, for a path or a URL may hold any other sign."""
    given = overrides.get(key)
    if isinstance(given, str):
        given = [given]
    if given:
        assert isinstance(given, Iterable)
        flag = "SOURCE" if key == "source" else "--name"
        return [Text("command line", flag, str(item)) for item in given]
    if key == "name" and overrides.get("source"):
        return []  # WTG_NAME belongs to WTG_SOURCE
    variable = f"WTG_{key.upper()}"
    lines = (line.strip() for line in environ.get(variable, "").splitlines())
    return [Text("environment", variable, line) for line in lines if line]


def _refuse_misspelt_variables(environ: Mapping[str, str]) -> None:
    """A near miss is an error; what is far from ours (WTG_SERVICE_HOST of Kubernetes) is not ours."""
    known = settings.layer_keys().values()
    for variable in environ:
        if variable.startswith("WTG_") and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.85)
            if near:
                raise ConfigError("environment", variable, environ[variable], f"{near[0]}?")


def _check_lb(config: GatewayConfig, layer: Layer) -> None:
    if config.lb.server_id and config.lb.config is None:
        place = layer.get("lb_server_id") or Text("configuration", "lb.server_id", "")
        expected = "lb.config (--lb-config FILE) beside it"
        raise ConfigError(place.where, place.key, config.lb.server_id, expected)


def _check_tls(config: GatewayConfig, layer: Layer, top: Mapping[str, Text | Section]) -> None:
    if (config.web_tls_cert is None) == (config.web_tls_key is None):
        return
    given, missing = (
        ("web_tls_cert", "web_tls_key") if config.web_tls_cert else ("web_tls_key", "web_tls_cert")
    )
    place = layer.get(given) or top[given]
    raise ConfigError(place.where, place.key, str(getattr(config, given)), f"{missing} beside it")
