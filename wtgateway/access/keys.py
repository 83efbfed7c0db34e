"""Keys that JWTs are verified with, and which algorithms (RFC 7518, RFC 8037) each is good for. Pure.

An algorithm belongs to a key, never to the token: one that says HS256 is not verified with a public key as
if it were a secret, and ``none`` is no algorithm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

MAX_KEYS = 64
LEAST_RSA_BITS = 2048
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}  # the least bytes (RFC 7518, section 3.2)
ALGORITHMS = (*_SECRET, *_RSA, *_CURVES.values(), "EdDSA")


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key with the algorithms that it may be used for; ``kid`` empty: for any token."""

    key: Any = field(repr=False)
    algorithms: tuple[str, ...]
    kid: str = ""


def verifying_key(key: Any, kid: str = "", only: Collection[str] = ALGORITHMS) -> VerifyingKey:
    """Of a secret (bytes) or a public key of cryptography. Raises ValueError for one that is no good."""
    algorithms = tuple(name for name in _algorithms(key) if name in only)
    if not algorithms:
        raise ValueError("a key for none of the algorithms")
    return VerifyingKey(key, algorithms, kid)


def _algorithms(key: Any) -> Sequence[str]:
    if isinstance(key, bytes):
        return [name for name, least in _SECRET.items() if len(key) >= least]
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA if key.key_size >= LEAST_RSA_BITS else ()
    if isinstance(key, ec.EllipticCurvePublicKey):
        name = _CURVES.get(key.curve.name)
        return (name,) if name else ()
    return ("EdDSA",) if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) else ()


def key_of_file(data: bytes, only: Collection[str] = ALGORITHMS) -> VerifyingKey:
    """A public key or certificate in PEM, else a secret as it is written. Raises ValueError."""
    text = data.strip()
    if text.startswith(b"-----BEGIN CERTIFICATE"):
        return verifying_key(load_pem_x509_certificate(text).public_key(), only=only)
    if text.startswith(b"-----BEGIN"):
        return verifying_key(load_pem_public_key(text), only=only)
    return verifying_key(text, only=only)


def keys_of_set(
    document: object, *, secrets: bool, only: Collection[str] = ALGORITHMS
) -> tuple[VerifyingKey, ...]:
    """The keys of a JWK Set (RFC 7517, section 5) that can verify; others are left out.

    ``secrets``: whether symmetric ones are taken. Raises ValueError for what is no set.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no JWK Set")
    found = [_of_entry(entry, secrets, only) for entry in entries[:MAX_KEYS]]
    return tuple(key for key in found if key is not None)


def _of_entry(entry: object, secrets: bool, only: Collection[str]) -> VerifyingKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kid, algorithm = entry.get("kid", ""), entry.get("alg")
    if not isinstance(kid, str) or (entry.get("kty") == "oct" and not secrets):
        return None
    try:
        key = jwt.PyJWK(_public(entry)).key
        allowed = only if algorithm is None else tuple(name for name in only if name == algorithm)
        return verifying_key(key, kid, allowed)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None  # a kind of key that is not known here, or one that is none


def _public(entry: dict[str, Any]) -> dict[str, Any]:
    """Without the private part of a pair, and without what only picks an implementation."""
    left_out = {"alg", "d", "p", "q", "dp", "dq", "qi", "oth"} if entry.get("kty") != "oct" else {"alg"}
    plain = {name: value for name, value in entry.items() if name not in left_out}
    return plain | ({"alg": "HS256"} if entry.get("kty") == "oct" else {})
