"""One broadcast's production: source -> encoders -> hub, supervised, with back-off.

The source is read in one thread, each medium is encoded in another; between them stand a slot
that keeps only the newest picture and a queue of at most half a second of sound. Frames cross to
the event loop through a bounded outbox. May import sources, encoders, hub and what they may.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wtgateway import clock
from wtgateway.errors import SourceEnded, SourceError, WtgatewayError
from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.encoders import AudioEncoder, VideoEncoder
    from wtgateway.sources.base import RawAudio, RawVideo, Source, SourceInfo

log = logging.getLogger("wtgateway.pipeline")

VIDEO_TRACK, AUDIO_TRACK = 0, 1
BACKOFF_FIRST_S, BACKOFF_LIMIT_S = 0.5, 10.0
BACKOFF_FORGIVEN_AFTER_S = 10.0
LINGER_S = 10.0  # an on-demand source outlives its last viewer by this, so that a reload is quick
STOP_PATIENCE_S = 15.0
AUDIO_QUEUE_US = 500_000
OUTBOX_FRAMES = 240
OUTBOX_BYTES = 16 * 1024 * 1024
FALLBACK_FPS = 30.0


@dataclass(slots=True)
class PipelineStats:
    """Counters since the pipeline was made."""

    pictures_skipped: int = 0  # a newer one came before the encoder was free
    sound_skipped: int = 0
    outbox_dropped: int = 0  # the event loop did not take them in time
    restarts: int = 0


class LatestSlot:
    """Holds the newest picture for the encoder; also carries the wish for a keyframe.

    With nothing new and a keyframe wanted, the last picture is given once more, so that a viewer
    who joins a still screen need not wait for it to move.
    """

    def __init__(self, stats: PipelineStats) -> None:
        self._condition = threading.Condition()
        self._stats = stats
        self._fresh: RawVideo | None = None
        self._last: RawVideo | None = None
        self._taken_us = 0
        self._keyframe = False
        self._closed = False

    def put(self, raw: RawVideo) -> None:
        """Offer a picture; one that was not taken yet is skipped and counted."""
        with self._condition:
            self._stats.pictures_skipped += self._fresh is not None
            self._fresh = raw
            self._condition.notify()

    def want_keyframe(self) -> None:
        """The next picture taken is to be a keyframe, and to be taken soon."""
        with self._condition:
            self._keyframe = True
            self._condition.notify()

    def close(self) -> None:
        """Make every take return None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def take(self) -> tuple[RawVideo, bool] | None:
        """Wait for a picture; returns it and whether a keyframe is wanted, or None when closed."""
        with self._condition:
            while not self._closed and self._fresh is None:
                if self._keyframe and self._last is not None:
                    # A quarter of an interval is what waiting for the next picture may cost.
                    patience_s = self._last.duration_us / 4e6
                    if self._condition.wait_for(lambda: self._closed or self._fresh is not None, patience_s):
                        continue
                    self._fresh = self._repeat(self._last)
                else:
                    self._condition.wait()
            if self._closed or self._fresh is None:
                return None
            raw, keyframe = self._fresh, self._keyframe
            self._fresh, self._keyframe, self._last = None, False, raw
            self._taken_us = clock.now_us()
            return raw, keyframe

    def _repeat(self, raw: RawVideo) -> RawVideo:
        passed_us = max(clock.now_us() - self._taken_us, 1)
        return replace(
            raw,
            pts_us=raw.pts_us + passed_us,
            capture_us=raw.capture_us + passed_us,
            grabbed_us=raw.grabbed_us + passed_us if raw.grabbed_us else 0,
        )


class SoundQueue:
    """At most half a second of sound on its way to the encoder; the oldest goes first."""

    def __init__(self, stats: PipelineStats) -> None:
        self._condition = threading.Condition()
        self._stats = stats
        self._items: deque[RawAudio] = deque()
        self._queued_us = 0
        self._closed = False

    def put(self, raw: RawAudio) -> None:
        """Append; what exceeds the bound is dropped from the front and counted."""
        with self._condition:
            self._items.append(raw)
            self._queued_us += raw.duration_us
            while self._queued_us > AUDIO_QUEUE_US and len(self._items) > 1:
                self._queued_us -= self._items.popleft().duration_us
                self._stats.sound_skipped += 1
            self._condition.notify()

    def close(self) -> None:
        """Make every take return None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def take(self) -> RawAudio | None:
        """Wait for sound; None when closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return None
            raw = self._items.popleft()
            self._queued_us -= raw.duration_us
            return raw


class Outbox:
    """Carries frames from encoder threads to the event loop, bounded, one wake-up for a burst."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deliver: Callable[[Any], None], stats: PipelineStats
    ) -> None:
        self._loop, self._deliver, self._stats = loop, deliver, stats
        self._lock = threading.Lock()
        self._items: deque[Any] = deque()
        self._bytes = 0
        self._woken = False
        self.overflowed = False

    def post(self, item: Frame | Catalog | Status) -> None:
        """From any thread. Frames over the bound are dropped and counted; other items never are."""
        with self._lock:
            if isinstance(item, Frame):
                if len(self._items) >= OUTBOX_FRAMES or self._bytes > OUTBOX_BYTES:
                    self._stats.outbox_dropped += 1
                    self.overflowed = True
                    return
                self._bytes += len(item.payload)
            self._items.append(item)
            if self._woken:
                return
            self._woken = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        with self._lock:
            items, self._items = self._items, deque()
            self._bytes, self._woken = 0, False
        for item in items:
            self._deliver(item)


class Production:
    """The threads of one run of a source, from open to the first failure or the end."""

    def __init__(
        self,
        config: BroadcastConfig,
        source: Source,
        pipeline: Pipeline,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._config, self._source, self._pipeline, self._failed = config, source, pipeline, failed
        self.slot = LatestSlot(pipeline.stats)
        self._sound = SoundQueue(pipeline.stats)
        self._stopping = threading.Event()
        self._reader = self._thread(self._read, "read")
        self._encoders: list[threading.Thread] = []  # begun by the reader once the source is open

    def _thread(self, body: Callable[..., None], name: str, *args: object) -> threading.Thread:
        def run() -> None:
            try:
                body(*args)
            except BaseException as error:
                if not self._stopping.is_set():
                    self._failed(error)

        return threading.Thread(target=run, name=f"{name}:{self._config.name}", daemon=True)

    def start(self) -> None:
        """Begin to open the source."""
        self._reader.start()

    def stop(self) -> None:
        """End all threads and wait for them; blocking, for a thread of its own."""
        self._stopping.set()
        self._source.close()
        self.slot.close()
        self._sound.close()
        self._reader.join(STOP_PATIENCE_S)  # first: it is what begins the others
        for thread in (self._reader, *self._encoders):
            thread.join(STOP_PATIENCE_S)
            if thread.is_alive():
                log.warning("thread did not end broadcast=%s thread=%s", self._config.name, thread.name)

    def _read(self) -> None:
        from wtgateway.sources.base import RawVideo

        try:
            info = self._source.open()
            self._begin_encoders(info)
            while not self._stopping.is_set():
                raw = self._source.read()
                if isinstance(raw, RawVideo):
                    if self._config.video:
                        self.slot.put(raw)
                elif self._config.audio:
                    self._sound.put(raw)
        finally:
            self._source.close()

    def _begin_encoders(self, info: SourceInfo) -> None:
        config = self._config
        if not ((info.has_video and config.video) or (info.has_audio and config.audio)):
            raise SourceError(
                f"{info.description} has nothing to play: enable video or audio for this broadcast"
            )
        self._pipeline.opened(info)
        if info.has_video and config.video:
            self._encoders.append(self._thread(self._encode_video, "video", info))
        if info.has_audio and config.audio:
            self._encoders.append(self._thread(self._encode_audio, "audio"))
        for thread in self._encoders:
            thread.start()

    def _encode_video(self, info: SourceInfo) -> None:
        encoder = self._pipeline.video_encoder(info)
        try:
            while (taken := self.slot.take()) is not None:
                raw, keyframe = taken
                keyframe = keyframe or self._pipeline.must_restart_group()
                self._pipeline.encoded(Kind.VIDEO, encoder, encoder.encode(raw, keyframe=keyframe))
        finally:
            self._pipeline.next_group[VIDEO_TRACK] = encoder.next_group
            encoder.close()

    def _encode_audio(self) -> None:
        encoder = self._pipeline.audio_encoder()
        try:
            while (raw := self._sound.take()) is not None:
                self._pipeline.encoded(Kind.AUDIO, encoder, encoder.encode(raw))
        finally:
            self._pipeline.next_group[AUDIO_TRACK] = encoder.next_group
            encoder.close()


class Pipeline:
    """Supervises a broadcast's source: opens it, restarts it, stops it when nobody watches."""

    def __init__(
        self, config: BroadcastConfig, broadcast: Broadcast, make_source: Callable[[], Source]
    ) -> None:
        self.config, self.broadcast, self.stats = config, broadcast, PipelineStats()
        self.next_group = {VIDEO_TRACK: 0, AUDIO_TRACK: 0}
        self.info: SourceInfo | None = None
        self._make_source = make_source
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._loop, self._deliver, self.stats)
        self._tracks: dict[int, Track] = {}
        self._tracks_lock = threading.Lock()
        self._revision = 0
        self._wanted = asyncio.Event()
        self._unwanted_timer: asyncio.TimerHandle | None = None
        self._unwanted = asyncio.Event()
        self._production: Production | None = None
        self._live_since: float | None = None
        self._demand(0)
        broadcast.bind(self)

    # --- the hub's wishes (Producer) ---------------------------------------------------------

    def request_keyframe(self, track: int) -> None:
        """Make the next picture a keyframe."""
        if track == VIDEO_TRACK and self._production is not None:
            self._production.slot.want_keyframe()

    def demand_changed(self, viewers: int) -> None:
        """Start at the first viewer; stop some time after the last, when on demand."""
        self._demand(viewers)

    def _demand(self, viewers: int) -> None:
        if self._unwanted_timer is not None:
            self._unwanted_timer.cancel()
            self._unwanted_timer = None
        if viewers or not self.config.on_demand:
            self._unwanted.clear()
            self._wanted.set()
        elif self._wanted.is_set():
            self._unwanted_timer = self._loop.call_later(LINGER_S, self._give_up)

    def _give_up(self) -> None:
        self._wanted.clear()
        self._unwanted.set()

    @property
    def uptime_s(self) -> float:
        """Seconds since the broadcast last became live; 0: it is not."""
        live = self.broadcast.status.state is BroadcastState.LIVE and self._live_since is not None
        return self._loop.time() - (self._live_since or 0.0) if live else 0.0

    # --- supervision -------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled, or until a source that is not looped has ended in order."""
        failures = 0
        while True:
            if not self._wanted.is_set():
                self.broadcast.set_status(Status(BroadcastState.IDLE, "starts with its first viewer"))
                await self._wanted.wait()
            self._live_since = None
            self.broadcast.set_status(Status(BroadcastState.CONNECTING, "the source is being opened"))
            error = await self._run_once()
            if error is None:
                continue  # nobody watches
            if isinstance(error, SourceEnded) and not self.config.loop:
                log.info("source ended broadcast=%s", self.config.name)
                self.broadcast.set_status(Status(BroadcastState.ENDED, "the source came to its end"))
                return
            if self._live_since and self._loop.time() - self._live_since > BACKOFF_FORGIVEN_AFTER_S:
                failures = 0
            await self._pause(failures, error)
            failures += 1

    async def _pause(self, failures: int, error: BaseException) -> None:
        delay_s = min(BACKOFF_FIRST_S * 2**failures, BACKOFF_LIMIT_S)
        self.stats.restarts += 1
        log.warning(
            "source lost broadcast=%s retry_in=%.1fs reason=%s", self.config.name, delay_s, _one_line(error)
        )
        reason = _one_line(error) if isinstance(error, WtgatewayError) else "the source broke"
        self.broadcast.set_status(Status(BroadcastState.RETRYING, reason, round(delay_s * 1000)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._unwanted.wait(), delay_s)

    async def _run_once(self) -> BaseException | None:
        """Run the source until it fails (the error) or is no longer wanted (None)."""
        failure: asyncio.Future[BaseException] = self._loop.create_future()

        def settle(error: BaseException) -> None:
            if not failure.done():
                failure.set_result(error)

        def failed(error: BaseException) -> None:
            if not isinstance(error, WtgatewayError):
                log.error("pipeline fault broadcast=%s", self.config.name, exc_info=error)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(settle, error)

        production = Production(self.config, self._make_source(), self, failed)
        self._production = production
        unwanted = asyncio.ensure_future(self._unwanted.wait())
        ends: set[asyncio.Future[Any]] = {failure, unwanted}
        production.start()
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return failure.result() if failure.done() else None
        finally:
            unwanted.cancel()
            self._production = None
            # Shielded: threads that hold devices must be gone before the loop is.
            await asyncio.shield(asyncio.to_thread(production.stop))

    # --- called from the production's threads --------------------------------------------------

    def opened(self, info: SourceInfo) -> None:
        """The source is open: forget the tracks of the run before."""
        self.info = info
        with self._tracks_lock:
            self._tracks = {}

    def video_encoder(self, info: SourceInfo) -> VideoEncoder:
        """An encoder that goes on where the last one stopped counting groups."""
        from wtgateway.encoders import VideoEncoder, VideoSettings

        wanted = self.config.video
        assert wanted is not None
        settings = VideoSettings(
            codec=wanted.codec,
            bitrate_bps=wanted.bitrate_bps,
            fps=wanted.fps or info.fps or FALLBACK_FPS,
            width=wanted.width,
            height=wanted.height,
            keyframe_interval_s=wanted.keyframe_interval_s,
        )
        if wanted.preset:
            settings = replace(settings, preset=wanted.preset)
        return VideoEncoder(
            settings, track=VIDEO_TRACK, rendition=0, first_group=self.next_group[VIDEO_TRACK]
        )

    def audio_encoder(self) -> AudioEncoder:
        """The same for sound."""
        from wtgateway.encoders import AudioEncoder, AudioSettings

        wanted = self.config.audio
        assert wanted is not None
        settings = AudioSettings(
            codec=wanted.codec,
            bitrate_bps=wanted.bitrate_bps,
            channels=wanted.channels,
            frame_ms=wanted.frame_ms,
        )
        return AudioEncoder(
            settings, track=AUDIO_TRACK, rendition=0, first_group=self.next_group[AUDIO_TRACK]
        )

    def must_restart_group(self) -> bool:
        """True once after frames were lost on the way to the loop: what follows would not decode."""
        lost, self._outbox.overflowed = self._outbox.overflowed, False
        return lost

    def encoded(self, kind: Kind, encoder: VideoEncoder | AudioEncoder, frames: list[Frame]) -> None:
        """Send frames on, after the catalog if it changed."""
        track_id = VIDEO_TRACK if kind is Kind.VIDEO else AUDIO_TRACK
        if encoder.rendition is not None:
            self._announce(track_id, kind, encoder.rendition)
        for frame in frames:
            self._outbox.post(frame)

    def _announce(self, track_id: int, kind: Kind, rendition: Rendition) -> None:
        track = Track(id=track_id, kind=kind, renditions=(rendition,))
        with self._tracks_lock:
            if self._tracks.get(track_id) == track:
                return
            self._tracks[track_id] = track
            self._revision += 1
            tracks = tuple(self._tracks[k] for k in sorted(self._tracks))
            self._outbox.post(Catalog(revision=self._revision, tracks=tracks))

    # --- on the loop ---------------------------------------------------------------------------

    def _deliver(self, item: Frame | Catalog) -> None:
        if self._production is None:
            return  # a straggler of a run that is over
        if isinstance(item, Catalog):
            self.broadcast.set_catalog(item)
            return
        if self.broadcast.status.state is not BroadcastState.LIVE:
            self._live_since = self._loop.time()
            log.info("broadcast is live broadcast=%s", self.config.name)
            self.broadcast.set_status(Status(BroadcastState.LIVE))
        self.broadcast.publish(item)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
