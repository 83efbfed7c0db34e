"""The native viewer against a gateway's core in memory: real bytes, real decoders, no network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import functools
import http.server
import io
import itertools
import json
import struct
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from wtgateway import clock
from wtgateway.encoders import GroupBorders, VideoEncoder, VideoSettings
from wtgateway.errors import ConfigError, SessionRefused, TransportError
from wtgateway.media import Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol import messages
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.outgoing import Whole
from wtgateway.protocol.session import Event, KeyframeNeeded, PeerGoodbye, ServerSession, parse_connect_path
from wtgateway.protocol.subscribe_query import Position
from wtgateway.protocol.wire import encode_frame
from wtgateway.sources import RawVideo
from wtgateway.viewer import Viewer, ViewOptions
from wtgateway.viewer import client as viewer_module
from wtgateway.viewer import output as viewer_output
from wtgateway.viewer.address import Address, resolve
from wtgateway.viewer.decode import Decoded, Decoder, Encoded
from wtgateway.viewer.record import Recorder, RecordError
from wtgateway.viewer.stats import TrackFigures, ViewerFigures, percentile
from wtgateway.viewer.worker import BoundedWorker

VIDEO, AUDIO = 0, 1
WIDTH, HEIGHT = 64, 48
URL = "https://gateway.test:4433/cam"
HASHES = (bytes(32),)
CATALOG = Catalog(
    revision=1,
    tracks=(
        Track(
            id=VIDEO,
            kind=Kind.VIDEO,
            renditions=(Rendition(id=0, codec="avc1.42C00A", width=WIDTH, height=HEIGHT, fps=30),),
        ),
        Track(
            id=AUDIO,
            kind=Kind.AUDIO,
            renditions=(Rendition(id=0, codec="opus", sample_rate=48_000, channels=2),),
        ),
    ),
)


@functools.cache
def pictures() -> list[bytes]:
    """Thirty H.264 access units, Annex B, one keyframe."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=1000:scenecut=0"}
    out = []
    for n in range(30):
        image = np.full((HEIGHT * 3 // 2, WIDTH), (n * 8) % 256, dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts = n
        out += [bytes(packet) for packet in context.encode(frame)]
    return out


@functools.cache
def sounds() -> list[bytes]:
    """Fifty Opus packets of 20 ms."""
    context = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format = 48_000, "stereo", "s16"
    out = []
    for n in range(50):
        samples = (8_000 * np.sin(np.arange(960 * 2) * 0.1)).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, n * 960
        out += [bytes(packet) for packet in context.encode(frame)]
    return out


class FakeSession:
    """What the viewer sees of the transport; the other end is a ServerSession."""

    def __init__(self, gateway: FakeGateway, handler: Any, url: str) -> None:
        self.gateway, self.handler = gateway, handler
        self.core = ServerSession(
            session_id="s",
            broadcast="cam",
            query=parse_connect_path(url.split(":4433")[1]),
            now_us=clock.now_us(),
            instance=gateway.instance,
        )
        self.dead = False  # nothing goes through any more
        self.events: list[Event] = []
        self.closed_with: tuple[int, str] | None = None
        self.next_stream = 3
        self.core.path.datagram_bytes = 600
        self.datagrams = 0
        self.lost: set[int] = set()  # numbers of datagrams that do not arrive

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        assert stream_id == 1
        if self.dead:
            return
        now = asyncio.get_running_loop().time()
        self.events += self.core.receive_control(data, now, clock.now_us())
        asyncio.get_running_loop().call_soon(self.pump)
        self.gateway.changed.set()

    def close(self, code: int = 0, reason: str = "") -> None:
        if self.closed_with is None:
            self.closed_with = (code, reason)
            asyncio.get_running_loop().call_soon(self.handler.closed, code, reason)

    def stop(self, stream_id: int, code: int) -> None: ...

    def send_datagrams(self, payloads: list[bytes], urgency: int) -> int:
        for data in payloads:
            self.core.receive_datagram(data, asyncio.get_running_loop().time())
        asyncio.get_running_loop().call_soon(self.pump)
        return len(payloads)

    def flush(self) -> None: ...

    def pump(self) -> None:
        """The gateway's glue: all that is to be sent, at once."""
        if self.closed_with is not None or self.dead:
            return
        if data := self.core.control_to_send():
            self.handler.stream_data(1, data, False)
        now = asyncio.get_running_loop().time()
        while item := self.core.next_send(now, 4_000):
            if isinstance(item, Whole):
                self.handler.stream_data(self.next_stream, item.queued.data, True)
                self.next_stream += 4
                continue
            for data in item.payloads:
                self.datagrams += 1
                if self.datagrams not in self.lost:
                    self.handler.datagram(data)
        self.events += self.core.poll_events()


class FakeGateway:
    """Takes the place of transport.client.connect and disconnect."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.refusals: list[Exception] = []
        self.hashes: list[Any] = []
        self.instance = "i1"
        self.changed = asyncio.Event()
        self.on_session: Callable[[FakeSession], None] = lambda session: None

    async def connect(
        self, url: str, handler: Any, *, certificate_hashes: Any, insecure: bool, **_: Any
    ) -> Any:
        self.hashes.append(certificate_hashes)
        if self.refusals:
            raise self.refusals.pop(0)
        session = FakeSession(self, handler, url)
        self.sessions.append(session)
        handler.opened(session)
        session.core.set_catalog(CATALOG)
        session.core.set_state(messages.State(state="live"))
        session.core.set_resume(f"token-{len(self.sessions)}", 120_000)
        session.pump()
        asyncio.get_running_loop().call_soon(self.on_session, session)
        self.changed.set()
        return session

    async def disconnect(self, session: Any, code: int = 0, reason: str = "") -> None:
        session.close(code, reason)
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for what a viewer's message or picture brings about."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()


def media_frame(track: int, n: int, start_us: int, *, group: int = 0) -> Frame:
    payload, step = (pictures()[n], 33_333) if track == VIDEO else (sounds()[n], 20_000)
    return Frame(
        track=track,
        rendition=0,
        group=group,
        index=n,
        keyframe=n == 0 or track == AUDIO,
        pts_us=start_us + n * step,
        capture_us=start_us,
        duration_us=step,
        payload=payload,
    )


def play(
    session: FakeSession,
    *,
    video: int = 30,
    audio: int = 50,
    group: int = 0,
    start: int | None = None,
    begin: tuple[int, int] = (0, 0),
) -> None:
    """The gateway sends a second of everything at once; ``begin``: what it has sent of it already."""
    start_us = clock.now_us() if start is None else start
    now = asyncio.get_running_loop().time()
    for track, first, count, kind in (
        (VIDEO, begin[0], video, Kind.VIDEO),
        (AUDIO, begin[1], audio, Kind.AUDIO),
    ):
        if first:
            session.core.go_on(track, kind)
        for n in range(first, count):
            frame = media_frame(track, n, start_us, group=group)
            session.core.offer(frame, encode_frame(frame), kind, now)
    session.pump()


class Watching:
    """A viewer that runs, the gateway it watches, and what it gave out."""

    def __init__(self, **options: Any) -> None:
        self.gateway = FakeGateway()
        self.frames: list[Frame] = []
        self.media: list[Decoded] = []
        self.notices: list[str] = []
        self._loop = asyncio.get_running_loop()
        self.viewer = Viewer(
            ViewOptions(**{"url": URL, "hashes": HASHES, **options}),
            on_frame=self._on_frame,
            on_media=self._on_media,
            on_notice=self._on_notice,
            connect=self.gateway.connect,
            disconnect=self.gateway.disconnect,
        )
        self.task: asyncio.Task[None] | None = None

    def _on_media(self, decoded: Decoded) -> None:
        def heard() -> None:
            self.media.append(decoded)
            self.gateway.changed.set()

        self._loop.call_soon_threadsafe(heard)

    def _on_frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.gateway.changed.set()

    def _on_notice(self, words: str) -> None:
        self.notices.append(words)
        self.gateway.changed.set()

    def count(self, kind: Kind) -> int:
        return sum(decoded.kind is kind for decoded in self.media)

    async def finish(self) -> None:
        self.viewer.stop()
        assert self.task is not None
        await self.task

    async def __aenter__(self) -> Watching:
        self.task = asyncio.create_task(self.viewer.run())
        await self.gateway.until(lambda: self.gateway.sessions or (self.task and self.task.done()))
        return self

    async def __aexit__(self, *error: object) -> None:
        self.viewer.stop()
        assert self.task is not None
        with contextlib.suppress(TransportError):
            await self.task


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is a matter of figures; the tests do not wait for it."""
    monkeypatch.setattr(viewer_module, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(viewer_module, "UNKNOWN_PAUSE_S", 0.0)


# --- watching --------------------------------------------------------------------------------------


async def test_every_frame_is_received_decoded_and_measured() -> None:
    async with Watching() as watching:
        gateway = watching.gateway
        await gateway.until(lambda: watching.viewer.core and watching.viewer.core.clock.ready)
        play(gateway.sessions[0])
        await gateway.until(lambda: (watching.count(Kind.VIDEO), watching.count(Kind.AUDIO)) == (30, 50))
        await watching.finish()
    stats = watching.viewer.stats()
    assert (stats["framesReceived"], stats["framesDecoded"], stats["framesDropped"]) == (30, 30, 0)
    assert (stats["codec"], stats["width"], stats["height"]) == ("avc1.42C00A", WIDTH, HEIGHT)
    assert stats["audio"]["framesDecoded"] == 50
    assert (stats["gaps"], stats["reconnects"], stats["state"]) == (0, 0, "stopped")
    assert stats["latencyMs"]["last"] >= stats["latencyMs"]["p50"] > 0
    assert stats["firstFrameMs"] > 0
    assert [f.index for f in watching.frames if f.track == VIDEO] == list(range(30))
    brightness = [
        int(d.media.to_ndarray(format="gray").mean()) for d in watching.media if d.kind is Kind.VIDEO
    ]
    assert brightness == sorted(brightness)


async def test_what_is_lost_of_datagrams_is_asked_for_and_comes() -> None:
    async with Watching(delivery="datagram", deadline_ms=20_000) as watching:
        gateway = watching.gateway
        session = gateway.sessions[0]
        assert (session.core.query.delivery, session.core.query.deadline_ms) == ("datagram", 20_000)
        session.lost = {3, 10, 11}
        play(session)
        await gateway.until(lambda: (watching.count(Kind.VIDEO), watching.count(Kind.AUDIO)) == (30, 50))
        await watching.finish()
    stats = watching.viewer.stats()
    assert stats["fragmentsReceived"] == session.datagrams - 3 > 80
    assert stats["nacksSent"] >= 1
    assert (stats["delivery"], stats["gaps"], stats["framesExpired"]) == ("datagram", 0, 0)
    assert session.core.outgoing.counters["nacks_answered"] >= 3


async def test_a_datagram_that_makes_no_sense_ends_the_session_and_another_begins() -> None:
    async with Watching(delivery="datagram") as watching:
        session = watching.gateway.sessions[0]
        session.handler.datagram(b"\x10" + bytes(40))
        await watching.gateway.until(lambda: len(watching.gateway.sessions) == 2)
        assert session.closed_with is not None
        assert session.closed_with[0] == CloseCode.MALFORMED


async def test_the_state_of_the_source_is_told() -> None:
    async with Watching() as watching:
        session = watching.gateway.sessions[0]
        session.core.set_state(messages.State(state="retrying", reason="no route", retry_in_ms=2_000))
        session.pump()
        await watching.gateway.until(
            lambda: "the source is retrying: no route; tried again in 2 s" in watching.notices
        )
        assert watching.viewer.stats()["state"] == "waiting"
        session.core.set_state(messages.State(state="live"))
        play(session, audio=0)
        await watching.gateway.until(
            lambda: watching.viewer.figures.state == "playing" or watching.count(Kind.VIDEO) < 30
        )


async def test_a_frame_that_cannot_be_decoded_brings_a_keyframe() -> None:
    async with Watching() as watching:
        gateway = watching.gateway
        session = gateway.sessions[0]
        play(session, video=5, audio=0)
        await gateway.until(lambda: watching.count(Kind.VIDEO) == 5)
        broken = Frame(
            track=VIDEO, rendition=0, group=0, index=5, keyframe=False, pts_us=clock.now_us(),
            capture_us=0, duration_us=0, payload=b"\0\0\0\1\x65" + b"\xff" * 40,
        )  # fmt: skip
        session.core.offer(broken, encode_frame(broken), Kind.VIDEO, asyncio.get_running_loop().time())
        session.pump()
        await gateway.until(lambda: any(isinstance(e, KeyframeNeeded) for e in session.events))
        play(session, audio=0, group=1)
        await gateway.until(lambda: watching.count(Kind.VIDEO) >= 35)
        await watching.finish()
    stats = watching.viewer.stats()
    assert stats["decodeErrors"] == 1
    assert stats["keyframeRequests"] == 1
    assert any("cannot be decoded" in words for words in watching.notices)


async def test_seconds_bound_the_watching() -> None:
    async with Watching(seconds=0.0) as watching:
        assert watching.task is not None
        await watching.task
    assert watching.viewer.stats()["framesReceived"] == 0


async def test_only_what_is_wished_is_subscribed() -> None:
    async with Watching(audio=False, decode=False) as watching:
        session = watching.gateway.sessions[0]
        assert session.core.query.kinds == (Kind.VIDEO,)
        play(session)
        await watching.finish()
    assert {frame.track for frame in watching.frames} == {VIDEO}


# --- roaming ---------------------------------------------------------------------------------------


def of(watching: Watching, track: int) -> list[tuple[int, int]]:
    return [(frame.group, frame.index) for frame in watching.frames if frame.track == track]


async def test_a_silent_path_is_left_and_the_next_frame_follows(tmp_path: Path) -> None:
    path, start = tmp_path / "out.mkv", clock.now_us()
    async with Watching(record=path) as watching:
        gateway = watching.gateway
        first = gateway.sessions[0]
        play(first, video=10, audio=10, start=start)
        play(first, video=10, audio=20, begin=(10, 12), start=start)  # two are lost
        await gateway.until(lambda: watching.viewer.figures.state == "playing")
        first.dead = True
        await gateway.until(lambda: len(gateway.sessions) == 2)
        second = gateway.sessions[1]
        assert second.core.query.resume == "token-1"
        assert second.core.query.after == (Position(VIDEO, 0, 0, 9), Position(AUDIO, 0, 0, 19))
        assert watching.viewer.figures.state == "roaming"
        play(second, begin=(8, 18), start=start)  # two come again
        await gateway.until(lambda: len(of(watching, AUDIO)) == 48 and watching.count(Kind.VIDEO) == 30)
        await gateway.until(lambda: first.closed_with is not None)
        await watching.finish()
    assert of(watching, VIDEO) == [(0, n) for n in range(30)]
    assert of(watching, AUDIO) == [(0, n) for n in range(50) if n not in (10, 11)]
    stats = watching.viewer.stats()
    assert (stats["roams"], stats["reconnects"], stats["gaps"], stats["framesDropped"]) == (1, 0, 0, 0)
    assert (stats["framesDecoded"], stats["audio"]["gaps"]) == (30, 1)
    assert stats["roamMs"] > 0
    with av.open(str(path)) as recording:
        times = [round(p.pts * p.time_base * 30) for p in recording.demux(video=0) if p.size]
    assert times == list(range(30))


async def test_a_path_that_comes_back_first_is_kept() -> None:
    async with Watching() as watching:
        gateway = watching.gateway
        first = gateway.sessions[0]
        play(first, video=10, audio=0)
        first.dead = True
        await gateway.until(lambda: len(gateway.sessions) == 2)
        first.dead = False
        play(first, video=11, audio=0, begin=(10, 0))
        await gateway.until(lambda: gateway.sessions[1].closed_with is not None)
        assert first.closed_with is None
        assert watching.viewer.figures.roams == 0
        assert watching.viewer.figures.state != "roaming"


async def test_the_viewer_goes_when_the_gateway_drains() -> None:
    async with Watching() as watching:
        gateway = watching.gateway
        first = gateway.sessions[0]
        play(first, video=5, audio=5, group=7)
        gateway.instance = "i2"
        first.core.set_drain(30_000, "restart")
        first.pump()
        await gateway.until(lambda: len(gateway.sessions) == 2)
        second = gateway.sessions[1]
        play(second, video=0, audio=5)
        assert first.closed_with is None, "there is no picture of the other yet"
        play(first, video=6, audio=5, group=7, begin=(5, 5))
        play(second, video=3, audio=0)
        play(second, video=3, audio=6, begin=(3, 5))
        await gateway.until(lambda: first.closed_with is not None)
        assert first.closed_with == (CloseCode.NORMAL, "")
        assert any(isinstance(event, PeerGoodbye) for event in first.events)
    assert of(watching, VIDEO) == [(7, n) for n in range(6)] + [(0, n) for n in range(3)]
    assert of(watching, AUDIO) == [(7, n) for n in range(5)] + [(0, 5)]
    stats = watching.viewer.stats()
    assert (stats["roams"], stats["reconnects"]) == (1, 0)
    assert "the gateway goes in 30 s: restart" in watching.notices


async def test_a_refused_spare_leaves_the_session_as_it_is() -> None:
    async with Watching() as watching:
        gateway = watching.gateway
        first = gateway.sessions[0]
        play(first, video=5, audio=5)
        gateway.refusals.append(SessionRefused(503, "full"))
        first.core.set_drain(30_000, "restart")
        first.pump()
        await gateway.until(lambda: not gateway.refusals)
        play(first, video=8, audio=5, begin=(5, 5))
        await gateway.until(lambda: watching.count(Kind.VIDEO) == 8)
        assert first.closed_with is None
    assert watching.viewer.stats()["reconnects"] == 0


# --- coming back -----------------------------------------------------------------------------------


async def test_a_lost_session_is_made_again_with_the_hashes_pushed_in_it() -> None:
    async with Watching() as watching:
        gateway = watching.gateway
        pushed = bytes([7]) * 32
        gateway.sessions[0].core.set_certificates([{"algorithm": "sha-256", "value": pushed}])
        play(gateway.sessions[0], audio=0)
        gateway.sessions[0].close(CloseCode.INTERNAL, "something broke")
        await gateway.until(lambda: len(gateway.sessions) == 2)
        play(gateway.sessions[1], audio=0, group=7)
        await gateway.until(lambda: watching.count(Kind.VIDEO) == 60)
        await watching.finish()
    assert gateway.hashes == [HASHES, (*HASHES, pushed)]
    stats = watching.viewer.stats()
    assert (stats["framesReceived"], stats["reconnects"], stats["gaps"]) == (60, 1, 0)
    assert "the session ended: something broke; connecting again in 0 s" in watching.notices


async def test_refusals_that_may_pass_are_waited_out() -> None:
    watching = Watching()
    watching.gateway.refusals = [SessionRefused(404, "no such broadcast"), TransportError("no answer")]
    async with watching:
        assert len(watching.gateway.hashes) == 3
    assert "no such broadcast" in watching.notices[0]


async def test_refusals_that_cannot_pass_end_it() -> None:
    watching = Watching()
    watching.gateway.refusals = [SessionRefused(421, "reload the page")]
    with pytest.raises(SessionRefused, match="reload the page"):
        await watching.viewer.run()


async def test_a_goodbye_for_ever_ends_it() -> None:
    def leave(session: FakeSession) -> None:
        session.core.say_goodbye(CloseCode.NOT_FOUND, "the broadcast was removed", -1)
        session.pump()
        session.close(CloseCode.NOT_FOUND, "the broadcast was removed")

    watching = Watching()
    watching.gateway.on_session = leave
    with pytest.raises(TransportError, match="removed"):
        await watching.viewer.run()


async def test_what_breaks_the_protocol_is_closed_with_its_code() -> None:
    async with Watching() as watching:
        session = watching.gateway.sessions[0]
        session.handler.stream_data(3, b"\x77" * 48, False)
        await watching.gateway.until(lambda: len(watching.gateway.sessions) == 2)
        assert session.closed_with is not None
        assert session.closed_with[0] == CloseCode.MALFORMED


# --- recording -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
async def test_a_recording_holds_what_was_received_as_it_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    async with Watching(record=path, decode=False) as watching:
        play(watching.gateway.sessions[0])
        await watching.finish()
    with av.open(str(path)) as recording:
        video, audio = recording.streams.video[0], recording.streams.audio[0]
        assert (video.codec.name, video.width, video.height) == ("h264", WIDTH, HEIGHT)
        assert (audio.codec.name.removeprefix("lib"), audio.rate, audio.channels) == ("opus", 48_000, 2)
        extradata = video.codec_context.extradata
        assert extradata and extradata[0] == 1, "an avcC record, not Annex B"
        packets = [p for p in recording.demux() if p.size]
        times = [float(p.pts * p.time_base) for p in packets if p.stream.type == "video"]
        assert len(times) == 30
        assert times == pytest.approx([n / 30 for n in range(30)], abs=0.001)
        assert [bytes(p) for p in packets if p.stream.type == "audio"] == sounds()
    with av.open(str(path)) as recording:
        decoded = list(recording.decode(video=0))
        assert len(decoded) == 30
        assert decoded[0].key_frame


@pytest.mark.parametrize("goes_on", [True, False], ids=["while-it-is-written", "when-it-is-closed"])
def test_a_disk_that_fills_up_is_noticed_and_what_was_written_can_be_played(
    small_disk: Path, goes_on: bool
) -> None:
    rendition, frames = live_frames("vp9")
    path = small_disk / "out.mkv"
    recorder = Recorder(path, (Track(id=VIDEO, kind=Kind.VIDEO, renditions=(rendition,)),))
    sizes = itertools.repeat(2000, 1000) if goes_on else [30_000] * 3  # less than Matroska writes at a time
    with pytest.raises(RecordError, match=r"out\.mkv cannot be written: No space left on device"):
        for n, more in enumerate(itertools.chain([0] * 10, sizes)):
            payload = frames[n % 10].payload + bytes(more)
            frame = dataclasses.replace(frames[n % 10], pts_us=n * 33_333, payload=payload)
            recorder.write(Encoded(frame, Kind.VIDEO, rendition))
        if not goes_on:
            recorder.close()
    with contextlib.suppress(RecordError):
        recorder.close()
    with av.open(str(path)) as recording:
        found = [bytes(packet) for packet in recording.demux(video=0) if packet.size]
    assert found[:10] == [frame.payload for frame in frames]


async def test_a_viewer_whose_recording_cannot_be_written_ends_with_the_reason(small_disk: Path) -> None:
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(RecordError, match=r"out\.mp4 cannot be written: No space left on device"):
        async with Watching(record=small_disk / "out.mp4", decode=False) as watching, asyncio.timeout(30):
            assert watching.task is not None
            for second in itertools.count():
                play(watching.gateway.sessions[0], group=second)
                done, _ = await asyncio.wait([watching.task], timeout=0.01)
                if done:
                    break


LIVE = ("hevc", "av1", "vp9")


def live_frames(codec: str) -> tuple[Rendition, list[Frame]]:
    """Ten encoded pictures, each brighter than the one before."""
    video = VideoEncoder(VideoSettings(codec=codec), track=VIDEO, rendition=0, groups=GroupBorders())
    out: list[Frame] = []
    for n in range(10):
        image = np.full((96 * 3 // 2, 128), 128, dtype=np.uint8)
        image[:96] = 40 + 16 * n
        picture = av.VideoFrame.from_ndarray(image, format="yuv420p")
        out += video.encode(RawVideo(picture, n * 33_333, n * 33_333, n * 33_333, 33_333))
    assert video.rendition is not None
    video.close()
    return video.rendition, out


@pytest.mark.parametrize("codec", LIVE)
def test_every_codec_is_decoded_picture_by_picture_and_recorded(tmp_path: Path, codec: str) -> None:
    rendition, frames = live_frames(codec)
    decoded: list[Decoded] = []
    troubles: list[str] = []
    decoder = Decoder(decoded.append, lambda _, words: troubles.append(words))
    recorder = Recorder(tmp_path / "out.mkv", (Track(id=VIDEO, kind=Kind.VIDEO, renditions=(rendition,)),))
    for n, frame in enumerate(frames):
        item = Encoded(frame, Kind.VIDEO, rendition)
        decoder.decode(item)
        assert [len(decoded), troubles] == [n + 1, []], "one in, one out"
        recorder.write(item)
    decoder.close()
    recorder.close()
    levels = [np.mean(d.media.to_ndarray(format="gray")) for d in decoded]
    assert np.all(np.diff(levels) > 3), "each brighter than the one before"
    with av.open(str(tmp_path / "out.mkv")) as recording:
        assert recording.streams.video[0].codec.canonical_name == codec
        assert sum(1 for _ in recording.decode(video=0)) == 10


@pytest.mark.parametrize(("rate", "layout"), [(48_000, "stereo"), (44_100, "mono"), (48_000, "5.1")])
def test_aac_is_decoded_and_recorded(tmp_path: Path, rate: int, layout: str) -> None:
    context: Any = av.CodecContext.create("aac", "w")
    context.sample_rate, context.layout, context.format = rate, layout, "fltp"
    context.bit_rate = 96_000 * context.layout.nb_channels
    channels = context.layout.nb_channels
    packets = []
    for n in range(20):
        wave = np.float32(0.3) * np.sin(2 * np.pi * 440 * (np.arange(1024) + n * 1024) / rate)
        samples = np.repeat(wave[None].astype(np.float32), channels, axis=0)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, n * 1024
        packets += [bytes(packet) for packet in context.encode(frame)]
    rendition = Rendition(
        id=0, codec="mp4a.40.2", sample_rate=rate, channels=channels, description=bytes(context.extradata)
    )
    decoded: list[Decoded] = []
    decoder = Decoder(decoded.append, lambda _, words: pytest.fail(words))
    path = tmp_path / "out.m4a"
    recorder = Recorder(path, (Track(id=AUDIO, kind=Kind.AUDIO, renditions=(rendition,)),))
    for n, payload in enumerate(packets):
        at_us = n * 1024_000_000 // rate
        sound = Frame(
            track=AUDIO, rendition=0, group=0, index=n, keyframe=True, pts_us=at_us, capture_us=at_us,
            duration_us=1024_000_000 // rate, payload=payload,
        )  # fmt: skip
        item = Encoded(sound, Kind.AUDIO, rendition)
        decoder.decode(item)
        recorder.write(item)
        assert len(decoded) == n + 1, "one in, one out"
    recorder.close()
    shapes = {(d.media.sample_rate, d.media.layout.nb_channels, d.media.samples) for d in decoded}
    assert shapes == {(rate, channels, 1024)}
    with av.open(str(path)) as recording:
        stream = recording.streams.audio[0]
        assert (stream.codec.canonical_name, stream.rate, stream.channels) == ("aac", rate, channels)
        assert [bytes(packet) for packet in recording.demux(stream) if packet.size] == packets
    with av.open(str(path)) as recording:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in recording.decode(audio=0)])
    direct = np.concatenate([d.media.to_ndarray()[0] for d in decoded])
    assert np.abs(heard[2048:16_384]).max() == pytest.approx(0.3, abs=0.05)
    assert np.abs(heard[:16_384] - direct[: len(heard)][:16_384]).max() < 0.01


async def test_a_recording_goes_on_after_a_reconnect(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    start = clock.now_us()
    async with Watching(record=path, decode=False) as watching:
        gateway = watching.gateway
        play(gateway.sessions[0], start=start)
        gateway.sessions[0].close(1, "restart")
        await gateway.until(lambda: len(gateway.sessions) == 2)
        assert gateway.sessions[1].core.query.resume == "token-1"
        play(gateway.sessions[1], start=start + 3_000_000, group=1)
        await gateway.until(lambda: len(of(watching, VIDEO)) == 60)
        await watching.finish()
    with av.open(str(path)) as recording:
        times = [float(p.pts * p.time_base) for p in recording.demux(video=0) if p.size]
    assert len(times) == 60
    assert times[30] == pytest.approx(3.0, abs=0.001)


async def test_a_recording_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    watching = Watching(record=tmp_path / "missing" / "out.mkv", decode=False)
    async with watching:
        play(watching.gateway.sessions[0])
        reception = watching.viewer._reception
        recorder = reception._recorder
        assert recorder is not None
        await asyncio.to_thread(recorder.close)
        watching.viewer.stop()
        assert watching.task is not None
        with pytest.raises(Exception, match="No such file"):
            await watching.task
        watching.task = asyncio.create_task(asyncio.sleep(0))


async def test_an_unknown_recording_format_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--record"):
        Watching(record=tmp_path / "out.avi")


# --- addresses -------------------------------------------------------------------------------------


@contextlib.contextmanager
def page(status: int, body: bytes, prefix: str = "") -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == f"{prefix}/api/v1/transport" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_page_is_asked_for_address_and_hashes() -> None:
    entry = {"algorithm": "sha-256", "value": base64.b64encode(bytes(32)).decode()}
    body = json.dumps({"url": "https://gateway.test:4433/", "certificateHashes": [entry]}).encode()
    with page(200, body) as base:
        address = resolve(f"{base}/hall/cam")
    assert address == Address("https://gateway.test:4433", "hall/cam", (bytes(32),))
    assert address.url(("video", "audio"), 1) == (
        "https://gateway.test:4433/hall/cam?v=1&subscribe=video,audio&codecs=all"
    )
    assert address.url(("video",), 1, delivery="auto", deadline_ms=150) == (
        "https://gateway.test:4433/hall/cam?v=1&subscribe=video&codecs=all&delivery=auto&deadline=150"
    )


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"", "answers 404: is this a wtgateway"),
        (200, b"<html>", "something else"),
        (200, b"[]", "something else"),
        (
            200,
            b'{"url": "https://a", "certificateHashes": [{"value": "%"}]}',
            "does not answer|something else",
        ),
        (200, b'{"url": "ftp://a", "certificateHashes": []}', "names no QUIC address"),
    ],
)
def test_a_page_that_says_something_else(status: int, body: bytes, words: str) -> None:
    with page(status, body) as base, pytest.raises(TransportError, match=words):
        resolve(f"{base}/cam")


def test_a_page_may_be_under_a_path_of_a_proxy() -> None:
    body = json.dumps({"url": "https://gateway.test:4433", "certificateHashes": []}).encode()
    with page(200, body, "/live") as base:
        for name in ("hall/cam", "cam", "a/b/c/d/e"):
            assert resolve(f"{base}/live/{name}") == Address("https://gateway.test:4433", name, None)
        with pytest.raises(TransportError, match=f"{base}/api/v1/transport answers 404"):
            resolve(f"{base}/other/cam")
        with pytest.raises(TransportError, match="answers 404"):
            resolve(f"{base}/live")  # no broadcast


def test_https_with_a_hash_is_the_quic_address_itself() -> None:
    assert resolve(URL, hashes=HASHES) == Address("https://gateway.test:4433", "cam", HASHES)


def test_https_where_no_page_answers_is_the_quic_address() -> None:
    assert resolve("https://127.0.0.1:9/cam", insecure=True) == Address(
        "https://127.0.0.1:9", "cam", None, insecure=True
    )


@pytest.mark.parametrize("url", ["cam", "ftp://host/cam", "http://host", "https://host:4433/"])
def test_an_address_that_cannot_be(url: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        resolve(url)


# --- figures and output ------------------------------------------------------------------------------


def test_percentiles() -> None:
    assert percentile([], 0.5) is None
    assert [percentile([5, 1, 4, 2, 3], share) for share in (0.0, 0.5, 0.95, 1.0)] == [1, 3, 5, 5]


def test_rates_are_those_of_the_last_moments() -> None:
    track = TrackFigures()
    for n in range(300):
        track.arrived(n / 30, 1_000)
    fps, bits = track.rates(299 / 30)
    assert fps == pytest.approx(30)
    assert bits == pytest.approx(240_000)
    assert track.rates(100.0) == (0.0, 0.0)


def test_skew_is_how_much_later_pictures_are_than_sound() -> None:
    figures = ViewerFigures(0.0)
    assert figures.skew_us() is None
    figures.tracks[Kind.VIDEO].decoded(1.0, 30_000)
    figures.tracks[Kind.AUDIO].decoded(1.0, 10_000)
    assert figures.skew_us() == 20_000
    assert "A/V +20 ms" in figures.line(1.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_and_nothing_that_it_would_act_on() -> None:
    out, err = Terminal(), io.StringIO()
    line = viewer_output.LiveLine(out, err)
    line.show("30 fps")
    line.notice("the gateway says: \x1b]0;owned\x07")
    line.show("29 fps")
    line.end()
    assert out.getvalue() == "\r30 fps\x1b[K\r\x1b[K\r29 fps\x1b[K\n"
    assert err.getvalue() == "the gateway says: ?]0;owned?\n"


def test_a_file_gets_a_line_at_a_time() -> None:
    out = io.StringIO()
    line = viewer_output.LiveLine(out, io.StringIO())
    line.show("30 fps")
    line.show("29 fps")
    line.end()
    assert out.getvalue() == "30 fps\n29 fps\n"


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_ends_with_a_summary(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command on its own loop: it stops itself once everything was decoded."""

    def make(options: ViewOptions, *, on_notice: Callable[[str], None]) -> Viewer:
        gateway = FakeGateway()
        gateway.on_session = play
        seen: list[Decoded] = []
        loop = asyncio.get_running_loop()

        def on_media(decoded: Decoded) -> None:
            seen.append(decoded)
            if len(seen) == 80:
                loop.call_soon_threadsafe(viewer.stop)

        viewer = Viewer(
            options,
            on_media=on_media,
            on_notice=on_notice,
            connect=gateway.connect,
            disconnect=gateway.disconnect,
        )
        return viewer

    monkeypatch.setattr(viewer_output, "Viewer", make)
    assert viewer_output.run_view(ViewOptions(url=URL, hashes=HASHES, json=as_json)) == 0
    out, err = capsys.readouterr()
    assert "connected to https://gateway.test:4433/cam" in err
    if as_json:
        stats = json.loads(out)
        assert (stats["framesDecoded"], stats["audio"]["framesDecoded"]) == (30, 50)
    else:
        assert "avc1.42C00A 64x48, 30 frames, 30 decoded, 0 dropped, 0 gaps" in out


# --- the worker ----------------------------------------------------------------------------------------


def test_a_worker_refuses_what_does_not_fit() -> None:
    gate, handled = threading.Event(), []

    def handle(item: int) -> None:
        gate.wait()
        handled.append(item)

    worker = BoundedWorker("test", handle, max_items=100, max_bytes=10)
    accepted = [n for n in range(20) if worker.submit(n, 4)]
    gate.set()
    worker.close()
    assert handled == accepted
    assert 2 <= len(accepted) <= 3  # one may be in work already
    assert worker.refused == 20 - len(accepted)


def test_a_worker_that_fails_says_so_and_finishes() -> None:
    finished: list[bool] = []
    worker = BoundedWorker(
        "test", lambda item: 1 // item, finish=lambda: finished.append(True), max_items=9, max_bytes=9
    )
    worker.submit(0, 1)
    worker.close()
    assert isinstance(worker.error, ZeroDivisionError)
    assert finished == [True]
    assert not worker.submit(1, 1)


def test_the_ogg_headers_are_well_formed() -> None:
    from wtgateway.viewer.record import _ogg_opus

    with av.open(io.BytesIO(_ogg_opus(CATALOG.tracks[1].renditions[0])), format="ogg") as container:
        extradata = container.streams.audio[0].codec_context.extradata
    assert extradata is not None
    assert extradata[:8] == b"OpusHead"
    assert struct.unpack_from("<BBHI", extradata, 8)[:2] == (1, 2)
