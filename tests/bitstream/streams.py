"""Real streams of libx264 and libx265, and what libavcodec makes of them: the oracle of these tests."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType

from wtgateway.bitstream import h264, nal
from wtgateway.bitstream.bits import BitReader, BitWriter


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
