"""The viewer's side of one session: control messages, frames in order, clock, reports.

Bytes and ``now`` in, events and bytes out. The contract with the transport glue is that of
:mod:`wtgateway.protocol.session`: after any call send ``control_to_send()`` on the control stream
(the first bidirectional stream the gateway opens; until then keep the bytes waiting by not asking) and
each of ``datagrams_to_send()`` by itself, act on ``poll_events()``, and call ``handle_timeout`` by
``next_timeout()``. On ProtocolError close the session with its code.

``now`` is seconds of a monotonic clock of the viewer's; gateway time is known by ``clock``.
Imports media and errors only.
"""

from __future__ import annotations

from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Frame, Kind
from wtgateway.protocol import client_events as events
from wtgateway.protocol import messages
from wtgateway.protocol.clock_sync import ClockSync
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.datagram_reception import DatagramReception
from wtgateway.protocol.incoming_track import ClientLimits, DecoderFigures, FrameStream, TrackState
from wtgateway.protocol.ordering import FrameOrder
from wtgateway.protocol.partial import Name
from wtgateway.protocol.wire import PROTOCOL_VERSION

__all__ = ["ClientLimits", "ClientSession", "DecoderFigures", "TrackState"]

MAX_RTT_US = 10_000_000  # what pings and the gateway say is not trusted beyond reason
MAX_TOKEN_CHARACTERS = 512
FIRST_PINGS = 5  # in quick succession: a figure for latency is wanted with the first picture


class ClientSession:
    """One viewer's session, viewer side. See the module for the contract.

    ``former``: the session whose place this one may take. If both are of one instance they share the order of
    frames and the clock from the catalog on: what either brings first is delivered, once.
    """

    def __init__(
        self,
        *,
        client: str = "wtgateway",
        limits: ClientLimits | None = None,
        former: ClientSession | None = None,
    ) -> None:
        self.limits = limits or ClientLimits()
        self.clock = ClockSync()
        self.resume: messages.Resume | None = None  # what another session can take this one's place with
        self.continues = False  # the former session: its frames, in its order; known from the catalog on
        self._former = former
        self.catalog: Catalog | None = None
        self.welcome: messages.Welcome | None = None
        self.state: messages.State | None = None
        self.tracks: dict[int, TrackState] = {}
        self.streams_reset = 0
        self.frames_ignored = 0  # of tracks that the catalog does not have
        self.frames_twice = 0  # on a stream, after they had come in datagrams
        self.datagrams = DatagramReception(_us(self.limits.deadline))
        self._reader = messages.MessageReader()
        self._streams: dict[int, FrameStream] = {}
        self._buffered = 0
        self._early: list[Frame] = []
        self._early_bytes = 0
        self._out = bytearray()
        self._events: list[events.ClientEvent] = []
        self._gateway_rtt_us = 0
        self._ping_id = 0
        self._next_ping: float | None = None
        self._next_feedback: float | None = None
        self._last_heard: float | None = None
        self._send(messages.Hello(version=PROTOCOL_VERSION, client=client))

    # --- from the wire -----------------------------------------------------------------------------

    def receive_control(self, data: bytes, now: float) -> list[events.ClientEvent]:
        """Take bytes of the control stream; returns all events since the last poll.

        Raises ProtocolError.
        """
        self._last_heard = now
        for message in self._reader.feed(data):
            self._handle(message, now)
        return self.poll_events()

    def receive_stream(self, stream_id: int, data: bytes, fin: bool, now: float) -> None:
        """Take bytes of a unidirectional stream of the gateway's. Raises ProtocolError."""
        self._last_heard = now
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = FrameStream()
        parser = stream.parser
        before = parser.buffered
        frames = stream.feed(data, now)
        self._buffered += parser.buffered - before
        if self._buffered > self.limits.buffered_bytes:
            raise ProtocolError(CloseCode.TOO_LARGE, f"{self._buffered} bytes of unfinished frames")
        if fin:
            del self._streams[stream_id]
            self._buffered -= parser.buffered
            if not parser.idle:
                raise ProtocolError(CloseCode.MALFORMED, "a stream ends inside a frame")
        for frame, began in frames:
            if self.datagrams.stream_completed(frame, _us(began), _us(now)):
                self._arrived(frame, now)
            else:
                self.frames_twice += 1
        if parser.header is not None:
            self.datagrams.stream_began(parser.header, _us(now))

    def receive_datagram(self, data: bytes, now: float) -> None:
        """Take a datagram of the gateway's. Raises ProtocolError."""
        self._last_heard = now
        fragment, frame = self.datagrams.receive(data, _us(now))
        if frame is not None:
            self._arrived(frame, now)
        elif fragment is not None and (track := self.tracks.get(fragment.track)) is not None:
            track.coming(fragment.group, fragment.index)
        self._give_up_lost(now)

    def reset_stream(self, stream_id: int, now: float) -> None:
        """The gateway gave a stream up; what was incomplete on it is lost."""
        self.streams_reset += 1
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        self._buffered -= stream.parser.buffered
        if (header := stream.parser.header) is not None:
            self.datagrams.stream_reset(header)
            self._lost((header.track, header.rendition, header.group, header.index), now)

    # --- to the wire -------------------------------------------------------------------------------

    def control_to_send(self) -> bytes:
        """The bytes to append to the control stream; empty if there is nothing to say."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def datagrams_to_send(self) -> list[bytes]:
        """What is to be sent in datagrams: it is of use now, or not at all."""
        return self.datagrams.datagrams_to_send()

    def subscribe(
        self, track: int, rendition: int = -1, delivery: str = "stream", deadline_ms: int = 0
    ) -> None:
        """Wish for a track; see :class:`~wtgateway.protocol.messages.Subscribe`."""
        wish = messages.Subscribe(
            track=track, rendition=rendition, delivery=delivery, deadline_ms=deadline_ms
        )
        self._send(wish)

    def unsubscribe(self, track: int) -> None:
        """No more of that track."""
        self._send(messages.Unsubscribe(track=track))

    def request_keyframe(self, track: int, reason: str = "decoder") -> None:
        """Ask for a keyframe; for gaps the session does so itself."""
        self._send(messages.KeyframeRequest(track=track, reason=reason))

    def authenticate(self, token: str) -> None:
        """Present an access token: the first one, or the one that follows it."""
        self._send(messages.Authenticate(token=token))

    def say_goodbye(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Announce the close that follows."""
        self._send(messages.Goodbye(code=code, reason=reason))

    # --- events and time ---------------------------------------------------------------------------

    def poll_events(self) -> list[events.ClientEvent]:
        """All events since the last poll, in order."""
        out, self._events = self._events, []
        return out

    def next_timeout(self) -> float | None:
        """When :meth:`handle_timeout` wants to be called; None before its first call."""
        times = [t for t in (self._next_ping, self._next_feedback) if t is not None]
        if self._last_heard is not None:
            times.append(self._last_heard + self.limits.silence)
        if (datagrams_due := self.datagrams.next_timeout()) is not None:
            times.append(datagrams_due / 1e6)
        times += [
            due / 1e6 for track in self.tracks.values() if (due := track.order.next_timeout()) is not None
        ]
        return min(times, default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what time demands; call it once when the session begins, which starts its clocks."""
        if self._last_heard is None:
            self._last_heard = now
        # A microsecond of grace, because seconds as floats may fall just short of a due time in µs.
        self.datagrams.advance(_us(now) + 1)
        self._give_up_lost(now)
        for track_id, track in self.tracks.items():
            self._deliver(track_id, track, track.order.advance(_us(now) + 1), now)
        if self._next_ping is not None and now >= self._next_ping:
            self._ping(now)
        if self._next_feedback is not None and now >= self._next_feedback:
            self._next_feedback = now + self.limits.feedback_interval
            self._report()
        if now - self._last_heard >= self.limits.silence:
            self._last_heard = now
            words = f"nothing came from the gateway for {self.limits.silence:g} s"
            self._events.append(events.GatewaySilent(CloseCode.GOING_AWAY, words))

    # --- messages ----------------------------------------------------------------------------------

    def _send(self, message: messages.Message) -> None:
        self._out += messages.pack(message)

    def _handle(self, message: messages.Message, now: float) -> None:
        match message:
            case messages.Pong():
                self._pong(message, now)
            case messages.Welcome():
                self._welcomed(message, now)
            case messages.CatalogMessage():
                self._set_catalog(messages.catalog_from_message(message), now)
            case messages.State():
                self.state = message
                self._events.append(events.StateChanged(message))
            case messages.Certificates():
                self._events.append(events.CertificatesChanged(message.hashes))
            case messages.Subscribed():
                self.datagrams.reports |= message.delivery != "stream"
                self._set_patience()
                self._events.append(
                    events.RenditionChanged(message.track, message.rendition, message.delivery)
                )
            case messages.Statistics():
                self._gateway_rtt_us = max(0, message.rtt_us)
                self._set_path()
                self._events.append(events.StatisticsReceived(message))
            case messages.Access():
                self._events.append(events.AccessChanged(message))
            case messages.Error():
                self._events.append(events.GatewayError(message.code, message.message))
            case messages.Resume():
                if len(message.token) > MAX_TOKEN_CHARACTERS:
                    raise ProtocolError(CloseCode.MALFORMED, "a resume token that is too long")
                self.resume = message
            case messages.Drain():
                self._events.append(events.GatewayDrains(message.within_ms, message.reason))
            case messages.Goodbye():
                goodbye = events.GatewayGoodbye(message.code, message.reason, message.retry_after_ms)
                self._events.append(goodbye)
            case _:
                raise ProtocolError(CloseCode.MALFORMED, f"only a viewer may send {message.kind!r}")

    def _welcomed(self, welcome: messages.Welcome, now: float) -> None:
        if welcome.version != PROTOCOL_VERSION:
            words = f"the gateway speaks version {welcome.version}, this viewer {PROTOCOL_VERSION}"
            raise ProtocolError(CloseCode.VERSION, words)
        self.welcome = welcome
        self._next_feedback = now + self.limits.feedback_interval
        self._events.append(events.Welcomed(welcome))
        self._ping(now)

    def _ping(self, now: float) -> None:
        self._ping_id += 1
        first = self._ping_id < FIRST_PINGS
        self._next_ping = now + (self.limits.first_ping_interval if first else self.limits.ping_interval)
        self._send(messages.Ping(id=self._ping_id, client_us=_us(now)))

    def _pong(self, pong: messages.Pong, now: float) -> None:
        if not self.clock.add(pong.client_us, pong.received_us, pong.sent_us, _us(now)):
            return
        self.datagrams.reassembly.clock_offset_us = self.clock.offset_us
        self._set_path()
        self._set_patience()

    def _set_path(self) -> None:
        """The gateway knows the round trip with its queues, pings the least one."""
        if (rtt_us := max(self.clock.rtt_us, self._gateway_rtt_us)) > 0:
            self.datagrams.reassembly.set_path(min(rtt_us, MAX_RTT_US))

    def _set_patience(self) -> None:
        """On a long path one retransmission takes longer than the patience for a short one.

        A frame in datagrams is reported lost when its deadline is over, and may come until then.
        """
        retransmission_us = self.clock.rtt_us * 2 + 20_000 if self.clock.ready else 0
        deadline_us = _us(self.limits.deadline) if self.datagrams.reports else 0
        for track in self.tracks.values():
            until_us = deadline_us if track.kind is Kind.VIDEO else 0
            track.wait_for(max(retransmission_us, until_us), self.limits)

    def ping(self, now: float) -> None:
        """Ask the gateway whether it hears us, beyond the pings that go out by themselves."""
        if self.welcome is not None:
            self._ping(now)

    def alone(self) -> None:
        """The former session brings nothing any more: what had begun to come there is not waited for."""
        for track in self.tracks.values():
            if isinstance(track.order, FrameOrder):
                track.order.none_coming()

    def positions(self) -> list[tuple[int, int, int, int]]:
        """Track, rendition, group and index of the newest frame delivered of each track."""
        newest = ((track_id, track.order.newest) for track_id, track in sorted(self.tracks.items()))
        return [(track_id, *position) for track_id, position in newest if position is not None]

    def _report(self) -> None:
        for track_id, track in self.tracks.items():
            if track.frames:
                arrival_us = self.clock.to_gateway(_us(track.newest_at)) if self.clock.ready else 0
                self._send(track.feedback(track_id, arrival_us))

    # --- frames ------------------------------------------------------------------------------------

    def _set_catalog(self, catalog: Catalog, now: float) -> None:
        self.catalog = catalog
        kinds = {track.id: track.kind for track in catalog.tracks}
        self._go_on(kinds)
        self.tracks = {i: t for i, t in self.tracks.items() if kinds.get(i) is t.kind}
        for track_id, kind in kinds.items():
            if track_id not in self.tracks:
                self.tracks[track_id] = TrackState.of(kind, self.limits)
        self._set_patience()
        self._events.append(events.CatalogChanged(catalog))
        early, self._early, self._early_bytes = self._early, [], 0
        for frame in early:
            self._arrived(frame, now)

    def _go_on(self, kinds: dict[int, Kind]) -> None:
        """Take over what the former session knows, if that was of the same instance."""
        former, self._former = self._former, None
        if former is None or former.welcome is None or self.welcome is None:
            return
        self.continues = former.welcome.instance == self.welcome.instance != ""
        if self.continues:
            self.clock = former.clock
            for track_id, track in former.tracks.items():
                if kinds.get(track_id) is track.kind:
                    self.tracks[track_id] = TrackState(track.kind, track.order)

    def _arrived(self, frame: Frame, now: float) -> None:
        track = self.tracks.get(frame.track)
        if track is None:
            self._keep_early(frame)
            return
        if self.continues and track.order.delivered(frame):
            self.frames_twice += 1
            return
        track.count(frame, now)
        self._deliver(frame.track, track, track.order.push(frame, _us(now)), now)

    def _give_up_lost(self, now: float) -> None:
        for name in self.datagrams.take_lost():
            self._lost(name, now)

    def _lost(self, name: Name, now: float) -> None:
        """A frame will never come."""
        track_id, rendition, group, index = name
        if (track := self.tracks.get(track_id)) is not None:
            self._deliver(track_id, track, track.lost(rendition, group, index, _us(now)), now)

    def _keep_early(self, frame: Frame) -> None:
        """Streams overtake each other: media may come before the catalog that explains it."""
        room = (
            len(self._early) < self.limits.early_frames
            and self._early_bytes + len(frame.payload) <= self.limits.early_bytes
        )
        if (self.catalog is not None and self.catalog.tracks) or not room:
            self.frames_ignored += 1
            return
        self._early.append(frame)
        self._early_bytes += len(frame.payload)

    def _deliver(self, track_id: int, track: TrackState, frames: list[Frame], now: float) -> None:
        self._events += [events.FrameReady(frame, now) for frame in frames]
        if track.order.take_keyframe_request():
            self.request_keyframe(track_id, "gap")


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
