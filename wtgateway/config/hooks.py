"""Commands that run when something happens (`run_on_*`), and addresses that are told (`webhooks:`).

Imports only errors. Both come from the file alone: neither a variable nor the API can name a command.
"""

from __future__ import annotations

import shlex
from typing import Final
from urllib.parse import urlsplit

from wtgateway.config.document import Listing, Section, Text, parsed, unknown_key
from wtgateway.config.hooks_model import HookConfig, WebhookConfig
from wtgateway.config.values import parse_bool
from wtgateway.errors import ConfigError

RUN_ON: Final = (
    "run_on_available", "run_on_unavailable", "run_on_read", "run_on_unread", "run_on_connect",
    "run_on_disconnect",
)  # fmt: skip
WEBHOOKS: Final = "webhooks"
MAX_WEBHOOKS: Final = 16
LEAST_SECRET: Final = 16


def parse_hook(given: Text | Section | Listing) -> HookConfig | None:
    """A command as text, as a list of arguments, or as a mapping; None: there is to be none.

    Raises :exc:`ConfigError`.
    """
    if isinstance(given, Section):
        return _from_mapping(given)
    return _command(given, shell=False)


def _from_mapping(given: Section) -> HookConfig:
    keys = ("command", "shell", "restart")
    values: dict[str, Text | Section | Listing] = {}
    for name, value in given.items_with_lists("command"):
        if name not in keys:
            raise unknown_key(value.where, value.key, name, keys)
        values[name] = value
    command = values.get("command")
    if command is None or isinstance(command, Section):
        raise ConfigError(given.where, given.key, "no command", "command: with a text or a list")
    hook = _command(command, shell=_switch(values.get("shell")))
    if hook is None:
        raise ConfigError(given.where, given.key, "no command", "command: with a text or a list")
    return HookConfig(hook.command, hook.shell, restart=_switch(values.get("restart")))


def _command(given: Text | Listing, *, shell: bool) -> HookConfig | None:
    if isinstance(given, Listing):
        if shell:
            raise ConfigError(given.where, given.key, "a list", "a text, which the shell takes apart")
        words = [_word(item) for item in given.items()]
    elif given.is_null:
        return None
    elif shell:
        words = [given.text] if given.text.strip() else []
    else:
        try:
            words = shlex.split(given.text)
        except ValueError as error:
            raise ConfigError(given.where, given.key, "...", f"a command; {error}") from None
    if not words or any("\0" in word for word in words):
        raise ConfigError(given.where, given.key, "...", "a command and its arguments")
    return HookConfig(tuple(words), shell)


def _word(item: Text | Section) -> str:
    if isinstance(item, Section):
        raise ConfigError(item.where, item.key, "a mapping", "an argument")
    return item.text


def _switch(given: Text | Section | Listing | None) -> bool:
    if given is None:
        return False
    if isinstance(given, Listing):
        raise ConfigError(given.where, given.key, "a list", "true or false")
    return bool(parsed(given, parse_bool))


def hooks_of(root: Section) -> dict[str, HookConfig]:
    """All `run_on_*` of a mapping. Raises :exc:`ConfigError`."""
    found: dict[str, HookConfig] = {}
    for name, value in root.items_with_lists(*RUN_ON, WEBHOOKS, *_lists_of(root)):
        if name in RUN_ON and (hook := parse_hook(value)) is not None:
            found[name] = hook
    return found


def webhooks_of(root: Section) -> tuple[WebhookConfig, ...]:
    """`webhooks:` of the file. Raises :exc:`ConfigError`."""
    for name, value in root.items_with_lists(*_lists_of(root)):
        if name != WEBHOOKS or (isinstance(value, Text) and value.is_null):
            continue
        if not isinstance(value, Listing):
            raise ConfigError(value.where, value.key, "no list", "a list of {url: ..., secret: ...}")
        if len(value.nodes) > MAX_WEBHOOKS:
            raise ConfigError(
                value.where, value.key, f"{len(value.nodes)} of them", f"at most {MAX_WEBHOOKS}"
            )
        return tuple(_webhook(item) for item in value.items())
    return ()


def _webhook(item: Text | Section) -> WebhookConfig:
    keys = ("url", "events", "secret")
    if isinstance(item, Text):
        raise ConfigError(item.where, item.key, "no mapping", "a mapping such as {url: ..., secret: ...}")
    texts: dict[str, str] = {}
    events: tuple[str, ...] = ("*",)
    for name, value in item.items_with_lists("events"):
        if name not in keys:
            raise unknown_key(value.where, value.key, name, keys)
        if name == "events":
            events = _patterns(value)
        elif isinstance(value, Text):
            texts[name] = value.text.strip()
        else:
            raise ConfigError(value.where, value.key, "no single value", "a single value")
    if not _is_http(texts.get("url", "")):
        raise ConfigError(item.where, f"{item.key}.url", "...", "an address such as https://example.org/hook")
    if len(texts.get("secret", "")) < LEAST_SECRET:
        expected = f"at least {LEAST_SECRET} signs, such as `openssl rand -base64 32` prints"
        raise ConfigError(item.where, f"{item.key}.secret", "...", expected)
    return WebhookConfig(url=texts["url"], secret=texts["secret"], events=events)


def _patterns(given: Text | Section | Listing) -> tuple[str, ...]:
    if isinstance(given, Section):
        raise ConfigError(given.where, given.key, "a mapping", "a list of kinds such as [broadcast.*]")
    words = [_word(i) for i in given.items()] if isinstance(given, Listing) else given.text.split(",")
    patterns = tuple(word.strip() for word in words if word.strip())
    if not patterns:
        raise ConfigError(given.where, given.key, "none", "a list of kinds such as [broadcast.*]")
    return patterns


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _lists_of(root: Section) -> list[str]:
    """All keys of a mapping: whatever else it has may be lists, which others judge."""
    return [str(getattr(key, "value", "")) for key, _ in root.pairs]
