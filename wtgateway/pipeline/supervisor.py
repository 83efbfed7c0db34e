"""One broadcast in this process: its source, its encoders, and what the hub wishes of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wtgateway.errors import WtgatewayError
from wtgateway.hub import Broadcast, Status
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track
from wtgateway.pipeline import plan, recipe
from wtgateway.pipeline.adapting import Adapting, nominals_of
from wtgateway.pipeline.demand import Demand
from wtgateway.pipeline.production import AUDIO_TRACK, VIDEO_TRACK, Production
from wtgateway.pipeline.queues import Outbox
from wtgateway.pipeline.supervision import Supervised

if TYPE_CHECKING:
    from wtgateway.config import BroadcastConfig
    from wtgateway.encoders import AudioEncoder, GroupBorders, Measurement, VideoEncoder
    from wtgateway.pipeline.plan import Planned, PlannedAudio
    from wtgateway.protocol.targets import EncoderTarget, Nominal, Wishes
    from wtgateway.sources.base import CodedFormat, Source, SourceInfo

log = logging.getLogger("wtgateway.pipeline")

_KINDS = {VIDEO_TRACK: Kind.VIDEO, AUDIO_TRACK: Kind.AUDIO}


class Pipeline(Supervised):
    """A broadcast's source and encoders, in threads of this process."""

    def __init__(
        self, config: BroadcastConfig, broadcast: Broadcast, make_source: Callable[[], Source] | None = None
    ) -> None:
        """``make_source`` makes an unopened source for each run; by default the one configured."""
        super().__init__(config, broadcast)
        self.next_group = {track: broadcast.next_group(track) for track in _KINDS}
        self.info: SourceInfo | None = None
        self._make_source = make_source or (lambda: recipe.make_source(config))
        self._outbox = Outbox(self._loop, self._deliver, self.stats)
        self.coded: CodedFormat | None = None  # of the video that is forwarded
        self._plan: tuple[Planned, ...] = ()
        self._audio_plan: tuple[PlannedAudio, ...] = ()
        self._tracks: dict[int, dict[int, Rendition]] = {}
        self._announced: tuple[Track, ...] = ()
        self._ran: set[tuple[int, int]] = set()  # (track, rendition) that is known by what came of it
        self._tracks_lock = threading.Lock()
        self._pictures = threading.Lock()  # held by an encoder that looks at one which others have too
        self._revision = broadcast.catalog.revision
        self._production: Production | None = None
        self.adapting = Adapting(
            self._loop, config.name, recipe.policy_of(config), self._video_wishes, self._follow_targets
        )
        self._renditions = {track: Demand(self._loop, self._renditions_changed) for track in _KINDS}
        broadcast.bind(self)

    # --- the hub's wishes (Producer) ---------------------------------------------------------

    def request_keyframe(self, track: int) -> None:
        """Make the next picture a keyframe."""
        if track == VIDEO_TRACK and self._production is not None:
            self._production.want_keyframe()

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None:
        """Encode what viewers get; what none gets any more, for a little longer."""
        for track, demand in self._renditions.items():
            demand.follow(frozenset(rendition for number, rendition in wanted if number == track))

    def wishes_changed(self) -> None:
        """Encoders follow what viewers can take."""
        self.adapting.changed()

    def _video_wishes(self) -> Wishes:
        return tuple(entry for entry in self.broadcast.wishes if entry[0].track == VIDEO_TRACK)

    def _follow_targets(self, targets: Mapping[int, EncoderTarget]) -> None:
        if self._production is not None:
            self._production.follow(targets)

    def _renditions_changed(self) -> None:
        if self._production is not None:
            self._production.demand_changed()

    def wanted(self, track: int) -> set[int]:
        """Ids of the renditions of a track that are to run. From any thread."""
        return self._renditions[track].wanted()

    # --- a run ---------------------------------------------------------------------------------

    async def _run_once(self) -> BaseException | None:
        """Run the source until it fails (the error) or is no longer wanted (None)."""
        failure: asyncio.Future[BaseException] = self._loop.create_future()

        def settle(error: BaseException) -> None:
            if not failure.done():
                failure.set_result(error)

        def failed(error: BaseException) -> None:
            if not isinstance(error, (WtgatewayError, OSError)):  # the system's: no fault of ours
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
            self.adapting.close()
            for demand in self._renditions.values():
                demand.end_run()
            # Shielded: threads that hold devices must be gone before the loop is.
            await asyncio.shield(asyncio.to_thread(production.stop))

    # --- called from the production's threads --------------------------------------------------

    def opened(self, info: SourceInfo) -> tuple[tuple[Planned, ...], tuple[PlannedAudio, ...]]:
        """The source is open: what it is shown as. The tracks of the run before are forgotten."""
        self.info, self.coded = info, None
        video: tuple[Planned, ...] = ()
        audio: tuple[PlannedAudio, ...] = ()
        if info.has_video and self.config.video:
            video = plan.plan_video(self.config.video, info, self._measured)
        if info.has_audio and self.config.audio:
            audio = plan.plan_audio(self.config.audio, info)
        with self._tracks_lock:
            self._plan, self._audio_plan, self._tracks, self._announced = video, audio, {}, ()
            self._ran.clear()
        nominals = nominals_of(video, info)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._begin_adapting, self._production, nominals)
        for track, planned in self._plans().items():
            if planned and planned[0].settings is not None:
                self._renditions[track].foresee(planned[0].id)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._begin_offer, self._production, track)
        return video, audio

    def _plans(self) -> dict[int, tuple[Planned, ...] | tuple[PlannedAudio, ...]]:
        return {VIDEO_TRACK: self._plan, AUDIO_TRACK: self._audio_plan}

    def _begin_adapting(self, production: Production | None, nominals: Mapping[int, Nominal]) -> None:
        if production is self._production is not None:
            self.adapting.begin(nominals)

    def _begin_offer(self, production: Production | None, track: int) -> None:
        """See to it that something can be offered, even before there is a viewer."""
        planned = self._plans()[track]
        encoded = next((each.id for each in planned if each.settings is not None), None)
        if encoded is None or production is not self._production:
            return
        if planned[0].settings is None:
            self._renditions[track].show_unless(lambda: track in self._tracks, encoded)
        else:
            self._renditions[track].show(encoded)

    def _measured(self, codecs: Sequence[str]) -> Iterable[Measurement]:
        """What the encoders of these codecs cost here. Blocks for some seconds on a machine's first time."""
        from wtgateway.encoders.measurements import cache_directory
        from wtgateway.encoders.probe import encoders_for, measured_encoders

        log.info("looking which encoders keep up broadcast=%s", self.config.name)
        return measured_encoders(cache_directory(), names=encoders_for(codecs))

    def borders(self) -> GroupBorders:
        """Groups go on where those of the run before ended."""
        from wtgateway.encoders import GroupBorders

        assert self.config.video is not None
        return GroupBorders(self.next_group[VIDEO_TRACK], self.config.video.keyframe_interval_s)

    def video_encoder(self, planned: Planned, groups: GroupBorders) -> VideoEncoder:
        """An encoder of one rendition."""
        from wtgateway.encoders import VideoEncoder

        assert planned.settings is not None
        return VideoEncoder(
            planned.settings,
            track=VIDEO_TRACK,
            rendition=planned.id,
            groups=groups,
            rotation=self.coded.rotation if self.coded else 0,
            shared=self._pictures if sum(each.settings is not None for each in self._plan) > 1 else None,
        )

    def audio_encoder(self, planned: PlannedAudio) -> AudioEncoder:
        """One for sound, which goes on where the last one stopped counting groups."""
        from wtgateway.encoders import AudioEncoder

        assert planned.settings is not None
        return AudioEncoder(
            planned.settings,
            track=AUDIO_TRACK,
            rendition=planned.id,
            first_group=self.next_group[AUDIO_TRACK],
        )

    def forwarding(self, coded: CodedFormat) -> None:
        """The source's own video is of this format: say what makes browsers hold its pictures back."""
        known, self.coded = self.coded, coded
        if coded.findings and (known is None or known.findings != coded.findings):
            log.warning(
                "browsers will hold pictures back broadcast=%s codec=%s why=%s",
                self.config.name,
                coded.codec,
                "; ".join(coded.findings),
            )

    def produced(self, kind: Kind, rendition: Rendition, frames: Iterable[Frame]) -> bool:
        """Send frames on, after the catalog if it changed; whether all got through."""
        self._announce(VIDEO_TRACK if kind is Kind.VIDEO else AUDIO_TRACK, rendition)
        return sum(not self._outbox.post(frame) for frame in frames) == 0

    def _announce(self, track_id: int, rendition: Rendition) -> None:
        with self._tracks_lock:
            known = self._tracks.get(track_id)
            if known is None:
                known = self._tracks[track_id] = self._expected(track_id)
            if known.get(rendition.id) is rendition:
                return
            known[rendition.id] = rendition
            self._ran.add((track_id, rendition.id))
            for number, other in known.items():  # of one source: turned alike
                if (track_id, number) not in self._ran:
                    known[number] = replace(other, rotation=rendition.rotation)
            tracks = tuple(
                Track(id=number, kind=_KINDS[number], renditions=tuple(each[k] for k in sorted(each)))
                for number, each in sorted(self._tracks.items())
            )
            if tracks == self._announced:
                return
            self._announced = tracks
            self._revision += 1
            self._outbox.post(Catalog(revision=self._revision, tracks=tracks))

    def _expected(self, track_id: int) -> dict[int, Rendition]:
        """What is offered besides what has run already."""
        info = self.info
        if info is None:
            return {}
        if track_id == AUDIO_TRACK:
            return {each.id: each.expected(info) for each in self._audio_plan if each.settings is not None}
        rotation = self.coded.rotation if self.coded else 0
        encoded = (each.expected(info) for each in self._plan if each.settings is not None)
        return {each.id: replace(each, rotation=rotation) for each in encoded}

    # --- on the loop ---------------------------------------------------------------------------

    def _deliver(self, item: Frame | Catalog) -> None:
        if self._production is None:
            return  # a straggler of a run that is over
        if isinstance(item, Catalog):
            self.broadcast.set_catalog(item)
            return
        if self.broadcast.status.state is not BroadcastState.LIVE:
            self._became_live()
            self.broadcast.set_status(Status(BroadcastState.LIVE))
        self.broadcast.publish(item)
