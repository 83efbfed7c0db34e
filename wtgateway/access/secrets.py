"""Tokens and passwords as a file holds them: SHA-256 of random tokens, scrypt (RFC 7914) of passwords.

sha256:<64 hex digits>
scrypt:<n>:<r>:<p>:<salt, hex>:<hash, hex>
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

TOKEN_PREFIX = "wtg_"  # noqa: S105 - by which logs know it
_TOKEN_BYTES = 24
_SALT_BYTES, _HASH_BYTES = 16, 32
_N, _R, _P = 1 << 14, 8, 1  # 16 MiB, some 50 ms
_MOST_MEMORY = 64 << 20  # bytes, 128 * n * r


@dataclass(frozen=True, slots=True)
class TokenHash:
    """SHA-256 of a token of which nobody can try enough: 24 random bytes."""

    digest: bytes = field(repr=False)

    def fits(self, token: str) -> bool:
        """In a time that tells nothing."""
        return hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self.digest)


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """scrypt of a password. :meth:`fits` takes some 50 ms and 16 MiB: it belongs in a thread."""

    n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def fits(self, password: str) -> bool:
        """Blocking."""
        kdf = Scrypt(salt=self.salt, length=len(self.digest), n=self.n, r=self.r, p=self.p)
        try:
            kdf.verify(password.encode(), self.digest)
        except InvalidKey:
            return False
        return True

    def __str__(self) -> str:
        return f"scrypt:{self.n}:{self.r}:{self.p}:{self.salt.hex()}:{self.digest.hex()}"


def new_token() -> str:
    """A token of 192 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> str:
    """As the file has it."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def hash_password(password: str) -> str:
    """As the file has it. Blocking."""
    salt = os.urandom(_SALT_BYTES)
    digest = Scrypt(salt=salt, length=_HASH_BYTES, n=_N, r=_R, p=_P).derive(password.encode())
    return str(PasswordHash(_N, _R, _P, salt, digest))


def parse_token_hash(text: str) -> TokenHash:
    """Raises ValueError."""
    name, _, digits = text.strip().partition(":")
    digest = bytes.fromhex(digits)
    if name != "sha256" or len(digest) != hashlib.sha256().digest_size:
        raise ValueError("no hash of a token")
    return TokenHash(digest)


def parse_password_hash(text: str) -> PasswordHash:
    """Raises ValueError, also for parameters that take more memory than anybody needs."""
    words = text.strip().split(":")
    if len(words) != 6 or words[0] != "scrypt":
        raise ValueError("no hash of a password")
    n, r, p = (_small(word) for word in words[1:4])
    salt, digest = bytes.fromhex(words[4]), bytes.fromhex(words[5])
    if n < 1 << 10 or n & (n - 1) or not r or not p or 128 * n * r > _MOST_MEMORY or p > 16:
        raise ValueError("unusable parameters of scrypt")
    if not 8 <= len(salt) <= 64 or not 16 <= len(digest) <= 64:
        raise ValueError("a salt or a hash of another length")
    return PasswordHash(n, r, p, salt, digest)


def _small(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 8):
        raise ValueError("no number")
    return int(word)
