"""An encoder that is to do with less for a while: smaller pictures, fewer of them, of the same rendition."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from tests.encoders.pictures import START_US, STEP_US, AskedEncoder, decode, encoder, panning, pictures
from wtgateway.encoders.keyframes import covers
from wtgateway.encoders.profiles import VIDEO_CODECS
from wtgateway.media import Frame
from wtgateway.sources.barcode import decode_barcode

each_codec = pytest.mark.parametrize("codec", VIDEO_CODECS)


@each_codec
def test_smaller_pictures_are_the_same_rendition_and_decode_in_one_go(codec: str) -> None:
    video = encoder(codec=codec, threads=1, bitrate_bps=1_000_000)
    frames, renditions = [], []
    for i in range(9):
        if i in (3, 6):
            video.reconfigure(scale=0.5 if i == 3 else 1.0)
        frames += video.encode(panning(i))
        renditions.append(video.rendition)
    video.close()
    assert [(f.group, f.index) for f in frames] == [(7 + i // 3, i % 3) for i in range(9)]
    first = renditions[0]
    assert first is not None
    assert all(each is first for each in renditions)
    assert (first.width, first.height) == (640, 360)
    assert [shown.width for shown in decode(frames, codec)] == [640] * 3 + [320] * 3 + [640] * 3


def test_a_smaller_picture_of_h264_says_the_same_level() -> None:
    """So that a page, which reads it from the keyframe, goes on with the decoder that it has."""
    from wtgateway.encoders.keyframes import codec_string

    video = encoder(bitrate_bps=4_000_000)
    (whole,) = video.encode(pictures(2, 1280, 720)[0])
    video.reconfigure(scale=0.25, every=2)
    (small,) = video.encode(pictures(2, 1280, 720)[1])
    said = [codec_string("h264", f.payload, fps=30, bitrate_bps=4_000_000) for f in (whole, small)]
    assert video.rendition is not None
    assert said == [video.rendition.codec] * 2


def test_one_that_began_reduced_tells_the_level_of_the_whole_when_it_is_known() -> None:
    video = encoder(bitrate_bps=4_000_000)
    video.reconfigure(scale=0.25)
    video.encode(pictures(2, 1280, 720)[0])
    small = video.rendition
    video.reconfigure(scale=1.0)
    video.encode(pictures(2, 1280, 720)[1])
    whole = video.rendition
    assert small is not None and whole is not None
    assert (small.width, small.height) == (whole.width, whole.height) == (1280, 720)
    assert small.codec < whole.codec
    assert covers(whole.codec, small.codec)


def thinned(video: AskedEncoder, first: int, count: int, *, keyframe_at: int = -1) -> list[Frame]:
    frames: list[Frame] = []
    for picture in pictures(first + count)[first:]:
        if (picture.pts_us - START_US) // STEP_US == keyframe_at:
            video.borders.want()
        frames += [] if video.skips(picture) else video.encode(picture)
    return frames


@each_codec
def test_fewer_pictures_last_longer_and_none_that_begins_a_group_is_left_out(codec: str) -> None:
    video = encoder(codec=codec, threads=1)
    frames = thinned(video, 0, 4)
    video.reconfigure(every=2)
    frames += thinned(video, 4, 12, keyframe_at=9)
    video.reconfigure(every=1)
    frames += thinned(video, 16, 3)
    video.close()
    numbers = [(f.pts_us - START_US) // STEP_US for f in frames]
    assert numbers == [0, 1, 2, 3, 4, 6, 8, 9, 11, 13, 15, 16, 17, 18]
    assert [number for number, f in zip(numbers, frames, strict=True) if f.keyframe] == [0, 4, 9, 16]
    assert [f.duration_us for f in frames] == [STEP_US] * 4 + [2 * STEP_US] * 7 + [STEP_US] * 3
    shown = [decode_barcode(picture.to_ndarray()[:180]) for picture in decode(frames, codec)]
    assert shown == [number + 1 for number in numbers]
    assert video.rendition is not None
    assert video.rendition.fps == 30


def test_a_group_begins_within_what_a_receiver_takes_for_the_next_frame() -> None:
    """One and a half durations after the last one: else it would wait for what was never made."""
    video = encoder()
    frames = thinned(video, 0, 3)
    for every, first in ((2, 3), (1, 8), (2, 13)):
        video.reconfigure(every=every)
        frames += thinned(video, first, 5, keyframe_at=first + 3)
    for last, begins in itertools.pairwise(frames):
        if begins.index == 0:
            assert begins.pts_us <= last.pts_us + 1.5 * last.duration_us


def test_pictures_that_come_seldom_are_not_left_out() -> None:
    video = encoder()
    video.reconfigure(every=4)
    video.encode(pictures(1)[0])
    late = replace(pictures(1)[0], pts_us=START_US + 4 * STEP_US)
    assert not video.skips(late)
    assert video.skips(replace(late, pts_us=START_US + 3 * STEP_US))
    assert not video.skips(replace(late, pts_us=START_US - 10_000_000)), "another timeline"


@each_codec
def test_nothing_changes_when_the_same_is_asked_for_again(codec: str) -> None:
    video = encoder(codec=codec, threads=1)
    frames = video.encode(pictures(1)[0])
    video.reconfigure(scale=1.0, every=1)
    frames += video.encode(pictures(2)[1])
    assert [(f.group, f.index) for f in frames] == [(7, 0), (7, 1)]


@pytest.mark.parametrize(
    ("known", "codec", "covered"),
    [
        ("avc1.42C01F", "avc1.42C015", True),
        ("avc1.42C015", "avc1.42C01F", False),
        ("avc1.42C01F", "avc1.64001F", False),
        ("hvc1.1.6.L93.90", "hvc1.1.6.L60.90", True),
        ("hvc1.1.6.L93.90", "hvc1.1.6.H60.90", False),
        ("hvc1.1.6.L60.90", "hvc1.1.6.L93.90", False),
        ("av01.0.08M.08", "av01.0.04M.08", True),
        ("av01.0.04M.08", "av01.0.08M.08", False),
        ("av01.0.08M.10", "av01.0.08M.08", False),
        ("vp09.00.31.08", "vp09.00.31.08", True),
        ("vp09.00.31.08", "vp09.00.40.08", False),
    ],
)
def test_a_decoder_of_a_higher_level_decodes_a_lower_one(known: str, codec: str, covered: bool) -> None:
    assert covers(known, codec) is covered
