"""Coded tracks from an open source: paced, in one timeline with the sound, with pictures when wanted."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.bitstream.streams import Coded, x264
from tests.sources.coded import SIZE, check_rules, decode, mux, number, of, read_all, write
from wtgateway import clock
from wtgateway.errors import SourceEnded
from wtgateway.sources import CodedAudio, CodedVideo, RawAudio, RawVideo

Media = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "suffix"), [("h264 B-frames", "mp4"), ("hevc B-frames", "mkv"), ("av1", "mp4"), ("vp9", "webm")]
)
def test_coded_pictures_are_paced_by_decoding_time_and_keep_their_own(
    tmp_path: Path, tools: Any, kind: str, suffix: str
) -> None:
    path = write(tmp_path / f"a.{suffix}", kind, opus=2)
    coded = tools.make(str(path), forward=True, forward_audio=True, loop=False)
    info = coded.open()
    assert (info.coded_video, info.coded_audio) == (kind.split()[0], "opus")
    assert (info.width, info.height) == SIZE
    pieces = []
    with pytest.raises(SourceEnded):
        while True:
            piece = coded.read()
            assert clock.now_us() >= piece.capture_us - 1_000, "never before its time"
            pieces.append(piece)
    video, sound = of(CodedVideo, pieces), of(CodedAudio, pieces)
    assert len(pieces) == len(video) + len(sound)
    assert all(piece.capture_us <= min(piece.pts_us, piece.grabbed_us) for piece in video)
    shown = sorted(piece.pts_us for piece in video)
    assert len(shown) == 36 and all(32_000 <= b - a <= 35_000 for a, b in pairwise(shown))
    assert [number(picture) for _, picture in sorted(decode(video).items())] == list(range(1, 37))

    raw = read_all(tools.open(str(path), loop=False))
    first_picture, first_sound = of(RawVideo, raw)[0], of(RawAudio, raw)[0]
    as_decoded = first_sound.pts_us - first_picture.pts_us
    # The decoder leaves out the pre-skip (6.5 ms), the packets have it.
    assert sound[0].pts_us - shown[0] == pytest.approx(as_decoded, abs=8_000)


def test_sound_that_is_not_forwarded_stays_with_the_pictures(media: Media, tools: Any) -> None:
    source = tools.make(str(media("mp4", 24).path), forward=True, loop=False)
    info = source.open()
    assert (info.coded_video, info.coded_audio, info.audio_codec) == ("h264", "", "aac")
    pieces = read_all(source)
    video, sound = of(CodedVideo, pieces), of(RawAudio, pieces)
    assert len(video) == 24 and len(video) + len(sound) == len(pieces)
    assert abs(sound[0].pts_us - min(piece.pts_us for piece in video)) <= 25_000
    assert video[0].format.codec.startswith("avc1.") and not video[0].format.channels


def test_a_loop_goes_on_without_a_seam_in_sound_or_pictures(media: Media, tools: Any) -> None:
    source = tools.open(str(media("mp4", 15, audio_s=0.6).path), forward=True)
    pieces: list[Any] = []
    while sum(isinstance(piece, CodedVideo) for piece in pieces) < 45:
        pieces.append(source.read())
    video, sound = of(CodedVideo, pieces), of(RawAudio, pieces)
    assert [number(picture) for _, picture in sorted(decode(video).items())] == [*range(1, 16)] * 3
    starts = [piece.pts_us for piece in video if piece.keyframe]
    lengths = [b - a for a, b in pairwise(starts)]
    assert max(lengths) - min(lengths) <= 1_000 and 600_000 <= lengths[0] <= 650_000
    assert all(b.pts_us > a.pts_us for a, b in pairwise(sound))
    for start in starts[1:]:
        assert min(abs(raw.pts_us - start) for raw in sound) <= 25_000


@pytest.mark.parametrize("kind", ["h264 B-frames", "hevc B-frames", "av1 hidden frames", "vp9 hidden frames"])
def test_pictures_beside_the_coded_ones_have_the_same_times(tmp_path: Path, tools: Any, kind: str) -> None:
    source = tools.make(str(write(tmp_path / "a.mkv", kind)), forward=True, loop=False)
    source.want_pictures(True)
    source.open()
    pieces = read_all(source)
    video, pictures = of(CodedVideo, pieces), of(RawVideo, pieces)
    assert tools.numbers(pictures) == list(range(1, 37))
    assert [picture.pts_us for picture in pictures] == sorted(piece.pts_us for piece in video)
    by_pts = {piece.pts_us: piece for piece in video}
    for picture in pictures:
        piece = by_pts[picture.pts_us]
        assert (picture.capture_us, picture.duration_us) == (piece.capture_us, piece.duration_us)
        assert pieces.index(picture) > pieces.index(piece)


def test_pictures_come_at_once_in_the_middle_of_a_group_and_stop(media: Media, tools: Any) -> None:
    source = tools.open(str(media("mkv", 900, b_frames=0).path), forward=True)
    coded: list[CodedVideo] = []
    while len(coded) < 25:  # groups have 15
        piece = source.read()
        assert not isinstance(piece, RawVideo), "nobody wants one"
        if isinstance(piece, CodedVideo):
            coded.append(piece)
    source.want_pictures(True)
    while not isinstance(piece := source.read(), RawVideo):
        if isinstance(piece, CodedVideo):
            coded.append(piece)
    assert piece.pts_us >= coded[24].pts_us, "the newest one, not those of before"
    assert not any(later.keyframe for later in coded[25:]), "it did not wait for a keyframe"
    first = tools.numbers([piece])[0]
    assert tools.numbers(tools.pictures(source, 10)) == list(range(first + 1, first + 11))
    source.want_pictures(False)
    while isinstance(source.read(), RawVideo):
        pass
    assert not any(isinstance(source.read(), RawVideo) for _ in range(20))
    source.want_pictures(True)
    assert len(tools.pictures(source, 3)) == 3


def test_a_picture_comes_though_the_next_is_not_due_for_long(tmp_path: Path, tools: Any) -> None:
    stream = [
        Coded(coded.pts * 30 * 500, coded.dts * 30 * 500, coded.data) for coded in x264(bf="0")[:2]
    ]  # one in 500 s
    source = tools.open(str(mux(tmp_path / "a.mkv", "h264", stream)), forward=True)
    assert isinstance(source.read(), CodedVideo)
    wish = threading.Thread(target=source.want_pictures, args=(True,))
    wish.start()
    assert isinstance(source.read(), RawVideo)
    wish.join()


def test_a_hole_of_an_hour_is_not_waited_for(tmp_path: Path, tools: Any) -> None:
    hour = 30 * 3600
    stream = [Coded(c.pts + hour * (c.pts >= 12), c.dts + hour * (c.pts >= 12), c.data) for c in x264(bf="0")]
    source = tools.open(str(mux(tmp_path / "a.mkv", "h264", stream)), forward=True, loop=False)
    video = read_all(source)
    assert len(video) == 24
    assert all(0 < b.pts_us - a.pts_us < 200_000 for a, b in pairwise(video))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_opus_packets_are_passed_on(tmp_path: Path, tools: Any, suffix: str, channels: int) -> None:
    path = write(tmp_path / f"a.{suffix}", "h264", opus=channels)
    source = tools.make(str(path), forward=True, forward_audio=True, loop=False)
    assert source.open().coded_audio == "opus"
    sound = of(CodedAudio, read_all(source))
    assert len({id(piece.format) for piece in sound}) == 1
    format_ = sound[0].format
    assert (format_.codec, format_.sample_rate, format_.channels) == ("opus", 48_000, channels)
    assert bool(format_.description) == (channels > 2)
    assert {piece.duration_us for piece in sound} == {20_000}
    assert all(abs(b.pts_us - a.pts_us - 20_000) <= 1_100 for a, b in pairwise(sound))

    decoder: Any = av.CodecContext.create("libopus", "r")
    if format_.description:
        decoder.extradata = format_.description
    else:
        decoder.layout = {1: "mono", 2: "stereo"}[channels]
    decoder.sample_rate = 48_000
    frames = [frame for piece in sound for frame in decoder.decode(av.Packet(piece.payload))]
    assert frames[0].layout.nb_channels == channels
    heard = sum(frame.samples for frame in frames) / 48_000
    assert heard == pytest.approx(36 / 30, abs=0.06)
    assert all(np.abs(frame.to_ndarray()).max() > 0 for frame in frames[2:-2])


def test_sound_alone(tmp_path: Path, tools: Any) -> None:
    with av.open(str(tmp_path / "a.ogg"), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="stereo")
        for i in range(20):
            block = av.AudioFrame.from_ndarray(np.full((1, 1920), 0.1, np.float32), "flt", "stereo")
            block.sample_rate, block.pts = 48_000, i * 960
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    source = tools.make(str(tmp_path / "a.ogg"), forward_audio=True)
    info = source.open()
    assert (info.has_video, info.coded_video, info.coded_audio) == (False, "", "opus")
    pieces = [source.read() for _ in range(50)]
    assert all(isinstance(piece, CodedAudio) for piece in pieces)
    assert all(0 < b.pts_us - a.pts_us <= 27_000 for a, b in pairwise(pieces))


@pytest.mark.parametrize("kind", ["h264", "h264 B-frames"])
def test_what_a_cut_left_over_is_decoded_in_no_time_and_not_shown(
    tmp_path: Path, tools: Any, kind: str
) -> None:
    whole, cut = write(tmp_path / "whole.mp4", kind), tmp_path / "cut.mp4"
    command = ["ffmpeg", "-v", "error", "-ss", "0.7", "-i", str(whole), "-c", "copy", str(cut)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    raw = tools.open(str(cut), loop=False)
    expected = tools.numbers(of(RawVideo, read_all(raw)))
    assert 20 < expected[0] <= 24, "the cut is in the middle of a group"

    source = tools.make(str(cut), forward=True, loop=False)
    source.want_pictures(True)
    source.open()
    pieces = read_all(source)
    assert tools.numbers(of(RawVideo, pieces)) == expected
    video = of(CodedVideo, pieces)
    check_rules(video)
    shown = sorted(decode(video).items())
    numbers = [number(picture) for _, picture in shown]
    assert numbers == list(range(13, 37)), "all are there, in order"
    first = numbers.index(expected[0])
    assert shown[first - 1][0] - shown[0][0] < 100_000
    assert all(32_000 <= b - a <= 35_000 for a, b in pairwise([pts for pts, _ in shown[first:]]))


def test_a_spliced_file_goes_on_where_its_times_go_back(tmp_path: Path, tools: Any) -> None:
    one = write(tmp_path / "one.ts", "h264 B-frames", frames=24, opus=2).read_bytes()
    two = write(tmp_path / "two.ts", "h264 B-frames", frames=24, opus=2).read_bytes()
    long = write(tmp_path / "long.ts", "h264", frames=90, opus=2).read_bytes()
    (tmp_path / "spliced.ts").write_bytes(long + one + two)
    source = tools.make(str(tmp_path / "spliced.ts"), forward=True, forward_audio=True, loop=False)
    source.open()
    pieces = read_all(source)
    video, sound = of(CodedVideo, pieces), of(CodedAudio, pieces)
    shown = sorted(piece.pts_us for piece in video)
    assert len(video) >= 90 + 12
    assert all(b - a < 200_000 for a, b in pairwise(shown)), "no hole, no wait"
    assert all(b.pts_us > a.pts_us for a, b in pairwise(sound))
    assert abs(shown[-1] - sound[-1].pts_us) < 300_000
