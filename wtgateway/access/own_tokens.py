"""The gateway's own tokens (`wtgateway token create`): JWTs that it signs and verifies with a key of its own.

The key is a file of hexadecimal digits (HS256), made beside the certificates, or an Ed25519 key in PEM
(EdDSA) that somebody put there; in a cluster it comes from the cluster's secret (label ``access``), so that
the token of one node is good on all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wtgateway import clock
from wtgateway.access.claims import CLAIM, grant_now
from wtgateway.access.credentials import MAX_TOKEN_CHARACTERS, Credentials
from wtgateway.access.jwts import Expected, verified_claims
from wtgateway.access.keys import VerifyingKey, verifying_key
from wtgateway.access.permissions import Grant, Permission
from wtgateway.cluster import ClusterSecret
from wtgateway.errors import ConfigError

KEY_FILE = "access.key"
KEY_LABEL = "access"
KEY_BYTES = 32
AUDIENCE = "wtgateway"
_MAX_FILE_BYTES = 16_384
_ID_BYTES = 9
_EXPECTED = "64 or more hexadecimal digits, or an Ed25519 private key in PEM, for this user alone"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """``private`` signs, ``public`` verifies."""

    algorithm: str
    private: Any = field(repr=False)
    public: VerifyingKey = field(repr=False)

    @classmethod
    def of_secret(cls, secret: bytes) -> SigningKey:
        """HS256. Raises ValueError for less than 32 bytes."""
        return cls("HS256", secret, verifying_key(secret, only=("HS256",)))

    @classmethod
    def of_file(cls, data: bytes) -> SigningKey:
        """Raises ValueError."""
        if data.lstrip().startswith(b"-----BEGIN"):
            key = load_pem_private_key(data, None)
            if not isinstance(key, Ed25519PrivateKey):
                raise ValueError("a key of another kind")
            return cls("EdDSA", key, verifying_key(key.public_key()))
        return cls.of_secret(bytes.fromhex(data.decode("ascii")))


def load_key(path: Path) -> SigningKey:
    """The key of ``path``; made there, mode 0600, where there is none. Blocking. Raises ConfigError."""
    try:
        _make(path)
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                os.fchmod(stream.fileno(), 0o600)
            return SigningKey.of_file(stream.read(_MAX_FILE_BYTES))
    except OSError as error:
        expected = f"a file that can be read and made ({error.strerror})"
        raise ConfigError("access.key", "", str(path), expected) from None
    except (ValueError, TypeError):  # without its text, which is a secret
        raise ConfigError("access.key", "", str(path), _EXPECTED) from None


def _make(path: Path) -> None:
    """A new key, unless there is one: written whole under another name first, for two may do so at once."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):  # the other one was first: its key holds
            os.link(scratch, path)
    finally:
        scratch.unlink()


def create_token(
    key: SigningKey,
    permissions: Sequence[Permission],
    *,
    now_us: int,
    valid_us: int,
    identity: str = "",
) -> tuple[str, str]:
    """A token and its id. ``valid_us`` 0: for ever. Raises ValueError for one longer than tokens may be."""
    token_id = secrets.token_urlsafe(_ID_BYTES)
    claims: dict[str, Any] = {
        "aud": AUDIENCE,
        "jti": token_id,
        "iat": now_us // 1_000_000,
        CLAIM: [{"action": p.action.value, "broadcast": p.broadcast} for p in permissions],
    }
    if identity:
        claims["sub"] = identity
    if valid_us:
        claims["exp"] = -(-(now_us + valid_us) // 1_000_000)
    token = jwt.encode(claims, key.private, algorithm=key.algorithm)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise ValueError("too much for one token")
    return token, token_id


def own_key(secret: ClusterSecret | None, path: Path | None, directory: Path) -> SigningKey:
    """The key in ``path``; else the cluster's; else that of ``directory``. Blocking. Raises ConfigError."""
    if path is None and secret is not None:
        return SigningKey.of_secret(secret.key(KEY_LABEL, KEY_BYTES))
    return load_key(path or directory / KEY_FILE)


class OwnTokens:
    """Takes what was signed with this gateway's key, or its cluster's. ``load`` gives it; blocking."""

    def __init__(self, load: Callable[[], SigningKey], *, now_us: Callable[[], int] = clock.now_us) -> None:
        self._load, self._now_us = load, now_us
        self._key: SigningKey | None = None

    async def start(self) -> None:
        """Load the key, or make it. Raises ConfigError."""
        self._key = await asyncio.to_thread(self._load)

    async def close(self) -> None:
        """Nothing runs."""

    async def check(self, credentials: Credentials) -> Grant | None:
        """What the token grants."""
        if self._key is None or credentials.user:
            return None
        claims = verified_claims(credentials.token, (self._key.public,), Expected(audience=AUDIENCE))
        if claims is None:
            return None
        return grant_now(claims, self._now_us(), stepped_us=clock.stepped_us())
