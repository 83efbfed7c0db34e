"""What differs between two configurations, and what of it can be changed while the gateway runs. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig, GatewayConfig

# What is bound, handed to processes or shared with other nodes when the gateway starts.
NEEDS_RESTART = (
    "bind",
    "web",
    "web_tls_cert",
    "web_tls_key",
    "public",
    "cert_rotate_s",
    "certs_dir",
    "log_format",
    "json_log",
    "watch",
    "websocket",
    "frame_ancestors",
    "workers",
    "node",
    "advertise",
    "public_url",
    "trusted_proxies",
    "transport",
    "cluster",
    "lb",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Names of broadcasts, each in one of four; of the rest the keys, as the file has them."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()  # that hold from now on
    needs_restart: tuple[str, ...] = ()  # that hold from the next start on

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed or self.settings or self.needs_restart)

    def in_words(self) -> str:
        """One line for the log; empty where nothing differs."""
        groups = {
            "added": self.added,
            "removed": self.removed,
            "changed": self.changed,
            "settings": self.settings,
            "needs_restart": self.needs_restart,
        }
        return " ".join(f"{word}={','.join(names)}" for word, names in groups.items() if names)


def difference(old: GatewayConfig, new: GatewayConfig) -> Difference:
    """What has to be done so that ``old`` becomes ``new``."""
    before, after = _by_name(old.broadcasts), _by_name(new.broadcasts)
    common = [name for name in after if name in before]
    fields = [f.name for f in dataclasses.fields(new) if f.compare and f.name != "broadcasts"]
    differing = [name for name in fields if getattr(old, name) != getattr(new, name)]
    return Difference(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in common if before[name] != after[name]),
        kept=tuple(name for name in common if before[name] == after[name]),
        settings=tuple(_key(name) for name in differing if name not in NEEDS_RESTART),
        needs_restart=tuple(_key(name) for name in differing if name in NEEDS_RESTART),
    )


def applied(old: GatewayConfig, new: GatewayConfig) -> GatewayConfig:
    """What holds once the difference is applied: ``new``, but for what needs a restart."""
    kept = {name: getattr(old, name) for name in NEEDS_RESTART}
    return replace(new, **kept)


def _by_name(broadcasts: Iterable[BroadcastConfig]) -> dict[str, BroadcastConfig]:
    return {broadcast.name: broadcast for broadcast in broadcasts}


def _key(field: str) -> str:
    """As the file writes it: fields of seconds have their unit in their name, keys do not."""
    return field.removesuffix("_s") if field in ("cert_rotate_s", "drain_timeout_s") else field
