"""The gateway's side of one session: what this viewer is sent, and what it asks for.

Bytes and ``now`` in, events and bytes out. The contract with the transport glue:

1. After any call, send :meth:`ServerSession.control_to_send` on the control stream (if its last bytes
   are gone) and what :meth:`~ServerSession.next_send` gives while the path has room, then act on
   :meth:`~ServerSession.poll_events`.
2. Call :meth:`~ServerSession.handle_timeout` no later than :meth:`~ServerSession.next_timeout`.
3. On ProtocolError send :meth:`~ServerSession.control_to_send` once more (it says in words what was
   wrong), then close the session with the error's code.

``now`` is seconds of a monotonic clock, ``now_us`` gateway time. Imports media and errors only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Frame, Kind
from wtgateway.protocol import messages
from wtgateway.protocol.abilities import parse_abilities
from wtgateway.protocol.access_term import AccessTerm
from wtgateway.protocol.adaptation import PathState
from wtgateway.protocol.arrivals import decode_arrivals
from wtgateway.protocol.choices import Choices
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.delivery import Path
from wtgateway.protocol.fitting import Fitting, MeasuredRate
from wtgateway.protocol.limiter import MessageLimiter
from wtgateway.protocol.nacks import count_entries, decode_nacks
from wtgateway.protocol.outgoing import Outgoing, Pieces, Whole
from wtgateway.protocol.progress import REPORT_BYTES
from wtgateway.protocol.resume import TrackWish, Wishes
from wtgateway.protocol.send_queue import QueuedFrame, SendQueue
from wtgateway.protocol.session_events import (
    Arrived,
    Event,
    FeedbackReceived,
    KeyframeNeeded,
    PeerGoodbye,
    ProgressMade,
    RenditionAwaited,
    RenditionSwitched,
    SessionExpired,
    StatisticsDue,
    SubscriptionChanged,
    TokenShown,
    TraceReceived,
)
from wtgateway.protocol.subscribe_query import (
    Position,
    SubscribeQuery,
    parse_connect_path,
    version_words,
)
from wtgateway.protocol.subscriptions import Subscription, Subscriptions
from wtgateway.protocol.switching import Verdict
from wtgateway.protocol.targets import Policy
from wtgateway.protocol.traces import TracedFrame, parse_trace
from wtgateway.protocol.wire import PROTOCOL_VERSION, ObjectType

__all__ = [
    "Arrived",
    "Event",
    "FeedbackReceived",
    "KeyframeNeeded",
    "PeerGoodbye",
    "ProgressMade",
    "RenditionAwaited",
    "RenditionSwitched",
    "ServerSession",
    "SessionExpired",
    "SessionLimits",
    "StatisticsDue",
    "SubscribeQuery",
    "SubscriptionChanged",
    "TokenShown",
    "TraceReceived",
    "parse_connect_path",
]

_SAID_IN_ANY_CASE = (messages.Access, messages.Error, messages.Goodbye)
_TAKEN_IN_ANY_CASE = (messages.Authenticate, messages.Hello, messages.Goodbye)
TRACE_INTERVAL_S = 0.5  # between two messages that count; viewers send one a second


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of one session; times in seconds."""

    queue_bytes: int = 20 * 1024 * 1024  # shared by all viewers; more than a cached group
    queue_time: float = 1.0  # the longest a frame may wait, whatever deadline the viewer wishes
    deadline: float = 0.5  # of a frame, unless the viewer wishes another
    messages_per_second: float = 100.0
    messages_burst: int = 200
    control_bytes_per_second: float = 64 * 1024  # of the viewer; what it says is some hundred bytes a second
    control_bytes_burst: int = 512 * 1024
    datagrams_per_second: float = 400.0  # of the viewer
    datagrams_burst: int = 1000
    wishes_per_second: float = 1000.0  # entries of its NACKs that are looked at
    wishes_burst: int = 2000
    wishes_flood: float = 5.0  # times so many: it does not lack them, it floods
    control_backlog_bytes: int = 1024 * 1024  # control bytes the viewer may leave unread
    statistics_interval: float = 1.0  # what the gateway says at least so often keeps the session alive
    silence: float = 60.0  # a viewer that says nothing for so long is gone; 0: never
    keyframe_interval: float = 0.5  # the least time between two KeyframeNeeded of a track


class ServerSession:
    """One viewer's session, gateway side. See the module for the contract.

    In the place of another session: ``wished`` is what the viewer wished for there, and ``goes_on`` whether
    ``query.after`` tells of frames of this instance. ``awaits_access``: nothing is said before
    :meth:`grant_access`.
    """

    def __init__(
        self,
        *,
        session_id: str,
        broadcast: str,
        query: SubscribeQuery,
        limits: SessionLimits | None = None,
        now_us: int,
        server: str = "wtgateway",
        instance: str = "",
        node: str = "",
        wished: tuple[TrackWish, ...] = (),
        goes_on: bool = False,
        policy: Policy | None = None,
        identity: str = "",
        awaits_access: bool = False,
    ) -> None:
        self.session_id, self.broadcast, self.query = session_id, broadcast, query
        self.limits = limits or SessionLimits()
        self.queue = SendQueue(max_bytes=self.limits.queue_bytes, max_time=self.limits.queue_time)
        self.path = Path()  # kept current by whoever knows it
        self.outgoing = Outgoing(self.queue)
        self.client = ""  # what the viewer calls itself in its hello
        self.identity = identity  # as its access token says; empty: anybody
        self.catalog = Catalog()
        self.frames_sent = 0
        self.frames_offered = 0
        self.bytes_sent = 0
        self.messages_received = 0
        self.queue_us = 0  # how long the last picture taken had waited; of sound where there are none
        self._sends_pictures = False
        self._reader = messages.MessageReader()
        self._limiter = MessageLimiter(self.limits.messages_per_second, self.limits.messages_burst)
        self._bytes_limiter = MessageLimiter(
            self.limits.control_bytes_per_second, self.limits.control_bytes_burst, "bytes of control data"
        )
        self._datagram_limiter = MessageLimiter(self.limits.datagrams_per_second, self.limits.datagrams_burst)
        wishes, burst, flood = (
            self.limits.wishes_per_second,
            self.limits.wishes_burst,
            self.limits.wishes_flood,
        )
        self._wish_limiter = MessageLimiter(wishes, burst)
        self._wish_flood = MessageLimiter(flood * wishes, round(flood * burst), "frames asked for again")
        self._out = bytearray()
        self._held_back = bytearray()  # to be said once access is granted
        self._term = AccessTerm(locked=awaits_access)
        self._events: list[Event] = []
        self._subscriptions = Subscriptions(query, self.limits.deadline, wished)
        self._positions = {position.track: position for position in query.after if goes_on}
        self._choices = Choices(
            self._subscriptions,
            say=self._send,
            tell=self._events.append,
            restart=self._restart,
            forget_held=self._forget_held,
        )
        self.fitting = Fitting(self._choices, policy)
        self._held: dict[int, list[QueuedFrame]] = {}  # of a rendition that is about to be sent
        self._keyframes_wanted: set[int] = set()
        self._keyframe_asked: dict[int, float] = {}
        self._next_statistics: float | None = None
        self._last_heard: float | None = None
        self._progress = 0  # octets that the viewer has told of
        self._traced_at = -math.inf
        self._send(
            messages.Welcome(
                version=PROTOCOL_VERSION,
                session=session_id,
                broadcast=broadcast,
                server=server,
                time_us=now_us,
                instance=instance,
                node=node,
            )
        )

        if awaits_access:
            self._send(messages.Access(granted=False))

    # --- access ------------------------------------------------------------------------------------

    @property
    def locked(self) -> bool:
        """Whether the viewer has yet to show a token that is good."""
        return self._term.locked

    def grant_access(self, actions: Sequence[str], expires_us: int, now_us: int) -> None:
        """Tell the viewer what it may do, until when (gateway time in µs, 0: for ever)."""
        message = self._term.grant(actions, expires_us, now_us)
        self._out += self._held_back
        self._held_back.clear()
        self._send(message)

    def refuse_access(self) -> None:
        """Tell the viewer that the token it showed is no good; nothing else changes."""
        self._send(messages.Access(granted=False))

    def check_access(self, now_us: int) -> None:
        """Tell the viewer when its time is nearly over; an event says when it is."""
        if (warning := self._term.warning(now_us)) is not None:
            self._send(warning)
        if self._term.over(now_us):
            self._events.append(SessionExpired(CloseCode.UNAUTHORIZED, "the token's time is over"))

    # --- from the hub ------------------------------------------------------------------------------

    def set_catalog(self, catalog: Catalog) -> None:
        """Tell the viewer what is offered; subscriptions follow what it wished for."""
        self.catalog = catalog
        self._send(messages.catalog_message(catalog))
        self._choices.follow(catalog)

    def set_state(self, state: messages.State) -> None:
        """Tell the viewer the broadcast's state."""
        self._send(state)

    def set_certificates(self, hashes: list[dict[str, Any]]) -> None:
        """Tell the viewer the certificate hashes, current first."""
        self._send(messages.Certificates(hashes=hashes))

    def set_resume(self, token: str, valid_ms: int) -> None:
        """Tell the viewer how another session can take this one's place; replaces what it was told before."""
        self._send(messages.Resume(token=token, valid_ms=valid_ms))

    def set_drain(self, within_ms: int, reason: str) -> None:
        """Tell the viewer to go elsewhere: this gateway is gone in ``within_ms``."""
        self._send(messages.Drain(within_ms=within_ms, reason=reason))

    def say_goodbye(self, code: CloseCode, reason: str, retry_after_ms: int = 0) -> None:
        """Announce the close that follows; ``retry_after_ms`` -1: do not come back."""
        self._send(messages.Goodbye(code=code, reason=reason, retry_after_ms=retry_after_ms))

    def offer(self, frame: Frame, data: bytes, kind: Kind, now: float, *, age: float = 0.0) -> None:
        """Queue a frame if the viewer is subscribed to its rendition; ``data`` is its wire form.

        ``age`` is how long ago it was captured, in s: deadlines count from there, if not beyond the half.
        """
        verdict = self._choices.judge(frame)
        if verdict is Verdict.ASK:
            self._keyframes_wanted.add(frame.track)
            self._ask_for_keyframes(now)
        subscription = self._choices.of(frame.track)
        if subscription is None or verdict in (Verdict.DROP, Verdict.ASK):
            return
        deadline = now + subscription.deadline - min(max(age, 0.0), subscription.deadline / 2)
        queued = QueuedFrame(frame, data, kind, now, deadline, subscription.delivery)
        if verdict is Verdict.HOLD:
            self._held.setdefault(frame.track, []).append(queued)
            return
        if verdict in (Verdict.BEGIN, Verdict.RELEASE):
            for held in self._held.pop(frame.track, ()):
                self._queue(held, now)
        if verdict is not Verdict.RELEASE:
            self._queue(queued, now)

    def _queue(self, queued: QueuedFrame, now: float) -> None:
        self.frames_offered += 1
        self.queue.push(queued, now)
        if self.queue.starved:
            self._ask_for_keyframes(now)

    def fit(self, measured: MeasuredRate, now: float, *, shared: bool) -> None:
        """Adapt to the path, a few times a second; what came of it is ``fitting.state``.

        ``measured`` tells what renditions take, ``shared`` is whether others watch the broadcast, too.
        """
        path = PathState(
            estimate_bps=self.path.estimate_bps,
            bounded=self.path.estimate_bounded,
            loss=self.path.loss,
            queueing_us=round(self.path.queueing * 1e6),
            waiting_us=self.queue_us,
            limit_bps=self.path.limit_bps,
            repair=self.outgoing.take_repair_share(),
        )
        self.fitting.update(path, self.catalog, measured, shared=shared, now=now)

    def wanted(self) -> frozenset[tuple[int, int]]:
        """(track, rendition) of all that this viewer needs to be produced."""
        return self._choices.wanted()

    # --- in the place of another session -------------------------------------------------------------

    @property
    def wishes(self) -> Wishes:
        """All that the viewer has wished for; ``wishes_revision`` grows when that is something else."""
        return self._subscriptions.wishes()

    @property
    def wishes_revision(self) -> int:
        """See :attr:`wishes`."""
        return self._subscriptions.revision

    def take_position(self, track_id: int, rendition: int) -> Position | None:
        """Where the viewer goes on in that rendition; once, for the first that is sent of a track."""
        position = self._positions.pop(track_id, None)
        return position if position is not None and position.rendition == rendition else None

    def go_on(self, track_id: int, kind: Kind) -> None:
        """What is offered next of a track follows what the viewer has; to be said before it is offered."""
        self.queue.go_on(track_id, kind)

    # --- from the wire -----------------------------------------------------------------------------

    def receive_control(self, data: bytes, now: float, now_us: int) -> list[Event]:
        """Take bytes of the control stream; returns all events since the last poll.

        Raises ProtocolError after queueing an ``error`` message that says the same to the viewer.
        """
        try:
            self._bytes_limiter.count(now, len(data))
            for message in self._reader.feed(data):
                if not self._is_paid_for(message):
                    self._limiter.count(now)
                self.messages_received += 1
                self._last_heard = now
                self._handle(message, now, now_us)
        except ProtocolError as error:
            self._send(messages.Error(code=error.code, message=str(error)))
            raise
        return self.poll_events()

    def receive_datagram(self, data: bytes, now: float) -> None:
        """Take a datagram of the viewer's: what it lacks, or when what came to it.

        Raises ProtocolError: MALFORMED for bytes that make no sense, FLOOD for too many; after queueing
        an ``error`` message that says the same. A type of a later version is ignored.
        """
        try:
            self._datagram_limiter.count(now)
            self._last_heard = now
            kind = data[0] if data else -1
            if kind == ObjectType.NACK:
                self._asked(data, now)
            elif kind == ObjectType.ARRIVALS:
                self._note_arrivals(data)
        except ProtocolError as error:
            self._send(messages.Error(code=error.code, message=str(error)))
            raise

    def _asked(self, nack: bytes, now: float) -> None:
        """Who asks for very much is not listened to: reading that is work as well."""
        entries = count_entries(nack)
        self._wish_flood.count(now, entries)
        if self._wish_limiter.take(now, entries):
            self.outgoing.asked(decode_nacks(nack), now, self.path)
        else:
            self.outgoing.counters["nacks_unheard"] += 1

    def _note_arrivals(self, data: bytes) -> None:
        """Pair what came with when it was sent."""
        for arrival in decode_arrivals(data):
            subscription = self._choices.of(arrival.track)
            if subscription is None:
                continue
            sent_at = self.outgoing.sent_at(
                arrival.track, arrival.group, arrival.index, subscription.rendition
            )
            if sent_at is not None:
                self._events.append(Arrived(sent_at, arrival.first_us, arrival.received_bytes))

    def abandoned(self, queued: QueuedFrame, now: float) -> None:
        """The transport reset the stream of a frame it had taken from :meth:`next_send`."""
        self.queue.abandon(queued)
        self._ask_for_keyframes(now)

    # --- to the wire -------------------------------------------------------------------------------

    @property
    def has_control(self) -> bool:
        """Whether :meth:`control_to_send` has something."""
        return bool(self._out)

    def control_to_send(self) -> bytes:
        """The bytes to append to the control stream; empty if there is nothing to say."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def next_send(self, now: float, room: int) -> Whole | Pieces | None:
        """What to send next, or None; ``room`` is bytes, and bounds datagrams. Late frames are dropped."""
        item = self.outgoing.next(now, room, self.path)
        if self.queue.starved:
            self._ask_for_keyframes(now)
        return self._counted(item, now)

    def next_ahead(self, now: float) -> Whole | Pieces | None:
        """Of what goes before video the next, or None: it need not wait for the room that video needs."""
        return self._counted(self.outgoing.next_ahead(now, self.path), now)

    def _counted(self, item: Whole | Pieces | None, now: float) -> Whole | Pieces | None:
        if isinstance(item, Whole):
            self._count(item.queued, len(item.queued.data), now)
        elif item is not None:
            size = sum(map(len, item.payloads))
            if item.begins:
                self._count(item.queued, size, now)
            else:
                self.bytes_sent += size
        return item

    def _count(self, queued: QueuedFrame, size: int, now: float) -> None:
        self.frames_sent += 1
        self.bytes_sent += size
        if queued.kind is Kind.VIDEO or not self._sends_pictures:
            self._sends_pictures = queued.kind is Kind.VIDEO
            self.queue_us = round((now - queued.queued_at) * 1e6)

    def queue_statistics(
        self,
        *,
        rtt_us: int = 0,
        congestion_window_bytes: int = 0,
        in_flight_bytes: int = 0,
        streams_reset: int = 0,
        lost_packets: int = 0,
    ) -> None:
        """Say the gateway's figures to the viewer; the path's are the transport's, the rest is ours."""
        self._send(
            messages.Statistics(
                rtt_us=rtt_us,
                congestion_window_bytes=congestion_window_bytes,
                in_flight_bytes=in_flight_bytes,
                queue_frames=self.queue.frames,
                queue_bytes=self.queue.bytes,
                queue_us=self.queue_us,
                frames_sent=self.frames_sent,
                frames_dropped=self.queue.dropped,
                streams_reset=streams_reset,
                lost_packets=lost_packets,
                **self.outgoing.statistics(),
                loss_ppm=round(self.path.loss * 1e6),
                estimate_bps=self.path.estimate_bps,
            )
        )

    # --- events and time ---------------------------------------------------------------------------

    @property
    def has_events(self) -> bool:
        """Whether :meth:`poll_events` has something."""
        return bool(self._events)

    def poll_events(self) -> list[Event]:
        """All events since the last poll, in order."""
        events = list(self._events)
        self._events.clear()
        return events

    @property
    def takes_datagrams(self) -> bool:
        """Whether some track is sent in datagrams, if only now and then."""
        return any(delivery != "stream" for delivery in self._choices.deliveries())

    def subscription(self, track_id: int) -> Subscription | None:
        """What the viewer gets of a track, or None."""
        return self._choices.of(track_id)

    def next_timeout(self) -> float | None:
        """When :meth:`handle_timeout` wants to be called; None before its first call."""
        if self._next_statistics is None:
            return None
        times = [self._next_statistics]
        if (deadline := self.queue.next_deadline()) is not None:
            times.append(deadline)
        times += [
            self._keyframe_asked[track] + self.limits.keyframe_interval
            for track in self._lacking_keyframes()
            if track in self._keyframe_asked
        ]
        return min(times)

    def handle_timeout(self, now: float) -> None:
        """Do what time demands: expiry, statistics, repeated keyframe requests, silence.

        Call it once when the session begins, which starts its clocks.
        """
        self.queue.expire(now)
        self._ask_for_keyframes(now)
        if self._next_statistics is None or now >= self._next_statistics:
            self._next_statistics = now + self.limits.statistics_interval
            self._events.append(StatisticsDue())
        if self._last_heard is None:
            self._last_heard = now
        if self.limits.silence and now - self._last_heard > self.limits.silence:
            self._last_heard = now
            self._events.append(SessionExpired(CloseCode.TOO_SLOW, "the viewer has said nothing for long"))
        if len(self._out) > self.limits.control_backlog_bytes:
            self._out.clear()
            self._events.append(SessionExpired(CloseCode.TOO_SLOW, "the viewer does not read its messages"))

    # --- messages ----------------------------------------------------------------------------------

    def _send(self, message: messages.Message) -> None:
        held = self._term.locked and not isinstance(message, _SAID_IN_ANY_CASE)
        (self._held_back if held else self._out).extend(messages.pack(message))

    def _handle(self, message: messages.Message, now: float, now_us: int) -> None:
        if self._term.locked and not isinstance(message, _TAKEN_IN_ANY_CASE):
            raise ProtocolError(CloseCode.UNAUTHORIZED, "a token is needed first")
        match message:
            case messages.Authenticate():
                if len(message.token) > messages.MAX_ACCESS_TOKEN_CHARACTERS:
                    raise ProtocolError(CloseCode.TOO_LARGE, "an access token that is too long")
                self._events.append(TokenShown(message.token))
            case messages.Ping():
                # Both times are the same moment: bytes are handled as they come, with nothing between.
                self._send(
                    messages.Pong(
                        id=message.id, client_us=message.client_us, received_us=now_us, sent_us=now_us
                    )
                )
            case messages.Feedback():
                self._events.append(FeedbackReceived(message))
            case messages.Trace():
                self._trace(parse_trace(message.frames), now)
            case messages.KeyframeRequest():
                if self._choices.of(message.track) is not None:
                    self._keyframes_wanted.add(message.track)
                    self._ask_for_keyframes(now)
            case messages.Subscribe():
                if words := self._choices.wish(message):
                    self._send(messages.Error(code=CloseCode.NOT_FOUND, message=words))
            case messages.Abilities():
                self._choices.learn(parse_abilities(message.codecs))
            case messages.Viewport():
                self.fitting.viewport(message, self.catalog, now)
            case messages.Unsubscribe():
                self._choices.decline(message.track)
            case messages.Hello():
                if message.version != PROTOCOL_VERSION:
                    raise ProtocolError(CloseCode.VERSION, version_words(message.version))
                self.client = message.client[:200]
            case messages.Progress():
                self._progress = max(self._progress, message.bytes)
                self._events.append(ProgressMade(message.bytes, message.waited_us))
            case messages.Goodbye():
                self._events.append(PeerGoodbye(message.code, message.reason[:200]))
            case _:
                raise ProtocolError(CloseCode.MALFORMED, f"only the gateway may send {message.kind!r}")

    def _is_paid_for(self, message: messages.Message) -> bool:
        """A viewer who tells of much that came cannot do that more often than the gateway sends as much."""
        return isinstance(message, messages.Progress) and message.bytes - self._progress >= REPORT_BYTES

    def _trace(self, frames: tuple[TracedFrame, ...], now: float) -> None:
        """More than is asked of a viewer is left out: none is to outweigh the others in the figures."""
        if now - self._traced_at >= TRACE_INTERVAL_S:
            self._traced_at = now
            self._events.append(TraceReceived(frames))

    def _forget_held(self, track_id: int) -> None:
        self._held.pop(track_id, None)

    def _restart(self, track_id: int) -> None:
        self.queue.restart(track_id)
        self.outgoing.restart(track_id)
        self._forget_held(track_id)
        if self._choices.of(track_id) is None:
            self._keyframes_wanted.discard(track_id)

    def path_opens(self, is_open: bool, now: float) -> None:
        """Whether something could be sent now: a keyframe that is needed is asked for when it can leave."""
        opens, self.path.open = is_open and not self.path.open, is_open
        if opens and self.queue.starved:
            self._ask_for_keyframes(now)

    def _lacking_keyframes(self) -> set[int]:
        """Tracks that need one. One that was made while the path is shut would be too old when it opens."""
        return self.queue.starved | self._keyframes_wanted if self.path.open else self._keyframes_wanted

    def _ask_for_keyframes(self, now: float) -> None:
        for track in sorted(self._lacking_keyframes()):
            asked, renditions = self._keyframe_asked.get(track), self._choices.renditions(track)
            if not renditions or (asked is not None and now - asked < self.limits.keyframe_interval):
                continue
            self._keyframe_asked[track] = now
            self._keyframes_wanted.discard(track)
            self._events += [KeyframeNeeded(track, rendition) for rendition in renditions]
