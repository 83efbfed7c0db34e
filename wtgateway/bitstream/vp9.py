"""VP9: superframes, the uncompressed header, levels and codec strings.

Sources: "VP9 Bitstream & Decoding Process Specification" 0.6 (sections and annexes named below), the
"VP Codec ISO Media File Format Binding" 1.0 for the codec string, the WebM project's table of VP9 levels.

The room is pure. Whatever bytes come in, a function here returns a value or raises
:exc:`~wtgateway.bitstream.bits.BitstreamError`, in time that is linear in their number.
"""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.bitstream.bits import BitReader, BitstreamError
from wtgateway.bitstream.pictures import Frames
from wtgateway.bitstream.vui import Colour

MAX_FRAMES = 8  # in one superframe (Annex B)
_SYNC_CODE = 0x498342
_HEADER_BYTES = 64  # the uncompressed header is shorter than this up to the fields that are read here
_RGB = 7  # color_space CS_RGB
_BT709 = (1, 1, 1)
_UNSPECIFIED = (2, 2, 2)
# color_space (7.2.2) as primaries, transfer and matrix of ITU-T H.273.
_COLOUR = {
    0: _UNSPECIFIED,
    1: (5, 6, 5),  # BT.601; matrices 5 and 6 are the same numbers
    2: _BT709,
    3: (6, 6, 6),
    4: (7, 7, 7),
    5: (9, 14, 9),  # BT.2020; transfer 15 when it has 12 bits
    6: _UNSPECIFIED,  # reserved
    _RGB: (1, 13, 0),
}
# Level times ten, most luma samples per second, per picture, most samples in a side, most kbit/s.
_LEVELS = (
    (10, 829_440, 36_864, 512, 200),
    (11, 2_764_800, 73_728, 768, 800),
    (20, 4_608_000, 122_880, 960, 1_800),
    (21, 9_216_000, 245_760, 1_344, 3_600),
    (30, 20_736_000, 552_960, 2_048, 7_200),
    (31, 36_864_000, 983_040, 2_752, 12_000),
    (40, 83_558_400, 2_228_224, 4_160, 18_000),
    (41, 160_432_128, 2_228_224, 4_160, 30_000),
    (50, 311_951_360, 8_912_896, 8_384, 60_000),
    (51, 588_251_136, 8_912_896, 8_384, 120_000),
    (52, 1_176_502_272, 8_912_896, 8_384, 180_000),
    (60, 1_176_502_272, 35_651_584, 16_832, 180_000),
    (61, 2_353_004_544, 35_651_584, 16_832, 240_000),
    (62, 4_706_009_088, 35_651_584, 16_832, 480_000),
)


@dataclass(frozen=True, slots=True)
class Format:
    """What the samples are. Subsampling is 1 where chroma has half the samples of luma."""

    profile: int
    bit_depth: int
    subsampling_x: int
    subsampling_y: int
    colour: Colour


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The start of an uncompressed header (6.2).

    ``size`` is None where it is taken from a reference or, as all the rest, from the frame that is shown
    again (``show_existing``). ``format`` is there for keyframes and intra-only frames. ``refresh`` has a bit
    per reference slot that the frame overwrites.
    """

    profile: int
    show_existing: bool
    keyframe: bool = False
    intra_only: bool = False
    show_frame: bool = True
    error_resilient: bool = False
    refresh: int = 0
    format: Format | None = None
    size: tuple[int, int] | None = None
    render_size: tuple[int, int] | None = None

    @property
    def droppable(self) -> bool:
        """No later frame predicts from it.

        A frame also hands on probabilities, motion vectors and the segmentation map; frames that are error
        resilient themselves take none of that. So this is proof only for error resilient frames, and only if
        those that follow are so too, as encoders of temporal layers make them.
        """
        return not self.show_existing and self.refresh == 0 and self.error_resilient


@dataclass(frozen=True, slots=True)
class AccessUnit(Frames[FrameHeader]):
    """What containers and WebCodecs call a frame: a frame, or a superframe with hidden ones."""

    frames: tuple[FrameHeader, ...]


def split_superframe(data: bytes) -> tuple[bytes, ...]:
    """The frames of a superframe without its index (Annex B); a plain frame comes back alone.

    Raises :exc:`BitstreamError` when the index promises more than there is, or an empty frame.
    """
    if not data:
        raise BitstreamError("VP9: an empty frame")
    marker = data[-1]
    if marker & 0xE0 != 0xC0:
        return (data,)
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    start = len(data) - 2 - count * width
    if start < 0 or data[start] != marker:
        return (data,)  # the last byte of a plain frame that only looks like an index
    frames, at = [], 0
    for i in range(count):
        entry = start + 1 + i * width
        size = int.from_bytes(data[entry : entry + width], "little")
        if not 0 < size <= start - at:
            raise BitstreamError(f"VP9: a superframe index promises {size} bytes where {start - at} are left")
        frames.append(data[at : at + size])
        at += size
    return tuple(frames)


def build_superframe(frames: tuple[bytes, ...]) -> bytes:
    """Frames with an index behind them (Annex B), the inverse of :func:`split_superframe`.

    One frame stays as it is. Raises ValueError for none, an empty one, or more than ``MAX_FRAMES``.
    """
    if not 1 <= len(frames) <= MAX_FRAMES or not all(frames):
        raise ValueError(f"a superframe has 1 to {MAX_FRAMES} frames, none of them empty")
    if len(frames) == 1:
        return frames[0]
    width = (max(map(len, frames)).bit_length() + 7) // 8
    marker = bytes((0xC0 | (width - 1) << 3 | len(frames) - 1,))
    return b"".join((*frames, marker, *(len(f).to_bytes(width, "little") for f in frames), marker))


def parse_access_unit(data: bytes) -> AccessUnit:
    """Reads the headers of all frames in a frame or superframe; raises :exc:`BitstreamError`."""
    return AccessUnit(tuple(parse_frame_header(frame) for frame in split_superframe(data)))


def parse_frame_header(frame: bytes) -> FrameHeader:
    """Reads the start of an uncompressed header (6.2); ``frame`` is one frame, not a superframe."""
    r = BitReader(frame[:_HEADER_BYTES])
    if r.u(2) != 2:
        raise BitstreamError("VP9: no frame marker; this is not VP9")
    profile = r.u(1) | r.u(1) << 1
    if profile == 3 and r.flag():
        raise BitstreamError("VP9: a reserved profile")
    if r.flag():
        return FrameHeader(profile, True)
    keyframe, shown, resilient = not r.flag(), r.flag(), r.flag()
    if keyframe:
        _sync_code(r)
        picture = _format(r, profile)
        size, render = _sizes(r)
        return FrameHeader(profile, False, True, False, shown, resilient, 0xFF, picture, size, render)
    intra_only = not shown and r.flag()
    if not resilient:
        r.u(2)  # reset_frame_context
    if not intra_only:
        return _inter_header(r, profile, shown, resilient)
    _sync_code(r)
    # An intra-only frame of profile 0 says nothing about its format: it is 8-bit 4:2:0 (6.2).
    picture = _format(r, profile) if profile else Format(0, 8, 1, 1, _colour(1, 8, False))
    refresh = r.u(8)
    size, render = _sizes(r)
    return FrameHeader(profile, False, False, True, shown, resilient, refresh, picture, size, render)


def _inter_header(r: BitReader, profile: int, shown: bool, resilient: bool) -> FrameHeader:
    refresh = r.u(8)
    r.u(12)  # three references: slot and sign bias
    size = None
    if not (r.flag() or r.flag() or r.flag()):  # found_ref: the size is that of one of the references
        size = (r.u(16) + 1, r.u(16) + 1)
    return FrameHeader(
        profile, False, False, False, shown, resilient, refresh, None, size, _render_size(r) or size
    )


def _sync_code(r: BitReader) -> None:
    if r.u(24) != _SYNC_CODE:
        raise BitstreamError("VP9: no sync code where an intra frame has it")


def _sizes(r: BitReader) -> tuple[tuple[int, int], tuple[int, int]]:
    """Frame size and render size, in samples."""
    size = (r.u(16) + 1, r.u(16) + 1)
    return size, _render_size(r) or size


def _render_size(r: BitReader) -> tuple[int, int] | None:
    return (r.u(16) + 1, r.u(16) + 1) if r.flag() else None


def _format(r: BitReader, profile: int) -> Format:
    """color_config (6.2.2). Profiles 1 and 3 have all subsamplings but 4:2:0, the others that alone."""
    depth = 8 if profile < 2 else 12 if r.flag() else 10
    space = r.u(3)
    if space == _RGB:
        if not profile & 1:
            raise BitstreamError(f"VP9: RGB in profile {profile}, which has 4:2:0 only")
        full, x, y = True, 0, 0
    else:
        full = r.flag()
        x, y = (r.u(1), r.u(1)) if profile & 1 else (1, 1)
        if profile & 1 and x and y:
            raise BitstreamError(f"VP9: 4:2:0 in profile {profile}, which has it not")
    if profile & 1 and r.flag():
        raise BitstreamError("VP9: a reserved bit is set in the colour configuration")
    return Format(profile, depth, x, y, _colour(space, depth, full))


def _colour(space: int, depth: int, full_range: bool) -> Colour:
    primaries, transfer, matrix = _COLOUR[space]
    if space == 5 and depth == 12:
        transfer = 15
    return Colour(full_range=full_range, primaries=primaries, transfer=transfer, matrix=matrix)


def level_of(width: int, height: int, fps: float, bitrate_bps: int = 0) -> int:
    """The least level (times ten: 31 is 3.1) for a size in samples, a frame rate and a bit rate.

    A rate of 0 is unknown and asks for nothing. What is above level 6.2 gets 62. Hidden frames count for the
    sample rate: a caller who knows of them adds them to ``fps``.
    """
    for level, samples_per_s, samples, side, kbps in _LEVELS:
        fits_size = width * height <= samples and max(width, height) <= side
        if fits_size and width * height * fps <= samples_per_s and bitrate_bps <= kbps * 1000:
            return level
    return _LEVELS[-1][0]


def codec_string(picture: Format, level: int, colour: Colour | None = None) -> str:
    """``vp09.PP.LL.DD`` and, unless all have their default, ``.CC.cp.tc.mc.FF``.

    The rules are those of the binding's "Codecs Parameter String".
    ``colour`` is that of the container, which knows more (PQ, HLG) than the bitstream can say. Unspecified
    colour counts as the default, BT.709: browsers take it for that. The bitstream does not say where 4:2:0
    chroma lies; the default is collocated. Raises :exc:`BitstreamError` for 4:4:0, which has no codec string.
    """
    colour = colour or picture.colour
    chroma = {(1, 1): 1, (1, 0): 2, (0, 0): 3}.get((picture.subsampling_x, picture.subsampling_y))
    if chroma is None:
        raise BitstreamError("VP9: 4:4:0 has no codec string, so no browser can be asked for it")
    short = f"vp09.{picture.profile:02d}.{level:02d}.{picture.bit_depth:02d}"
    code_points = (colour.primaries, colour.transfer, colour.matrix)
    if chroma == 1 and not colour.full_range and code_points in (_BT709, _UNSPECIFIED):
        return short
    numbers = ".".join(f"{value:02d}" for value in code_points)
    return f"{short}.{chroma:02d}.{numbers}.{colour.full_range:02d}"
