"""One run of a source: the threads that read and encode, from open to the first failure or the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from wtgateway.errors import SourceError
from wtgateway.media import Frame, Kind
from wtgateway.pipeline.queues import LatestSlot, PipelineStats, SoundQueue

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.encoders import AudioEncoder, VideoEncoder
    from wtgateway.sources.base import Source, SourceInfo

log = logging.getLogger("wtgateway.pipeline")

VIDEO_TRACK, AUDIO_TRACK = 0, 1
STOP_PATIENCE_S = 15.0


class Supervisor(Protocol):
    """What the threads of a run need of the pipeline; safe to call from any thread."""

    stats: PipelineStats
    next_group: dict[int, int]

    def opened(self, info: SourceInfo) -> None:
        """The source is open."""

    def video_encoder(self, info: SourceInfo) -> VideoEncoder:
        """An encoder for its pictures."""

    def audio_encoder(self) -> AudioEncoder:
        """An encoder for its sound."""

    def must_restart_group(self) -> bool:
        """Whether the next picture has to be a keyframe."""

    def encoded(self, kind: Kind, encoder: VideoEncoder | AudioEncoder, frames: list[Frame]) -> None:
        """Frames came out."""


class Production:
    """The threads of one run of a source, from open to the first failure or the end."""

    def __init__(
        self,
        config: BroadcastConfig,
        source: Source,
        pipeline: Supervisor,
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
