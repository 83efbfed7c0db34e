"""What becomes of what a viewer receives: frames to decoder and recorder, words to the user, figures.

Outlives sessions: a :class:`Reception` is the viewer's, and is told of each new session. Rule kept: the
event loop never decodes, writes or waits for either. Imports the protocol core and the viewer's helpers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from wtgateway.errors import WtgatewayError
from wtgateway.media import Frame, Kind, Track
from wtgateway.protocol import client_events as events
from wtgateway.protocol.client_session import ClientSession
from wtgateway.protocol.messages import Access
from wtgateway.protocol.ordering import OrderCounters
from wtgateway.protocol.roaming import Roaming
from wtgateway.viewer.decode import Decoded, Decoder, Encoded
from wtgateway.viewer.record import Recorder
from wtgateway.viewer.stats import ViewerFigures
from wtgateway.viewer.worker import BoundedWorker

KEYFRAME_INTERVAL_S = 0.3
_DATAGRAMS_NONE = (0, 0, 0, 0, 0)


class Reception:
    """Takes the events of one session after another.

    ``on_frame`` is called on the loop, ``on_media`` in the decoder's thread, ``on_notice`` on the loop.
    ``on_said`` is called when the session has something to send; ``on_broken`` when the recording has;
    ``on_access`` with what the viewer may do.
    """

    def __init__(
        self,
        figures: ViewerFigures,
        *,
        decode: bool,
        record: Path | None,
        on_frame: Callable[[Frame], None],
        on_media: Callable[[Decoded], None],
        on_notice: Callable[[str], None],
        on_said: Callable[[], None],
        on_broken: Callable[[], None],
        on_access: Callable[[Access], None] = lambda access: None,
    ) -> None:
        self.figures = figures
        self._on_access = on_access
        self.pushed_hashes: tuple[bytes, ...] = ()
        self.retry_after_ms: int | None = None  # of the gateway's goodbye
        self._loop = asyncio.get_running_loop()
        self._record = record
        self._on_frame, self._on_media, self._on_notice = on_frame, on_media, on_notice
        self._on_said, self._on_broken = on_said, on_broken
        self._core: ClientSession | None = None
        self._recorder: BoundedWorker[Encoded] | None = None
        self._decoder: BoundedWorker[Encoded] | None = None
        self._skipping: set[int] = set()
        self._keyframe_asked: dict[int, float] = {}
        self._absorbed: dict[int, tuple[OrderCounters, int, int]] = {}  # as they were, and whose
        self._absorbed_datagrams = _DATAGRAMS_NONE
        if decode:
            decoder = Decoder(self._decoded_in_thread, self._failed_in_thread)
            self._decoder = BoundedWorker(
                "decoder", decoder.decode, finish=decoder.close, max_items=120, max_bytes=64 << 20
            )

    def begin(self, core: ClientSession) -> None:
        """A new session; what follows comes from it."""
        self.absorb()
        self._core = core
        self._skipping = set()
        self._absorbed_datagrams = _DATAGRAMS_NONE

    def roaming_changed(self, roaming: Roaming) -> None:
        """The viewer looks for another path, has found one, or needs none any more."""
        figures = self.figures
        figures.roams, figures.roam_us = roaming.roams, roaming.gap_us
        if roaming.roaming and figures.state == "playing":
            figures.state = "roaming"
            self._on_notice("nothing comes: trying another path")
        elif figures.state == "roaming" and not roaming.roaming:
            figures.state = "playing"

    def close(self) -> None:
        """Decode and write what is queued, then end the threads; blocks until that is done."""
        for worker in (self._decoder, self._recorder):
            if worker is not None:
                worker.close()

    def check(self) -> None:
        """Raise what went wrong in the recorder's or the decoder's thread."""
        for worker in (self._decoder, self._recorder):
            error = worker.error if worker is not None else None
            if isinstance(error, WtgatewayError):
                raise error
            if error is not None:
                raise WtgatewayError(f"a thread of the viewer failed: {error!r}") from error

    # --- what the session tells ----------------------------------------------------------------------

    def handle(self, happened: list[events.ClientEvent]) -> None:
        """Act on a session's events."""
        for event in happened:
            match event:
                case events.FrameReady(frame=frame, arrived_at=arrived_at):
                    self._frame(frame, arrived_at)
                case events.CatalogChanged(catalog=catalog):
                    self._catalog_changed(catalog.tracks)
                case events.StateChanged(state=state):
                    self._state_changed(state.state, state.reason, state.retry_in_ms)
                case events.StatisticsReceived(statistics=statistics):
                    self.figures.gateway = asdict(statistics)
                case events.RenditionChanged(delivery=delivery):
                    self.figures.delivery = delivery
                case events.CertificatesChanged(hashes=hashes):
                    values = (entry.get("value") for entry in hashes)
                    self.pushed_hashes = tuple(v for v in values if isinstance(v, bytes))
                case events.AccessChanged(access=access):
                    self._on_access(access)
                case events.GatewayError(message=message):
                    self._on_notice(f"the gateway says: {message}")
                case events.GatewayDrains(within_ms=within_ms, reason=reason):
                    self._on_notice(
                        f"the gateway goes in {within_ms / 1000:.2g} s{f': {reason}' if reason else ''}"
                    )
                case events.GatewayGoodbye(reason=reason, retry_after_ms=retry_after_ms):
                    self.retry_after_ms = retry_after_ms
                    self._on_notice(f"the gateway says goodbye: {reason}")

    def _catalog_changed(self, tracks: tuple[Track, ...]) -> None:
        for track in tracks:
            if track.kind in self.figures.tracks and track.renditions:
                self.figures.tracks[track.kind].codec = track.renditions[0].codec
        if self._record is not None and self._recorder is None and tracks:
            recorder = Recorder(self._record, tracks)
            self.figures.recorded = str(self._record)
            self._recorder = BoundedWorker(
                "recorder", recorder.write, finish=recorder.close, max_items=10_000, max_bytes=64 << 20
            )

    def _state_changed(self, state: str, reason: str, retry_in_ms: int) -> None:
        if state == self.figures.source_state:
            return
        self.figures.source_state = state
        if state != "live":
            self.figures.state = "waiting"
            again = f"; tried again in {retry_in_ms / 1000:.2g} s" if retry_in_ms else ""
            self._on_notice(f"the source is {state}{f': {reason}' if reason else ''}{again}")

    def _frame(self, frame: Frame, arrived_at: float) -> None:
        track = self._track(frame.track)
        if track is None or not track.renditions:
            return
        if figures := self.figures.tracks.get(track.kind):
            figures.arrived(arrived_at, len(frame.payload))
        self._on_frame(frame)
        if not frame.payload:
            return  # left out by the gateway, and nothing depends on it
        item = Encoded(frame, track.kind, track.rendition(frame.rendition) or track.renditions[0])
        if self._recorder is not None and not self._recorder.submit(item, len(frame.payload)):
            self._recording_behind()
        if self._decoder is not None and (frame.keyframe or frame.track not in self._skipping):
            self._decode(self._decoder, item)

    def _decode(self, decoder: BoundedWorker[Encoded], item: Encoded) -> None:
        track = item.frame.track
        self._skipping.discard(track)
        if decoder.submit(item, len(item.frame.payload)):
            return
        # Behind: what cannot be decoded in time is left out, up to a keyframe.
        if figures := self.figures.tracks.get(item.kind):
            figures.frames_dropped += 1
        if item.kind is Kind.VIDEO:
            self._skipping.add(track)
            self._ask_for_keyframe(track)

    def _recording_behind(self) -> None:
        assert self._recorder is not None
        if self._recorder.error is not None:
            self._on_broken()
        elif self._recorder.refused == 1:
            self._on_notice("the disk is too slow: the recording has gaps")

    def _track(self, track_id: int) -> Track | None:
        catalog = self._core.catalog if self._core else None
        return catalog.track(track_id) if catalog else None

    def _ask_for_keyframe(self, track: int) -> None:
        now = time.monotonic()
        if self._core is None or now - self._keyframe_asked.get(track, -1.0) < KEYFRAME_INTERVAL_S:
            return
        self._keyframe_asked[track] = now
        self.figures.keyframe_requests += 1
        self._core.request_keyframe(track, "decoder")
        # Not from here: this may be inside of the session's own turn.
        self._loop.call_soon(self._on_said)

    # --- what the decoder tells ----------------------------------------------------------------------

    def _decoded_in_thread(self, decoded: Decoded) -> None:
        self._on_media(decoded)
        self._loop.call_soon_threadsafe(self._decoded, decoded)

    def _failed_in_thread(self, track: int, words: str) -> None:
        self._loop.call_soon_threadsafe(self._decoding_failed, track, words)

    def _decoded(self, decoded: Decoded) -> None:
        figures, core = self.figures, self._core
        track_figures = figures.tracks[decoded.kind]
        if decoded.concealed:
            track_figures.frames_concealed += 1
            return
        latency_us = None
        if core is not None and core.clock.ready:
            latency_us = core.clock.to_gateway(round(decoded.decoded_at * 1e6)) - decoded.source.capture_us
        track_figures.decoded(decoded.decoded_at, latency_us)
        if decoded.size is not None:
            figures.width, figures.height = decoded.size
        if figures.first_frame_s is None and figures.connected_at is not None:
            figures.first_frame_s = decoded.decoded_at - figures.connected_at
        if figures.state in ("joining", "waiting") and figures.source_state in ("", "live"):
            figures.state = "playing"
        if core is not None and (track := core.tracks.get(decoded.source.track)):
            track.decoder.frames_decoded += 1
            track.decoder.decode_queue = len(self._decoder) if self._decoder else 0
            track.decoder.latency_us = max(0, latency_us or 0)

    def _decoding_failed(self, track_id: int, words: str) -> None:
        track = self._track(track_id)
        if track is not None and track.kind in self.figures.tracks:
            self.figures.tracks[track.kind].decode_errors += 1
        self._on_notice(words)
        if track is not None and track.kind is Kind.VIDEO:
            self._ask_for_keyframe(track_id)

    def absorb(self) -> None:
        """Add what the session has counted since the last time to the figures over all sessions."""
        if self._core is None:
            return
        self.figures.rtt_us = self._core.clock.rtt_us
        self._absorb_datagrams(self._core)
        for track_id, track in self._core.tracks.items():
            if (figures := self.figures.tracks.get(track.kind)) is None:
                continue
            counters = track.order.counters
            gaps, dropped = counters.gaps, counters.late + counters.discarded
            known = self._absorbed.get(track_id)  # a session that continues another one goes on counting
            before = known[1:] if known is not None and known[0] is counters else (0, 0)
            self._absorbed[track_id] = (counters, gaps, dropped)
            figures.gaps += gaps - before[0]
            figures.frames_dropped += dropped - before[1]
            figures.jitter_us = track.jitter_us

    def _absorb_datagrams(self, core: ClientSession) -> None:
        counters = core.datagrams.reassembly.counters
        now = (
            counters.fragments,
            counters.mended,
            counters.asked,
            counters.expired + counters.displaced,
            counters.duplicates + core.frames_twice,
        )
        fragments, mended, asked, expired, twice = (
            new - old for new, old in zip(now, self._absorbed_datagrams, strict=True)
        )
        self._absorbed_datagrams = now
        self.figures.fragments_received += fragments
        self.figures.fragments_recovered += mended
        self.figures.nacks_sent += asked
        self.figures.frames_expired += expired
        self.figures.duplicates += twice
