"""One run of a source: the threads that read and encode, from open to the first failure or the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from wtgateway.errors import SourceError
from wtgateway.media import Frame, Kind, Rendition
from wtgateway.pipeline.forwarding import SoundForwarding, VideoForwarding, rendition_of
from wtgateway.pipeline.ladder import Ladder
from wtgateway.pipeline.plan import Planned, PlannedAudio
from wtgateway.pipeline.queues import PipelineStats, SoundQueue

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.encoders import AudioEncoder, GroupBorders, VideoEncoder
    from wtgateway.protocol.targets import EncoderTarget
    from wtgateway.sources.base import CodedFormat, CodedVideo, Piece, Source, SourceInfo

log = logging.getLogger("wtgateway.pipeline")

VIDEO_TRACK, AUDIO_TRACK = 0, 1
STOP_PATIENCE_S = 15.0


class Supervisor(Protocol):
    """What the threads of a run need of the pipeline; safe to call from any thread."""

    stats: PipelineStats
    next_group: dict[int, int]

    def opened(self, info: SourceInfo) -> tuple[tuple[Planned, ...], tuple[PlannedAudio, ...]]:
        """The source is open; the renditions of its video and sound, best first. Raises SourceError."""

    def borders(self) -> GroupBorders:
        """Where the groups of this run begin."""

    def video_encoder(self, planned: Planned, groups: GroupBorders) -> VideoEncoder:
        """An encoder for its pictures."""

    def audio_encoder(self, planned: PlannedAudio) -> AudioEncoder:
        """An encoder for its sound."""

    def wanted(self, track: int) -> Iterable[int]:
        """Ids of the renditions of a track that are to run now."""

    def produced(self, kind: Kind, rendition: Rendition, frames: Iterable[Frame]) -> bool:
        """Frames of a rendition; whether all got through."""

    def forwarding(self, coded: CodedFormat) -> None:
        """The source's own video is of this format from now on."""


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
        self._sound = SoundQueue(pipeline.stats)
        self._stopping = threading.Event()
        self._demand_lock = threading.Lock()
        self._reader = self._thread("read", self._read)
        self._audio_thread: threading.Thread | None = None
        self._plan: tuple[Planned, ...] = ()
        self._audio_plan: tuple[PlannedAudio, ...] = ()
        self._sound_wanted = False  # of what is forwarded
        self._ladder: Ladder | None = None
        self._targets: Mapping[int, EncoderTarget] = {}
        self._forwarded: VideoForwarding | None = None
        self._coded: dict[Kind, tuple[CodedFormat, Rendition]] = {}
        self._forwarded_sound = SoundForwarding(
            track=AUDIO_TRACK, rendition=0, first_group=pipeline.next_group[AUDIO_TRACK]
        )
        self._groups: GroupBorders | None = None

    def _thread(self, name: str, body: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                body()
            except BaseException as error:
                if not self._stopping.is_set():
                    self._failed(error)

        return threading.Thread(target=run, name=f"{name}:{self._config.name}", daemon=True)

    def _started(self, name: str, body: Callable[[], None]) -> threading.Thread:
        thread = self._thread(name, body)
        thread.start()
        return thread

    def start(self) -> None:
        """Begin to open the source."""
        self._reader.start()

    def want_keyframe(self) -> None:
        """From any thread: what is encoded begins a group soon."""
        if self._ladder is not None:
            self._ladder.want_keyframe()

    def follow(self, targets: Mapping[int, EncoderTarget]) -> None:
        """From any thread: what the encoders of the video's renditions are to do."""
        self._targets = targets
        if self._ladder is not None:
            self._ladder.follow(targets)

    def demand_changed(self) -> None:
        """From any thread: other renditions may be wanted."""
        with self._demand_lock:  # asked and done in one go, or the older of two answers may win
            if self._stopping.is_set():
                return
            self._want_sound()
            if self._ladder is None:
                return
            wanted = _encoded_of(self._plan) & set(self._pipeline.wanted(VIDEO_TRACK))
            self._source.want_pictures(bool(wanted))
            self._ladder.want(wanted)

    def _want_sound(self) -> None:
        """Samples beside what is forwarded, while somebody gets what is encoded of them."""
        encoded = _encoded_of(self._audio_plan)
        if not encoded or len(encoded) == len(self._audio_plan):
            return
        wanted = bool(encoded & set(self._pipeline.wanted(AUDIO_TRACK)))
        self._source.want_sound(wanted)
        if self._sound_wanted and not wanted:
            self._sound.break_off()
        self._sound_wanted = wanted

    def stop(self) -> None:
        """End all threads and wait for them; blocking, for a thread of its own."""
        self._stopping.set()
        self._source.close()
        self._sound.close()
        self._reader.join(STOP_PATIENCE_S)  # first: it is what begins the others
        threads = [self._reader, *(self._ladder.close() if self._ladder else ())]
        if self._audio_thread is not None:
            threads.append(self._audio_thread)
        for thread in threads:
            thread.join(STOP_PATIENCE_S)
            if thread.is_alive():
                log.warning("thread did not end broadcast=%s thread=%s", self._config.name, thread.name)
        if self._groups is not None:
            self._pipeline.next_group[VIDEO_TRACK] = self._groups.next_group
        ends = self._pipeline.next_group
        ends[AUDIO_TRACK] = max(ends[AUDIO_TRACK], self._forwarded_sound.next_group)

    def _read(self) -> None:
        try:
            self._begin(self._source.open())
            while not self._stopping.is_set():
                self._take(self._source.read())
        finally:
            self._source.close()

    def _begin(self, info: SourceInfo) -> None:
        config = self._config
        has_video, has_audio = info.has_video and config.video, info.has_audio and config.audio
        if not (has_video or has_audio):
            raise SourceError(
                f"{info.description} has nothing to play: enable video or audio for this broadcast"
            )
        self._plan, self._audio_plan = self._pipeline.opened(info)
        encoded = next((planned for planned in self._audio_plan if planned.settings is not None), None)
        if encoded is not None:
            self._audio_thread = self._started("audio", lambda: self._encode_audio(encoded))
        if has_video:
            self._begin_video()
        self.demand_changed()

    def _begin_video(self) -> None:
        groups = self._groups = self._pipeline.borders()
        plan = {planned.id: planned for planned in self._plan}
        for planned in self._plan:
            if planned.settings is None:
                self._forwarded = VideoForwarding(track=VIDEO_TRACK, rendition=planned.id, groups=groups)
        self._ladder = Ladder(
            groups,
            lambda number: self._pipeline.video_encoder(plan[number], groups),
            self._encoded,
            self._started,
            self._pipeline.stats,
        )
        self._ladder.follow(self._targets)

    def _encoded(self, rendition: Rendition, frames: list[Frame]) -> None:
        if not self._pipeline.produced(Kind.VIDEO, rendition, frames):
            self.want_keyframe()  # what follows in the group would not decode

    def _take(self, piece: Piece) -> None:
        from wtgateway.sources.base import CodedAudio, CodedVideo, RawAudio, RawVideo

        match piece:
            case RawVideo():
                if self._ladder is not None:
                    self._ladder.put(piece)
            case CodedVideo():
                self._forward(piece)
            case RawAudio():
                if self._audio_thread is not None:
                    self._sound.put(piece)
            case CodedAudio():
                if self._audio_plan:
                    rendition = self._rendition(Kind.AUDIO, piece.format, 0)
                    self._pipeline.produced(Kind.AUDIO, rendition, (self._forwarded_sound.frame(piece),))

    def _forward(self, coded: CodedVideo) -> None:
        if self._forwarded is None:
            return
        frame = self._forwarded.frame(coded)
        if frame is not None:
            rendition = self._rendition(Kind.VIDEO, coded.format, frame.rendition)
            if not self._pipeline.produced(Kind.VIDEO, rendition, (frame,)):
                self._forwarded.lose()

    def _rendition(self, kind: Kind, coded: CodedFormat, number: int) -> Rendition:
        """As the catalog lists it; made anew when the format changes."""
        known, rendition = self._coded.get(kind, (None, None))
        if rendition is None or known is not coded:
            rendition = rendition_of(coded, number)
            self._coded[kind] = coded, rendition
            if kind is Kind.VIDEO:
                self._pipeline.forwarding(coded)
        return rendition

    def _encode_audio(self, planned: PlannedAudio) -> None:
        encoder = self._pipeline.audio_encoder(planned)
        try:
            while (taken := self._sound.take()) is not None:
                raw, broken = taken
                if broken:
                    encoder.interrupt()
                frames = encoder.encode(raw)
                if encoder.rendition is not None:
                    self._pipeline.produced(Kind.AUDIO, encoder.rendition, frames)
        finally:
            self._pipeline.next_group[AUDIO_TRACK] = encoder.next_group
            encoder.close()


def _encoded_of(plan: Iterable[Planned | PlannedAudio]) -> set[int]:
    return {planned.id for planned in plan if planned.settings is not None}
