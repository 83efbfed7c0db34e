"""What every video encoder does alike, whichever codec it speaks."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys

import av
import pytest

from tests.conftest import ROOT
from tests.encoders.pictures import (
    START_US,
    STEP_US,
    decode,
    decode_each,
    encoder,
    noise,
    pictures,
    raw,
)
from wtgateway.encoders import available_encoders
from wtgateway.encoders.profiles import PROFILES, VIDEO_CODECS, CodecProfile, OpenRequest, encoders_of
from wtgateway.errors import EncoderError
from wtgateway.sources.barcode import decode_barcode
from wtgateway.sources.testpicture import TestPicture

each_codec = pytest.mark.parametrize("codec", VIDEO_CODECS)
REQUEST = OpenRequest(
    width=640,
    height=360,
    fps=30,
    target_bps=1_000_000,
    bitrate_bps=1_000_000,
    buffer_s=0.1,
    preset="ultrafast",
    threads=1,
)
STRINGS = {
    "h264": r"avc1\.42C0[0-9A-F]{2}",
    "hevc": r"hvc1\.1\.6\.[LH]\d+\.90",  # Main, compatible with Main 10; progressive, frames only
    "av1": r"av01\.0\.\d\dM\.08",
    "vp9": r"vp09\.00\.\d\d\.08",
}


def number(shown: av.VideoFrame, height: int = 180) -> int | None:
    return decode_barcode(shown.to_ndarray()[:height])


def run_apart(program: str, *, seconds: float) -> str:
    """What a new Python process printed; it may freeze without freezing the tests."""
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=seconds
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def opened_apart(codec: str, *, guarded: bool) -> str:
    """ "ordinary" or "real-time": what a new process's threads are once it has encoded.

    Seen as root: libsvtav1 makes its threads and its caller's real-time ones of the highest priority.
    """
    program = f"""
import contextlib
from tests.encoders.pictures import encoder, pictures
from tests.encoders.threads import real_time_threads
from wtgateway.encoders import coder
if not {guarded}:
    coder.without_real_time = contextlib.nullcontext
video = encoder(codec={codec!r})
found = set()
for picture in pictures(3):
    video.encode(picture)
    found |= real_time_threads()
video.close()
print("real-time" if found else "ordinary")
"""
    return run_apart(program, seconds=60)


def test_av1_does_not_wait_for_itself() -> None:
    """Seen on a busy machine, with a picture given right after the last answer: within some hundred."""
    program = """
from tests.encoders.pictures import encoder, raw
from wtgateway.sources.testpicture import TestPicture
picture = TestPicture(64, 64).draw(1, 0)
for _ in range(30):
    video = encoder(codec="av1")
    assert all(len(video.encode(raw(picture, i))) == 1 for i in range(40))
    video.close()
print("came to its end")
"""
    busy = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            stack.callback(stack.enter_context(subprocess.Popen(busy)).kill)
        assert run_apart(program, seconds=150) == "came to its end"


@each_codec
def test_no_encoder_takes_the_machine(codec: str) -> None:
    assert opened_apart(codec, guarded=True) == "ordinary"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's threads become real-time ones")
def test_an_encoder_would_take_the_machine() -> None:
    """Without the guard; if this fails, the library has changed and the guard may go."""
    assert opened_apart("av1", guarded=False) == "real-time"


@each_codec
def test_one_in_one_out_and_each_decodes_at_once(codec: str) -> None:
    video = encoder(codec=codec)
    made = [video.encode(picture) for picture in pictures(12)]
    assert [len(frames) for frames in made] == [1] * 12
    frames = [frame for frames in made for frame in frames]
    assert [(f.group, f.index, f.keyframe) for f in frames] == [(7, i, i == 0) for i in range(12)]
    assert [f.pts_us for f in frames] == [START_US + i * STEP_US for i in range(12)]
    assert [[number(shown) for shown in each] for each in decode_each(frames, codec)] == [
        [i + 1] for i in range(12)
    ]


@each_codec
def test_a_keyframe_comes_when_asked_for_and_stands_alone(codec: str) -> None:
    video = encoder(codec=codec, keyframe_interval_s=0)
    frames = [f for i, p in enumerate(pictures(12)) for f in video.encode(p, keyframe=i == 5)]
    assert [i for i, frame in enumerate(frames) if frame.keyframe] == [0, 5]
    assert [(f.group, f.index) for f in frames[4:7]] == [(7, 4), (8, 0), (8, 1)]
    assert [number(shown) for shown in decode(frames[5:], codec)] == list(range(6, 13))


@each_codec
def test_no_keyframe_that_nobody_asked_for(codec: str) -> None:
    video = encoder(codec=codec, keyframe_interval_s=0)
    frames = [frame for i in range(30) for frame in video.encode(noise(i // 10))]  # scene cuts
    assert [i for i, frame in enumerate(frames) if frame.keyframe] == [0]


@each_codec
def test_none_comes_by_itself_either(codec: str) -> None:
    video = encoder(codec=codec, keyframe_interval_s=0)
    frame = TestPicture(64, 64).draw(1, 0)
    made = [f.keyframe for i in range(400) for f in video.encode(raw(frame, i))]
    assert made == [True] + [False] * 399


@each_codec
def test_the_codec_string_is_that_of_the_bitstream(codec: str) -> None:
    video = encoder(codec=codec)
    video.encode(noise(0))
    assert video.rendition is not None
    assert re.fullmatch(STRINGS[codec], video.rendition.codec), video.rendition.codec
    assert (video.rendition.width, video.rendition.height, video.rendition.description) == (640, 360, b"")


@each_codec
@pytest.mark.parametrize("matrix", [1, 6])
def test_the_matrix_is_in_the_bitstream(codec: str, matrix: int) -> None:
    frame = TestPicture(320, 180).draw(1, 0)
    frame.colorspace = matrix
    frame.color_primaries = frame.color_trc = matrix
    (shown,) = decode(encoder(codec=codec).encode(raw(frame, 0)), codec)
    # FFmpeg knows 5 and 6 as two names of one matrix; a VP9 stream cannot tell them apart.
    assert shown.colorspace in ({1: {1}, 6: {5, 6}}[matrix])
    assert shown.color_range == 1


@each_codec
def test_size_and_frame_rate_change_in_mid_broadcast(codec: str) -> None:
    video = encoder(codec=codec)
    frames, renditions = [], []
    for i, picture in enumerate(pictures(8)):
        if i == 3:
            video.reconfigure(width=160, height=90)
        if i == 6:
            video.reconfigure(fps=60)
        frames += video.encode(picture)
        renditions.append(video.rendition)
    assert [(f.group, f.index) for f in frames] == [
        (7, 0), (7, 1), (7, 2), (8, 0), (8, 1), (8, 2), (9, 0), (9, 1),
    ]  # fmt: skip
    assert [f.pts_us for f in frames] == [START_US + i * STEP_US for i in range(8)]
    assert [(r.width, r.fps) for r in renditions if r] == [(320, 30)] * 3 + [(160, 30)] * 3 + [(160, 60)] * 2
    assert [shown.width for shown in decode(frames, codec)] == [320] * 3 + [160] * 5


@each_codec
def test_a_source_whose_pictures_grow_begins_a_group(codec: str) -> None:
    video = encoder(codec=codec)
    frames = video.encode(pictures(1)[0]) + video.encode(pictures(2, 640, 360)[1])
    assert [(f.group, f.index, f.keyframe) for f in frames] == [(7, 0, True), (8, 0, True)]
    assert [shown.height for shown in decode(frames, codec)] == [180, 360]


@each_codec
@pytest.mark.parametrize("threads", [1, 4])
def test_threads_add_no_delay(codec: str, threads: int) -> None:
    video = encoder(codec=codec, threads=threads)
    assert [len(video.encode(picture)) for picture in pictures(4, 1280, 720)] == [1] * 4


@each_codec
@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "veryfast", "fast", "medium"])
def test_every_codec_takes_the_words_of_x264(codec: str, preset: str) -> None:
    assert len(encoder(codec=codec, preset=preset).encode(pictures(1)[0])) == 1


@each_codec
def test_another_word_is_told(codec: str) -> None:
    with pytest.raises(EncoderError, match="failed on a 320x180 picture"):
        encoder(codec=codec, preset="warp").encode(pictures(1)[0])


def test_hevc_has_two_names() -> None:
    assert encoder(codec="h265").profile is encoder(codec="hevc").profile


def test_an_encoder_is_taken_by_name() -> None:
    assert encoder(codec="av1", encoder="libsvtav1").profile.encoder == "libsvtav1"
    with pytest.raises(EncoderError, match="'libx264' is no encoder of hevc here; it has libx265"):
        encoder(codec="hevc", encoder="libx264")


@pytest.mark.parametrize("profile", [p for p in PROFILES.values() if p.hardware], ids=lambda p: p.encoder)
def test_hardware_answers_or_says_that_it_does_not(profile: CodecProfile) -> None:
    if profile.encoder not in available_encoders():
        pytest.skip("not in this build")
    try:
        frames = encoder(codec=profile.codec, encoder=profile.encoder).encode(pictures(1, 1280, 720)[0])
    except EncoderError as error:
        assert str(error).startswith(f"{profile.encoder} failed on a 1280x720 picture")
    else:
        assert all(frame.keyframe for frame in frames)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.encoder)
def test_every_option_of_the_table_is_one_of_ffmpegs(profile: CodecProfile) -> None:
    if profile.encoder not in available_encoders():
        pytest.skip("not in this build")
    known = av.CodecContext.create(profile.encoder, "w").supported_options
    options = {option.name: option for option in (*known.generic, *known.private)}
    for name, value in profile.options(REQUEST).items():
        assert name in options
        words = {choice.name for choice in options[name].choices}
        if words and not value.isdigit() and options[name].type != av.codec.context.OptionType.STRING:
            assert value in words


def test_every_codec_has_software_and_some_have_hardware() -> None:
    assert VIDEO_CODECS == ("h264", "hevc", "av1", "vp9")
    assert all(not encoders_of(codec)[0].hardware for codec in VIDEO_CODECS)
    assert [p.encoder for p in encoders_of("h265")] == [
        "libx265", "hevc_nvenc", "hevc_qsv", "hevc_v4l2m2m",
    ]  # fmt: skip
    assert encoders_of("theora") == ()
