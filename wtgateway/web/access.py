"""The access rule of pages, API and metrics: what a request shows is held against the one authority.

Tokens come as ``Authorization: Bearer`` or ``?token=``, user and password as HTTP Basic. May import access.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from wtgateway.access.authority import Authority
from wtgateway.access.credentials import Credentials, Refused, is_local, parse_authorization
from wtgateway.access.origins import host_of_header, is_loopback_host
from wtgateway.access.permissions import Action, Grant

WHOLE_GATEWAY = "*"  # in place of a broadcast


class Allowed:
    """A Grant as the API asks it: actions by name, and no broadcast for any."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    def allows(self, action: str, broadcast: str = "") -> bool:
        """Whether that is among it; without a broadcast: of any."""
        wanted = Action(action)
        if not broadcast:
            return self.grant.allows_anywhere(wanted)
        return self.grant.allows(wanted, "" if broadcast == WHOLE_GATEWAY else broadcast)


class AccessRule:
    """The guard of :class:`wtgateway.web.operations.Rules`. ``hosts``: names of this gateway.

    Where somebody is let do more because the request is this machine's own, it has to be addressed to this
    machine: a site whose name is made to lead here (DNS rebinding) speaks in its own name.
    """

    def __init__(self, authority: Authority, hosts: Collection[str] = ()) -> None:
        self._authority, self._hosts = authority, frozenset(hosts)

    async def __call__(self, connection: HTTPConnection, action: str, broadcast: str) -> Allowed:
        """What whoever asks may do. Raises HTTPException 401, 403, 429 or 503."""
        credentials = self._credentials(connection, Action(action), broadcast)
        try:
            grant = self._authority.check_now(credentials)
            if grant is None:
                grant = await self._authority.check(credentials, anywhere=not broadcast)
        except Refused as refused:
            raise as_http(refused) from None
        return Allowed(grant)

    def _credentials(self, connection: HTTPConnection, action: Action, broadcast: str) -> Credentials:
        user, token = parse_authorization(connection.headers.get("authorization", ""))
        client = connection.client
        address = client.host if client is not None else ""
        server = connection.scope.get("server") or ("", 0)
        reached = str(server[0])
        return Credentials(
            token=token or connection.query_params.get("token", ""),
            user=user,
            address=address,
            local=is_local(address, connection.headers, reached) and self._is_ours(connection, reached),
            action=action,
            broadcast="" if broadcast == WHOLE_GATEWAY else broadcast,
            origin=connection.headers.get("origin", ""),
            transport="http",
        )

    def _is_ours(self, connection: HTTPConnection, reached: str) -> bool:
        host = host_of_header(connection.headers.get("host", ""))
        return is_loopback_host(host) or host in self._hosts or (bool(host) and host == reached)


def as_http(refused: Refused) -> HTTPException:
    """The answer no, as HTTP has it (RFC 6750, section 3; RFC 9110, section 10.2.3)."""
    headers = {"www-authenticate": 'Bearer realm="wtgateway"'} if refused.status == 401 else {}
    if refused.retry_after_s > 0:
        headers["retry-after"] = str(math.ceil(refused.retry_after_s))
    return HTTPException(refused.status, refused.words, headers)
