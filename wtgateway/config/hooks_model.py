"""Commands that run when something happens, and addresses that are told, as values."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HookConfig:
    """A command: its arguments, or with ``shell`` one text for `/bin/sh -c`. ``restart``: when it ends."""

    command: tuple[str, ...]
    shell: bool = False
    restart: bool = False


Hooks = Mapping[str, HookConfig]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Where events are told: those whose kind matches one of the patterns."""

    url: str
    secret: str = field(repr=False)
    events: tuple[str, ...] = ("*",)

    def wants(self, kind: str) -> bool:
        """Whether events of that kind are told."""
        return any(fnmatch.fnmatchcase(kind, pattern) for pattern in self.events)
