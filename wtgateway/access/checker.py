"""What is common to all ways of telling who somebody is."""

from __future__ import annotations

from typing import Protocol

from wtgateway.access.credentials import Credentials
from wtgateway.access.permissions import Grant


class UnavailableError(Exception):
    """Whoever would know cannot be asked now."""


class Checker(Protocol):
    """One way of telling."""

    async def check(self, credentials: Credentials) -> Grant | None:
        """What a token (or user and password) is good for; None: not known here.

        Raises Refused for one that is known and no good, UnavailableError.
        """

    async def start(self) -> None:
        """Load what is needed. Raises ConfigError."""

    async def close(self) -> None:
        """End what runs in the background."""
