"""Real streams of real encoders, and what libavcodec makes of them: the oracle of these tests."""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType

from wtgateway.bitstream import h264, hevc, nal
from wtgateway.bitstream.bits import BitReader, BitstreamError, BitWriter
from wtgateway.bitstream.order import H264Order, HevcOrder, PictureOrder

FPS = 30


@dataclass(frozen=True)
class Coded:
    """One access unit in Annex B, in decoding order."""

    pts: int
    dts: int
    data: bytes

    @property
    def units(self) -> tuple[bytes, ...]:
        return nal.split_annexb(self.data)


@functools.cache
def encode(
    codec: str,
    width: int,
    height: int,
    pix_fmt: str,
    options: tuple[tuple[str, str], ...],
    only_p: bool = False,
) -> tuple[Coded, ...]:
    """24 pictures of a bar that moves over noise; ``only_p``: no B-frames, whatever the SPS announces."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    context.thread_count = 1
    context.options = dict(options)
    noise = np.random.default_rng(7).integers(0, 60, (height, width, 3), dtype=np.uint8)
    out = []
    for index in range(24):
        picture = noise.copy()
        picture[:, (index * 5) % width : (index * 5) % width + 16] += 150
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
        frame.pts, frame.time_base = index, Fraction(1, 30)
        if only_p:
            frame.pict_type = PictureType.P if index % 12 else PictureType.I
        out += context.encode(frame)
    out += context.encode(None)
    return tuple(Coded(packet.pts, packet.dts, bytes(packet)) for packet in out)


def x264(
    *, width: int = 178, height: int = 98, pix_fmt: str = "yuv420p", only_p: bool = False, **options: str
) -> tuple[Coded, ...]:
    """By libx264, with B-frames unless told otherwise."""
    options = {"preset": "veryfast", "g": "12", "forced-idr": "1"} | options
    return encode("libx264", width, height, pix_fmt, tuple(options.items()), only_p)


def x265(
    *, width: int = 178, height: int = 98, pix_fmt: str = "yuv420p", only_p: bool = False, params: str = ""
) -> tuple[Coded, ...]:
    """By libx265, with B-frames unless told otherwise."""
    joined = ":".join(filter(None, ("log-level=none", "keyint=12:min-keyint=12:open-gop=0", params)))
    options = (("preset", "ultrafast"), ("forced-idr", "1"), ("x265-params", joined))
    return encode("libx265", width, height, pix_fmt, options, only_p)


@dataclass(frozen=True)
class Decoded:
    """What a decoder said: luma and chroma planes by pts, its reorder depth, and its context."""

    pictures: dict[int, bytes]
    order: tuple[int, ...]  # pts as they came out
    delays: tuple[int, ...]  # for each picture, how many access units had gone in when it came out
    reorder_depth: int
    context: av.VideoCodecContext


def decode(codec: str, stream: tuple[Coded, ...] | list[Coded], *, strict: bool = False) -> Decoded:
    """``strict``: the decoder believes the SPS by the letter, as hardware decoders do."""
    context = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    if strict:
        context.options = {"strict": "strict"}
    frames, delays = [], []
    for count, coded in enumerate(stream, 1):
        packet = av.Packet(coded.data)
        packet.pts, packet.dts = coded.pts, coded.dts
        new = context.decode(packet)
        frames += new
        delays += [count] * len(new)
    depth = context.reorder_depth
    frames += context.decode(None)
    delays += [len(stream) + 1] * (len(frames) - len(delays))
    pictures = {frame.pts: frame.to_ndarray().tobytes() for frame in frames}
    return Decoded(pictures, tuple(frame.pts for frame in frames), tuple(delays), depth, context)


def map_units(stream: Iterable[Coded], change: Callable[[bytes], bytes]) -> list[Coded]:
    """The stream with ``change`` applied to each NAL unit."""
    return [Coded(c.pts, c.dts, nal.join_annexb(change(unit) for unit in c.units)) for c in stream]


def sps_of(codec: str, stream: Sequence[Coded]) -> bytes:
    """The first SPS of a stream."""
    return next(unit for unit in stream[0].units if _is_sps(codec, unit))


def rewritten(codec: str, unit: bytes) -> bytes:
    """A unit of a stream that says it never reorders."""
    change = h264.declare_no_reordering if codec == "h264" else hevc.declare_no_reordering
    return change(unit) if _is_sps(codec, unit) else unit


def _is_sps(codec: str, unit: bytes) -> bool:
    return h264.nal_type(unit) == h264.SPS if codec == "h264" else hevc.nal_type(unit) == hevc.SPS


def record_of(codec: str) -> bytes:
    """A decoder configuration record that libavformat's MP4 writer makes, for a small stream of its own."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        track = container.add_stream(codec, rate=30, options={"x265-params": "log-level=none"})
        track.width, track.height, track.pix_fmt = 178, 98, "yuv420p"
        for _ in range(4):
            container.mux(track.encode(av.VideoFrame(178, 98, "yuv420p")))
        container.mux(track.encode(None))
    out.seek(0)
    with av.open(out) as container:
        return bytes(container.streams.video[0].codec_context.extradata or b"")


def without_restriction(unit: bytes) -> bytes:
    """An H.264 SPS as encoders write it that know nothing of bitstream_restriction."""
    if h264.nal_type(unit) != h264.SPS:
        return unit
    r, w = BitReader(nal.remove_emulation_prevention(unit[1:])), BitWriter()
    _, places = h264._parse(r)
    assert places.restriction_flag is not None
    w.copy(r, 0, places.restriction_flag)
    w.flag(False)
    return unit[:1] + nal.add_emulation_prevention(w.rbsp())


def without_vui(unit: bytes) -> bytes:
    """An H.264 SPS without any VUI."""
    if h264.nal_type(unit) != h264.SPS:
        return unit
    r, w = BitReader(nal.remove_emulation_prevention(unit[1:])), BitWriter()
    _, places = h264._parse(r)
    w.copy(r, 0, places.vui_flag)
    w.flag(False)
    return unit[:1] + nal.add_emulation_prevention(w.rbsp())


def picture(i: int, width: int, height: int, pix_fmt: str) -> av.VideoFrame:
    """A ramp with a square that moves."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, :, 0] = np.arange(width) % 256
    rgb[i : i + 20, i * 4 : i * 4 + 20] = 255
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
    frame.pts = i
    return frame


def encode_squares(
    codec: str,
    size: tuple[int, int],
    pix_fmt: str,
    options: dict[str, str],
    *,
    frames: int,
    gop: int,
    colour: dict[str, int],
) -> list[av.Packet]:
    """Such pictures by any encoder."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size, pix_fmt
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.bit_rate, encoder.gop_size, encoder.options = 300_000, gop, dict(options)
    for name, value in colour.items():
        setattr(encoder, name, value)
    packets = [p for i in range(frames) for p in encoder.encode(picture(i, *size, pix_fmt))]
    return packets + encoder.encode(None)


def decode_units(codec: str, units: Sequence[bytes]) -> list[av.VideoFrame]:
    """All pictures in them, by libavcodec's decoder of that name."""
    decoder = av.CodecContext.create(codec, "r")
    pictures = [frame for unit in units for frame in decoder.decode(av.Packet(unit))]
    return pictures + decoder.decode(None)


def put(w: BitWriter, *fields: tuple[int, int]) -> None:
    """Fields of so many bits with these values."""
    for bits, value in fields:
        w.u(bits, value)


def mutate(data: bytes, dice: random.Random, *, reach: int, both_ends: bool = False) -> bytes:
    """Flips, cuts, doubles or fills a few places, most of them near the start, where the headers are.

    ``reach``: how far from it in the mean. ``both_ends``: some of them as near to the end.
    """
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = min(int(dice.expovariate(1 / reach)), len(out) - 1)
        if both_ends and dice.randrange(3) == 0:
            at = len(out) - 1 - at
        match dice.randrange(5):
            case 0 | 1:
                out[at] ^= 1 << dice.randrange(8)
            case 2:
                del out[at : at + dice.randint(1, 8)]
            case 3:
                out[at:at] = out[at : at + dice.randint(1, 8)]
            case 4:
                out[at : at + 4] = bytes((dice.choice((0, 0xFF)),)) * 4
        if not out:
            break
    return bytes(out)


def mutated_units(streams: Iterable[tuple[Coded, ...]], seed: int) -> Iterator[bytes]:
    """Thousands of NAL units of the streams with some bytes changed, cut off somewhere."""
    dice = random.Random(seed)
    units = [unit[:200] for stream in streams for coded in stream[:4] for unit in coded.units]
    for _ in range(4000):
        unit = bytearray(dice.choice(units))
        for _ in range(dice.randint(1, 4)):
            unit[dice.randrange(len(unit))] = dice.randrange(256)
        yield bytes(unit[: dice.randint(1, len(unit))])


def value_or_error(*acts: Callable[[], object]) -> None:
    """Each gives a value or raises the one error."""
    for act in acts:
        try:
            act()
        except BitstreamError:
            continue


def places(stream: Iterable[Coded], order: H264Order | HevcOrder) -> list[tuple[int, PictureOrder]]:
    """pts and place in output order of each access unit."""
    found = []
    for coded in stream:
        for unit in coded.units:
            order.add(unit)
        place = order.next(coded.units)
        assert place is not None
        found.append((coded.pts, place))
    return found


def check_sps(sps: h264.Sps | hevc.Sps, said: av.VideoCodecContext) -> None:
    """What an SPS of either standard says is what the decoder says."""
    assert (sps.width, sps.height) == (said.width, said.height)
    assert (sps.coded_width, sps.coded_height) == (said.coded_width, said.coded_height)
    assert said.format is not None
    assert sps.bit_depth_luma == said.format.components[0].bits
    assert (sps.colour.primaries, sps.colour.transfer, sps.colour.matrix) == (
        said.color_primaries, said.color_trc, said.colorspace,
    )  # fmt: skip
    assert sps.colour.full_range == (said.color_range == 2)
    shape = said.sample_aspect_ratio
    assert sps.sample_aspect_ratio == (shape and (shape.numerator, shape.denominator))
    assert sps.reorder_frames == said.reorder_depth
    assert sps.timing is not None
