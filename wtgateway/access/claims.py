"""The claims of a JWT (RFC 7519) that matter: ``sub``, ``exp``, ``nbf``, ``jti``, the permissions. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from wtgateway.access.permissions import Grant, clean_identity, permissions_of_claim

CLAIM = "permissions"
LEEWAY_US = 10_000_000  # clocks differ: a token may be used so long before its nbf
_LATEST_S = 1 << 40


def grant_of_claims(claims: dict[str, Any], now_us: int, *, claim: str = CLAIM) -> Grant | None:
    """What verified claims grant; None for a token that is over, not valid yet, or says no sensible time.

    ``claim`` may be dotted: ``realm_access.video`` is ``video`` of the map ``realm_access``.
    """
    expires_us = _time_us(claims.get("exp"))
    begins_us = _time_us(claims.get("nbf"))
    if expires_us is None or begins_us is None:
        return None
    if (expires_us and now_us >= expires_us) or now_us + LEEWAY_US < begins_us:
        return None
    return Grant(
        identity=clean_identity(claims.get("sub")),
        permissions=permissions_of_claim(_found(claims, claim)),
        expires_us=expires_us,
        token_id=clean_identity(claims.get("jti")),
    )


def grant_now(
    claims: dict[str, Any], now_us: int, *, claim: str = CLAIM, stepped_us: int = 0
) -> Grant | None:
    """The same in gateway time, while the wall clock, by which tokens are dated, was stepped by so much."""
    grant = grant_of_claims(claims, now_us + stepped_us, claim=claim)
    if grant is None or not grant.expires_us:
        return grant
    return replace(grant, expires_us=grant.expires_us - stepped_us)


def _found(claims: dict[str, Any], name: str) -> object:
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _time_us(value: object) -> int | None:
    """NumericDate in µs; 0: not given; None: no time. A time before 1970 is as over as 1 µs after it."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(1, round(min(value, _LATEST_S) * 1_000_000))
