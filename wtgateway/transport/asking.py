"""A client's CONNECTs: those that wait for the server's SETTINGS, those sent, and the answers.

Part of :mod:`wtgateway.transport.connect`. Imports aioquic and this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioquic.h3.events import HeadersReceived

from wtgateway.transport import headers
from wtgateway.transport.drafts import Draft
from wtgateway.transport.webtransport import SessionHandler, SessionRequest

if TYPE_CHECKING:
    from wtgateway.transport.h3 import WebTransportConnection


@dataclass(frozen=True, slots=True)
class Wish:
    """A session that is wanted, and who is told when it opens."""

    authority: str
    path: str
    headers: dict[str, str]
    handler: SessionHandler


class Asking:
    """The CONNECTs of ``connection`` that were not answered with 200 yet; true while there are some."""

    def __init__(self, connection: WebTransportConnection) -> None:
        self._connection = connection
        self._waiting: list[Wish] = []
        self._sent: dict[int, tuple[SessionRequest, SessionHandler]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._sent)

    def wait(self, wish: Wish) -> None:
        """CONNECT when the draft is known."""
        self._waiting.append(wish)

    def send_waiting(self, draft: Draft) -> None:
        """The draft is known."""
        waiting, self._waiting = self._waiting, []
        for wish in waiting:
            self.send(wish, draft)

    def send(self, wish: Wish, draft: Draft) -> None:
        """CONNECT."""
        connection = self._connection
        assert connection.h3 is not None
        stream_id = connection.quic.get_next_available_stream_id()
        request = SessionRequest(
            path=wish.path, authority=wish.authority, headers=wish.headers, protocols=connection.protocols
        )
        self._sent[stream_id] = (request, wish.handler)
        fields = headers.request(wish.authority, wish.path, request.protocols, wish.headers, draft)
        connection.h3.send_headers(stream_id, fields)
        connection.mark_dirty()

    def answered(
        self, event: HeadersReceived, draft: Draft
    ) -> tuple[SessionRequest, SessionHandler, str] | None:
        """What was asked and the sub-protocol chosen, for 2xx; else None, and the refusal is noted."""
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        status = int(fields[":status"])
        asked = self._sent.get(event.stream_id)
        if asked is None or status < 200:
            return None
        if not 200 <= status < 300:
            self._connection.refusal = (status, fields.get(headers.REASON_FIELD.decode(), ""))
            return None
        del self._sent[event.stream_id]
        return (*asked, headers.parse_choice(fields.get("wt-protocol", ""), draft))
