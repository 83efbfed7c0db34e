"""Interlaced pictures are made whole when they are decoded; those that are turned say so."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.sources.coded import read_all, write
from wtgateway.sources import CodedVideo, RawVideo
from wtgateway.sources.deinterlace import Deinterlacer

FPS, COUNT = 25, 30
WIDTH, HEIGHT = 320, 240
TIME_BASE = Fraction(1, FPS)


def picture(number: int, *, interlaced: bool) -> av.VideoFrame:
    """A bright bar that moves; of an interlaced one the lines of either parity show another moment."""
    luma = np.full((HEIGHT, WIDTH), 40, np.uint8)
    for parity in (0, 1):
        moment = 2 * number + (parity if interlaced else 0)
        at = moment * 6 % (WIDTH - 40)
        luma[parity::2, at : at + 40] = 220
    frame = av.VideoFrame.from_ndarray(np.vstack([luma, np.full_like(luma[: HEIGHT // 2], 128)]), "yuv420p")
    frame.pts, frame.time_base = number, TIME_BASE
    return frame


def film(path: Path, *, interlaced: bool, b_frames: int = 2) -> Path:
    parity = "tff=1:" if interlaced else ""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt, video.thread_count = WIDTH, HEIGHT, "yuv420p", 1
        video.options = {"preset": "veryfast", "x264-params": f"{parity}bframes={b_frames}", "crf": "12"}
        for number in range(COUNT):
            container.mux(video.encode(picture(number, interlaced=interlaced)))
        container.mux(video.encode(None))
    return path


def marked(frame: av.VideoFrame) -> av.VideoFrame:
    """The same, said to be interlaced."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    field, sink = graph.add("setfield", "mode=tff"), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    graph.push(frame)
    made = graph.pull()
    assert isinstance(made, av.VideoFrame) and made.interlaced_frame
    return made


def combs(frame: av.VideoFrame) -> float:
    """How much each line differs from those around it."""
    luma = frame.to_ndarray()[:HEIGHT].astype(int)
    return float(np.abs(2 * luma[1:-1] - luma[:-2] - luma[2:]).mean())


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_decoded_source_has_no_combs_and_all_its_times(tmp_path: Path, tools: Any, b_frames: int) -> None:
    path = film(tmp_path / "a.mp4", interlaced=True, b_frames=b_frames)
    raw = [piece for piece in read_all(tools.open(str(path), loop=False)) if isinstance(piece, RawVideo)]
    assert len(raw) == COUNT, "the last one too"
    assert all(abs(b.pts_us - a.pts_us - 40_000) <= 2 for a, b in pairwise(raw))
    assert {piece.duration_us for piece in raw} == {40_000}
    with av.open(str(path)) as container:
        assert np.mean([combs(frame) for frame in container.decode(video=0)]) > 8, "as it is coded"
    assert max(combs(piece.frame) for piece in raw) < 2


def test_pictures_beside_what_is_forwarded_have_none_either(tmp_path: Path, tools: Any) -> None:
    path = film(tmp_path / "a.mp4", interlaced=True)
    source = tools.make(str(path), forward=True, loop=False)
    source.want_pictures(True)
    source.open()
    pieces = read_all(source)
    raw = [piece for piece in pieces if isinstance(piece, RawVideo)]
    coded = [piece for piece in pieces if isinstance(piece, CodedVideo)]
    assert [piece.pts_us for piece in raw] == sorted(piece.pts_us for piece in coded)
    assert max(combs(piece.frame) for piece in raw) < 2


def test_progressive_pictures_pass_at_once_as_they_are() -> None:
    whole = Deinterlacer(TIME_BASE)
    for number in range(5):
        frame = picture(number, interlaced=False)
        assert whole(frame) == [frame]
    assert whole.flush() == []


def test_none_is_lost_where_interlaced_ones_begin_or_the_size_changes() -> None:
    whole = Deinterlacer(TIME_BASE)
    shown: list[av.VideoFrame] = []
    for number in range(12):
        frame = picture(number, interlaced=number >= 3)
        if number >= 7:
            frame = frame.reformat(width=160, height=120)
            frame.pts, frame.time_base = number, TIME_BASE
        shown += whole(marked(frame) if 3 <= number < 10 else frame)
    shown += whole.flush()
    times = [float(out.pts * out.time_base) for out in shown]
    assert times == pytest.approx([number / FPS for number in range(12)])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_decoded_picture_says_how_it_is_to_be_turned(tmp_path: Path, tools: Any, rotation: int) -> None:
    path = write(tmp_path / "a.mp4", "h264", rotation=rotation)
    forwarded = tools.open(str(path), forward=True, loop=False)
    coded = next(piece for piece in read_all(forwarded) if isinstance(piece, CodedVideo))
    raw = tools.pictures(tools.open(str(path), loop=False), 3)
    assert {piece.rotation for piece in raw} == {coded.format.rotation}
    assert coded.format.rotation == (-rotation) % 360
