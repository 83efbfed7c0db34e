"""Who may do what: actions, patterns of broadcasts, and what an identity has been granted. Pure.

A permission is an action and a pattern: ``*`` stands for any characters (slashes too), ``?`` for one,
``[a-c]`` for one of those. What concerns the gateway as a whole has the empty name, which only ``*`` fits.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

MAX_PERMISSIONS = 64
MAX_PATTERN_CHARACTERS = 200
MAX_STARS = 8  # of a pattern: matching takes time for each
MAX_IDENTITY_CHARACTERS = 200
_PATTERN = re.compile(r"[A-Za-z0-9._~/*?\[\]!-]+")


class Action(enum.StrEnum):
    """What may be allowed."""

    READ = "read"  # watch a broadcast
    PUBLISH = "publish"  # send one
    CONTROL = "control"  # change that broadcast and its sessions
    API = "api"  # see what the API shows, sessions with their addresses included
    METRICS = "metrics"


_OF_THE_GATEWAY = frozenset({Action.API, Action.METRICS})  # where no pattern need be given


@dataclass(frozen=True, slots=True)
class Permission:
    """``action`` on the broadcasts whose names ``broadcast`` fits."""

    action: Action
    broadcast: str

    def allows(self, action: Action, broadcast: str) -> bool:
        """Whether it covers that."""
        return self.action is action and fnmatchcase(broadcast, self.broadcast)

    def __str__(self) -> str:
        return f"{self.action}:{self.broadcast}"


EVERYTHING = tuple(Permission(action, "*") for action in Action)


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do. ``expires_us`` is gateway time, 0: never; ``identity`` empty: anybody."""

    identity: str = ""
    permissions: tuple[Permission, ...] = ()
    expires_us: int = 0
    token_id: str = ""

    def allows(self, action: Action, broadcast: str = "") -> bool:
        """Whether ``action`` is allowed on that broadcast, or (empty name) on the gateway as a whole."""
        return any(permission.allows(action, broadcast) for permission in self.permissions)

    def allows_anywhere(self, action: Action) -> bool:
        """Whether there may be a broadcast on which it is allowed."""
        return any(permission.action is action for permission in self.permissions)

    def actions(self, broadcast: str) -> list[str]:
        """The names of all that is allowed on that broadcast."""
        return [action.value for action in Action if self.allows(action, broadcast)]

    def to_row(self) -> list[Any]:
        """As it travels between processes."""
        pairs = [[permission.action.value, permission.broadcast] for permission in self.permissions]
        return [self.identity, pairs, self.expires_us, self.token_id]

    @classmethod
    def from_row(cls, row: list[Any]) -> Grant:
        """The same when it has arrived."""
        identity, pairs, expires_us, token_id = row
        permissions = tuple(Permission(Action(action), pattern) for action, pattern in pairs)
        return cls(identity, permissions, expires_us, token_id)


def parse_pattern(text: str) -> str:
    """A pattern of broadcast names. Raises ValueError."""
    if not _PATTERN.fullmatch(text) or len(text) > MAX_PATTERN_CHARACTERS or text.count("*") > MAX_STARS:
        raise ValueError("no pattern of broadcast names")
    return text


def parse_permission(text: str) -> Permission:
    """``read:cam*``; ``api`` and ``metrics`` alone are for all. Raises ValueError."""
    word, _, pattern = text.strip().partition(":")
    action = Action(word)
    if not pattern and action in _OF_THE_GATEWAY:
        pattern = "*"
    return Permission(action, parse_pattern(pattern))


def parse_permissions(texts: Iterable[str]) -> tuple[Permission, ...]:
    """Each of :func:`parse_permission`. Raises ValueError, also for too many."""
    found = tuple(dict.fromkeys(parse_permission(text) for text in texts))
    if len(found) > MAX_PERMISSIONS:
        raise ValueError("too many permissions")
    return found


def permissions_of_claim(value: object) -> tuple[Permission, ...]:
    """What a claim grants: a list of ``{"action": ..., "broadcast": ...}`` or of texts ``read:cam*``.

    A stranger's value: what makes no sense grants nothing, what follows MAX_PERMISSIONS entries is left out.
    """
    if not isinstance(value, list):
        return ()
    found: dict[Permission, None] = {}
    for entry in value[:MAX_PERMISSIONS]:
        try:
            found[_of_entry(entry)] = None
        except ValueError:
            continue
    return tuple(found)


def _of_entry(entry: object) -> Permission:
    if isinstance(entry, str):
        return parse_permission(entry)
    if not isinstance(entry, dict):
        raise ValueError("no permission")
    action, broadcast = entry.get("action"), entry.get("broadcast", "")
    if not isinstance(action, str) or not isinstance(broadcast, str):
        raise ValueError("no permission")
    return parse_permission(f"{action}:{broadcast}" if broadcast else action)


def clean_identity(value: object) -> str:
    """A name as it may stand in logs and in the API; empty where it is none."""
    if not isinstance(value, str):
        return ""
    return "".join(sign for sign in value if sign.isprintable())[:MAX_IDENTITY_CHARACTERS]
