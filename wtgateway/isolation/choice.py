"""Which broadcasts have a process of their own."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from wtgateway.isolation.pipeline import IsolatedPipeline
from wtgateway.pipeline import Pipeline, recipe

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.hub import Broadcast
    from wtgateway.isolation.processes import SourceProcesses

log = logging.getLogger("wtgateway.isolation")


def why_not() -> str:
    """Why no source can have a process of its own here, in words; empty: it can."""
    needed = ("memfd_create", "eventfd", "pidfd_open")
    if sys.platform == "linux" and all(hasattr(os, name) for name in needed):
        return ""
    return "sources in processes of their own need Linux"


def is_isolated(config: BroadcastConfig) -> bool:
    """Whether a broadcast's source is to have a process of its own. Raises ConfigError for no source."""
    return recipe.is_network_source(config) if config.isolate is None else config.isolate


def make_pipeline(
    config: BroadcastConfig, broadcast: Broadcast, processes: SourceProcesses
) -> Pipeline | IsolatedPipeline:
    """The pipeline that a configuration asks for, not yet running."""
    if not is_isolated(config):
        return Pipeline(config, broadcast)
    if why := why_not():
        log.warning("source shares the gateway's process broadcast=%s: %s", config.name, why)
        return Pipeline(config, broadcast)
    return IsolatedPipeline(config, broadcast, processes)
