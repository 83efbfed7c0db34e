"""Static users: a YAML file of names, hashed tokens or passwords, permissions. Read again on a change.

alice:
  token: sha256:...
  password: scrypt:...            # HTTP Basic, for what speaks HTTP
  permissions: [read:cam*, control:cam1]
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wtgateway.access.credentials import Credentials
from wtgateway.access.permissions import MAX_IDENTITY_CHARACTERS, Grant, Permission, parse_permissions
from wtgateway.access.secrets import PasswordHash, TokenHash, parse_password_hash, parse_token_hash
from wtgateway.config.document import Listing, Section, Text, read_document, unknown_key
from wtgateway.errors import ConfigError

log = logging.getLogger("wtgateway.access")

MAX_USERS = 1000
LOOK_EVERY_S = 1.0
_KEYS = ("token", "password", "permissions")
_KNOWN_GOOD = 256  # passwords that were right, remembered as keyed hashes
_KNOWN_GOOD_S = 60.0
_AT_ONCE = 2  # computations of scrypt
_NOBODY = parse_password_hash("scrypt:16384:8:1:" + "00" * 16 + ":" + "00" * 32)


@dataclass(frozen=True, slots=True)
class User:
    """One of the file."""

    name: str
    token: TokenHash | None
    password: PasswordHash | None
    permissions: tuple[Permission, ...]


def read_users(path: Path) -> dict[str, User]:
    """The users of a file by name. Blocking. Raises ConfigError that names file and line."""
    found: dict[str, User] = {}
    for name, block in read_document(path).items():
        if not isinstance(block, Section):
            raise ConfigError(block.where, block.key, "no mapping", "token or password, and permissions")
        if not name.isprintable() or ":" in name or not 0 < len(name) <= MAX_IDENTITY_CHARACTERS:
            raise ConfigError(block.where, block.key, name, "a name without colons")
        found[name] = _user(name, block)
        if len(found) > MAX_USERS:
            raise ConfigError(block.where, "", f"more than {MAX_USERS} users", "fewer, or another mode")
    return found


def _user(name: str, block: Section) -> User:
    token: TokenHash | None = None
    password: PasswordHash | None = None
    permissions: tuple[Permission, ...] = ()
    for key, value in block.items_with_lists("permissions"):
        if key not in _KEYS:
            raise unknown_key(value.where, value.key, key, _KEYS)
        try:
            if key == "permissions":
                permissions = parse_permissions(_texts(value))
            elif not isinstance(value, Text):
                raise ValueError("no text")
            elif key == "token":
                token = parse_token_hash(value.text)
            else:
                password = parse_password_hash(value.text)
        except ValueError:  # without its value, which may be a secret that was meant to be hashed
            expected = (
                "permissions such as [read:cam*, control:cam1, metrics]"
                if key == "permissions"
                else "what `wtgateway token hash` prints"
            )
            raise ConfigError(value.where, value.key, "(not shown)", expected) from None
    if token is None and password is None:
        raise ConfigError(block.where, block.key, "neither", "a token or a password, hashed")
    return User(name, token, password, permissions)


def _texts(value: Text | Section | Listing) -> list[str]:
    if isinstance(value, Text):
        return value.text.replace(",", " ").split()
    if isinstance(value, Section):
        raise ValueError("a mapping")
    return [item.text for item in value.items() if isinstance(item, Text)]


class StaticUsers:
    """The users of ``path``; a file that became unusable leaves those of before, with a line in the log."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self._path, self._now = path, now
        self._users: dict[str, User] = {}
        self._seen: tuple[int, int, int] | None = None
        self._looked_at = -LOOK_EVERY_S
        self._looking = asyncio.Lock()
        self._hashing = asyncio.Semaphore(_AT_ONCE)
        self._key = os.urandom(32)
        self._good: OrderedDict[bytes, float] = OrderedDict()

    async def start(self) -> None:
        """Read the file. Raises ConfigError."""
        self._seen, self._users = await asyncio.to_thread(self._read)
        self._looked_at = self._now()

    async def close(self) -> None:
        """Nothing runs."""

    async def check(self, credentials: Credentials) -> Grant | None:
        """Whose token or password it is."""
        await self._look()
        user = await self._by_password(credentials) if credentials.user else self._by_token(credentials.token)
        return Grant(user.name, user.permissions) if user is not None else None

    def _by_token(self, token: str) -> User | None:
        found = None
        for user in self._users.values():  # all of them, whichever it is: the time tells nothing
            if user.token is not None and user.token.fits(token):
                found = user
        return found

    async def _by_password(self, credentials: Credentials) -> User | None:
        user = self._users.get(credentials.user)
        known = user.password if user is not None else None
        text = f"{known}\0{credentials.user}\0{credentials.token}"
        mark = hmac.digest(self._key, text.encode(), hashlib.sha256)
        if self._good.get(mark, 0.0) > self._now():
            return user
        async with self._hashing:  # for a name that is not there as well: the time tells nothing
            fits = await asyncio.to_thread((known or _NOBODY).fits, credentials.token)
        if known is None or not fits:
            return None
        self._good[mark] = self._now() + _KNOWN_GOOD_S
        while len(self._good) > _KNOWN_GOOD:
            self._good.popitem(last=False)
        return user

    async def _look(self) -> None:
        """Read the file again if it has changed."""
        if self._now() - self._looked_at < LOOK_EVERY_S:
            return
        async with self._looking:
            if self._now() - self._looked_at < LOOK_EVERY_S:
                return
            self._looked_at = self._now()
            try:
                if await asyncio.to_thread(_mark, self._path) != self._seen:
                    self._seen, self._users = await asyncio.to_thread(self._read)
                    log.info("users read again users=%d", len(self._users))
            except (ConfigError, OSError) as error:
                self._seen = None
                log.warning("the users stay as they were: %s", error)

    def _read(self) -> tuple[tuple[int, int, int] | None, dict[str, User]]:
        try:
            mark = _mark(self._path)  # first: what is written meanwhile is read the next time
        except OSError:
            mark = None  # reading it says why
        return mark, read_users(self._path)


def _mark(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
