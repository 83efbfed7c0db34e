"""Media files that tests write: a burnt-in frame counter and a steady tone. Each is encoded once a run."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from scripts.benchmarks.glass.barcode import BLOCKS, blocks
from wtgateway.encoders.scheduling import without_real_time

SAMPLE_RATE = 48_000


WIDTH, HEIGHT = 640, 360


CHANNELS = {"stereo": 2, "5.1": 6}
CENTRE = 2  # of 5.1, in FFmpeg's order: FL FR FC LFE BL BR


@functools.cache
def _encoded(write: Callable[..., None], name: str, *arguments: object) -> bytes:
    """The file of that name that ``write`` makes; each test has a copy of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, *arguments)
        return path.read_bytes()


def write_movie(
    path: Path,
    *,
    seconds: float = 6.0,
    fps: int = 25,
    tone_hz: float = 440.0,
    layout: str = "stereo",
    rate: int = SAMPLE_RATE,
) -> None:
    """H.264 with B-frames and AAC, 640x360: frame n carries n as barcode in its top sixteenth.

    The tone is in both channels of stereo, and in the centre alone of 5.1.
    """
    name = f"movie{path.suffix}"
    path.write_bytes(_encoded(_encode_movie, name, seconds, fps, tone_hz, layout, rate))


def _encode_movie(path: Path, seconds: float, fps: int, tone_hz: float, layout: str, rate: int) -> None:
    options = {"preset": "veryfast", "bf": "3", "g": "50"}
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=rate)
        audio.layout = layout
        for number in range(int(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(_picture(number), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame.reformat(format="yuv420p")))
        container.mux(video.encode(None))
        for block in _tone(seconds, tone_hz, layout, rate):
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


CODED = {  # encoder, its options, container, sound
    "h264": ("libx264", {"preset": "veryfast", "bf": "3", "g": "25"}, ".mp4", "aac"),
    "hevc": (
        "libx265",
        {"preset": "ultrafast", "x265-params": "bframes=3:log-level=none:keyint=25"},
        ".mp4",
        "aac",
    ),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "25"}, ".webm", "libopus"),
    "av1": ("libsvtav1", {"preset": "12", "g": "25", "svtav1-params": "lp=3"}, ".webm", "libopus"),
}


DEEP = {"av1-10": "av1"}  # the same with ten bits a sample


def write_coded(folder: Path, codec: str, *, seconds: float = 6.0, fps: int = 25) -> Path:
    """The movie above in any codec, as a camera or an archive has it: B-frames, short groups, Opus or AAC."""
    path = folder / f"{codec}{CODED[DEEP.get(codec, codec)][2]}"
    path.write_bytes(_encoded(_encode_coded, path.name, codec, seconds, fps))
    return path


def _encode_coded(path: Path, codec: str, seconds: float, fps: int) -> None:
    encoder, options, _, sound = CODED[DEEP.get(codec, codec)]
    pix_fmt = "yuv420p10le" if codec in DEEP else "yuv420p"
    with without_real_time(), av.open(str(path), "w") as container:
        video = container.add_stream(encoder, rate=fps, options=options)
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, pix_fmt, 1_000_000
        audio = container.add_stream(sound, rate=SAMPLE_RATE)
        audio.layout = "stereo"
        for number in range(int(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(_picture(number), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame.reformat(format=pix_fmt)))
        container.mux(video.encode(None))
        resampler = av.AudioResampler("fltp" if sound == "aac" else "flt", "stereo", SAMPLE_RATE, 960)
        for block in _tone(seconds, 440.0, "stereo"):
            for part in [block] if sound == "aac" else resampler.resample(block):
                container.mux(audio.encode(part))
        container.mux(audio.encode(None))


def write_text(path: Path, pix_fmt: str, *, seconds: float = 3.0, fps: int = 25) -> None:
    """VP9 of coloured lines one pixel wide, as letters on a desktop have them, red and blue in turn."""
    path.write_bytes(_encoded(_encode_text, path.name, pix_fmt, seconds, fps))


def _encode_text(path: Path, pix_fmt: str, seconds: float, fps: int) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:, 0::2, 0], rgb[:, 1::2, 2] = 255, 255
    options = {"deadline": "realtime", "cpu-used": "6", "crf": "4", "g": "25"}
    with av.open(str(path), "w") as container:
        video = container.add_stream("libvpx-vp9", rate=fps, options=options)
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, pix_fmt, 20_000_000
        video.codec_context.colorspace = video.codec_context.color_primaries = 1
        for number in range(int(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format=pix_fmt, dst_colorspace="ITU709"
            )
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def _picture(number: int) -> npt.NDArray[np.uint8]:
    pixels = np.full((HEIGHT, WIDTH), 90, np.uint8)
    column = number * 8 % WIDTH
    pixels[HEIGHT // 2 :, column : column + 24] = 220  # something that moves
    strip = np.repeat(np.array(blocks(number), np.uint8) * 255, WIDTH // BLOCKS)
    pixels[: HEIGHT // 16, : len(strip)] = strip
    return pixels


def _tone(seconds: float, tone_hz: float, layout: str, rate: int = SAMPLE_RATE) -> list[av.AudioFrame]:
    time = np.arange(int(seconds * rate)) / rate
    wave = (0.25 * np.sin(2 * np.pi * tone_hz * time)).astype(np.float32)
    frames = []
    for start in range(0, len(wave) - 1023, 1024):
        part = np.zeros((CHANNELS[layout], 1024), np.float32)
        part[CENTRE if layout == "5.1" else slice(None)] = wave[start : start + 1024]
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames.append(frame)
    return frames
