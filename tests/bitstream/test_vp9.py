"""VP9: what the parser says of real streams is what FFmpeg and the encoder's settings say.

The wheel's libvpx makes 8 bits only. The other profiles are written bit by bit here, as a keyframe whose
symbols are all zero, and FFmpeg's own decoder judges whether it is VP9.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bitstream.streams import FPS, decode_units, encode_squares, mutate, picture, put
from wtgateway.bitstream import vp9
from wtgateway.bitstream.bits import BitstreamError, BitWriter
from wtgateway.bitstream.vui import Colour

REALTIME = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
TWO_LAYERS = REALTIME | {
    "error-resilient": "1",
    "ts-parameters": "ts_number_layers=2:ts_target_bitrate=200,300:ts_rate_decimator=2,1:"
    "ts_periodicity=2:ts_layer_id=0,1:ts_layering_mode=2",
}
SUBSAMPLING = {
    "yuv420p": (1, 1),
    "yuv422p": (1, 0),
    "yuv440p": (0, 1),
    "yuv444p": (0, 0),
    "gbrp": (0, 0),
}


def encode(
    width: int = 160,
    height: int = 96,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] = REALTIME,
    *,
    frames: int = 8,
    gop: int = 4,
    **colour: int,
) -> list[bytes]:
    packets = encode_squares(
        "libvpx-vp9", (width, height), pix_fmt, options, frames=frames, gop=gop, colour=colour
    )
    return [bytes(packet) for packet in packets]


def decode(units: Sequence[bytes]) -> list[av.VideoFrame]:
    return decode_units("vp9", units)


def write(
    target: io.BytesIO | str, container: str, pix_fmt: str = "yuv420p", size: tuple[int, int] = (160, 96)
) -> None:
    """A small file that FFmpeg labels as it sees fit."""
    with av.open(target, "w", format=container) as output:
        stream = output.add_stream("libvpx-vp9", FPS, options=dict(REALTIME))
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        for i in range(4):
            output.mux(stream.encode(picture(i, *size, pix_fmt)))
        output.mux(stream.encode(None))


@dataclass(frozen=True)
class Drawn:
    """A keyframe to be written by hand."""

    profile: int
    bit_depth: int
    subsampling: tuple[int, int] = (1, 1)
    space: int = 2
    full_range: bool = False
    size: tuple[int, int] = (24, 16)
    render: tuple[int, int] | None = None


def start(w: BitWriter, profile: int) -> None:
    put(w, (2, 2), (1, profile & 1), (1, profile >> 1))
    if profile == 3:
        w.u(1, 0)


def draw_format(w: BitWriter, d: Drawn) -> None:
    """6.2.2."""
    if d.profile >= 2:
        w.flag(d.bit_depth == 12)
    w.u(3, d.space)
    if d.space != 7:
        w.flag(d.full_range)
        if d.profile & 1:
            put(w, (1, d.subsampling[0]), (1, d.subsampling[1]))
    if d.profile & 1:
        w.u(1, 0)


def draw_size(w: BitWriter, d: Drawn) -> None:
    put(w, (16, d.size[0] - 1), (16, d.size[1] - 1), (1, d.render is not None))
    for side in d.render or ():
        w.u(16, side - 1)


def drawn_keyframe(d: Drawn) -> bytes:
    """6.2: all of the uncompressed header of a frame that is one tile wide, then zeros."""
    w = BitWriter()
    start(w, d.profile)
    put(w, (1, 0), (1, 0), (1, 1), (1, 1))  # not shown again; a keyframe, shown, error resilient
    w.u(24, 0x498342)
    draw_format(w, d)
    draw_size(w, d)
    put(w, (2, 0), (6, 0), (3, 0), (1, 0))  # context; no loop filter
    put(w, (8, 60), (3, 0), (1, 0))  # quantiser without deltas; no segmentation
    put(w, (1, 0), (16, 16))  # one tile row; a compressed header of 16 bytes
    w.u(-w.position & 7, 0)
    return w.rbsp()[:-1] + bytes(256)


def drawn_inter(
    *, shown: bool, refresh: int, size: tuple[int, int] | None = None, resilient: bool = False
) -> bytes:
    """6.2 up to the size, then rubbish: enough for who reads headers."""
    w = BitWriter()
    start(w, 0)
    put(w, (1, 0), (1, 1), (1, shown), (1, resilient))
    if not shown:
        w.u(1, 0)  # intra_only
    if not resilient:
        w.u(2, 0)
    put(w, (8, refresh), (12, 0))
    if size:
        put(w, (3, 0), (16, size[0] - 1), (16, size[1] - 1))
    else:
        w.u(1, 1)
    w.u(1, 0)
    return w.rbsp() + b"\x01" * 20


def drawn_intra_only(d: Drawn, refresh: int) -> bytes:
    w = BitWriter()
    start(w, d.profile)
    put(w, (1, 0), (1, 1), (1, 0), (1, 0), (1, 1), (2, 0), (24, 0x498342))
    if d.profile:
        draw_format(w, d)
    w.u(8, refresh)
    draw_size(w, d)
    return w.rbsp() + b"\x01" * 20


SHOW_AGAIN = bytes((0b10001011,))  # profile 0, show_existing_frame, slot 3
DRAWN = {
    "yuv420p": Drawn(0, 8, space=1, render=(48, 32)),
    "yuv422p": Drawn(1, 8, (1, 0), space=3),
    "yuv440p": Drawn(1, 8, (0, 1), space=4),
    "yuv444p": Drawn(1, 8, (0, 0), full_range=True),
    "gbrp": Drawn(1, 8, (0, 0), space=7, full_range=True),
    "yuv420p10le": Drawn(2, 10, space=5),
    "yuv420p12le": Drawn(2, 12, space=5, full_range=True),
    "yuv422p10le": Drawn(3, 10, (1, 0)),
    "yuv440p12le": Drawn(3, 12, (0, 1)),
    "yuv444p10le": Drawn(3, 10, (0, 0), space=0),
    "gbrp12le": Drawn(3, 12, (0, 0), space=7, full_range=True),
}


@pytest.mark.parametrize("size", [(160, 96), (322, 182)])
@pytest.mark.parametrize("pix_fmt", SUBSAMPLING)
def test_an_encoders_stream_is_read_as_the_decoder_reads_it(size: tuple[int, int], pix_fmt: str) -> None:
    labels = {} if pix_fmt == "gbrp" else {"colorspace": 1, "color_range": 1}
    packets = encode(*size, pix_fmt, **labels)
    units = [vp9.parse_access_unit(p) for p in packets]
    pictures = decode(packets)
    assert len(pictures) == len(packets)
    assert pictures[0].format.name == pix_fmt
    first = units[0].frames[0]
    assert first.size == first.render_size == (pictures[0].width, pictures[0].height) == size
    shown = first.format
    assert shown is not None
    assert (shown.profile, shown.bit_depth) == (int(pix_fmt != "yuv420p"), 8)
    assert (shown.subsampling_x, shown.subsampling_y) == SUBSAMPLING[pix_fmt]
    assert shown.colour.matrix == pictures[0].colorspace == (0 if pix_fmt == "gbrp" else 1)
    assert shown.colour.full_range == (pictures[0].color_range == 2)
    assert (
        [unit.keyframe for unit in units] == [bool(p.key_frame) for p in pictures] == [True, *[False] * 3] * 2
    )
    assert [(unit.hidden_frames, unit.reordered) for unit in units] == [(0, False)] * 8
    assert all(unit.frames[0].size is None for unit in units if not unit.keyframe)


@pytest.mark.parametrize("pix_fmt", DRAWN)
def test_every_profile_is_read_as_the_decoder_reads_it(pix_fmt: str) -> None:
    d = DRAWN[pix_fmt]
    (shown,) = decode([drawn_keyframe(d)])
    (frame,) = vp9.parse_access_unit(drawn_keyframe(d)).frames
    assert shown.format.name == pix_fmt
    assert frame.keyframe
    assert frame.size == (shown.width, shown.height) == d.size
    assert frame.render_size == (d.render or d.size)
    assert frame.format is not None
    assert (frame.profile, frame.format.bit_depth) == (d.profile, d.bit_depth)
    assert (frame.format.subsampling_x, frame.format.subsampling_y) == d.subsampling
    assert frame.format.colour.matrix == shown.colorspace
    assert frame.format.colour.full_range == (shown.color_range == 2) == d.full_range


def test_intra_only_frames_say_their_format_but_in_profile_0() -> None:
    plain = vp9.parse_frame_header(drawn_intra_only(DRAWN["yuv420p10le"], 5))
    assert (plain.intra_only, plain.keyframe, plain.refresh, plain.size) == (True, False, 5, (24, 16))
    assert plain.format is not None
    assert plain.format.bit_depth == 10
    fixed = vp9.parse_frame_header(drawn_intra_only(DRAWN["yuv420p"], 0x80))
    assert fixed.format is not None
    assert (fixed.format.bit_depth, fixed.format.subsampling_x, fixed.format.colour.matrix) == (8, 1, 5)
    assert (fixed.refresh, fixed.render_size) == (0x80, (48, 32))


def test_an_inter_frame_may_bring_a_size_of_its_own() -> None:
    assert vp9.parse_frame_header(drawn_inter(shown=True, refresh=1)).size is None
    resized = vp9.parse_frame_header(drawn_inter(shown=True, refresh=1, size=(80, 48)))
    assert resized.size == resized.render_size == (80, 48)


def test_hidden_frames_and_frames_shown_again_are_seen() -> None:
    ahead = vp9.build_superframe((drawn_inter(shown=False, refresh=4), drawn_inter(shown=True, refresh=1)))
    unit = vp9.parse_access_unit(ahead)
    assert [frame.show_frame for frame in unit.frames] == [False, True]
    assert (unit.hidden_frames, unit.reordered, unit.keyframe, unit.droppable) == (1, True, False, False)
    again = vp9.parse_access_unit(SHOW_AGAIN)
    assert again.frames[0].show_existing
    assert (again.hidden_frames, again.reordered, again.keyframe, again.droppable) == (0, True, False, False)


def test_droppable_frames_can_be_left_out_without_a_trace() -> None:
    packets = encode(options=TWO_LAYERS, frames=16, gop=16)
    kept = [i for i, p in enumerate(packets) if not vp9.parse_access_unit(p).droppable]
    assert kept == list(range(0, 16, 2))
    whole, thin = decode(packets), decode([packets[i] for i in kept])
    for i, shown in zip(kept, thin, strict=True):
        assert np.array_equal(shown.to_ndarray(), whole[i].to_ndarray())


def test_frames_that_hand_on_probabilities_are_not_droppable() -> None:
    assert vp9.parse_frame_header(drawn_inter(shown=True, refresh=0, resilient=True)).droppable
    assert not vp9.parse_frame_header(drawn_inter(shown=True, refresh=0)).droppable
    assert not vp9.parse_frame_header(drawn_inter(shown=True, refresh=2, resilient=True)).droppable


def test_a_superframe_that_we_build_is_one_to_ffmpeg() -> None:
    packets = encode()
    superframe = vp9.build_superframe(tuple(packets[:4]))
    assert vp9.split_superframe(superframe) == tuple(packets[:4])
    whole, packed = decode(packets[:4]), decode([superframe])
    assert len(packed) == 4
    for ours, theirs in zip(packed, whole, strict=True):
        assert np.array_equal(ours.to_ndarray(), theirs.to_ndarray())
    assert vp9.build_superframe((packets[0],)) == packets[0]


# The last byte of a frame must not look like the end of an index, as an encoder takes care that it does not.
FRAMES = st.binary(min_size=1, max_size=300).map(lambda data: data + b"\0")


@given(st.lists(FRAMES, min_size=1, max_size=vp9.MAX_FRAMES).map(tuple), st.integers(0, 70_000))
def test_superframes_come_apart_as_they_were_put_together(frames: tuple[bytes, ...], longer: int) -> None:
    frames = (frames[0] + bytes(longer), *frames[1:])
    assert vp9.split_superframe(vp9.build_superframe(frames)) == frames


@pytest.mark.parametrize("frames", [(), (b"",), (b"a", b""), (b"a",) * 9])
def test_what_is_no_superframe_is_not_built(frames: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 8"):
        vp9.build_superframe(frames)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"ab" + b"\xc1\x01\x05\xc1", "promises 5 bytes where 1"),
        (b"ab" + b"\xc1\x01\x00\xc1", "promises 0 bytes"),
        (b"\xc0\x01\xc0", "promises 1 bytes where 0"),
        (b"\x00", "no frame marker; this is not VP9"),
        (b"\xb8\x00", "reserved profile"),
        (b"\x82\x49\x83\x43" + bytes(9), "no sync code"),
        (b"\x82\x49\x83\x42\xe0" + bytes(9), "RGB in profile 0"),
        (b"\xa2\x49\x83\x42\x4e" + bytes(9), "4:2:0 in profile 1"),
        (b"\xa2\x49\x83\x42\xf0" + bytes(9), "reserved bit"),
        (b"\x82\x49\x83", "bits"),
    ],
)
def test_broken_data_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        vp9.parse_access_unit(data)


@pytest.mark.parametrize(
    ("width", "height", "fps", "bitrate_bps", "level"),
    [
        (256, 144, 15, 0, 10),  # examples of the WebM project's table
        (384, 192, 30, 0, 11),
        (480, 256, 30, 0, 20),
        (640, 384, 30, 0, 21),
        (1080, 512, 30, 0, 30),
        (1280, 768, 30, 0, 31),
        (2048, 1088, 30, 0, 40),
        (2048, 1088, 60, 0, 41),
        (4096, 2176, 30, 0, 50),
        (4096, 2176, 60, 0, 51),
        (4096, 2176, 120, 0, 52),
        (8192, 4352, 30, 0, 60),
        (8192, 4352, 60, 0, 61),
        (8192, 4352, 120, 0, 62),
        (256, 144, 15, 201_000, 11),  # the bit rate counts too
        (600, 16, 1, 0, 11),  # and so does the longer side
        (256, 144, 0, 0, 10),
        (60_000, 60_000, 240, 0, 62),
    ],
)
def test_levels_are_those_of_the_table(
    width: int, height: int, fps: float, bitrate_bps: int, level: int
) -> None:
    assert vp9.level_of(width, height, fps, bitrate_bps) == level


@pytest.mark.parametrize(
    ("pix_fmt", "expected"),
    [
        ("yuv420p", "vp09.00.31.08.01.05.06.05.00"),
        ("yuv422p", "vp09.01.31.08.02.06.06.06.00"),
        ("yuv444p", "vp09.01.31.08.03.01.01.01.01"),
        ("gbrp", "vp09.01.31.08.03.01.13.00.01"),
        ("yuv420p10le", "vp09.02.31.10.01.09.14.09.00"),
        ("yuv420p12le", "vp09.02.31.12.01.09.15.09.01"),
        ("yuv444p10le", "vp09.03.31.10.03.02.02.02.00"),
    ],
)
def test_codec_strings_follow_the_rules_of_the_binding(pix_fmt: str, expected: str) -> None:
    shown = vp9.parse_frame_header(drawn_keyframe(DRAWN[pix_fmt])).format
    assert shown is not None
    assert vp9.codec_string(shown, 31) == expected


def test_the_containers_colour_goes_before_that_of_the_bitstream() -> None:
    shown = vp9.Format(2, 10, 1, 1, Colour(primaries=9, transfer=14, matrix=9))
    pq = Colour(full_range=True, primaries=9, transfer=16, matrix=9)
    assert vp9.codec_string(shown, 10, pq) == "vp09.02.10.10.01.09.16.09.01"  # the binding's own example
    assert vp9.codec_string(vp9.Format(0, 8, 1, 1, Colour()), 41) == "vp09.00.41.08"


def test_a_format_without_a_codec_string_is_refused_in_words() -> None:
    shown = vp9.parse_frame_header(drawn_keyframe(DRAWN["yuv440p"])).format
    assert shown is not None
    with pytest.raises(BitstreamError, match="4:4:0 has no codec string"):
        vp9.codec_string(shown, 10)


@pytest.mark.parametrize(
    ("pix_fmt", "size"),
    [
        ("yuv420p", (160, 96)),
        ("yuv422p", (320, 180)),
        ("yuv444p", (640, 360)),
        ("yuv420p", (1280, 720)),
    ],
)
def test_labels_are_those_that_ffmpeg_writes(pix_fmt: str, size: tuple[int, int], tmp_path: Path) -> None:
    """The vpcC of an MP4 has all fields, the codecs of a DASH manifest the first three."""
    buffer, manifest = io.BytesIO(), tmp_path / "live.mpd"
    write(buffer, "mp4", pix_fmt, size)
    write(str(manifest), "dash", pix_fmt, size)
    record = buffer.getvalue().partition(b"vpcC")[2][4:]  # behind version and flags
    profile, level, packed, *code_points = record[:6]
    buffer.seek(0)
    with av.open(buffer) as container:
        first = vp9.parse_access_unit(bytes(next(container.demux(video=0)))).frames[0]
    assert first.format is not None
    assert first.size == size
    assert (first.profile, vp9.level_of(*size, FPS)) == (profile, level)
    short = f"vp09.{profile:02d}.{level:02d}.{packed >> 4:02d}"
    optional = [packed >> 1 & 7, *code_points, packed & 1]
    theirs = short + "".join(f".{value:02d}" for value in optional if optional != [1, 1, 1, 1, 0])
    assert vp9.codec_string(first.format, level) == theirs
    assert re.findall('codecs="([^"]*)"', manifest.read_text()) == [short]


@pytest.mark.parametrize("container", ["mp4", "webm", "ivf"])
def test_every_container_gives_the_same_frames(container: str) -> None:
    buffer = io.BytesIO()
    write(buffer, container)
    buffer.seek(0)
    with av.open(buffer) as opened:
        packets = [p for p in opened.demux(video=0) if p.size]
    units = [vp9.parse_access_unit(bytes(p)) for p in packets]
    assert (
        [unit.keyframe for unit in units] == [p.is_keyframe for p in packets] == [True, False, False, False]
    )
    assert units[0].frames[0].size == (160, 96)


def eat(data: bytes) -> bool:
    """Feeds bytes to all that reads bytes; returns whether a value came of it."""
    with suppress(BitstreamError):
        frames = vp9.split_superframe(data)
        assert 1 <= len(frames) <= vp9.MAX_FRAMES
        assert sum(map(len, frames)) <= len(data)
        for frame in vp9.parse_access_unit(data).frames:
            assert (frame.format is not None) == (frame.keyframe or frame.intra_only)
            if frame.format is not None and (frame.format.subsampling_x, frame.format.subsampling_y) != (
                0,
                1,
            ):
                assert vp9.codec_string(frame.format, 10).startswith("vp09.")
        return True
    return False


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_the_one_error(data: bytes) -> None:
    eat(data)
    eat(b"\x82\x49\x83\x42" + data)
    eat(data + b"\xc9" + data[:4] + b"\xc9")


def test_mutated_streams_give_a_value_or_the_one_error() -> None:
    dice = random.Random(9)
    packets = encode()
    seeds = [*packets, vp9.build_superframe(tuple(packets[:3])), *map(drawn_keyframe, DRAWN.values())]
    seeds.append(vp9.build_superframe((drawn_intra_only(DRAWN["yuv444p10le"], 1), SHOW_AGAIN)))
    values = sum(eat(mutate(dice.choice(seeds), dice, reach=6, both_ends=True)) for _ in range(5000))
    assert 500 < values < 4500  # some live through it, some do not
