"""The block ``access:``: who may watch, control and ask (docs/access.md). Imports errors only."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from wtgateway.errors import ConfigError

MODES = ("token", "static", "jwt", "callback")
ALGORITHMS = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_PERMISSION = re.compile(r"(?:read|publish|control|api|metrics):[A-Za-z0-9._~/*?\[\]!-]{1,200}|api|metrics")
_ORIGIN = re.compile(r"\*|(?:\*|https?)://[A-Za-z0-9.*_:\[\]-]{1,255}/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessConfig:
    """``mode``: how it is told who somebody is, in this order; none: no tokens, and nobody needs one."""

    mode: tuple[str, ...] = ()
    key: Path | None = None  # of `token`; None: access.key beside the certificates, or the cluster's secret
    users: Path | None = None  # of `static`
    jwt_key: Path | None = None
    jwt_keys: str = ""  # a JWK Set: URL or file
    jwt_algorithms: tuple[str, ...] = ALGORITHMS
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_claim: str = "permissions"
    callback: str = ""
    callback_timeout_s: float = 2.0
    callback_cache_s: float = 10.0
    anonymous: tuple[str, ...] = ()  # what may be done without a token, such as read:public/*
    origins: tuple[str, ...] = ()  # whose pages may connect; none: see Origins in wtgateway.access


def words(text: str) -> tuple[str, ...]:
    """What stands between commas and spaces."""
    return tuple(word for word in re.split(r"[,\s]+", text.strip()) if word)


def parse_modes(text: str) -> tuple[str, ...]:
    """``none``, or some of MODES in their order. Raises :exc:`ConfigError`."""
    found = words(text.lower())
    if found == ("none",):
        return ()
    if not found or set(found) - set(MODES) or len(set(found)) != len(found):
        raise ConfigError("mode", "", text, f"none, or some of {', '.join(MODES)} in the order to be asked")
    return found


def parse_url(text: str) -> str:
    """An http(s) URL. Raises :exc:`ConfigError`."""
    try:
        parts = urlsplit(text.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
        parts.port  # noqa: B018 - raises for one that is none
    except ValueError:
        good = False
    if not good or any(ord(sign) <= 32 for sign in text.strip()):
        raise ConfigError("URL", "", text, "a URL such as https://auth.example/check")
    return text.strip()


def parse_jwt_keys(text: str) -> str:
    """A URL or a path. Raises :exc:`ConfigError`."""
    if "://" in text:
        return parse_url(text)
    if not text.strip() or "\0" in text:
        raise ConfigError("path", "", text, "the URL of a JWK Set, or a path")
    return text.strip()


def _each(pattern: re.Pattern[str], expected: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        found = words(text)
        if not all(pattern.fullmatch(word) for word in found):
            raise ConfigError("list", "", text, expected)
        return found

    return parse


parse_permissions = _each(_PERMISSION, "permissions such as read:public/*, read:cam1, metrics")
parse_origins = _each(_ORIGIN, "origins such as https://cams.example, https://*.example.com, or *")
parse_algorithms = _each(re.compile("|".join(ALGORITHMS)), f"some of {', '.join(ALGORITHMS)}")


def check_access(config: AccessConfig, where: str) -> None:
    """Raises :exc:`ConfigError` where a mode lacks what it needs, or a setting its mode."""
    given = {
        "static": {"users": config.users is not None},
        "jwt": {"jwt_key": config.jwt_key is not None, "jwt_keys": bool(config.jwt_keys)},
        "callback": {"callback": bool(config.callback)},
    }
    for mode, settings in given.items():
        names = " or ".join(f"access.{name}" for name in settings)
        if mode in config.mode and not any(settings.values()):
            raise ConfigError(where, "access.mode", mode, f"{names} beside it")
        if mode not in config.mode and any(settings.values()):
            raise ConfigError(where, names, f"without mode {mode}", f"{mode} in access.mode")
