"""Coded video and sound of a source to frames, as they are. Used by the thread that reads the source.

May import media, and the values of sources and encoders. The rule: nothing is left out of a group;
after a loss the next keyframe is where it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wtgateway.media import Frame, Rendition

if TYPE_CHECKING:
    from wtgateway.encoders import GroupBorders
    from wtgateway.sources.base import CodedAudio, CodedFormat, CodedVideo

_SOUND_GROUP_FRAMES = 50


def rendition_of(coded: CodedFormat, rendition_id: int) -> Rendition:
    """A forwarded rendition as the catalog lists it."""
    return Rendition(
        id=rendition_id,
        codec=coded.codec,
        bitrate_bps=coded.bitrate_bps,
        width=coded.width,
        height=coded.height,
        fps=coded.fps,
        sample_rate=coded.sample_rate,
        channels=coded.channels,
        description=coded.description,
        forwarded=True,
        reorder_frames=coded.reorder_frames,
        rotation=coded.rotation,
    )


class VideoForwarding:
    """Access units of one video track; each keyframe is a border for all of its renditions."""

    def __init__(self, *, track: int, rendition: int, groups: GroupBorders) -> None:
        self._track, self._rendition, self._groups = track, rendition, groups
        self._group, self._index = -1, 0

    def frame(self, coded: CodedVideo) -> Frame | None:
        """None before the first keyframe, and after a loss until the next."""
        if coded.keyframe:
            self._group, self._index = self._groups.begin(coded.pts_us), 0
        elif self._group < 0:
            return None
        frame = Frame(
            track=self._track,
            rendition=self._rendition,
            group=self._group,
            index=self._index,
            keyframe=coded.keyframe,
            pts_us=coded.pts_us,
            capture_us=coded.capture_us,
            duration_us=coded.duration_us,
            payload=coded.payload,
            grabbed_us=coded.grabbed_us,
            discardable=coded.discardable,
        )
        self._index += 1
        return frame

    def lose(self) -> None:
        """Something of this group did not get through."""
        self._group = -1


class SoundForwarding:
    """Packets of one sound track; all of them stand alone."""

    def __init__(self, *, track: int, rendition: int, first_group: int) -> None:
        self.next_group = first_group
        self._track, self._rendition = track, rendition
        self._index = _SOUND_GROUP_FRAMES

    def frame(self, coded: CodedAudio) -> Frame:
        """The packet as a frame."""
        if self._index >= _SOUND_GROUP_FRAMES:
            self._index, self.next_group = 0, self.next_group + 1
        frame = Frame(
            track=self._track,
            rendition=self._rendition,
            group=self.next_group - 1,
            index=self._index,
            keyframe=True,
            pts_us=coded.pts_us,
            capture_us=coded.capture_us,
            duration_us=coded.duration_us,
            payload=coded.payload,
        )
        self._index += 1
        return frame
