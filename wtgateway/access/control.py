"""Access control as the configuration asks for it: checkers made, started and closed; revocations kept.

May import config and cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wtgateway import clock
from wtgateway.access.authority import OPEN, Anonymous, Authority
from wtgateway.access.checker import Checker
from wtgateway.access.credentials import Credentials, Refused
from wtgateway.access.origins import ANY, Origins, parse_origin_pattern
from wtgateway.access.permissions import Permission, parse_permissions
from wtgateway.access.revocations import MAX_REVOCATIONS, Revocation
from wtgateway.cluster import ClusterSecret
from wtgateway.config import AccessConfig, GatewayConfig
from wtgateway.errors import ConfigError

log = logging.getLogger("wtgateway.access")

REVOCATIONS_FILE = "revocations.json"
_MAX_FILE_BYTES = 512 * MAX_REVOCATIONS

OnRevoked = Callable[[Revocation], None]
OnRefused = Callable[[Credentials, Refused], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What another configuration comes to: checkers that have begun, and who may do what without a token."""

    checkers: list[Checker]
    anonymous: Anonymous
    origins: Origins

    async def close(self) -> None:
        """It is not wanted, or not any more."""
        for checker in self.checkers:
            await checker.close()


class AccessControl:
    """The authority of a gateway. ``on_revoked`` is called with each revocation, to end sessions."""

    def __init__(
        self,
        config: GatewayConfig,
        secret: ClusterSecret | None = None,
        *,
        on_refused: OnRefused = lambda credentials, refused: None,
    ) -> None:
        self.on_revoked: OnRevoked = lambda revocation: None
        self._secret = secret
        self._checkers = _checkers(config, secret)
        access = config.access
        anonymous = _anonymous(access, self._checkers)
        self.authority = Authority(self._checkers, anonymous=anonymous, on_refused=on_refused)
        self.origins = origins_of(config)
        self._file = config.certs_dir / REVOCATIONS_FILE
        self._writing = asyncio.Lock()
        if not self._checkers and not (config.bind.is_loopback and config.web.is_loopback):
            log.warning(
                "no access control: everybody who reaches this gateway may watch; sessions, metrics and "
                "changes are for this machine alone (docs/access.md)"
            )

    async def start(self) -> None:
        """Load keys, users and revocations. Raises ConfigError."""
        for revocation in await asyncio.to_thread(_read, self._file):
            self.authority.revoke(revocation)
        for checker in self._checkers:
            await checker.start()

    async def prepare(self, config: GatewayConfig) -> Prepared:
        """See whether another configuration can be used; nothing has changed yet. Raises ConfigError."""
        checkers = _checkers(config, self._secret)
        prepared = Prepared(checkers, _anonymous(config.access, checkers), origins_of(config))
        try:
            for checker in checkers:
                await checker.start()
        except BaseException:
            await prepared.close()
            raise
        return prepared

    async def use(self, prepared: Prepared) -> None:
        """Who comes from now on is judged by this; who is there stays until its token has to be renewed."""
        former, self._checkers = self._checkers, prepared.checkers
        self.origins = prepared.origins
        self.authority.use(prepared.checkers, prepared.anonymous)
        for checker in former:
            await checker.close()

    async def close(self) -> None:
        """End what runs in the background."""
        for checker in self._checkers:
            await checker.close()

    def revocations(self) -> list[Revocation]:
        """Those that hold."""
        return self.authority.revocations.all(clock.now_us())

    async def revoke(self, revocation: Revocation) -> None:
        """Take a token or an identity back, now and after a restart. Raises RevocationsFullError, OSError."""
        self.authority.revoke(revocation)
        self.on_revoked(revocation)
        log.info(
            "access revoked token=%s identity=%s", revocation.token_id or "-", revocation.identity or "-"
        )
        await self._keep()

    async def restore(self, token_id: str, identity: str) -> bool:
        """What was taken back is good again, if it still would be; False: it was not. Raises OSError."""
        if not self.authority.revocations.remove(token_id, identity, clock.now_us()):
            return False
        log.info("access restored token=%s identity=%s", token_id or "-", identity or "-")
        await self._keep()
        return True

    async def _keep(self) -> None:
        async with self._writing:
            await asyncio.to_thread(_write, self._file, self.revocations())


def origins_of(config: GatewayConfig) -> Origins:
    """Whose pages may connect.

    Without a list: any page where everybody may watch anyway (``public``), and where the pages' own host is
    not known here (QUIC is advertised under a name of its own, and there is no public URL).
    """
    listed = tuple(parse_origin_pattern(text) for text in config.access.origins)
    unknown = config.advertise is not None and not config.public_url
    if not listed and (config.public or unknown):
        listed = (ANY,)
    return Origins(allowed=listed, hosts=config.public_hosts)


def _anonymous(access: AccessConfig, checkers: list[Checker]) -> Anonymous:
    """Without tokens everybody may watch."""
    return Anonymous(anywhere=_permissions(access)) if checkers else OPEN


def _permissions(access: AccessConfig) -> tuple[Permission, ...]:
    try:
        return parse_permissions(access.anonymous)
    except ValueError:
        raise ConfigError(
            "access.anonymous", "", ", ".join(access.anonymous), "permissions such as read:public/*"
        ) from None


def _checkers(config: GatewayConfig, secret: ClusterSecret | None) -> list[Checker]:
    """In the order of the modes. Their modules are loaded only where they are needed."""
    makers: dict[str, Callable[[], Checker]] = {
        "token": lambda: _own_tokens(config, secret),
        "static": lambda: _static(config.access),
        "jwt": lambda: _jwt(config.access),
        "callback": lambda: _callback(config.access),
    }
    return [makers[mode]() for mode in config.access.mode]


def _own_tokens(config: GatewayConfig, secret: ClusterSecret | None) -> Checker:
    from wtgateway.access.own_tokens import OwnTokens, own_key

    return OwnTokens(lambda: own_key(secret, config.access.key, config.certs_dir))


def _static(access: AccessConfig) -> Checker:
    from wtgateway.access.static import StaticUsers

    assert access.users is not None
    return StaticUsers(access.users)


def _jwt(access: AccessConfig) -> Checker:
    from wtgateway.access import jwks
    from wtgateway.access.jwts import Expected, JwtChecker

    key_set = None
    if access.jwt_keys:
        is_url = "://" in access.jwt_keys
        key_set = (
            jwks.of_url(access.jwt_keys, access.jwt_algorithms)
            if is_url
            else jwks.of_file(Path(access.jwt_keys).expanduser(), access.jwt_algorithms)
        )
    return JwtChecker(
        key_file=access.jwt_key,
        key_set=key_set,
        algorithms=access.jwt_algorithms,
        expected=Expected(issuer=access.jwt_issuer, audience=access.jwt_audience, claim=access.jwt_claim),
    )


def _callback(access: AccessConfig) -> Checker:
    from wtgateway.access.callback import Callback

    return Callback(access.callback, timeout_s=access.callback_timeout_s, yes_s=access.callback_cache_s)


# --- the file of revocations --------------------------------------------------------------------------


def parse_revocations(data: bytes) -> list[Revocation]:
    """The rows of the file. Raises ValueError or TypeError for anything else."""
    rows = json.loads(data)
    if not isinstance(rows, list) or len(rows) > MAX_REVOCATIONS:
        raise ValueError("no list of revocations")
    found = []
    for row in rows:
        if not isinstance(row, list):
            raise TypeError("no revocation")
        found.append(Revocation.from_row(row))
    return found


def _read(path: Path) -> list[Revocation]:
    """None where there is no file. Raises ConfigError: without it somebody would be let in again."""
    try:
        with path.open("rb") as stream:
            return parse_revocations(stream.read(_MAX_FILE_BYTES))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError("access", "", str(path), f"a file that can be read ({error.strerror})") from None
    except (ValueError, TypeError, RecursionError):
        raise ConfigError("access", "", str(path), "the revocations that this gateway has written") from None


def _write(path: Path, revocations: list[Revocation]) -> None:
    """Whole or not at all (rename(2)), for this user alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(json.dumps([revocation.to_row() for revocation in revocations]).encode())
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise
