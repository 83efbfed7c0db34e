"""JSON Web Tokens of somebody else's (RFC 7519): verified with a key, or with the keys of a JWK Set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from wtgateway import clock
from wtgateway.access.claims import CLAIM, grant_now
from wtgateway.access.credentials import Credentials, is_token
from wtgateway.access.jwks import KeySet
from wtgateway.access.keys import ALGORITHMS, VerifyingKey, key_of_file
from wtgateway.access.permissions import Grant
from wtgateway.errors import ConfigError

MAX_KEY_FILE_BYTES = 64 * 1024
_MOST_TRIED = 8  # keys, for a token that does not name its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a token must say. Empty: anything."""

    issuer: str = ""
    audience: str = ""
    claim: str = CLAIM


def verified_claims(token: str, keys: Sequence[VerifyingKey], expected: Expected) -> dict[str, Any] | None:
    """The claims of a token that one of the keys has signed, for this audience by this issuer; else None.

    Times are not looked at (:func:`~wtgateway.access.claims.grant_of_claims`).
    """
    header = unverified_header(token)
    if header is None:
        return None
    algorithm = header.get("alg")
    fitting = [key for key in keys if algorithm in key.algorithms]
    for key in fitting[:_MOST_TRIED]:
        claims = _verified(token, key, expected)
        if claims is not None:
            return claims
    return None


def unverified_header(token: str) -> dict[str, Any] | None:
    """The header of what looks like a JWT; None for anything else."""
    if not is_token(token) or token.count(".") != 2:
        return None
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims of what looks like a JWT, whoever has signed it; None for anything else."""
    try:
        found = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    return found["header"], found["payload"]


def _verified(token: str, key: VerifyingKey, expected: Expected) -> dict[str, Any] | None:
    checked = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_sub", "verify_jti"), False)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=list(key.algorithms),
            audience=expected.audience or None,
            issuer=expected.issuer or None,
            options={**checked, "verify_aud": bool(expected.audience), "verify_iss": bool(expected.issuer)},  # type: ignore[arg-type]
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    return claims


class JwtChecker:
    """Takes JWTs that are signed with the key in ``key_file``, or with one of ``key_set``."""

    def __init__(
        self,
        *,
        key_file: Path | None = None,
        key_set: KeySet | None = None,
        algorithms: Collection[str] = ALGORITHMS,
        expected: Expected | None = None,
        now_us: Callable[[], int] = clock.now_us,
    ) -> None:
        self._key_file, self._key_set, self._algorithms = key_file, key_set, tuple(algorithms)
        self._expected = expected or Expected()
        self._now_us = now_us
        self._keys: tuple[VerifyingKey, ...] = ()

    async def start(self) -> None:
        """Read the key; begin to keep the set current. Raises ConfigError."""
        if self._key_file is not None:
            self._keys = (await asyncio.to_thread(_read_key, self._key_file, self._algorithms),)
        if self._key_set is not None:
            await self._key_set.start()

    async def close(self) -> None:
        """End what runs."""
        if self._key_set is not None:
            await self._key_set.close()

    async def check(self, credentials: Credentials) -> Grant | None:
        """What the token's claims grant."""
        header = None if credentials.user else unverified_header(credentials.token)
        if header is None:
            return None
        claims = verified_claims(credentials.token, await self._fitting(header), self._expected)
        if claims is None:
            return None
        stepped_us = clock.stepped_us()
        return grant_now(claims, self._now_us(), claim=self._expected.claim, stepped_us=stepped_us)

    async def _fitting(self, header: dict[str, Any]) -> Sequence[VerifyingKey]:
        if self._key_set is None:
            return self._keys
        kid = header.get("kid", "")
        return (*self._keys, *await self._key_set.fitting(kid if isinstance(kid, str) else ""))


def _read_key(path: Path, algorithms: Collection[str]) -> VerifyingKey:
    expected = "a public key in PEM (RSA from 2048 bits, P-256 to P-521, Ed25519), or a secret of 32 bytes"
    try:
        with path.open("rb") as stream:
            return key_of_file(stream.read(MAX_KEY_FILE_BYTES), algorithms)
    except OSError as error:
        raise ConfigError(
            "access.jwt_key", "", str(path), f"a file that can be read ({error.strerror})"
        ) from None
    except ValueError:
        raise ConfigError("access.jwt_key", "", str(path), expected) from None
