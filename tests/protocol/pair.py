"""Two ends of a session joined in memory: the gateway's core, a viewer's, a network between them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.netsim import Conditions, StreamLink, VirtualTime, Wakes
from wtgateway.media import Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol import client_events, messages, session
from wtgateway.protocol.client_session import ClientLimits, ClientSession
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.outgoing import Whole
from wtgateway.protocol.send_queue import QueuedFrame
from wtgateway.protocol.session import ServerSession, SessionLimits, parse_connect_path
from wtgateway.protocol.wire import encode_frame

VIDEO, AUDIO = 0, 1
CATALOG = Catalog(
    revision=1,
    tracks=(
        Track(
            id=VIDEO,
            kind=Kind.VIDEO,
            renditions=(Rendition(id=0, codec="avc1.42E01F", width=640, height=360, fps=30),),
        ),
        Track(
            id=AUDIO,
            kind=Kind.AUDIO,
            renditions=(Rendition(id=0, codec="opus", sample_rate=48_000, channels=2),),
        ),
    ),
)
CONTROL = 1
GATEWAY_AHEAD_US = 1_790_000_000_000_000  # of the viewer's clock


def make_frame(
    track: int = VIDEO,
    group: int = 0,
    index: int = 0,
    *,
    pts_us: int = 0,
    size: int = 2_000,
    rendition: int = 0,
    duration_us: int = 33_333,
) -> Frame:
    """A frame whose payload tells it from others."""
    payload = (f"{track}/{group}/{index};".encode() * (size // 6 + 1))[:size]
    return Frame(
        track=track,
        rendition=rendition,
        group=group,
        index=index,
        keyframe=index == 0 or track == AUDIO,
        pts_us=pts_us,
        capture_us=pts_us,
        duration_us=duration_us,
        payload=payload,
    )


def next_frame(session: ServerSession, now: float) -> QueuedFrame | None:
    """The next frame of a session whose path takes no datagrams: all goes on streams, whole."""
    item = session.next_send(now, 0)
    assert item is None or isinstance(item, Whole)
    return item.queued if item is not None else None


class Pair:
    """A session with both its ends; ``deadline_reset`` resets streams late by so much, as the glue does."""

    def __init__(
        self,
        conditions: Conditions,
        *,
        seed: int = 1,
        path: str = "/cam?subscribe=video,audio",
        limits: SessionLimits | None = None,
        client_limits: ClientLimits | None = None,
    ) -> None:
        self.time = VirtualTime()
        self.server = ServerSession(
            session_id="s1",
            broadcast="cam",
            query=parse_connect_path(path),
            limits=limits,
            now_us=self.gateway_us(),
        )
        self.client = ClientSession(limits=client_limits)
        self.down = StreamLink(self.time, conditions, seed, self._at_client, self._reset_at_client)
        self.up = StreamLink(self.time, conditions, seed + 1, self._at_server)
        self.server_events: list[session.Event] = []
        self.client_events: list[client_events.ClientEvent] = []
        self.on_keyframe_needed: Callable[[], None] = lambda: None
        self.max_backlog = 16 * 1024
        self._streams = itertools.count(10)
        self._in_flight: dict[int, QueuedFrame] = {}
        self._wakes = Wakes(self.time, self.settle)

    def gateway_us(self) -> int:
        """The gateway's clock."""
        return round(self.time.now * 1e6) + GATEWAY_AHEAD_US

    def open(self, catalog: Catalog = CATALOG) -> None:
        """What the glue does when the CONNECT has been answered."""
        self.server.handle_timeout(self.time.now)
        self.client.handle_timeout(self.time.now)
        self.server.set_state(messages.State(state="live"))
        self.server.set_catalog(catalog)
        self.settle()

    def offer(self, frame: Frame) -> None:
        """The hub hands a frame to the session."""
        kind = Kind.VIDEO if frame.track == VIDEO else Kind.AUDIO
        self.server.offer(frame, encode_frame(frame), kind, self.time.now)
        self.settle()

    def settle(self) -> None:
        """What the glue does after every call."""
        now = self.time.now
        while self.down.link.backlog < self.max_backlog and (queued := next_frame(self.server, now)):
            stream_id = next(self._streams)
            self._in_flight[stream_id] = queued
            self.down.send(stream_id, queued.data, fin=True)
        if self.down.link.backlog >= self.max_backlog:
            self._wakes.set("writable", round(now + 0.002, 3), lambda now: None)
        for end, link in ((self.server, self.down), (self.client, self.up)):
            if data := end.control_to_send():
                link.send(CONTROL, data)
        self._collect()
        self._wakes.set("server", self.server.next_timeout(), self.server.handle_timeout)
        self._wakes.set("client", self.client.next_timeout(), self.client.handle_timeout)

    def give_up(self, track: int, group: int, index: int) -> None:
        """Reset the stream of a frame on its way, as the glue does with late ones."""
        for stream_id, queued in self._in_flight.items():
            frame = queued.frame
            if (frame.track, frame.group, frame.index) == (track, group, index):
                self.down.reset(stream_id)
                self.server.abandoned(queued, self.time.now)
        self.settle()

    def received(self, track: int) -> list[Frame]:
        """The frames of a track that the viewer got, in the order it got them."""
        ready = (e for e in self.client_events if isinstance(e, client_events.FrameReady))
        return [event.frame for event in ready if event.frame.track == track]

    def positions(self, track: int) -> list[tuple[int, int]]:
        """The same as (group, index)."""
        return [(frame.group, frame.index) for frame in self.received(track)]

    def _collect(self) -> None:
        self.client_events += self.client.poll_events()
        self._act_on(self.server.poll_events())

    def _act_on(self, events: list[session.Event]) -> None:
        for event in events:
            self.server_events.append(event)
            if isinstance(event, session.KeyframeNeeded):
                self.on_keyframe_needed()
            elif isinstance(event, session.StatisticsDue):
                self.server.queue_statistics(rtt_us=40_000)

    def _at_client(self, stream_id: int, data: bytes, fin: bool) -> None:
        if stream_id == CONTROL:
            self.client_events += self.client.receive_control(data, self.time.now)
        else:
            self.client.receive_stream(stream_id, data, fin, self.time.now)
        self.settle()

    def _reset_at_client(self, stream_id: int) -> None:
        self.client.reset_stream(stream_id, self.time.now)
        self.settle()

    def _at_server(self, stream_id: int, data: bytes, fin: bool) -> None:
        self._act_on(self.server.receive_control(data, self.time.now, self.gateway_us()))
        self.settle()


class Camera:
    """Offers video at 30 fps and sound at 50, keyframes on demand and every ``group`` frames."""

    def __init__(self, pair: Pair, *, group: int = 300, size: int = 4_000, key_size: int = 20_000) -> None:
        self.pair, self.group_frames, self.size, self.key_size = pair, group, size, key_size
        self.sent: list[tuple[int, int]] = []
        self.sent_audio: list[tuple[int, int]] = []
        self.group, self.index = -1, 0
        self._keyframe = True
        pair.on_keyframe_needed = self.request_keyframe

    def request_keyframe(self) -> None:
        """The next picture is a keyframe."""
        self._keyframe = True

    def shoot(self, seconds: float) -> None:
        """Schedule the pictures and samples of the next seconds."""
        start = self.pair.time.now
        for n in range(round(seconds * 30)):
            self.pair.time.at(start + n / 30, self._picture)
        for n in range(round(seconds * 50)):
            self.pair.time.at(start + n / 50, lambda n=n: self._sound(n))  # type: ignore[misc]

    def _picture(self) -> None:
        if self._keyframe or self.index >= self.group_frames:
            self.group, self.index, self._keyframe = self.group + 1, 0, False
        size = self.size if self.index else self.key_size
        frame = make_frame(VIDEO, self.group, self.index, pts_us=self.pair.gateway_us(), size=size)
        self.sent.append((self.group, self.index))
        self.index += 1
        self.pair.offer(frame)

    def _sound(self, n: int) -> None:
        group, index = divmod(n, 50)
        self.sent_audio.append((group, index))
        frame = make_frame(AUDIO, group, index, pts_us=self.pair.gateway_us(), size=300, duration_us=20_000)
        self.pair.offer(frame)


def assert_decodable(positions: list[tuple[int, int]]) -> None:
    """Every frame is a keyframe or follows the one before it in its group; groups never go back."""
    last = (-1, -1)
    for group, index in positions:
        assert (index == 0 and group > last[0]) or (group, index - 1) == last, (last, (group, index))
        last = (group, index)


__all__ = ["AUDIO", "CATALOG", "VIDEO", "Camera", "CloseCode", "Pair", "assert_decodable", "make_frame"]
