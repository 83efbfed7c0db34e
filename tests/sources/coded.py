"""Coded files whose pictures carry their number, and their way through a forwarder, as fast as it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.bitstream.streams import Coded
from wtgateway.errors import SourceEnded
from wtgateway.sources import CodedVideo, SourceOptions
from wtgateway.sources.barcode import decode_barcode
from wtgateway.sources.opened import Opened
from wtgateway.sources.passing import PassedVideo
from wtgateway.sources.reader import Manner, PacketReader
from wtgateway.sources.samples import VideoSamples
from wtgateway.sources.testpicture import TestPicture
from wtgateway.sources.timeline import Seams
from wtgateway.sources.uri import make_plan

FPS = 30
SIZE = (192, 160)
GROUP = 12
X265 = "log-level=none:scenecut=0:b-adapt=0"
X265_B = f"{X265}:bframes=3:b-pyramid=1"
# Encoder and options of each kind of stream.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "veryfast", "bf": "0"}),
    "h264 B-frames": (
        "libx264",
        {"preset": "veryfast", "bf": "3", "b_strategy": "0", "x264-params": "b-pyramid=normal:scenecut=0"},
    ),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": f"{X265}:bframes=0"}),
    "hevc B-frames": ("libx265", {"preset": "ultrafast", "x265-params": f"{X265_B}:open-gop=0"}),
    "hevc open": ("libx265", {"preset": "ultrafast", "x265-params": f"{X265_B}:open-gop=1"}),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "rc=2:pred-struct=1:lp=3"}),
    "av1 hidden frames": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=3"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "vp9 hidden frames": (
        "libvpx-vp9",
        {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "10"},
    ),
}  # fmt: skip


def write(
    path: Path,
    kind: str,
    frames: int = 36,
    *,
    size: tuple[int, int] = SIZE,
    rotation: int = 0,
    pix_fmt: str = "yuv420p",
    opus: int = 0,
    format: str | None = None,
) -> Path:
    """Numbers from 1 on, a group every GROUP pictures; ``opus``: so many channels of it."""
    codec, options = KINDS[kind]
    with av.open(str(path), "w", format=format) as container:
        video = container.add_stream(codec, rate=FPS)
        video.width, video.height = size
        video.pix_fmt, video.gop_size, video.thread_count = pix_fmt, GROUP, 1
        video.bit_rate = 1_000_000
        video.options = options
        if rotation:
            video.set_display_rotation(rotation)
        layout = {1: "mono", 2: "stereo", 6: "5.1"}.get(opus)
        audio = container.add_stream("libopus", rate=48_000, layout=layout) if layout else None
        picture = TestPicture(*size)
        for number in range(frames):
            frame = picture.draw(number + 1, number * 1_000_000 // FPS)
            frame = frame if pix_fmt == "yuv420p" else frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
            if audio is not None:
                container.mux(audio.encode(_sound(number, opus, layout)))
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def _sound(number: int, channels: int, layout: str | None) -> av.AudioFrame:
    samples = np.random.default_rng(number).normal(0, 0.1, (1, 1600 * channels)).astype(np.float32)
    block = av.AudioFrame.from_ndarray(samples, "flt", layout or "mono")
    block.sample_rate, block.pts, block.time_base = 48_000, number * 1600, Fraction(1, 48_000)
    return block


def mux(path: Path, codec: str, stream: Iterable[Coded], *, size: tuple[int, int] = (178, 98)) -> Path:
    """Access units as they are, at 30 a second."""
    with av.open(str(path), "w") as container:
        track: Any = container.add_stream(codec, rate=FPS)
        track.width, track.height, track.pix_fmt = *size, "yuv420p"
        for coded in stream:
            packet = av.Packet(coded.data)
            packet.pts, packet.dts, packet.time_base = coded.pts, coded.dts, Fraction(1, FPS)
            packet.stream = track
            packet.is_keyframe = b"\0\0\1\x65" in coded.data
            container.mux(packet)
    return path


@dataclass
class Passage:
    """What came out of one track; ``video`` on a timeline that begins at 0."""

    passed: PassedVideo
    opened: Opened
    video: list[CodedVideo]

    @property
    def groups(self) -> list[list[CodedVideo]]:
        """Each from its keyframe on."""
        groups: list[list[CodedVideo]] = []
        for piece in self.video:
            if piece.keyframe:
                groups.append([])
            groups[-1].append(piece)
        return groups


def passage(path: Path | str, *, passes: int = 1, most: int | None = None) -> Passage:
    """All units of a file, read again and again, without waiting for their time."""
    reader = PacketReader(make_plan(str(path), SourceOptions()), lambda _: Manner(loop=passes > 1))
    opened = reader.open()
    track = next(track for track in opened.tracks if track.kind == "video")
    passed = PassedVideo(opened, track, str(path))
    video: list[CodedVideo] = []
    samples, base_us, end_us, done = VideoSamples(track.index, passed, Seams()), 0, 0, 0
    current = opened
    try:
        while most is None or len(video) < most:
            item = reader.next()
            if item.opened is not current:
                current = item.opened
                passed.reopen(next(track for track in current.tracks if track.kind == "video"))
                samples = VideoSamples(track.index, passed, Seams())
                base_us = end_us
            if item.packet is None:
                done += 1
                if done == passes:
                    break
                continue
            if item.packet.stream_index != track.index:
                continue
            for sample in samples.take(item.packet):
                at_us = base_us + sample.pts_us
                end_us = max(end_us, at_us + sample.duration_us)
                piece = passed.place(sample.content, sample.pts_us, at_us, at_us)
                if piece is not None:
                    video.append(piece)
    except SourceEnded:
        pass
    finally:
        reader.close()
    return Passage(passed, opened, video)


DECODERS = {"avc1": "h264", "hvc1": "hevc", "av01": "libdav1d", "vp09": "vp9"}


def decode(pieces: Iterable[CodedVideo]) -> dict[int, np.ndarray[Any, Any]]:
    """Luma by pts as a decoder that knows nothing else makes it of the payloads."""
    pieces = list(pieces)
    context: Any = av.CodecContext.create(DECODERS[pieces[0].format.codec[:4]], "r")
    context.thread_count = 1
    frames = []
    for piece in pieces:
        packet = av.Packet(piece.payload)
        packet.pts, packet.time_base = piece.pts_us, Fraction(1, 1_000_000)
        frames += context.decode(packet)
    frames += context.decode(None)
    return {frame.pts: luma(frame) for frame in frames}


def originals(path: Path) -> list[tuple[int, np.ndarray[Any, Any]]]:
    """pts in µs and luma of all pictures, as FFmpeg decodes the file itself."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (frame.pts * frame.time_base.numerator * 1_000_000 // frame.time_base.denominator, luma(frame))
            for frame in container.decode(stream)
        ]


def luma(frame: av.VideoFrame) -> np.ndarray[Any, Any]:
    plain = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
    return np.asarray(plain.to_ndarray()[: frame.height])


def number(picture: np.ndarray[Any, Any]) -> int | None:
    """Its barcode."""
    return decode_barcode(picture)


def check_rules(video: list[CodedVideo]) -> None:
    """What the pipeline relies on: it begins with a keyframe, later groups are shown later."""
    assert not video or video[0].keyframe
    newest = floor = None
    for piece in video:
        if piece.keyframe:
            floor = newest
        assert piece.payload and piece.format.codec and piece.duration_us > 0
        assert floor is None or piece.pts_us > floor
        newest = piece.pts_us if newest is None else max(newest, piece.pts_us)


def read_all(source: Any) -> list[Any]:
    """Every piece of a source that ends."""
    pieces = []
    with pytest.raises(SourceEnded):
        while True:
            pieces.append(source.read())
    return pieces


def of(kind: type, pieces: list[Any]) -> list[Any]:
    """The pieces of one kind."""
    return [piece for piece in pieces if isinstance(piece, kind)]
