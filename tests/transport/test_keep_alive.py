"""What keeps the translation of a NAT alive whose memory of a UDP flow lasts 30 s (RFC 4787, section 4.3).

The gateway speaks at least once a second, and every viewer's QUIC acknowledges that; a viewer asks for the
time every few seconds, and is sent away by the gateway where it does not. So both directions are used, also
where there is nothing to see. In virtual time.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest

from tests.delivery.whole import Viewer
from tests.transport.ends import Ends
from wtgateway import clock
from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState, Catalog
from wtgateway.protocol.session import ServerSession, parse_connect_path
from wtgateway.transport import session as session_module
from wtgateway.transport.connect import SessionHandler, SessionRequest
from wtgateway.transport.session import ViewerSession
from wtgateway.workers.service import TICK_S

NAT_S = 30.0
LEAST_EVERY_S = NAT_S / 2


class Still:
    """A gateway with a broadcast of which nothing comes, and a viewer."""

    def __init__(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends = Ends(answer=self._answer, path=path)
        self.time = self.ends.time
        monkeypatch.setattr(session_module, "time", self)
        monkeypatch.setattr(clock, "now_us", lambda: round(self.time.now * 1e6))
        self.broadcast = Broadcast("cam")
        self.broadcast.set_catalog(Catalog(revision=1))
        self.broadcast.set_status(Status(BroadcastState.RETRYING, "the source is away"))
        self.session: ViewerSession | None = None
        self.ends.client = cast(Any, Viewer(self.time, 0.15, lambda _: None))
        self.down = self._watched(self.ends.down)
        self.up = self._watched(self.ends.up)
        self._tick()

    def monotonic(self) -> float:
        """In place of the module ``time``."""
        return self.time.now

    def _answer(self, request: SessionRequest) -> SessionHandler:
        query = parse_connect_path(request.path)
        core = ServerSession(session_id="s", broadcast="cam", query=query, now_us=0)
        self.session = ViewerSession(core, self.broadcast, certificates=[], on_closed=lambda _: None)
        return self.session

    def _tick(self) -> None:
        if self.session is not None:
            self.session.tick(self.time.now)
        self.time.after(TICK_S, self._tick)

    def _watched(self, link: Any) -> list[float]:
        """When something was sent into a direction."""
        times: list[float] = []
        send = link.send

        def sending(data: bytes) -> bool:
            times.append(self.time.now)
            return cast(bool, send(data))

        link.send = sending
        return times


@pytest.mark.parametrize("subscribe", ["video,audio", "audio", ""], ids=["still", "invisible", "nothing"])
def test_both_directions_are_used_all_the_time_though_nothing_is_shown(
    subscribe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = Still(f"/cam?v=1&subscribe={subscribe}".removesuffix("&subscribe="), monkeypatch)
    seconds = 4 * NAT_S
    still.ends.run(seconds)
    for times in (still.down, still.up):
        pauses = [b - a for a, b in itertools.pairwise([*times, seconds])]
        assert max(pauses) < LEAST_EVERY_S
        assert len(times) > seconds / 2, "far more often than it must be"
