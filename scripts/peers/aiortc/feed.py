"""Frames for peers that cannot make them or would be slower: the screen on damage, or one that moves."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from scripts.support.x11 import Display

WIDTH, HEIGHT = 1280, 720
_GROUP_FRAMES = 600
_KEY = av.video.frame.PictureType.I
_ANY = av.video.frame.PictureType.NONE


def encoder(fps: Fraction, bitrate_bps: int, group_frames: int = _GROUP_FRAMES) -> av.VideoCodecContext:
    """Constrained baseline, zero frames of delay."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.bit_rate, context.time_base, context.framerate = bitrate_bps, 1 / fps, fps
    context.thread_count = 1
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "forced-idr": "1",
        "g": str(group_frames),
        "maxrate": str(bitrate_bps),
        "bufsize": str(bitrate_bps // 10),
    }
    return context


def packets(
    display: str,
    fps: Fraction,
    bitrate_bps: int,
    want_keyframe: threading.Event,
    group_frames: int = _GROUP_FRAMES,
) -> Iterator[av.Packet]:
    """A packet for each time the screen was drawn to, at most at ``fps``; ``pts`` counts frames.

    With no display it is a picture of our own, at just ``fps``; x264 without delay either way.
    """
    context = encoder(fps, bitrate_bps, group_frames)
    for number, frame in enumerate(_screen(display, fps) if display else _pattern(fps)):
        frame.pts, frame.time_base = number, context.time_base
        frame.pict_type = _KEY if want_keyframe.is_set() else _ANY
        want_keyframe.clear()
        yield from context.encode(frame)


def _pattern(fps: Fraction) -> Iterator[av.VideoFrame]:
    """A bar that goes from left to right."""
    gray = np.full((HEIGHT, WIDTH), 90, np.uint8)
    due = time.monotonic()
    for number in itertools.count():
        picture = gray.copy()
        column = number * 8 % WIDTH
        picture[:, column : column + 32] = 220
        yield av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
        due += 1 / float(fps)
        time.sleep(max(0.0, due - time.monotonic()))


def _screen(display: str, fps: Fraction) -> Iterator[av.VideoFrame]:
    screen = Display(display)
    image = screen.image(WIDTH, HEIGHT)
    screen.watch()
    last = 0.0
    while True:
        if not screen.wait(1.0):
            continue
        time.sleep(max(0.0, last + 0.8 / float(fps) - time.monotonic()))
        last = time.monotonic()
        screen.get(image, 0, 0)
        yield av.VideoFrame.from_numpy_buffer(image.pixels, format="bgra").reformat(format="yuv420p")
