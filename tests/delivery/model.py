"""ServerSession and ClientSession over the network in memory, with an ideal congestion control.

What is measured here is the delivery alone: fragments, asking, parity, order. The sender knows the path's
rate, and its loss as it has been over the last seconds. A minute of a viewer takes a second or two.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque

from tests.delivery.media import Audience, Camera, Outcome
from tests.netsim import Conditions, Link, StreamLink, VirtualTime, Wakes
from tests.protocol.pair import AUDIO, CATALOG, CONTROL, GATEWAY_AHEAD_US, VIDEO
from wtgateway.media import Frame, Kind
from wtgateway.protocol import client_events, messages, session
from wtgateway.protocol.client_session import ClientLimits, ClientSession
from wtgateway.protocol.lane import MOST_CATCH_UP_US
from wtgateway.protocol.outgoing import Whole
from wtgateway.protocol.reassembly import KEYFRAME_US
from wtgateway.protocol.session import ServerSession, parse_connect_path

DATAGRAM_BYTES = 1_150
PACKET_OVERHEAD = 40  # UDP, QUIC and the datagram's frame
FAST_BPS = 50e6  # of a path without a limit, so that it is paced at all
AHEAD = 0.005  # what may wait before the bottleneck
LOSS_SPAN = 3.0


class Model:
    """A viewer who asked for ``mode``, and what it gets."""

    def __init__(
        self,
        down: Conditions,
        *,
        mode: str,
        up: Conditions | None = None,
        deadline: float = 0.15,
        bps: float = 1_500_000.0,
        seed: int = 1,
    ) -> None:
        self.time = VirtualTime()
        self.conditions, self.deadline = down, deadline
        path = f"/cam?subscribe=video,audio&delivery={mode}&deadline={round(deadline * 1000)}"
        self.server = ServerSession(
            session_id="s", broadcast="cam", query=parse_connect_path(path), now_us=self.gateway_us()
        )
        self.client = ClientSession(limits=ClientLimits(deadline=deadline))
        self.camera = Camera(self.time, self.gateway_us, self._offer, bps=bps, seed=seed)
        self.audience = Audience(self.camera, deadline)
        up = up or dataclasses.replace(down, rate_bps=0.0, steps=())
        self.down = Link(self.time, down, seed, self._datagram_at_client)
        self.down_streams = StreamLink(self.time, down, seed + 1, self._stream_at_client)
        self.down_streams.link.bottleneck = self.down.bottleneck
        self.up = Link(self.time, up, seed + 2, self._datagram_at_server)
        self.up_streams = StreamLink(self.time, up, seed + 3, self._control_at_server)
        self.keyframes_asked = self.most_held_frames = self.most_held_bytes = 0
        self.media_bytes = self.sent_bytes = 0
        self._streams = itertools.count(10)
        self._wakes = Wakes(self.time, self.settle)
        self._paced_until = self.time.now
        self._seen: deque[tuple[float, int, int]] = deque()  # when, sent, lost

    def gateway_us(self) -> int:
        """The gateway's clock."""
        return round(self.time.now * 1e6) + GATEWAY_AHEAD_US

    def heal(self) -> None:
        """From now on nothing is lost, and all comes in order; delay and rate stay."""
        clean = dataclasses.replace(
            self.conditions,
            loss=0.0,
            burst=0.0,
            losses=None,
            jitter=0.0,
            reorder=0.0,
            duplicate=0.0,
            blackouts=(),
        )
        for link in (self.down, self.down_streams.link, self.up, self.up_streams.link):
            link.conditions = clean if link.conditions.rate_bps else dataclasses.replace(clean, rate_bps=0.0)

    def play(self, seconds: float) -> Outcome:
        """Open the session, capture for so long, and say what came of it."""
        began_us = self.gateway_us()
        self.server.handle_timeout(self.time.now)
        self.client.handle_timeout(self.time.now)
        self.server.set_state(messages.State(state="live"))
        self.server.set_catalog(CATALOG)
        self._look_at_path()
        self.settle()
        self.camera.run(seconds)
        self.time.run(seconds + self.deadline + (KEYFRAME_US + MOST_CATCH_UP_US) / 1e6 + 0.5)
        held = self.client.datagrams.reassembly
        assert held.held_frames == held.held_bytes == 0, "something is held for ever"
        assert self.client.frames_ignored == 0
        return Outcome(
            video_on_time=self.audience.on_time(VIDEO),
            video_settled=self.audience.on_time(VIDEO, since_us=began_us + 3_000_000),
            audio_on_time=self.audience.on_time(AUDIO),
            longest_freeze=self.audience.longest_freeze(),
            keyframes_asked=self.keyframes_asked,
            overhead=self.sent_bytes / self.media_bytes - 1,
            most_held_frames=self.most_held_frames,
            most_held_bytes=self.most_held_bytes,
        )

    def settle(self) -> None:
        """What the glue does after every call, on both sides."""
        self._send_media()
        for end, link in ((self.server, self.down_streams), (self.client, self.up_streams)):
            if data := end.control_to_send():
                link.send(CONTROL, data)
        for data in self.client.datagrams_to_send():
            self.up.send(bytes(data))
        self._act()
        self._wakes.set("server", self.server.next_timeout(), self.server.handle_timeout)
        self._wakes.set("client", self.client.next_timeout(), self.client.handle_timeout)

    def _send_media(self) -> None:
        rate = self._rate()
        while self.server.outgoing.pending:
            now = self.time.now
            room = round((AHEAD - max(0.0, self._paced_until - now)) * rate / 8)
            if self.down.bottleneck is not None:
                room = min(room, round(AHEAD * rate / 8) + DATAGRAM_BYTES - self.down.backlog)
            if room <= 0:
                self._wakes.set("writable", round(now + 0.001, 4), lambda now: None)
                return
            item = self.server.next_send(now, room)
            if item is None:
                return
            if isinstance(item, Whole):
                size = len(item.queued.data)
                self.down_streams.send(next(self._streams), item.queued.data, fin=True)
            else:
                size = sum(map(len, item.payloads))
                for payload in item.payloads:
                    self.down.send(payload + bytes(PACKET_OVERHEAD))
            self.sent_bytes += size
            self._paced_until = max(self._paced_until, now) + size * 8 / rate

    def _rate(self) -> float:
        bottleneck = self.down.bottleneck
        return bottleneck.rate_bps if bottleneck is not None else FAST_BPS

    def _look_at_path(self) -> None:
        """What the transport would know: of losses a round trip later, and over a while."""
        now, c, path = self.time.now, self.conditions, self.server.path
        links = (self.down, self.down_streams.link)
        counts = [link.counters for link in links]
        lost = sum(c.lost + c.overflowed for c in counts)
        self._seen.append((now, sum(c.sent for c in counts), lost))
        while self._seen[0][0] < now - LOSS_SPAN:
            self._seen.popleft()
        known = [seen for seen in self._seen if seen[0] <= now - 2 * c.delay] or [self._seen[0]]
        sent = known[-1][1] - known[0][1]
        queueing = self.down.backlog * 8 / self._rate()
        path.rtt, path.queueing = 2 * c.delay + c.jitter + queueing, queueing
        path.loss = (known[-1][2] - known[0][2]) / sent if sent else 0.0
        path.estimate_bps, path.datagram_bytes = round(self._rate()), DATAGRAM_BYTES
        self.time.after(0.05, self._look_at_path)

    def _offer(self, frame: Frame, data: bytes, kind: Kind) -> None:
        self.media_bytes += len(data)
        self.server.offer(frame, data, kind, self.time.now)
        self.settle()

    def _act(self) -> None:
        self._act_on(self.server.poll_events())
        self._show(self.client.poll_events())
        held = self.client.datagrams.reassembly
        self.most_held_frames = max(self.most_held_frames, held.held_frames)
        self.most_held_bytes = max(self.most_held_bytes, held.held_bytes)

    def _act_on(self, events: list[session.Event]) -> None:
        for event in events:
            if isinstance(event, session.KeyframeNeeded):
                self.keyframes_asked += 1
                self.camera.request_keyframe()
            elif isinstance(event, session.StatisticsDue):
                self.server.queue_statistics(rtt_us=round(self.server.path.rtt * 1e6))

    def _show(self, events: list[client_events.ClientEvent]) -> None:
        for event in events:
            if isinstance(event, client_events.FrameReady):
                self.audience.take(event.frame, self.gateway_us(), self.time.now)

    # --- what arrives ------------------------------------------------------------------------------

    def _datagram_at_client(self, data: bytes) -> None:
        self.client.receive_datagram(data[:-PACKET_OVERHEAD], self.time.now)
        self.settle()

    def _stream_at_client(self, stream_id: int, data: bytes, fin: bool) -> None:
        if stream_id == CONTROL:
            self._show(self.client.receive_control(data, self.time.now))
        else:
            self.client.receive_stream(stream_id, data, fin, self.time.now)
        self.settle()

    def _datagram_at_server(self, data: bytes) -> None:
        self.server.receive_datagram(data, self.time.now)
        self.settle()

    def _control_at_server(self, stream_id: int, data: bytes, fin: bool) -> None:
        self._act_on(self.server.receive_control(data, self.time.now, self.gateway_us()))
        self.settle()
