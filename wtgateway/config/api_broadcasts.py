"""What a broadcast that comes over the API may be: less than one that the configuration has.

Its source has to be allowed (:mod:`wtgateway.config.allowed_sources`) and is read in a process of its own,
and nothing in it may name a command or an address that the gateway would call. May block on a name or a file:
to be called in a thread. Imports errors and this room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wtgateway.config.allowed_sources import Resolve, SourceRules, check_source
from wtgateway.config.model import BroadcastConfig
from wtgateway.errors import ConfigError

# Settings of a broadcast that say what is done, and not what is shown.
_ACTS = ("run_on", "webhook", "hook")


def api_broadcast(
    document: Mapping[str, Any],
    config: BroadcastConfig,
    present: BroadcastConfig | None,
    rules: SourceRules,
    *,
    resolve: Resolve | None = None,
) -> BroadcastConfig:
    """``config``, which was made of ``document``, as it may be opened. Raises :exc:`ConfigError`.

    ``present``: the broadcast of that name that is there. With its source and options unchanged these stay
    whose choice they were.
    """
    for key in document:
        if key.startswith(_ACTS):
            raise ConfigError("api", key, "...", "settings without commands: those are for the configuration")
    if present is not None:  # its commands are the configuration's, and stay
        config = replace(config, hooks=present.hooks)
    if present is not None and _reads(config) == _reads(present):
        return config
    source, options = check_source(config.source, rules, options=config.options, resolve=resolve)
    isolate = config.isolate if source.startswith("test:") else True
    return replace(config, source=source, options=options, isolate=isolate)


def _reads(config: BroadcastConfig) -> tuple[object, ...]:
    """All that says where a source is and how it is read."""
    return config.source, dict(config.options), config.isolate, config.isolate_memory_bytes
