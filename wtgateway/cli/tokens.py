"""What `wtgateway token` does. Raises the errors of :mod:`wtgateway.errors`; the caller prints them."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from wtgateway import clock
from wtgateway.access.permissions import Action, Permission, clean_identity, parse_pattern
from wtgateway.cli.commands import say
from wtgateway.config import GatewayConfig, load, parse_duration
from wtgateway.config.settings import layer_keys
from wtgateway.errors import ConfigError
from wtgateway.web.where import in_url

if TYPE_CHECKING:
    from wtgateway.access.own_tokens import SigningKey

MAX_STDIN = 8192
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._~/-]+")


def token_create(arguments: argparse.Namespace) -> int:
    """`wtgateway token create`: a token and the link with it."""
    from wtgateway.access.own_tokens import create_token

    permissions = _permissions(arguments)
    config = _config(arguments)
    valid_us = 0 if arguments.valid is None else round(_duration(arguments.valid) * 1_000_000)
    identity = clean_identity(arguments.identity)
    now_us = clock.now_us()
    try:
        token, token_id = create_token(
            _key(config), permissions, now_us=now_us, valid_us=valid_us, identity=identity
        )
    except ValueError:
        raise ConfigError("command line", "token", "too many patterns", "fewer: a token is short") from None
    expires = _time(now_us + valid_us) if valid_us else None
    link = _link(config, permissions, token)
    if arguments.json:
        facts = {"link": link, "token": token, "tokenId": token_id, "identity": identity, "expires": expires}
        say(json.dumps(facts | {"permissions": [str(permission) for permission in permissions]}))
    else:
        say(link)
        say()
        say(f"token        {token}")
        say(f"id           {token_id} (to take it back: docs/access.md)")
        say(f"good for     {', '.join(map(str, permissions))}")
        say(f"until        {expires or 'for ever: only a revocation ends it'}")
    if "token" not in config.access.mode:
        print("wtgateway: note: a gateway takes it with --access token (access.mode)", file=sys.stderr)
    return 0


def token_inspect(arguments: argparse.Namespace) -> int:
    """`wtgateway token inspect`: header and claims, and whether this gateway signed them; 1: it did not."""
    from wtgateway.access.jwts import Expected, unverified, verified_claims
    from wtgateway.access.own_tokens import AUDIENCE, KEY_FILE

    text = sys.stdin.read(MAX_STDIN) if arguments.token in ("-",) else arguments.token
    token = text.strip()
    found = unverified(token)
    if found is None:
        raise ConfigError("command line", "TOKEN", "(not shown)", "a JSON Web Token")
    header, claims = found
    config = _config(arguments)
    there = config.cluster.secret is not None or (config.access.key or config.certs_dir / KEY_FILE).exists()
    expected = Expected(audience=AUDIENCE)
    ours = there and verified_claims(token, (_key(config).public,), expected) is not None
    facts = {"header": header, "claims": claims, "signedHere": ours}
    if arguments.json:
        say(json.dumps(facts))
        return 0 if ours else 1
    for name, value in claims.items():
        is_time = name in ("exp", "nbf", "iat") and isinstance(value, int)
        say(f"{_one_line(name):<12} {_time(value * 1_000_000) if is_time else _one_line(json.dumps(value))}")
    say(f"{'signature':<12} {'of this gateway' if ours else 'not of this gateway, or of another key'}")
    return 0 if ours else 1


def token_hash(arguments: argparse.Namespace) -> int:
    """`wtgateway token hash`: a new token with its hash, or the hash of a password."""
    from wtgateway.access.secrets import hash_password, hash_token, new_token

    if not arguments.password:
        token = new_token()
        say(f"token: {hash_token(token)}")
        print(f"wtgateway: the token, which is shown only now: {token}", file=sys.stderr)
        return 0
    password = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password:
        raise ConfigError("command line", "password", "", "a password on standard input")
    say(f"password: {hash_password(password)}")
    return 0


def _config(arguments: argparse.Namespace) -> GatewayConfig:
    known = layer_keys()
    overrides = {name: value for name, value in vars(arguments).items() if name in known and name != "config"}
    return load(overrides, os.environ, Path(arguments.config) if arguments.config else None)


def _key(config: GatewayConfig) -> SigningKey:
    from wtgateway.access.own_tokens import own_key
    from wtgateway.cluster import ClusterSecret

    secret = ClusterSecret.load(config.cluster.secret) if config.cluster.secret is not None else None
    return own_key(secret, config.access.key, config.certs_dir)


def _permissions(arguments: argparse.Namespace) -> list[Permission]:
    found: list[Permission] = []
    for action in (Action.READ, Action.CONTROL, Action.PUBLISH):
        for text in getattr(arguments, action.value):
            try:
                pattern = parse_pattern(text.strip("/"))
            except ValueError:
                expected = "a broadcast's name, or a pattern such as 'cam*'"
                raise ConfigError("command line", f"--{action.value}", text, expected) from None
            found += [Permission(Action.READ, pattern)] if action is Action.CONTROL else []
            found.append(Permission(action, pattern))
    found += [Permission(action, "*") for action in (Action.API, Action.METRICS) if vars(arguments)[action]]
    if not found:
        expected = "what it is good for: --read PATTERN, --control PATTERN, --api, --metrics"
        raise ConfigError("command line", "token create", "", expected)
    return list(dict.fromkeys(found))


def _link(config: GatewayConfig, permissions: list[Permission], token: str) -> str:
    """The page of the broadcast where there is just one, else the list."""
    page = config.public_url
    if not page:
        scheme = "https" if config.public or config.web_tls_cert else "http"
        everywhere = config.web.host in ("127.0.0.1", "localhost", "::", "0.0.0.0")  # noqa: S104
        host = (config.public_host or "localhost") if everywhere else in_url(config.web.host)
        page = f"{scheme}://{host}:{config.web.port}/"
    names = {permission.broadcast for permission in permissions if permission.action is Action.READ}
    name = names.pop() if len(names) == 1 else ""
    return f"{page}{name if _PLAIN_NAME.fullmatch(name) else ''}?token={quote(token, safe='')}"


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ConfigError as error:
        raise ConfigError("command line", "--for", text, error.expected) from None
    if seconds < 1:
        raise ConfigError("command line", "--for", text, "a second at least")
    return seconds


def _time(at_us: int) -> str:
    try:
        return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{at_us // 1_000_000} s"


def _one_line(text: str) -> str:
    """A stranger's text on a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:2000]
