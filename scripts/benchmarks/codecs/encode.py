"""Program: encodes the pictures of a file as the gateway does, and prints what that took, as JSON.

A process of its own for each run, so that its CPU time is that of one encoder with all of its threads.
The pictures are in memory before the clock runs; the first one, with which the encoder is opened, is
encoded but not counted in the times. Pictures come as fast as they are taken.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import av

from scripts.benchmarks.codecs.pictures import FPS, read_y4m
from wtgateway.encoders import GroupBorders, VideoEncoder, VideoSettings
from wtgateway.media import Frame, Kind, Track
from wtgateway.sources.base import RawVideo
from wtgateway.viewer.decode import Encoded
from wtgateway.viewer.record import Recorder

_START_US = 1_700_000_000_000_000
_STEP_US = 1_000_000 // FPS


def _raw(frame: av.VideoFrame, number: int) -> RawVideo:
    at_us = _START_US + number * _STEP_US
    return RawVideo(frame, at_us, at_us, at_us, _STEP_US)


def encode(pictures: list[RawVideo], encoder: VideoEncoder) -> tuple[dict[str, float], list[Frame]]:
    """CPU and wall ms per picture, most pictures held back, bits per second; and the frames."""
    frames = list(encoder.encode(pictures[0]))
    held = 1 - len(frames)
    wall_s, cpu_began = 0.0, time.process_time()
    for given, picture in enumerate(pictures[1:], 2):
        began = time.perf_counter()
        frames += encoder.encode(picture)
        wall_s += time.perf_counter() - began
        held = max(held, given - len(frames))
    cpu_s = time.process_time() - cpu_began
    counted = len(pictures) - 1
    figures = {
        "cpu_ms": 1000 * cpu_s / counted,
        "wall_ms": 1000 * wall_s / counted,
        "delay_frames": held,
        "bitrate_bps": sum(len(frame.payload) for frame in frames) * 8 * FPS / len(pictures),
        "frames": len(frames),
    }
    return figures, frames


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--codec", required=True)
    parser.add_argument("--bitrate", type=int, required=True)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path, help="what was encoded, as Matroska")
    chosen = parser.parse_args()
    settings = VideoSettings(codec=chosen.codec, bitrate_bps=chosen.bitrate, fps=float(FPS))
    groups = GroupBorders(interval_s=10.0)
    encoder = VideoEncoder(settings, track=0, rendition=0, groups=groups)
    drawn = (av.VideoFrame.from_ndarray(planes, format="yuv420p") for planes in read_y4m(chosen.pictures))
    figures, frames = encode([_raw(frame, number) for number, frame in enumerate(drawn)], encoder)
    rendition = encoder.rendition
    assert rendition is not None, "frames were encoded"
    recorder = Recorder(chosen.out, (Track(id=0, kind=Kind.VIDEO, renditions=(rendition,)),))
    for frame in frames:
        recorder.write(Encoded(frame, Kind.VIDEO, rendition))
    recorder.close()
    encoder.close()
    print(json.dumps({**figures, "codec": rendition.codec, "encoder": encoder.profile.encoder}))


if __name__ == "__main__":
    main()
