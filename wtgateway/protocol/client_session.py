"""The viewer's side of one session: control messages, frames in order, clock, reports.

Bytes and ``now`` in, events and bytes out. The contract with the transport glue is that of
:mod:`wtgateway.protocol.session`: after any call send ``control_to_send()`` on the control stream
(the first bidirectional stream the gateway opens; until then keep the bytes waiting by not asking),
act on ``poll_events()``, and call ``handle_timeout`` by ``next_timeout()``. On ProtocolError close
the session with its code.

``now`` is seconds of a monotonic clock of the viewer's; gateway time is known by ``clock``.
Imports media and errors only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Frame, Kind
from wtgateway.protocol import client_events as events
from wtgateway.protocol import messages
from wtgateway.protocol.clock_sync import ClockSync
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.ordering import FrameOrder
from wtgateway.protocol.sound_order import SoundOrder
from wtgateway.protocol.wire import PROTOCOL_VERSION, FrameParser

MAX_JITTER_US = 1_000_000_000  # timestamps are the peer's: nonsense must not overflow our own messages
FIRST_PINGS = 5  # in quick succession: a figure for latency is wanted with the first picture


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Bounds and intervals of a viewer's session; times in seconds."""

    buffered_bytes: int = 64 * 1024 * 1024  # of frames that have not wholly arrived
    early_frames: int = 256  # that came before the catalog which explains them
    early_bytes: int = 16 * 1024 * 1024
    video_patience: float = 0.15
    audio_patience: float = 0.06
    first_ping_interval: float = 0.1
    ping_interval: float = 2.0
    feedback_interval: float = 0.25
    silence: float = 10.0  # the gateway speaks every second


@dataclass(slots=True)
class DecoderFigures:
    """What the viewer makes of a track; it writes them here, and they go into the next feedback."""

    frames_decoded: int = 0
    frames_dropped: int = 0
    frames_painted: int = 0
    decode_queue: int = 0
    latency_us: int = 0


@dataclass(slots=True)
class TrackState:
    """One track as it arrives."""

    kind: Kind
    order: FrameOrder | SoundOrder
    frames: int = 0
    bytes: int = 0
    newest: tuple[int, int] = (0, 0)
    newest_at: float = 0.0
    jitter_us: float = 0.0  # RFC 3550, section 6.4.1, by capture and arrival
    decoder: DecoderFigures = field(default_factory=DecoderFigures)
    _transit_us: float | None = None

    def count(self, frame: Frame, now: float) -> None:
        """Take a frame's arrival into the figures."""
        self.frames += 1
        self.bytes += len(frame.payload)
        if (frame.group, frame.index) >= self.newest:
            self.newest, self.newest_at = (frame.group, frame.index), now
        transit_us = now * 1e6 - frame.capture_us
        if self._transit_us is not None:
            self.jitter_us += (abs(transit_us - self._transit_us) - self.jitter_us) / 16
        self._transit_us = transit_us


class ClientSession:
    """One viewer's session, viewer side. See the module for the contract."""

    def __init__(self, *, client: str = "wtgateway", limits: ClientLimits | None = None) -> None:
        self.limits = limits or ClientLimits()
        self.clock = ClockSync()
        self.catalog: Catalog | None = None
        self.welcome: messages.Welcome | None = None
        self.state: messages.State | None = None
        self.tracks: dict[int, TrackState] = {}
        self.streams_reset = 0
        self.frames_ignored = 0  # of tracks that the catalog does not have
        self._reader = messages.MessageReader()
        self._parsers: dict[int, FrameParser] = {}
        self._buffered = 0
        self._early: list[Frame] = []
        self._early_bytes = 0
        self._out = bytearray()
        self._events: list[events.ClientEvent] = []
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
        parser = self._parsers.get(stream_id)
        if parser is None:
            parser = self._parsers[stream_id] = FrameParser()
        before = parser.buffered
        frames = parser.feed(data)
        self._buffered += parser.buffered - before
        if self._buffered > self.limits.buffered_bytes:
            raise ProtocolError(CloseCode.TOO_LARGE, f"{self._buffered} bytes of unfinished frames")
        if fin:
            del self._parsers[stream_id]
            self._buffered -= parser.buffered
            if not parser.idle:
                raise ProtocolError(CloseCode.MALFORMED, "a stream ends inside a frame")
        for frame in frames:
            self._arrived(frame, now)

    def reset_stream(self, stream_id: int, now: float) -> None:
        """The gateway gave a stream up; what was incomplete on it is lost."""
        self.streams_reset += 1
        parser = self._parsers.pop(stream_id, None)
        if parser is None:
            return
        self._buffered -= parser.buffered
        header = parser.header
        track = self.tracks.get(header.track) if header else None
        if header and track:
            if isinstance(track.order, SoundOrder):
                frames = track.order.lost(header.rendition, header.group, header.index, _us(now))
            else:
                frames = track.order.lost(header.group, header.index, _us(now))
            self._deliver(header.track, track, frames, now)

    # --- to the wire -------------------------------------------------------------------------------

    def control_to_send(self) -> bytes:
        """The bytes to append to the control stream; empty if there is nothing to say."""
        data = bytes(self._out)
        self._out.clear()
        return data

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
        times += [
            due / 1e6 for track in self.tracks.values() if (due := track.order.next_timeout()) is not None
        ]
        return min(times, default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what time demands; call it once when the session begins, which starts its clocks."""
        if self._last_heard is None:
            self._last_heard = now
        # A microsecond of grace, because seconds as floats may fall just short of a due time in µs.
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
                self._events.append(
                    events.RenditionChanged(message.track, message.rendition, message.delivery)
                )
            case messages.Statistics():
                self._events.append(events.StatisticsReceived(message))
            case messages.Error():
                self._events.append(events.GatewayError(message.code, message.message))
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
        # On a long path one retransmission takes longer than the patience for a short one.
        retransmission_us = self.clock.rtt_us * 2 + 20_000
        for track in self.tracks.values():
            track.order.patience_us = max(self._patience_us(track.kind), retransmission_us)

    def _report(self) -> None:
        for track_id, track in self.tracks.items():
            if not track.frames:
                continue
            arrival_us = self.clock.to_gateway(_us(track.newest_at)) if self.clock.ready else 0
            self._send(
                messages.Feedback(
                    track=track_id,
                    group=track.newest[0],
                    index=track.newest[1],
                    arrival_us=max(0, arrival_us),
                    frames_received=track.frames,
                    frames_decoded=track.decoder.frames_decoded,
                    frames_dropped=track.decoder.frames_dropped + _undelivered(track.order),
                    frames_painted=track.decoder.frames_painted,
                    decode_queue=track.decoder.decode_queue,
                    latency_us=track.decoder.latency_us,
                    jitter_us=min(round(track.jitter_us), MAX_JITTER_US),
                )
            )

    # --- frames ------------------------------------------------------------------------------------

    def _set_catalog(self, catalog: Catalog, now: float) -> None:
        self.catalog = catalog
        kinds = {track.id: track.kind for track in catalog.tracks}
        self.tracks = {i: t for i, t in self.tracks.items() if kinds.get(i) is t.kind}
        for track_id, kind in kinds.items():
            if track_id not in self.tracks:
                self.tracks[track_id] = TrackState(kind, self._order_of(kind))
        self._events.append(events.CatalogChanged(catalog))
        early, self._early, self._early_bytes = self._early, [], 0
        for frame in early:
            self._arrived(frame, now)

    def _order_of(self, kind: Kind) -> FrameOrder | SoundOrder:
        patience_us = self._patience_us(kind)
        if kind is Kind.AUDIO:
            return SoundOrder(patience_us=patience_us)
        return FrameOrder(independent=kind is not Kind.VIDEO, patience_us=patience_us)

    def _patience_us(self, kind: Kind) -> int:
        return _us(self.limits.video_patience if kind is Kind.VIDEO else self.limits.audio_patience)

    def _arrived(self, frame: Frame, now: float) -> None:
        track = self.tracks.get(frame.track)
        if track is None:
            self._keep_early(frame)
            return
        track.count(frame, now)
        self._deliver(frame.track, track, track.order.push(frame, _us(now)), now)

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


def _undelivered(order: FrameOrder | SoundOrder) -> int:
    return order.counters.late + order.counters.discarded


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
