"""The whole of the gateway but sockets and encoders, in virtual time.

A hub, a viewer's session, QUIC with its congestion control, and the native viewer's core at the path's end.

What :mod:`tests.delivery.model` leaves out (losses that QUIC finds out, estimates, pacing, windows) is here;
a minute of a viewer takes half a minute.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.delivery.media import Audience, Camera, Outcome
from tests.netsim import Conditions, VirtualTime, Wakes
from tests.protocol.pair import AUDIO, CATALOG, GATEWAY_AHEAD_US, VIDEO
from tests.transport.ends import Ends
from wtgateway import clock
from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind
from wtgateway.protocol import client_events
from wtgateway.protocol.client_session import ClientLimits, ClientSession
from wtgateway.protocol.governor import Governor
from wtgateway.protocol.session import ServerSession, parse_connect_path
from wtgateway.protocol.targets import Nominal
from wtgateway.transport import session as session_module
from wtgateway.transport.connect import SessionHandler, SessionRequest
from wtgateway.transport.session import ViewerSession
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import WebTransportSession

TICK_S = 0.25


class Viewer:
    """The native viewer's core as the handler of the client's session."""

    def __init__(self, time: VirtualTime, deadline: float, show: Callable[[Frame], None]) -> None:
        self.core = ClientSession(limits=ClientLimits(deadline=deadline))
        self._time, self._show = time, show
        self._session: WebTransportSession | None = None
        self._control: int | None = None
        self._wakes = Wakes(time, self.settle)

    def opened(self, session: WebTransportSession) -> None:
        self._session = session
        self.core.handle_timeout(self._time.now)

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        if stream_id & 2:
            self.core.receive_stream(stream_id, data, fin, self._time.now)
        else:
            self._control = stream_id
            self._take(self.core.receive_control(data, self._time.now))
        self.settle()

    def stream_reset(self, stream_id: int, code: int) -> None:
        self.core.reset_stream(stream_id, self._time.now)
        self.settle()

    def stop_sending(self, stream_id: int, code: int) -> None: ...

    def datagram(self, data: bytes) -> None:
        self.core.receive_datagram(data, self._time.now)
        self.settle()

    def writable(self) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed: {code} {reason}")

    def settle(self) -> None:
        session = self._session
        if session is None:
            return
        self._take(self.core.poll_events())
        if self._control is not None and (said := self.core.control_to_send()):
            session.send(self._control, said, False)
        if wishes := self.core.datagrams_to_send():
            session.send_datagrams(tuple(bytes(one) for one in wishes), Urgency.CONTROL)
        session.flush()
        self._wakes.set("core", self.core.next_timeout(), self.core.handle_timeout)

    def _take(self, events: list[client_events.ClientEvent]) -> None:
        for event in events:
            if isinstance(event, client_events.FrameReady):
                self._show(event.frame)


def _catalog(bps: int) -> Catalog:
    """Of pictures with so many bits a second, and sound."""
    pictures, *others = CATALOG.tracks
    renditions = tuple(dataclasses.replace(r, bitrate_bps=bps) for r in pictures.renditions)
    tracks = (dataclasses.replace(pictures, renditions=renditions), *others)
    return dataclasses.replace(CATALOG, tracks=tracks)


class Whole:
    """A broadcast of ``bps`` with one viewer; ``follows``: its encoder does what the gateway tells it."""

    def __init__(
        self,
        down: Conditions,
        *,
        monkeypatch: pytest.MonkeyPatch,
        mode: str = "auto",
        up: Conditions | None = None,
        deadline: float = 0.15,
        bps: float = 3_000_000.0,
        keyframe_size: float = 6.0,
        follows: bool = True,
        seed: int = 1,
    ) -> None:
        path = f"/cam?subscribe=video,audio&delivery={mode}&deadline={round(deadline * 1000)}"
        up = up or dataclasses.replace(down, rate_bps=0.0, steps=())
        self.ends = Ends(down=down, up=up, seed=seed, answer=self._answer, path=path)
        self.time, self.deadline, self.follows = self.ends.time, deadline, follows
        monkeypatch.setattr(session_module, "time", self)
        monkeypatch.setattr(clock, "now_us", self.gateway_us)
        self.broadcast = Broadcast("cam")
        self.broadcast.bind(self)
        self.broadcast.set_catalog(_catalog(round(bps)))
        self.broadcast.set_status(Status(BroadcastState.LIVE))
        self.camera = Camera(
            self.time, self.gateway_us, self._publish, bps=bps, keyframe_size=keyframe_size, seed=seed
        )
        self.audience = Audience(self.camera, deadline)
        self._nominals = {0: Nominal(bitrate_bps=round(bps), fps=30, width=1280, height=720, cheap=True)}
        self._governor = Governor(self.broadcast.policy)
        self._wakes = Wakes(self.time, lambda: None)
        self.viewer = Viewer(self.time, deadline, self._show)
        self.session: ViewerSession | None = None
        self.media_bytes = 0
        self.ends.client = cast(Any, self.viewer)

    def gateway_us(self) -> int:
        """The gateway's clock."""
        return round(self.time.now * 1e6) + GATEWAY_AHEAD_US

    def monotonic(self) -> float:
        """In place of the module ``time``."""
        return self.time.now

    def play(self, seconds: float) -> Outcome:
        """Capture for so long from when the session is open, and say what came of it."""
        began_us = self.gateway_us()
        self._tick()
        self.camera.run(seconds)
        self.time.run(seconds + self.deadline + 1.0)
        sent = self.ends.down.counters
        assert self.session is not None
        return Outcome(
            video_on_time=self.audience.on_time(VIDEO),
            video_settled=self.audience.on_time(VIDEO, since_us=began_us + 3_000_000),
            audio_on_time=self.audience.on_time(AUDIO),
            longest_freeze=self.audience.longest_freeze(),
            keyframes_asked=self.broadcast.keyframe_requests,
            overhead=self.session.core.bytes_sent / self.media_bytes - 1,
            most_held_frames=0,
            most_held_bytes=sent.sent,
        )

    @property
    def outgoing(self) -> Counter[str]:
        """What the session counted of datagrams."""
        assert self.session is not None
        return self.session.core.outgoing.counters

    def delivered(self, track: int, since: float, until: float = 1e9) -> list[float]:
        """How long each frame of a span (s from the first one on) took; infinite: it never came."""
        sent = {name: frame for name, frame in self.camera.sent.items() if name[0] == track}
        first_us = min(frame.capture_us for frame in self.camera.sent.values())
        return [
            self.audience.delays.get(name, math.inf)
            for name, frame in sent.items()
            if since <= (frame.capture_us - first_us) / 1e6 < until
        ]

    # --- the producer --------------------------------------------------------------------------------

    def request_keyframe(self, track: int) -> None:
        self.camera.request_keyframe()

    def demand_changed(self, viewers: int) -> None: ...

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None: ...

    def wishes_changed(self) -> None:
        if self.follows:
            self._govern(self.time.now)

    def _govern(self, now: float) -> None:
        again = self._governor.update(now, self._nominals, self.broadcast.wishes)
        target = self._governor.targets[0]
        self.camera.bps, self.camera.every = target.bitrate_bps, target.every
        self._wakes.set("governor", again, self._govern)

    def _publish(self, frame: Frame, data: bytes, kind: Kind) -> None:
        self.media_bytes += len(data)
        self.broadcast.publish(frame)

    # --- the session -----------------------------------------------------------------------------------

    def _answer(self, request: SessionRequest) -> SessionHandler:
        query = parse_connect_path(request.path)
        core = ServerSession(session_id="s", broadcast="cam", query=query, now_us=self.gateway_us())
        self.session = ViewerSession(core, self.broadcast, certificates=[], on_closed=lambda session: None)
        return self.session

    def _tick(self) -> None:
        if self.session is not None:
            self.session.tick(self.time.now)
        self.time.after(TICK_S, self._tick)

    def _show(self, frame: Frame) -> None:
        self.audience.take(frame, self.gateway_us(), self.time.now)
