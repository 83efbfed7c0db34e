"""Sources that FFmpeg demuxes: files, streams and devices; put on gateway time, decoded or as they are.

May import media, errors, clock, av. What differs is who sets the pace, which is the business of
a feed: :class:`PacedFeed` (we do) or :class:`LiveFeed` (the peer does).
"""

from __future__ import annotations

from dataclasses import replace

from wtgateway.errors import SourceError
from wtgateway.sources.base import Piece, SourceInfo, SourceOptions
from wtgateway.sources.live import LiveFeed
from wtgateway.sources.opened import Opened, OpenTrack
from wtgateway.sources.paced import PacedFeed
from wtgateway.sources.passing import PassedAudio, PassedVideo, passable
from wtgateway.sources.reader import Manner, PacketReader
from wtgateway.sources.uri import Mode, Plan


class ContainerSource:
    """A Source on FFmpeg's demuxers. One object opens once; to retry, make another."""

    def __init__(self, plan: Plan, options: SourceOptions) -> None:
        self._plan, self._options = plan, options
        self._reader = PacketReader(
            plan,
            self._manner,
            open_timeout_s=options.open_timeout_s,
            read_timeout_s=options.read_timeout_s,
        )
        self._feed: PacedFeed | LiveFeed | None = None
        self._passed: dict[int, PassedVideo | PassedAudio] = {}
        self._pictures_wanted = self._sound_wanted = False

    @property
    def dropped(self) -> int:
        """Packets thrown away because nobody read them in time."""
        return self._reader.dropped

    @property
    def damaged(self) -> int:
        """Coded units that could not be passed on because they could not be read."""
        tracks = self._passed.values()
        return sum(t.forwarder.damaged if isinstance(t, PassedVideo) else t.damaged for t in tracks)

    def open(self) -> SourceInfo:
        """See Source.open."""
        opened = self._reader.open()
        mode = self._mode(opened)
        description = self._plan.description
        passed = self._passed = self._pass(opened)
        feed: PacedFeed | LiveFeed
        if mode in (Mode.FILE, Mode.GENERATED):
            feed = PacedFeed(self._reader, description, passed, live=mode is Mode.GENERATED)
        else:
            feed = LiveFeed(self._reader, description, wall_clock=mode is Mode.DEVICE, passed=passed)
        feed.want_pictures(self._pictures_wanted)
        feed.want_sound(self._sound_wanted)
        self._feed = feed
        codecs = {track.kind: track.codec for track in opened.tracks if track.index in passed}
        return replace(
            describe(opened, description, live=mode is not Mode.FILE),
            coded_video=codecs.get("video", ""),
            coded_audio=codecs.get("audio", ""),
        )

    def read(self) -> Piece:
        """See Source.read."""
        if self._feed is None:
            raise SourceError(f"{self._plan.description}: it is not open")
        return self._feed.read()

    def want_pictures(self, wanted: bool) -> None:
        """See Source.want_pictures; may be called before open."""
        self._pictures_wanted = wanted
        if self._feed is not None:
            self._feed.want_pictures(wanted)

    def want_sound(self, wanted: bool) -> None:
        """See Source.want_sound; may be called before open."""
        self._sound_wanted = wanted
        if self._feed is not None:
            self._feed.want_sound(wanted)

    def close(self) -> None:
        """See Source.close."""
        self._reader.close()
        if self._feed is not None:
            self._feed.close()

    def _pass(self, opened: Opened) -> dict[int, PassedVideo | PassedAudio]:
        """The tracks that are not decoded, by their index."""
        options, passed = self._options, dict[int, PassedVideo | PassedAudio]()
        for track in opened.tracks:
            asked = options.forward if track.kind == "video" else options.forward_audio
            if not asked or not passable(opened, track):
                continue
            if track.kind == "video":
                passed[track.index] = PassedVideo(opened, track, self._plan.description)
            else:
                passed[track.index] = PassedAudio(track)
        return passed

    def _manner(self, opened: Opened) -> Manner:
        mode = self._mode(opened)
        return Manner(
            loop=mode is Mode.FILE and self._options.loop,
            lossy=mode in (Mode.LIVE, Mode.DEVICE),
            endless=self._plan.mode in (Mode.LIVE, Mode.DEVICE, Mode.WEB) and mode is not Mode.FILE,
        )

    def _mode(self, opened: Opened) -> Mode:
        if self._plan.mode is not Mode.WEB:
            return self._plan.mode
        if opened.duration_us:
            return Mode.FILE
        # Live HLS comes a segment at a time, and is played at the pace of its timestamps.
        return Mode.GENERATED if "hls" in opened.format.split(",") else Mode.LIVE


def describe(opened: Opened, description: str, *, live: bool) -> SourceInfo:
    """What an open container offers."""
    video = _first(opened, "video")
    audio = _first(opened, "audio")
    return SourceInfo(
        description=description,
        has_video=video is not None,
        has_audio=audio is not None,
        width=video.decoder.width if video else 0,
        height=video.decoder.height if video else 0,
        fps=video.fps if video else 0.0,
        sample_rate=audio.decoder.sample_rate if audio else 0,
        channels=audio.decoder.channels if audio else 0,
        video_codec=_codec_name(video),
        audio_codec=_codec_name(audio),
        live=live,
    )


def _first(opened: Opened, kind: str) -> OpenTrack | None:
    return next((track for track in opened.tracks if track.kind == kind), None)


def _codec_name(track: OpenTrack | None) -> str:
    return track.codec if track is not None else ""
