"""Access control as the configuration asks for it: checkers made, started and closed; revocations kept.

May import config and cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wtgateway import clock
from wtgateway.access.authority import OPEN, Anonymous, Authority
from wtgateway.access.checker import Checker
from wtgateway.access.credentials import Credentials, Refused
from wtgateway.access.origins import ANY, Origins, parse_origin_pattern
from wtgateway.access.permissions import Permission, parse_permissions
from wtgateway.access.revocation_file import Change, RevocationFile
from wtgateway.access.revocations import Revocation, RevocationsFullError
from wtgateway.cluster import ClusterSecret
from wtgateway.config import AccessConfig, GatewayConfig
from wtgateway.errors import ConfigError

log = logging.getLogger("wtgateway.access")

LOOK_EVERY_S = 1.0  # what another gateway on the same directory has taken back is known after this

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
        self._file = RevocationFile(config.certs_dir)
        self._unwritten: dict[tuple[str, str], Change] = {}
        self._writing = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        if not self._checkers and not (config.bind.is_loopback and config.web.is_loopback):
            log.warning(
                "no access control: everybody who reaches this gateway may watch; sessions, metrics and "
                "changes are for this machine alone (docs/access.md)"
            )

    async def start(self) -> None:
        """Load keys, users and revocations. Raises ConfigError."""
        for revocation in await asyncio.to_thread(self._file.read) or ():
            self.authority.revoke(revocation)
        for checker in self._checkers:
            await checker.start()
        self._looking = asyncio.create_task(self._look())

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
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for checker in self._checkers:
            await checker.close()

    def revocations(self) -> list[Revocation]:
        """Those that hold."""
        return self.authority.revocations.all(clock.now_us())

    async def revoke(self, revocation: Revocation) -> None:
        """Take a token or an identity back: now, after a restart, and for all gateways on ``certs_dir``.

        Raises RevocationsFullError; OSError, ConfigError where it could not be written yet: it holds, and
        writing is tried again.
        """
        self.authority.revoke(revocation)
        self._revoked(revocation)
        await self._write(Change(revocation))

    async def restore(self, token_id: str, identity: str) -> bool:
        """What was taken back is good again, if it still would be; False: it was not.

        Raises OSError, ConfigError as :meth:`revoke`.
        """
        if not self._restored(token_id, identity):
            return False
        await self._write(Change(Revocation(token_id=token_id, identity=identity), restored=True))
        return True

    def _revoked(self, revocation: Revocation) -> None:
        self.on_revoked(revocation)
        log.info(
            "access revoked token=%s identity=%s", revocation.token_id or "-", revocation.identity or "-"
        )

    def _restored(self, token_id: str, identity: str) -> bool:
        found = self.authority.revocations.remove(token_id, identity, clock.now_us())
        if found:
            log.info("access restored token=%s identity=%s", token_id or "-", identity or "-")
        return found

    async def _write(self, change: Change) -> None:
        self._unwritten[change.revocation.names] = change
        async with self._writing:
            await self._write_all()

    async def _write_all(self) -> None:
        changes = dict(self._unwritten)
        if not changes:  # another call has taken them along
            return
        arguments = tuple(changes.values()), self.revocations(), clock.now_us()
        try:
            held = await asyncio.to_thread(self._file.change, *arguments)
        except RevocationsFullError:
            self._written(changes)  # no use in trying that again
            raise
        self._written(changes)
        self._adopt(held)

    def _written(self, changes: dict[tuple[str, str], Change]) -> None:
        for names, change in changes.items():
            if self._unwritten.get(names) is change:
                del self._unwritten[names]

    async def _look(self) -> None:
        """Write what could not be written, and see what others have."""
        trouble = ""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                async with self._writing:
                    if self._unwritten:
                        await self._write_all()
                    elif (held := await asyncio.to_thread(self._file.news)) is not None:
                        self._adopt(held)
            except (OSError, ConfigError, RevocationsFullError) as error:
                if str(error) != trouble:
                    log.error("revocations are not shared, nor kept over a restart, for now: %s", error)
                trouble = str(error)
            else:
                if trouble:
                    log.info("revocations are shared and kept again")
                trouble = ""

    def _adopt(self, held: Sequence[Revocation]) -> None:
        """What is written is what holds, but for what is not written yet. Raises RevocationsFullError."""
        known = {each.names: each for each in self.revocations()}
        written = {each.names: each for each in held}
        for names in known.keys() - written.keys() - self._unwritten.keys():
            self._restored(*names)
        for names, revocation in written.items():
            former = known.get(names)
            if former == revocation or names in self._unwritten:
                continue
            self.authority.revocations.remove(*names, clock.now_us())  # the later end would count
            self.authority.revoke(revocation)
            if former is None:
                self._revoked(revocation)


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
