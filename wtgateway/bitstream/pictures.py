"""What the codecs of one family say alike: of a picture's size, and of the frames that make up a unit."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Cropped:
    """An SPS of H.264 or HEVC: a coded size and a crop (left, right, top, bottom), in luma samples."""

    __slots__ = ()
    coded_width: int
    coded_height: int
    crop: tuple[int, int, int, int]

    @property
    def width(self) -> int:
        """Of the picture as shown."""
        return self.coded_width - self.crop[0] - self.crop[1]

    @property
    def height(self) -> int:
        """Of the picture as shown."""
        return self.coded_height - self.crop[2] - self.crop[3]


class Frame(Protocol):
    """The header of an AV1 or VP9 frame."""

    @property
    def keyframe(self) -> bool:
        """Decoding can start here."""

    @property
    def show_frame(self) -> bool:
        """It is shown at once."""

    @property
    def show_existing(self) -> bool:
        """It codes nothing; it shows a frame that came hidden."""

    @property
    def droppable(self) -> bool:
        """Nothing later needs it."""


F = TypeVar("F", bound=Frame)


class Frames(Generic[F]):
    """What an AV1 temporal unit or a VP9 superframe says by the ``frames`` in it."""

    __slots__ = ()
    frames: tuple[F, ...]

    @property
    def keyframe(self) -> bool:
        """Decoding can start here (AV1: given a sequence header)."""
        return bool(self.frames) and self.frames[0].keyframe

    @property
    def hidden_frames(self) -> int:
        """Frames that are coded now and shown later (alt-ref): the encoder looked ahead by that or more."""
        return sum(not frame.show_frame for frame in self.frames)

    @property
    def reordered(self) -> bool:
        """The unit holds a hidden frame or shows one of before: coding order is not display order."""
        return any(frame.show_existing or not frame.show_frame for frame in self.frames)

    @property
    def droppable(self) -> bool:
        """The frame headers' ``droppable`` of all: no later unit refers to this one."""
        return bool(self.frames) and all(frame.droppable for frame in self.frames)
