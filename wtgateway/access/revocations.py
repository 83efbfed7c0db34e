"""Tokens and identities that were taken back, each for as long as needed. Pure; times in gateway µs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wtgateway.access.permissions import Grant

MAX_REVOCATIONS = 10_000
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Either ``token_id`` or ``identity`` is given. ``until_us`` 0: for ever."""

    token_id: str = ""
    identity: str = ""
    until_us: int = 0

    def __post_init__(self) -> None:
        names = [name for name in (self.token_id, self.identity) if name]
        if len(names) != 1 or len(names[0]) > MAX_NAME_CHARACTERS or self.until_us < 0:
            raise ValueError("either a token's id or an identity is needed, and a time that is not negative")

    @property
    def names(self) -> tuple[str, str]:
        """What it is known by."""
        return self.token_id, self.identity

    def holds(self, now_us: int) -> bool:
        """Whether it is not over yet."""
        return self.until_us == 0 or now_us < self.until_us

    def concerns(self, grant: Grant) -> bool:
        """Whether the grant is one that it takes back."""
        if self.token_id:
            return grant.token_id == self.token_id
        return grant.identity == self.identity

    def to_row(self) -> list[Any]:
        """As it travels, and is written."""
        return [self.token_id, self.identity, self.until_us]

    @classmethod
    def from_row(cls, row: list[Any]) -> Revocation:
        """The same back. Raises ValueError or TypeError for anything else."""
        token_id, identity, until_us = row
        if not isinstance(token_id, str) or not isinstance(identity, str) or type(until_us) is not int:
            raise TypeError("no revocation")
        return cls(token_id=token_id, identity=identity, until_us=until_us)


class RevocationsFullError(Exception):
    """There is no room for another one."""


class Revocations:
    """At most ``most`` of them; none is ever displaced by another, for that would let somebody in again."""

    def __init__(self, most: int = MAX_REVOCATIONS) -> None:
        self._most = most
        self._found: dict[tuple[str, str], Revocation] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, revocation: Revocation, now_us: int) -> None:
        """Take back; the later end counts of two for the same. Raises RevocationsFullError."""
        known = self._found.get(revocation.names)
        if known is None and len(self._found) >= self._most:
            self._tidy(now_us)
            if len(self._found) >= self._most:
                raise RevocationsFullError
        if known is not None and known.holds(now_us) and _later(known, revocation):
            return
        self._found[revocation.names] = revocation

    def remove(self, token_id: str, identity: str, now_us: int) -> bool:
        """Have it good again, by the one of the two names that is not empty; False: it was not taken back."""
        found = self._found.pop((token_id, identity), None)
        return found is not None and found.holds(now_us)

    def revoked(self, grant: Grant, now_us: int) -> bool:
        """Whether a grant was taken back."""
        found = (
            self._found.get((grant.token_id, "")) if grant.token_id else None,
            self._found.get(("", grant.identity)) if grant.identity else None,
        )
        return any(revocation is not None and revocation.holds(now_us) for revocation in found)

    def all(self, now_us: int) -> list[Revocation]:
        """Those that hold, the oldest first."""
        self._tidy(now_us)
        return list(self._found.values())

    def _tidy(self, now_us: int) -> None:
        self._found = {key: found for key, found in self._found.items() if found.holds(now_us)}


def _later(known: Revocation, other: Revocation) -> bool:
    return known.until_us == 0 or (other.until_us != 0 and known.until_us >= other.until_us)
