"""The pure parts of the codecs bench: pictures, what FFmpeg and /proc say, slopes, figures."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.benchmarks.codecs import cost
from scripts.benchmarks.codecs.encode import encode
from scripts.benchmarks.codecs.encoding import cases, named
from scripts.benchmarks.codecs.pictures import CONTENTS, FPS, planes, read_y4m, write_y4m
from scripts.benchmarks.codecs.quality import Quality, QualityError, compare, parse
from tests.encoders import pictures
from wtgateway.encoders import VIDEO_CODECS, GroupBorders, VideoEncoder, VideoSettings

FFMPEG_SAYS = """
Input #0, matroska,webm, from 'encoded.mkv':
frame=   11 fps=0.0 q=-0.0 size=N/A time=00:00:00.36\rframe=  120 fps= 98 q=-0.0 Lsize=N/A time=00:00:04.00
[Parsed_psnr_6 @ 0x55d5] PSNR y:38.030145 u:41.2 v:41.3 average:38.912345 min:36.1 max:48.9
[Parsed_ssim_7 @ 0x55d6] SSIM Y:0.961234 (14.1) U:0.97 (15.2) V:0.97 (15.3) All:0.964321 (14.476)
"""
STAT = "4711 (a (strange) name) S 1 4711 4711 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 9 0 100 1 2 3"


def test_what_ffmpeg_says_of_likeness_is_read() -> None:
    quality = parse(FFMPEG_SAYS)
    assert (quality.psnr_db, quality.ssim, quality.frames) == (38.912345, 0.964321, 120)


def test_pictures_that_do_not_differ_are_infinitely_like() -> None:
    assert parse(FFMPEG_SAYS.replace("average:38.912345", "average:inf")).psnr_db == math.inf


@pytest.mark.parametrize("missing", ["PSNR", "SSIM", "frame="])
def test_half_an_answer_is_no_answer(missing: str) -> None:
    with pytest.raises(QualityError, match="ffmpeg: "):
        parse(FFMPEG_SAYS.replace(missing, ""))
    with pytest.raises(QualityError, match="it said nothing"):
        parse("")


async def test_ffmpeg_compares_picture_by_picture(tmp_path: Path) -> None:
    source, darker = tmp_path / "a.y4m", tmp_path / "b.y4m"
    write_y4m(source, "camera", (320, 180), 3)
    assert await compare(source, source) == Quality(math.inf, 1.0, 3)
    content = bytearray(source.read_bytes())
    first = content.index(b"FRAME\n") + 6
    content[first : first + 320 * 180] = bytes([16]) * (320 * 180)
    darker.write_bytes(content)
    quality = await compare(darker, source)
    assert quality.frames == 3 and quality.psnr_db < 30 and quality.ssim < 0.9


async def test_what_ffmpeg_cannot_read_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"no film")
    with pytest.raises(QualityError, match="Invalid data"):
        await compare(broken, broken)


@pytest.mark.parametrize("content", CONTENTS)
def test_pictures_are_the_same_each_time_and_never_still(content: str, tmp_path: Path) -> None:
    size, count = (160, 96), 8
    write_y4m(tmp_path / "a.y4m", content, size, count)
    write_y4m(tmp_path / "b.y4m", content, size, count)
    assert (tmp_path / "a.y4m").read_bytes() == (tmp_path / "b.y4m").read_bytes()
    read = list(read_y4m(tmp_path / "a.y4m"))
    assert len(read) == count
    assert all((a != b).any() for a, b in itertools.pairwise(read))
    y, u, v = next(planes(content, *size, 1))
    assert y.shape == (96, 160) and u.shape == v.shape == (48, 80)
    assert (read[0] == np.concatenate([plane.reshape(-1, 160) for plane in (y, u, v)])).all()
    assert y.min() >= 16 and y.max() <= 235


def test_an_unknown_content_is_refused() -> None:
    with pytest.raises(ValueError, match="camera, desktop"):
        planes("opera", 160, 96, 1)


def test_processor_time_is_read_behind_any_name() -> None:
    assert cost.cpu_seconds(STAT) == 300 / os.sysconf("SC_CLK_TCK")


def test_processor_time_is_that_of_the_process() -> None:
    before = os.times()
    read = cost.cpu_seconds(Path("/proc/self/stat").read_text())
    after = os.times()
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert before.user + before.system - tick <= read <= after.user + after.system + tick
    assert read > 0


async def test_a_process_that_does_nothing_takes_nothing() -> None:
    with subprocess.Popen(["sleep", "60"]) as idle:
        try:
            assert await cost.percent_of_core(idle.pid, 0.05) == 0
        finally:
            idle.kill()


@given(st.floats(0, 5), st.floats(0, 20))
def test_a_slope_is_what_one_more_costs(each: float, fixed: float) -> None:
    points = [(count, fixed + each * count) for count in (2, 7, 12)]
    assert cost.slope(points, cores=2) == pytest.approx(each, abs=1e-9)


def test_no_slope_without_two_numbers_or_when_the_machine_is_full() -> None:
    assert cost.slope([], 2) is None
    assert cost.slope([(2, 5.0), (2, 6.0)], 2) is None
    assert cost.slope([(2, 50.0), (12, 179.0)], 2) == pytest.approx(12.9)
    assert cost.slope([(2, 50.0), (12, 181.0)], 2) is None


def test_a_receiver_keeps_up_within_a_tenth() -> None:
    assert cost.keeps_up(600, 20, 30)
    assert cost.keeps_up(541, 20, 30)
    assert not cost.keeps_up(539, 20, 30)
    assert not cost.keeps_up(1200, 20, 30)
    assert not cost.keeps_up(0, 20, 30)


def test_an_encoder_is_measured_and_all_its_pictures_come_out() -> None:
    encoder = VideoEncoder(
        VideoSettings(codec="h264", bitrate_bps=1_000_000, fps=30.0),
        track=0,
        rendition=0,
        groups=GroupBorders(),
    )
    took, frames = encode([pictures.panning(number, 320, 180) for number in range(20)], encoder)
    encoder.close()
    assert (len(frames), took["frames"], took["delay_frames"]) == (20, 20, 0)
    assert took["cpu_ms"] > 0 and took["wall_ms"] > 0
    assert took["bitrate_bps"] == sum(len(frame.payload) for frame in frames) * 8 * FPS / 20


def test_figures_of_what_did_not_run_have_no_values_and_miss_their_goals() -> None:
    ran = named(
        "av1 camera 1M",
        1,
        {"cpu_ms": 3.14159, "wall_ms": 2.0, "delay_frames": 0, "bitrate_bps": 1.2e6},
        38.0,
        0.9,
    )
    assert [figure.value for figure in ran] == [3.14, 2.0, 0, 1.2, 38.0, 0.9]
    assert [figure.met for figure in ran] == [None, True, True, False, None, None]
    missing = named("av1 camera 1M", 1, {}, None, None)
    assert [figure.name for figure in missing] == [figure.name for figure in ran]
    assert all(figure.value is None and not figure.met for figure in missing)


def test_the_whole_bench_has_every_codec_size_and_rate() -> None:
    whole = list(cases(quick=False))
    assert {case.size for case in whole} == {(640, 360), (1280, 720), (1920, 1080)}
    assert {case.megabits for case in whole} == {(1, 2, 4)}
    assert {case.content for case in whole} == set(CONTENTS)
    assert len(list(cases(quick=True))) == 1
    assert set(VIDEO_CODECS) == {"h264", "hevc", "av1", "vp9"}
